"""The eight cases, for editors that are driven in a terminal: where each one types, and what must be on disk afterwards.

    place = choose("tabs")             # in src/table.rs below `sum += range.greatest;`, type `\t\tsum += ran`
    document = place.prepare(folder)   # a copy of the project, with an empty, indented line to type in
    document.check("\t\tsum += range.least;")   # byte for byte: text before, this line, text after

No text of the model is written down here. A place is taken when `infill complete` has something to say there, so that a
case does not depend on one wording; what is shown in the editor decides what must be on disk.
"""
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from terminal import E2E_DIR, HERE, INFILL_BIN, Failed

NAMES = ["accept", "type_through", "undo", "auto_closed", "crlf", "emoji", "tabs", "save"]


@dataclass(frozen=True)
class Place:
    file: str
    """The line below which a new one is begun."""
    below: str
    typed: str
    """What the editor adds behind the cursor while that is typed."""
    closed: str = ""
    eol: str = "\n"

    @property
    def indent(self) -> str:
        return self.typed[: len(self.typed) - len(self.typed.lstrip())]

    @property
    def keys(self) -> str:
        """What is typed into the indented line."""
        return self.typed.lstrip()

    @property
    def word(self) -> str:
        """The word before the cursor: a menu's entries begin with it."""
        return re.search(r"\w*$", self.typed).group()

    def prepare(self, folder: Path) -> "Document":
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(HERE / "project", folder)
        (folder / ".git").mkdir()  # where editors look for a project's root
        before, after = self.around()
        document = Document(folder / self.file, before.encode(), after.encode(), self)
        document.path.write_bytes(document.whole(self.indent))
        return document

    def around(self) -> tuple[str, str]:
        text = (HERE / "project" / self.file).read_text()
        before, found, after = text.partition(self.below + "\n")
        if not found:
            raise Failed(f"{self.file} has no line {self.below!r}")
        return tuple(part.replace("\n", self.eol) for part in (before + found, after))

    def suggestion(self) -> dict:
        """What `infill complete` says here."""
        before, after = self.around()
        line = before.count("\n") + 1
        text = before + self.typed + self.closed + self.eol + after
        command = [INFILL_BIN, "complete", "--json", "-", f"{self.file}:{line}:{len(self.typed) + 1}"]
        done = subprocess.run(command, input=text.encode(), capture_output=True, env=server_environment())
        if done.returncode:
            raise Failed(f"{' '.join(map(str, command))}: {done.stderr.decode().strip()}")
        return json.loads(done.stdout)


@dataclass(frozen=True)
class Document:
    path: Path
    before: bytes
    after: bytes
    place: Place

    @property
    def line(self) -> int:
        return self.before.count(b"\n") + 1

    def whole(self, line: str) -> bytes:
        return self.before + (line + self.place.eol).encode() + self.after

    def check(self, line: str) -> None:
        """The file on disk is what it was, with this line in it, byte for byte."""
        found = self.path.read_bytes()
        if found != self.whole(line):
            raise Failed(f"on disk: {self.between(found)!r}, expected: {line + self.place.eol!r}")

    def changed(self) -> bool:
        """The file on disk is not what was opened."""
        return self.path.read_bytes() != self.whole(self.place.indent)

    def between(self, found: bytes) -> str:
        """The part of a file that is not the text before and after; all of it when those changed."""
        if not found.startswith(self.before) or not found.endswith(self.after):
            return "other lines changed: " + found.decode(errors="replace")
        return found[len(self.before) : len(found) - len(self.after)].decode(errors="replace")


PYTHON, RUST, TABS = "station/readings.py", "src/sensor.rs", "src/table.rs"
FIELD, SELF = "    rain: float = 0.0", "        self.wind_speed = 0.0"
MEAN = '        print("wind speed", self.mean_wind_speed())'
NAME, PARSE = '            Sensor::Rain => "rain",', '            "rain" => Some(Sensor::Rain),'
RANGE, SUM = '\t\tRange::new("rain", 0.0, 200.0),', "\t\tsum += range.greatest;"
SNOW, WIND, RAIN = (PYTHON, FIELD, "    snow: fl"), (PYTHON, SELF, "        self.wind_dir"), (PYTHON, SELF, "        self.rai")

