#!/usr/bin/env python3
"""What windows cost, and how soon they take a key: figures, no checks (the tests hold the limits that can be held).

    tests/clients/windows.py [target/release/infill]              # everything, about two minutes
    tests/clients/windows.py target/release/infill killed 429     # the rows whose names hold one of these words

Resident memory of 1 and 10 windows that share a server, of that server, and of a window with a model of its own. Then the time
from a `didChange` to the answer of a request sent after it (the change is applied by then), for 500 keys, 10 ms apart, each
followed by a request for a suggestion: alone, and with each fault that a window has to survive (see ROWS; what causes them runs in
processes of its own, faults.py).
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FAULTS = Path(__file__).with_name("faults.py")
PROGRAM = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/infill").resolve()
TEXT = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    ret\n\n\nprint(sub(3, 1))\n" * 40
URI = "untitled:a.py"


class Window:
    """One editor. A single thread reads and writes: nothing in the measuring process waits for anything else."""

    def __init__(self, folder: Path, arguments: Sequence[str] = (), **variables: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("INFILL_")}
        ours |= {"XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder / "none"), "INFILL_LOG": "error", "INFILL_COMPLETION_SHOW_THRESHOLD": "off"}
        self.process = subprocess.Popen([PROGRAM, "lsp", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**ours, **variables})
        self.last, self.version = 0, 1
        self.request("initialize", {"processId": None, "capabilities": {"textDocument": {"inlineCompletion": {}}}})
        self.send({"method": "initialized", "params": {}})
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": {"uri": URI, "languageId": "python", "version": 1, "text": TEXT}}})

    def send(self, message: dict) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def ask(self, method: str, params: object) -> int:
        self.last += 1
        self.send({"id": self.last, "method": method, "params": params})
        return self.last

    def answer(self, id: int) -> dict:
        """Reads up to this answer; others are passed over."""
        while True:
            length = int(self.process.stdout.readline().split(b":")[1])
            while self.process.stdout.readline().strip():
                pass
            body = self.process.stdout.read(length)
            if b'"id":%d' % id in body:
                message = json.loads(body)
                if message.get("id") == id and "method" not in message:
                    return message

    def request(self, method: str, params: object) -> dict:
        return self.answer(self.ask(method, params))

    def suggest(self) -> int:
        place = {"textDocument": {"uri": URI}, "position": {"line": 5, "character": 7}, "context": {"triggerKind": 2}}
        return self.ask("textDocument/inlineCompletion", place)

    def change(self) -> None:
        self.version += 1
        at = {"line": 5, "character": 7}
        change = {"range": {"start": at, "end": at}, "text": "x"}
        self.send({"method": "textDocument/didChange", "params": {"textDocument": {"uri": URI, "version": self.version}, "contentChanges": [change]}})

    def key(self) -> float:
        """Types a letter; how many milliseconds until it was seen to be there. Then a suggestion is asked for."""
        begun = time.perf_counter()
        self.change()
        self.request("infill/status", None)
        took = time.perf_counter() - begun
        self.suggest()
        return took * 1e3

    def server(self) -> int:
        for _ in range(3000):
            if found := self.request("infill/status", None)["result"]["server"]:
                return found["pid"]
            time.sleep(0.02)
        sys.exit("the window is not attached")

    def warm(self) -> None:
        self.answer(self.suggest())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def crowd(folder: Path, count: int) -> None:
    """Windows that type and ask ten times a second each, until this process is ended."""
    windows = [Window(folder) for _ in range(count)]
    for window in windows:
        subprocess.Popen(["cat"], stdin=window.process.stdout, stdout=subprocess.DEVNULL)
    print("typing", flush=True)
    while os.getppid() != 1:
        for window in windows:
            window.change()
            window.suggest()
            time.sleep(0.1 / count)


def memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024


def keys(what: str, window: Window, each: Callable[[int], None] = lambda _: None) -> None:
    """Types 500 keys; `each` is called before each of them."""
    times = []
    for n in range(500):
        each(n)
        times.append(window.key())
        time.sleep(0.01)
    times.sort()
    print(f"{what:44} p50 {times[250]:6.2f} ms   p99 {times[495]:6.2f} ms   most {times[-1]:6.2f} ms", flush=True)


@contextmanager
def beside(*command: object) -> Iterator[str]:
    """Another process while we measure; the line that it says when it is ready."""
    process = subprocess.Popen([sys.executable, *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextmanager
def house(**variables: str) -> Iterator[tuple[Path, Window]]:
    """A window, warm, whose server has a runtime folder of its own and is ended with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        window = Window(folder, **variables)
        try:
            window.warm()
            yield folder, window
        finally:
            window.end()
            subprocess.run([PROGRAM, "serve", "--stop"], env=os.environ | {"XDG_RUNTIME_DIR": name}, check=True, stdout=subprocess.DEVNULL)


