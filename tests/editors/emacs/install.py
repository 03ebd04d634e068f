"""Emacs and lsp-mode for the tests: Debian's packages, unpacked, linked and compiled.

    emacs = install()          # prints the versions
    emacs.command              # ["…/emacs-nox", "--dump-file=…"]
    emacs.environment          # where an Emacs that is not under /usr finds its parts
"""
import subprocess
from dataclasses import dataclass
from pathlib import Path

from terminal import Missing, at_least, need_tmux, unpack

LEAST = {"emacs": "30.1", "lsp-mode": "10"}
# What is loaded when a buffer opens; the rest of lsp-mode stays source.
COMPILED = ["dash-*", "f-*", "ht-*", "lv-*", "markdown-mode-*", "s-*", "spinner-*", "rust-mode-*"]
COMPILED_LSP = ["mode", "protocol", "inline-completion", "completion", "diagnostics", "headerline", "icons", "lens", "modeline", "semantic-tokens"]


@dataclass(frozen=True)
class Emacs:
    command: list[str]
    environment: dict[str, str]
    packages: Path


def install() -> Emacs:
    need_tmux()
    folder = unpack("emacs-nox", "elpa-lsp-mode", "elpa-rust-mode")
    program = folder / "usr/bin/emacs-nox"
    link(program, folder)
    emacs = Emacs([str(program), f"--dump-file={only(folder, 'usr/libexec/emacs/*/*/emacs-*.pdmp')}"],
                  locations(folder), folder / "usr/share/emacs/site-lisp/elpa-src")
    lsp = only(emacs.packages, "lsp-mode-*")
    for name, version in (("emacs", evaluate(emacs, "(princ emacs-version)")), ("lsp-mode", lsp.name.removeprefix("lsp-mode-"))):
        if not at_least(version, LEAST[name]):
            raise Missing(f"{name} {version} is older than {LEAST[name]}: set SUITES to a newer Debian suite")
        print(name, version, flush=True)
    compile_packages(emacs, lsp)
    return emacs


def link(program: Path, folder: Path) -> None:
    """Emacs runs from where it was unpacked, with the libraries beside it."""
    loader = only(folder, "usr/lib/*/ld-linux*.so.*")
    current = subprocess.run(["patchelf", "--print-interpreter", program], capture_output=True, text=True).stdout.strip()
    if current != str(loader):
        subprocess.run(["patchelf", "--force-rpath", "--set-rpath", loader.parent, "--set-interpreter", loader, program], check=True)


def locations(folder: Path) -> dict[str, str]:
    share, libexec = only(folder, "usr/share/emacs/[0-9]*"), only(folder, "usr/libexec/emacs/[0-9]*/*")
    return {"EMACSLOADPATH": f"{share}/lisp:", "EMACSDATA": f"{share}/etc", "EMACSDOC": f"{share}/etc", "EMACSPATH": str(libexec)}


def only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise Missing(f"{folder}/{pattern} is missing after unpacking: remove {folder} and try again")
    return found[-1]


def evaluate(emacs: Emacs, *arguments: str) -> str:
    call = [*emacs.command, "-Q", "--batch", *(["--eval"] if len(arguments) == 1 else []), *arguments]
    done = subprocess.run(call, capture_output=True, text=True, env=emacs.environment)
    if done.returncode:
        raise Missing(f"Emacs does not run: {done.stderr.strip()}")
    return done.stdout.strip()


def compile_packages(emacs: Emacs, lsp: Path) -> None:
    """Compiles what has no .elc yet: lsp-mode's source alone takes seconds to load."""
    files = [file for pattern in COMPILED for file in emacs.packages.glob(f"{pattern}/*.el") if not file.stem.endswith(("-pkg", "-autoloads"))]
    files += [lsp / f"lsp-{name}.el" for name in COMPILED_LSP]
    new = [str(file) for file in files if not file.with_suffix(".elc").exists()]
    if new:
        paths = [word for folder in sorted(emacs.packages.iterdir()) for word in ("-L", str(folder))]
        settings = "(setq byte-compile-warnings nil native-comp-enable-subr-trampolines nil)"
        evaluate(emacs, *paths, "--eval", settings, "-f", "batch-byte-compile", *new)
