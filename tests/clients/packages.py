"""Packages that the clients need, in target/clients-venv.

    packages.need("openai==3.54.0")     # at the beginning of `main`; behind it `import openai` works
"""
import os
import subprocess
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent.parent.parent / "target/clients-venv"


def need(package: str) -> None:
    """Installs it at its version, and starts this program again where it is."""
    python = VENV / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    name, version = package.split("==")
    there = f"from importlib.metadata import version; assert version({name!r}) == {version!r}"
    if subprocess.run([python, "-c", there], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "-q", package], check=True)
    if Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(python, [python, *sys.argv])