# Several places for each case: the first where the model says something that fits.
PLACES = {
    "accept": [Place(*WIND), Place(*RAIN), Place(*SNOW)],
    "type_through": [Place(*SNOW), Place(*RAIN), Place(*WIND)],
    "undo": [Place(*WIND), Place(*SNOW), Place(*RAIN)],
    "auto_closed": [
        # Here a model closes the bracket itself and goes on.
        Place(RUST, PARSE, '            "snow" => Some(Sensor::Ra', closed=")"),
        Place(PYTHON, MEAN, '        print("rain", se', closed=")"),
        Place(PYTHON, MEAN, '        print("rain", self.', closed=")"),
        Place(PYTHON, SELF, "        self.values = list(rea", closed=")"),
    ],
    "crlf": [Place(*WIND, eol="\r\n"), Place(*RAIN, eol="\r\n"), Place(*SNOW, eol="\r\n")],
    "emoji": [
        Place(RUST, PARSE, '            "🌧🌂" => Some'),
        Place(RUST, NAME, "            Sensor::Snow | /* 🌧🌂 */ Sensor::"),
        Place(PYTHON, SELF, '        self.symbol = "🌧🌂"; self.temperature = 0'),
    ],
    "tabs": [Place(TABS, RANGE, "\t\tRange::ne"), Place(TABS, SUM, "\t\tsum += ran"), Place(TABS, SUM, "\t\tlet mut su")],
    "save": [Place(*SNOW), Place(*RAIN), Place(*WIND)],
}


def choose(case: str) -> Place:
    """The first place of a case where the model says something on one line that leaves the line's brackets balanced.
    Typing through begins with a letter, which no editor closes."""
    usable = r"\w{2}" if case == "type_through" else r"\S+.*\S"
    said = []
    for place in PLACES[case]:
        answer = place.suggestion()
        text, replaces = answer["text"], answer["replaces"]
        line = place.typed + text + place.closed[replaces:]
        if re.fullmatch(usable + ".*", text) and balanced(line) and len(line) < 100:
            return place
        said.append(f"{place.typed.strip()!r} -> {text!r}")
    raise Failed("the model says nothing usable at any place of this case: " + "; ".join(said))


def balanced(line: str) -> bool:
    """Whether each bracket outside of strings is closed once, in order."""
    closers, open_ = {")": "(", "]": "[", "}": "{"}, []
    code = re.sub(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'", "", line)
    for c in code:
        if c in "([{":
            open_.append(c)
        elif c in closers and (not open_ or open_.pop() != closers[c]):
            return False
    return not open_ and code.count('"') == 0


def line_ends(document: Document) -> None:
    """A CRLF file has no lone CR and no lone LF."""
    rest = document.path.read_bytes().replace(b"\r\n", b"")
    if b"\r" in rest or b"\n" in rest:
        raise Failed("a lone line end in a CRLF file")


def server_environment() -> dict[str, str]:
    """What the built-in model has is shown, however improbable; the user's own configuration stays out."""
    return os.environ | {"INFILL_COMPLETION_SHOW_THRESHOLD": "off", "INFILL_ENGINE_SHARED": "false", "XDG_CONFIG_HOME": str(E2E_DIR / "none")}


class Server:
    """A folder for PATH with an `infill` in it that is the tested binary and records what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.record, self.pid = folder / "bin", folder / "record.jsonl", folder / "pid"
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in (self.record, self.pid):
            old.unlink(missing_ok=True)
        command = self.folder / "infill"
        command.write_text(f'#!/bin/sh\necho $$ >"{self.pid}"\nexec "{INFILL_BIN}" "$@" --record "{self.record}"\n')
        command.chmod(0o755)

    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:{os.environ['PATH']}", "INFILL_COMPLETION_SHOW_THRESHOLD": "off", "INFILL_ENGINE_SHARED": "false"}

    def messages(self) -> list[dict]:
        # The last part is empty, or a line that is just being written.
        lines = self.record.read_bytes().split(b"\n")[:-1] if self.record.exists() else []
        return [json.loads(line) for line in lines]

    def opened(self) -> bool:
        """The editor has opened its file with the server."""
        return any(m.get("in", {}).get("method") == "textDocument/didOpen" for m in self.messages())

    def asked(self, method: str) -> int | None:
        """The id of the last request of this method."""
        asks = [m["in"]["id"] for m in self.messages() if m.get("in", {}).get("method") == method]
        return asks[-1] if asks else None

    def answer(self, method: str) -> dict | None:
        """The first item of the answer to that request, when it is there and has one."""
        asked = self.asked(method)
        answers = (m["out"] for m in self.messages() if asked is not None and m.get("out", {}).get("id") == asked)
        result = next(answers, {}).get("result")
        return result["items"][0] if result and result["items"] else None

    def gone(self) -> bool:
        """The server's process has ended."""
        pid = int(self.pid.read_text())
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False


class Report:
    """One line per case; `code` is the exit code."""

    def __init__(self) -> None:
        self.code = 0

    def run(self, name: str, case) -> None:
        begun = time.monotonic()
        try:
            case()
            print(f"ok {name} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Failed as failed:
            self.code = 1
            print(f"FAIL {name}: {failed}", flush=True)
