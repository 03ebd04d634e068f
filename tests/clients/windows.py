#!/usr/bin/env python3
"""What windows cost, and how soon they take a key: figures, no checks (the tests hold the limits that can be held).

    tests/clients/windows.py [target/release/infill]

Resident memory of 1 and 10 windows that share a server, of that server, and of a window with a model of its own. Then the time
from a `didChange` to the answer of a request sent after it (the change is applied by then), in 500 keys: while ten windows ask
for suggestions, while the server is stopped (SIGSTOP), and after it was killed.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/infill").resolve()
TEXT = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    ret\n\n\nprint(sub(3, 1))\n" * 40


class Window:
    def __init__(self, folder: Path, **variables: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("INFILL_")}
        ours |= {"XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder / "none"), "INFILL_LOG": "error", "INFILL_COMPLETION_SHOW_THRESHOLD": "off"}
        self.process = subprocess.Popen([PROGRAM, "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**ours, **variables})
        self.last, self.version, self.answers, self.arrived = 0, 1, {}, threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        self.request("initialize", {"processId": None, "capabilities": {"textDocument": {"inlineCompletion": {}}}})
        self.send({"method": "initialized", "params": {}})
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": {"uri": "untitled:a.py", "languageId": "python", "version": 1, "text": TEXT}}})

    def read(self) -> None:
        while line := self.process.stdout.readline():
            length = int(line.split(b":")[1])
            while self.process.stdout.readline().strip():
                pass
            message = json.loads(self.process.stdout.read(length))
            if "id" in message and "method" not in message:
                with self.arrived:
                    self.answers[message["id"]] = message
                    self.arrived.notify_all()

    def send(self, message: dict) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def ask(self, method: str, params: object) -> int:
        self.last += 1
        self.send({"id": self.last, "method": method, "params": params})
        return self.last

    def request(self, method: str, params: object) -> dict:
        id = self.ask(method, params)
        with self.arrived:
            assert self.arrived.wait_for(lambda: id in self.answers, 60), f"no answer to {method}"
            return self.answers.pop(id)

    def suggest(self, line: int = 5) -> int:
        position = {"line": line, "character": 7}
        return self.ask("textDocument/inlineCompletion", {"textDocument": {"uri": "untitled:a.py"}, "position": position, "context": {"triggerKind": 2}})

    def key(self) -> float:
        """Types one, asks for a suggestion, and says when the change was seen to be there."""
        self.version += 1
        at = {"line": 5, "character": 7}
        change = {"range": {"start": at, "end": at}, "text": "x"}
        begun = time.perf_counter()
        self.send({"method": "textDocument/didChange", "params": {"textDocument": {"uri": "untitled:a.py", "version": self.version}, "contentChanges": [change]}})
        self.suggest()
        self.request("infill/status", None)
        return (time.perf_counter() - begun) * 1e3

    def server(self) -> int:
        for _ in range(3000):
            if found := self.request("infill/status", None)["result"]["server"]:
                return found["pid"]
            time.sleep(0.02)
        sys.exit("the window is not attached")

    def warm(self) -> None:
        id = self.suggest()
        with self.arrived:
            self.arrived.wait_for(lambda: id in self.answers, 60)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024


def keys(what: str, window: Window, beside: list[Window]) -> None:
    times = []
    for _ in range(500):
        for other in beside:
            other.suggest()
        times.append(window.key())
    times.sort()
    print(f"{what:42} p50 {times[250]:6.2f} ms   p99 {times[495]:6.2f} ms   most {times[-1]:6.2f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = Window(folder, INFILL_ENGINE_SHARED="false")
        own.warm()
        print(f"a window with a model of its own: {memory(own.process.pid):.1f} MB")
        own.end()
        windows = []
        try:
            for count in (1, 10):
                windows += [Window(folder) for _ in range(count - len(windows))]
                for window in windows:
                    window.warm()
                server = windows[0].server()
                sizes = [memory(window.process.pid) for window in windows]
                print(f"{count:2} windows: {min(sizes):.1f} to {max(sizes):.1f} MB each, their server {memory(server):.1f} MB, all {sum(sizes) + memory(server):.1f} MB")
            keys("ten windows ask", windows[0], windows[1:])
            os.kill(server, signal.SIGSTOP)
            keys("the server is stopped", windows[0], [])
            os.kill(server, signal.SIGKILL)
            keys("the server was killed, and comes again", windows[0], [])
        finally:
            for window in windows:
                window.end()
            subprocess.run([PROGRAM, "serve", "--stop"], env=os.environ | {"XDG_RUNTIME_DIR": str(folder)}, check=True)


if __name__ == "__main__":
    main()
