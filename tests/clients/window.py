"""A window without an editor: `infill lsp` spoken to without waiting, many of them in one loop. For load.py and soak.py.

    window = Window(program, folder)
    window.notify("textDocument/didOpen", {...}); id = window.request("infill/status", {})
    while id not in window.answers: Window.listen([window], 0.1)
"""

import json
import os
import selectors
import subprocess
import time
from pathlib import Path


def settings(folder):
    """The environment of programs that share nothing with whoever runs this, and one server with each other."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("INFILL_")}
    return ours | {"XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder / "none"), "INFILL_LOG": "error", "INFILL_COMPLETION_SHOW_THRESHOLD": "off"}


class Window:
    selector = selectors.DefaultSelector()

    def __init__(self, program, folder, encoding="utf-32"):
        self.process = subprocess.Popen([program, "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=settings(Path(folder)))
        os.set_blocking(self.process.stdout.fileno(), False)
        self.selector.register(self.process.stdout, selectors.EVENT_READ, self)
        self.buffer, self.last, self.version, self.gone = b"", 0, 0, False
        # id -> (when it was sent, what it is); then id -> (seconds, message, what it is)
        self.waiting, self.answers = {}, {}
        capabilities = {"general": {"positionEncodings": [encoding]}, "textDocument": {"inlineCompletion": {}}}
        self.ask("initialize", {"processId": os.getpid(), "capabilities": capabilities})
        self.notify("initialized", {})

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def request(self, method, params, since=None):
        """`since`: when what is to be timed began."""
        self.last += 1
        self.waiting[self.last] = (since or time.perf_counter(), method)
        self.send({"id": self.last, "method": method, "params": params})
        return self.last

    def ask(self, method, params, patience=60):
        """A request whose answer is waited for."""
        id, end = self.request(method, params), time.perf_counter() + patience
        while id not in self.answers:
            assert time.perf_counter() < end and not self.gone, f"{method} is not answered"
            Window.listen(0.5)
        return self.answers.pop(id)[1]

    def open(self, uri, text, language="python"):
        self.version += 1
        document = {"uri": uri, "languageId": language, "version": self.version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri, start, end, text):
        self.version += 1
        change = {"range": {"start": start, "end": end}, "text": text}
        self.notify("textDocument/didChange", {"textDocument": {"uri": uri, "version": self.version}, "contentChanges": [change]})

    def inline(self, uri, place):
        return self.request("textDocument/inlineCompletion", {"textDocument": {"uri": uri}, "position": place, "context": {"triggerKind": 2}})

    @classmethod
    def listen(cls, seconds):
        """Takes what arrives within a time, for all windows."""
        for key, _ in cls.selector.select(max(0, seconds)):
            key.data.read()

    def read(self):
        piece = self.process.stdout.read()
        if not piece:
            self.gone = True
            self.selector.unregister(self.process.stdout)
            return
        now, self.buffer = time.perf_counter(), self.buffer + piece
        while b"\r\n\r\n" in self.buffer:
            head, rest = self.buffer.split(b"\r\n\r\n", 1)
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(rest) < length:
                return
            message, self.buffer = json.loads(rest[:length]), rest[length:]
            if message.get("id") in self.waiting and "method" not in message:
                since, what = self.waiting.pop(message["id"])
                self.answers[message["id"]] = (now - since, message, what)

    def leave(self):
        if self.gone:
            return
        self.ask("shutdown", None)
        self.notify("exit", None)
        self.process.wait(10)


def stop(program, folder):
    """Stops the server that the windows shared."""
    subprocess.run([program, "serve", "--stop"], env=settings(Path(folder)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def held(pid):
    """What a process holds: kilobytes of memory, open files, threads."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"])


def server(window):
    """The process of the server behind a window, once there is one."""
    end = time.perf_counter() + 60
    while time.perf_counter() < end:
        found = window.ask("infill/status", {})["result"].get("server")
        if found:
            return found["pid"]
        time.sleep(0.05)
    raise TimeoutError("no server was started")