def alone(what: str) -> None:
    with house() as (_, window):
        keys(what, window)


def others(what: str) -> None:
    with house() as (folder, window), beside(__file__, PROGRAM, "--crowd", folder):
        keys(what, window)


def stopped(what: str) -> None:
    with house() as (_, window):
        os.kill(window.server(), signal.SIGSTOP)
        keys(what, window)
        os.kill(window.server(), signal.SIGKILL)


def killed(what: str) -> None:
    """Five times: stopped, so that answers are under way, and killed ten keys later."""
    victim = 0

    def each(n: int) -> None:
        nonlocal victim
        if n % 100 == 50 and (found := window.request("infill/status", None)["result"]["server"]):
            victim = found["pid"]
            os.kill(victim, signal.SIGSTOP)
        if n % 100 == 60 and victim:
            os.kill(victim, signal.SIGKILL)
            victim = 0

    with house() as (_, window):
        keys(what, window, each)


def stale(what: str) -> None:
    """A killed server's socket, lock and port lie there when the window starts; its first keys count."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "infill").mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as old:
            old.bind(str(folder / "infill/serve.sock"))
        (folder / "infill/serve.lock").touch()
        (folder / "infill/serve.port").write_text('{"port":1,"token":"x"}')
        window = Window(folder)
        keys(what, window)
        window.warm()
        window.end()
        subprocess.run([PROGRAM, "serve", "--stop"], env=os.environ | {"XDG_RUNTIME_DIR": name}, check=True, stdout=subprocess.DEVNULL)


def full_disk(what: str) -> None:
    """All is logged, and nothing can be written: the window's log and the server's."""
    with tempfile.TemporaryDirectory() as name:
        variables = os.environ | {"XDG_RUNTIME_DIR": name, "INFILL_LOG": "trace"}
        server = subprocess.Popen([PROGRAM, "serve", "--log", "/dev/full"], env=variables)
        while not (Path(name) / "infill/serve.sock").exists() and server.poll() is None:
            time.sleep(0.02)
        window = Window(Path(name), arguments=["--log", "/dev/full"], INFILL_LOG="trace")
        window.warm()
        keys(what, window)
        window.end()
        server.terminate()
        server.wait()


def clients(pace: str, count: int) -> Callable[[str], None]:
    def row(what: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        with house(INFILL_SERVER_LISTEN=address) as (_, window), beside(FAULTS, "clients", address, count, pace):
            keys(what, window)

    return row


def remote(fault: str) -> Callable[[str], None]:
    def row(what: str) -> None:
        with beside(FAULTS, "remote", fault) as url, tempfile.TemporaryDirectory() as name:
            window = Window(Path(name), INFILL_ENGINE_URL=url)
            window.warm()
            keys(what, window)
            window.end()

    return row


ROWS = {
    "alone": alone,
    "nine other windows type and ask": others,
    "the server is stopped": stopped,
    "the server is killed in mid-stream, five times": killed,
    "a dead server's socket at the start": stale,
    "a full disk under both logs, at trace": full_disk,
    "200 HTTP clients stream from the server": clients("quick", 200),
    "200 HTTP clients that read slowly": clients("slow", 200),
    "a remote engine hangs": remote("hangs"),
    "a remote engine sends garbage": remote("garbage"),
    "a remote engine breaks off in mid-answer": remote("half"),
    "a remote engine sends a byte every 20 ms": remote("drips"),
    "a remote engine answers 429": remote("429"),
    "a remote engine answers 500": remote("500"),
}


def sizes() -> None:
    with tempfile.TemporaryDirectory() as name:
        own = Window(Path(name), INFILL_ENGINE_SHARED="false")
        own.warm()
        print(f"a window with a model of its own: {memory(own.process.pid):.1f} MB")
        own.end()
    with house() as (folder, first):
        windows = [first]
        try:
            for count in (1, 10):
                windows += [Window(folder) for _ in range(count - len(windows))]
                for window in windows:
                    window.warm()
                server, all_sizes = memory(first.server()), [memory(window.process.pid) for window in windows]
                print(f"{count:2} windows: {min(all_sizes):.1f} to {max(all_sizes):.1f} MB each, their server {server:.1f} MB, all {sum(all_sizes) + server:.1f} MB")
        finally:
            for window in windows[1:]:
                window.end()


def main() -> None:
    wanted = sys.argv[2:]
    if not wanted:
        sizes()
    for what, row in ROWS.items():
        if not wanted or any(word in what for word in wanted):
            row(what)


if __name__ == "__main__":
    if sys.argv[2:3] == ["--crowd"]:
        crowd(Path(sys.argv[3]), 9)
    else:
        main()
