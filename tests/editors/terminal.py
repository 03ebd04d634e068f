"""Drives an editor in tmux as a user does: keys in, the screen out. What the Helix and Emacs drivers share.

    with Terminal("helix", ["hx", "a.py:3"], cwd=folder, env={}) as t:
        t.type("retu")
        t.wait(lambda s: "return" in s.text, "a menu")
        t.keep("menu")             # artifacts/helix/menu.txt

Nothing here sleeps for a result: `wait` looks at the screen until a condition holds or `LIMIT` seconds are over.
"""
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
E2E_DIR = Path(os.environ.get("E2E_DIR") or ROOT / "target/editors").resolve()
INFILL_BIN = Path(os.environ.get("INFILL_BIN") or ROOT / "target/release/infill").resolve()
# The server reads every INFILL_… variable as a setting, and refuses those that are none.
for variable in [name for name in os.environ if name.startswith("INFILL_")]:
    del os.environ[variable]
LIMIT = 30.0
COLUMNS, ROWS = 120, 34
COUNT = itertools.count()


class Failed(Exception):
    """A case that went wrong; the text says what was seen and what was expected."""


class Missing(Exception):
    """Something the driver needs is not there; the text says what, and the remedy."""


def require(path: Path, remedy: str) -> Path:
    if not path.exists():
        raise Missing(f"{path} is missing: {remedy}")
    return path


def need_tmux() -> None:
    if shutil.which("tmux"):
        return
    install = "apt-get install -y -q tmux || { apt-get update -q && apt-get install -y -q tmux; }"
    if subprocess.run(install, shell=True).returncode:
        raise Missing("tmux is missing and could not be installed: apt-get install tmux")


def unpack(*packages: str) -> Path:
    """Debian packages newer than the system's, unpacked; the folder they lie in."""
    done = subprocess.run([HERE / "forky.sh", *packages], capture_output=True, text=True, env=os.environ | {"E2E_DIR": str(E2E_DIR)})
    if done.returncode:
        raise Missing(f"{' '.join(packages)} could not be unpacked:\n{done.stdout}{done.stderr}")
    print(done.stdout.splitlines()[-1] if done.stdout else "forky.sh: unpacked before", flush=True)
    return E2E_DIR / "forky"



class Screen:
    """What the terminal shows: rows of (character, style), the style as tmux names it in escape codes."""

    def __init__(self, captured: str) -> None:
        self.rows = []
        style: dict[str, str] = {}
        for line in captured.split("\n"):
            row = []
            for codes, char in re.findall(r"\x1b\[([\d;]*)m|([^\x1b])", line):
                if char:
                    row.append((char, style.get("fg", ""), style.get("bg", "")))
                else:
                    restyle(style, codes)
            self.rows.append(row)

    @property
    def text(self) -> str:
        return "\n".join("".join(c for c, _, _ in row).rstrip() for row in self.rows)

    def row(self, n: int) -> str:
        return "".join(c for c, _, _ in self.rows[n]) if n < len(self.rows) else ""

    def find(self, pattern: str) -> int | None:
        """The first row that a pattern matches."""
        return next((n for n in range(len(self.rows)) if re.search(pattern, self.row(n))), None)


def restyle(style: dict[str, str], codes: str) -> None:
    """Applies one escape code: 38;2;r;g;b and 3x set the foreground, 48… and 4x the background, 0, 39 and 49 undo."""
    rest = codes.split(";") if codes else ["0"]
    while rest:
        code = rest.pop(0)
        if code in ("", "0"):
            style.clear()
        elif code in ("38", "48"):
            length = 4 if rest[:1] == ["2"] else 2
            style["fg" if code == "38" else "bg"] = ";".join(rest[:length])
            del rest[:length]
        elif re.fullmatch("3[0-79]|9[0-7]", code):
            style["fg"] = "" if code == "39" else code
        elif re.fullmatch("4[0-79]|10[0-7]", code):
            style["bg"] = "" if code == "49" else code


class Terminal:
    """A program in a tmux of its own; killed with it."""

    def __init__(self, name: str, command: list[str], cwd: Path, env: dict[str, str], artifacts: Path) -> None:
        # A name of its own: the server of the terminal before may still be ending.
        self.socket = f"infill-{name}-{os.getpid()}-{next(COUNT)}"
        self.artifacts = artifacts
        variables = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"} | env
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(cwd),
                   "env", *[f"{k}={v}" for k, v in variables.items()], *command)
        # Escape is a key here, not the beginning of one.
        self._tmux("set-option", "-s", "escape-time", "0")

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(["tmux", "-u", "-L", self.socket, *arguments], capture_output=True, text=True,
                              env=os.environ | {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"})
        if done.returncode:
            raise Failed(f"the editor's terminal is gone (tmux {arguments[0]}: {done.stderr.strip()})")
        return done.stdout

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is not None:
            try:
                self.keep("failed")
            except Failed:
                pass
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True)

    def key(self, *names: str) -> None:
        self._tmux("send-keys", *names)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", "--", text)

    def screen(self) -> Screen:
        return Screen(self._tmux("capture-pane", "-p", "-e"))

    def cursor_row(self) -> int:
        return int(self._tmux("display-message", "-p", "#{cursor_y}"))

    def wait(self, condition, what: str):
        """What `condition(screen)` gives, once it is neither None nor False."""
        end = time.monotonic() + LIMIT
        while True:
            screen = self.screen()
            value = condition(screen)
            if value is not None and value is not False:
                return value
            if time.monotonic() > end:
                raise Failed(f"waited {LIMIT:.0f} s for {what}; the screen:\n{screen.text.rstrip()}")
            time.sleep(0.03)

    def until(self, condition, what: str):
        """Waits for something that is not on the screen, as long as the editor runs."""
        return self.wait(lambda _: condition() or None, what)

    def ended(self) -> bool:
        alive = subprocess.run(["tmux", "-L", self.socket, "has-session"], capture_output=True)
        return alive.returncode != 0

    def keep(self, name: str) -> None:
        """Keeps the screen as an artefact: plain, and with its colours (`cat` shows them)."""
        screen = self._tmux("capture-pane", "-p", "-e")
        (self.artifacts / f"{name}.txt").write_text(Screen(screen).text.rstrip() + "\n")
        (self.artifacts / f"{name}.ansi").write_text(screen.rstrip("\n") + "\x1b[0m\n")


def wait_until(condition, what: str):
    """For conditions that hold after the editor has ended."""
    end = time.monotonic() + LIMIT
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failed(f"waited {LIMIT:.0f} s for {what}")
        time.sleep(0.03)
    return value


def at_least(version: str, least: str) -> bool:
    parts = [[int(n) for n in re.findall(r"\d+", v)] for v in (version, least)]
    return parts[0] >= parts[1]


def stop(reason: str) -> None:
    """Says loudly that nothing was tested."""
    sys.exit(f"!! NOT RUN: {reason}")
