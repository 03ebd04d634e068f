#!/usr/bin/env python3
"""Soak: a typing trace in a loop, with documents opened and closed. What is held must not grow. Figures, and an exit code.

    tests/clients/soak.py TRACE.json.gz [target/release/infill] [--minutes 60] [--keys 500]

TRACE: a file of josephg/editing-traces. Every key is answered before the next one is typed; after so many keys (--keys) the document is
closed, another is opened where the trace stands, and every tenth time the window is left and a new one comes. Memory (RSS), open files and threads of the
window and of the shared server are looked at every ten seconds, while no request is under way. Fails when the memory at the end is more than 5 % above that after a sixth of the
time, or when files or threads have become more.
"""

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from window import Window, held, server, stop

ROOT = Path(__file__).resolve().parent.parent.parent


def steps(path):
    """(text before, [(at, deleted, inserted)]) of the trace."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as file:
        trace = json.load(file)
    return trace["startContent"], [tuple(patch) for txn in trace["txns"] for patch in txn["patches"]]


def place(text, at):
    return {"line": text.count("\n", 0, at), "character": at - text.rfind("\n", 0, at) - 1}


class Session:
    """A window in which the trace is typed."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.window, self.documents, self.uri = Window(program, folder), 0, None

    def open(self, text):
        if self.uri:
            self.window.notify("textDocument/didClose", {"textDocument": {"uri": self.uri}})
        self.documents += 1
        if self.documents % 10 == 0:
            self.window.leave()
            self.window = Window(self.program, self.folder)
        self.uri = f"untitled:{self.documents}.rs"
        self.window.open(self.uri, text, "rust")

    def key(self, text, at, deleted, inserted):
        self.window.change(self.uri, place(text, at), place(text, at + deleted), inserted)
        text = text[:at] + inserted + text[at + deleted :]
        params = {"textDocument": {"uri": self.uri}, "position": place(text, at + len(inserted)), "context": {"triggerKind": 2}}
        self.window.ask("textDocument/inlineCompletion", params)
        return text


def run(session, start, patches, arguments):
    """Types for so long; what the window and the server held, every ten seconds."""
    begin, samples, keys = time.monotonic(), [], 0
    while True:
        text = start
        for patch in patches:
            if keys % arguments.keys == 0:
                session.open(text)
            text = session.key(text, *patch)
            keys += 1
            now = time.monotonic() - begin
            if now >= 10 * (len(samples) + 1):
                samples.append((now, held(session.window.process.pid), held(server(session.window))))
            if now >= arguments.minutes * 60:
                return samples, keys


def report(samples, keys, minutes):
    late = [sample for sample in samples if sample[0] >= minutes * 10]
    first, last = late[: max(1, len(late) // 10)], late[-max(1, len(late) // 10) :]
    print(f"{keys} keys; samples: {len(samples)}")
    good = True
    for n, name in ((1, "window"), (2, "server")):
        before, after = (statistics.median(s[n][0] for s in some) for some in (first, last))
        files, threads = ([s[n][k] for s in late] for k in (1, 2))
        print(f"{name}: memory {before / 1e3:.1f} -> {after / 1e3:.1f} MB ({after / before - 1:+.1%}), files {min(files)}-{max(files)}, threads {min(threads)}-{max(threads)}")
        grown = max(s[n][1] for s in last) > max(s[n][1] for s in first) or max(s[n][2] for s in last) > max(s[n][2] for s in first)
        good &= after <= before * 1.05 and not grown
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", type=Path)
    parser.add_argument("program", nargs="?", default=ROOT / "target/release/infill", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--keys", type=int, default=500)
    arguments = parser.parse_args()
    start, patches = steps(arguments.trace)
    program = arguments.program.resolve()
    with tempfile.TemporaryDirectory() as folder:
        session = Session(program, folder)
        samples, keys = run(session, start, patches, arguments)
        good = report(samples, keys, arguments.minutes)
        session.window.leave()
        stop(program, folder)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
