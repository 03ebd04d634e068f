#!/usr/bin/env python3
"""Load: 20 windows type at 8 characters a second each, and ask for a suggestion at each key. Figures, and an exit code.

    tests/clients/load.py [target/release/infill] [--seconds 600] [--windows 20] [--rate 8]

State: from a didChange to the answer of a request for the status that was sent behind it: the change is applied by then. A suggestion
that the next key overtakes is answered too, with an error that says so. Fails when a request has no answer, or when one window
gets less than half of what another gets.
"""

import argparse
import heapq
import statistics
import sys
import tempfile
import time
from pathlib import Path

from window import Window, held, server, stop

ROOT = Path(__file__).resolve().parent.parent.parent
LINES = [
    "def area(width, height):",
    "    return width * height",
    "",
    "def total(items):",
    "    result = 0",
    "    for item in items:",
    "        result += item.price * item.count",
    "    return result",
    "",
]
START = "import os\nimport sys\n\n\n"


class Typist:
    """Types the lines over and over, at the end of a file of its own."""

    def __init__(self, window, number):
        self.window, self.uri, self.keys = window, f"untitled:{number}.py", 0
        self.line, self.at, self.row = number % len(LINES), 0, START.count("\n")
        self.states, self.answers, self.texts, self.errors = [], [], 0, 0
        window.open(self.uri, START)

    def key(self):
        here = {"line": self.row, "character": self.at}
        text = LINES[self.line]
        since = time.perf_counter()
        if self.at < len(text):
            self.window.change(self.uri, here, here, text[self.at])
            self.at += 1
        elif self.row > 60:
            self.window.change(self.uri, {"line": START.count("\n"), "character": 0}, here, "")
            self.row, self.at = START.count("\n"), 0
        else:
            self.window.change(self.uri, here, here, "\n")
            self.row, self.at, self.line = self.row + 1, 0, (self.line + 1) % len(LINES)
        self.keys += 1
        self.window.request("infill/status", {}, since)
        self.window.inline(self.uri, {"line": self.row, "character": self.at})

    def take(self):
        for seconds, message, what in self.window.answers.values():
            if what == "infill/status":
                self.states.append(seconds)
                continue
            self.answers.append(seconds)
            self.errors += "error" in message
            self.texts += bool(message.get("result") and message["result"]["items"])
        self.window.answers.clear()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", nargs="?", default=ROOT / "target/release/infill", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--rate", type=float, default=8)
    return parser.parse_args()


def type_all(typists, arguments, sample):
    """Types until the time is over; `sample` is called every ten seconds."""
    begin = time.perf_counter()
    due = [(begin + n / arguments.rate / len(typists), n) for n in range(len(typists))]
    next_sample = begin + 5
    while time.perf_counter() < begin + arguments.seconds:
        when, n = due[0]
        Window.listen(when - time.perf_counter())
        while due[0][0] <= time.perf_counter():
            when, n = heapq.heappop(due)
            typists[n].key()
            heapq.heappush(due, (when + 1 / arguments.rate, n))
        for typist in typists:
            typist.take()
        if time.perf_counter() >= next_sample:
            next_sample += 10
            sample()


def milliseconds(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1e3


def main():
    arguments = parse()
    program = arguments.program.resolve()
    with tempfile.TemporaryDirectory() as folder:
        windows = [Window(program, folder) for _ in range(arguments.windows)]
        typists = [Typist(window, n) for n, window in enumerate(windows)]
        processes = [window.process.pid for window in windows] + [server(windows[0])]
        memory = []
        type_all(typists, arguments, lambda: memory.append([held(pid)[0] for pid in processes]))
        end = time.perf_counter() + 20
        while any(window.waiting for window in windows) and time.perf_counter() < end:
            Window.listen(0.2)
        for typist in typists:
            typist.take()
        owed = sum(len(window.waiting) for window in windows)
        report(typists, memory, owed)
        for window in windows:
            window.leave()
        stop(program, folder)
    shares = [typist.texts / max(1, typist.keys) for typist in typists]
    sys.exit(1 if owed or min(shares) < max(shares) / 2 else 0)


def report(typists, memory, owed):
    states = [s for t in typists for s in t.states]
    answers = [a for t in typists for a in t.answers]
    keys = sum(t.keys for t in typists)
    print(f"{keys} keys in {len(typists)} windows; {owed} requests without an answer")
    print("state after a didChange: " + ", ".join(f"p{int(p * 100)} {milliseconds(states, p):.2f} ms" for p in (0.5, 0.9, 0.99)) + f", longest {max(states) * 1e3:.1f} ms")
    print("answer to a key:         " + ", ".join(f"p{int(p * 100)} {milliseconds(answers, p):.1f} ms" for p in (0.5, 0.9, 0.99)))
    shares = sorted(t.texts / max(1, t.keys) for t in typists)
    medians = sorted(statistics.median(t.answers) * 1e3 for t in typists)
    print(f"keys answered with text: {shares[0]:.0%} to {shares[-1]:.0%} of a window's; overtaken: {sum(t.errors for t in typists) / keys:.0%}")
    print(f"median answer of a window: {medians[0]:.1f} to {medians[-1]:.1f} ms")
    if len(memory) > 1:
        first, last = memory[0], memory[-1]
        print(f"memory, first and last sample: a window {max(first[:-1]) / 1e3:.1f} -> {max(last[:-1]) / 1e3:.1f} MB at most, the server {first[-1] / 1e3:.1f} -> {last[-1] / 1e3:.1f} MB")


if __name__ == "__main__":
    main()
