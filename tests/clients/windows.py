#!/usr/bin/env python3
"""What windows cost, and how soon they take a key: figures, no checks (the tests hold the limits that can be held).

    tests/clients/windows.py [target/release/infill]

Resident memory of 1 and 10 windows that share a server, of that server, and of a window with a model of its own. Then the time
from a `didChange` to the answer of a request sent after it (the change is applied by then), for 500 keys, 10 ms apart, each
followed by a request for a suggestion: alone; while nine other windows, in a process of their own, type and ask ten times a second
each; while the server is stopped (SIGSTOP); after it was killed; and while a remote engine hangs, sends garbage, or answers 500.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/infill").resolve()
TEXT = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    ret\n\n\nprint(sub(3, 1))\n" * 40
URI = "untitled:a.py"


class Window:
    """One editor. A single thread reads and writes: nothing in the measuring process waits for anything else."""

    def __init__(self, folder: Path, **variables: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("INFILL_")}
        ours |= {"XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder / "none"), "INFILL_LOG": "error", "INFILL_COMPLETION_SHOW_THRESHOLD": "off"}
        self.process = subprocess.Popen([PROGRAM, "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**ours, **variables})
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


def keys(what: str, window: Window) -> None:
    times = []
    for _ in range(500):
        times.append(window.key())
        time.sleep(0.01)
    times.sort()
    print(f"{what:42} p50 {times[250]:6.2f} ms   p99 {times[495]:6.2f} ms   most {times[-1]:6.2f} ms", flush=True)


def engine(answer: bytes | None) -> str:
    """A remote engine that answers everything so, or (None) nothing at all; its address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    held = []

    def serve() -> None:
        while True:
            stream, _ = listener.accept()
            held.append(stream)
            if answer is not None:
                stream.recv(65536)
                stream.sendall(answer)
                stream.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def sizes(folder: Path) -> None:
    windows = []
    try:
        for count in (1, 10):
            windows += [Window(folder) for _ in range(count - len(windows))]
            for window in windows:
                window.warm()
            server = windows[0].server()
            all_sizes = [memory(window.process.pid) for window in windows]
            print(f"{count:2} windows: {min(all_sizes):.1f} to {max(all_sizes):.1f} MB each, their server {memory(server):.1f} MB, all {sum(all_sizes) + memory(server):.1f} MB")
    finally:
        for window in windows:
            window.end()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = Window(folder, INFILL_ENGINE_SHARED="false")
        own.warm()
        print(f"a window with a model of its own: {memory(own.process.pid):.1f} MB")
        own.end()
        window = others = None
        try:
            sizes(folder)
            window = Window(folder)
            window.warm()
            keys("alone", window)
            others = subprocess.Popen([sys.executable, __file__, str(PROGRAM), "--crowd", str(folder)], stdout=subprocess.PIPE)
            others.stdout.readline()
            keys("nine other windows type and ask", window)
            server = window.server()
            os.kill(server, signal.SIGSTOP)
            keys("the server is stopped", window)
            os.kill(server, signal.SIGKILL)
            keys("the server was killed, and comes again", window)
        finally:
            for process in (others, window and window.process):
                if process:
                    process.kill()
                    process.wait()
            subprocess.run([PROGRAM, "serve", "--stop"], env=os.environ | {"XDG_RUNTIME_DIR": str(folder)}, check=True)
        for what, answer in (("hangs", None), ("sends garbage", b"\0garbage\r\n\r\n" * 100), ("answers 500", b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")):
            far = Window(folder, INFILL_ENGINE_URL=engine(answer))
            keys(f"a remote engine {what}", far)
            far.end()


if __name__ == "__main__":
    if sys.argv[2:3] == ["--crowd"]:
        crowd(Path(sys.argv[3]), 9)
    else:
        main()
