#!/usr/bin/env python3
"""infill against a real llama.cpp server (the package xllamacpp) with the model of fixtures/nano.

    cargo build --release && tests/clients/llama_cpp.py [--infill target/release/infill]

The package is installed into target/clients-venv, at the version below. Types a line of code letter by letter through
`infill lsp`, with a small proxy before llama.cpp that reads the server's own figures, `timings.prompt_n` and `timings.cache_n`,
out of each answer. Fails unless

- the median keystroke makes the server compute at most 4 tokens of a prompt of more than 250,
- each suggestion equals that of infill's own engine on the same model without copying, or is a near tie: asked with a cold
  cache, llama.cpp says what infill said,
- text that holds a marker of the model's is completed, and the marker is text there,
- the model's code actions are there when the server has a chat template, and only then, and an explanation comes.

With the layout "psm" (a fresh split at each key, what other clients send) the same keys are typed for comparison.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import packages

PACKAGE = "xllamacpp==2026.10.11549"
ROOT = Path(__file__).resolve().parents[2]
BEFORE = '''import json
import os


class Store:
    """Keeps records in a folder, a file each."""

    def __init__(self, path, limit=100):
        self.path = path
        self.limit = limit
        self.records = {}

    def load(self):
        for name in os.listdir(self.path):
            with open(os.path.join(self.path, name)) as file:
                self.records[name] = json.load(file)
        return self.records

    def save(self, name, record):
        if len(self.records) >= self.limit:
            raise ValueError("too many records")
        self.records[name] = record
        with open(os.path.join(self.path, name), "w") as file:
            json.dump(record, file)

    def remove(self, name):
'''
AFTER = '''

    def names(self):
        return sorted(self.records)

    def clear(self):
        for name in self.names():
            self.remove(name)


def main(path):
    store = Store(path)
    store.load()
    print(store.names())
'''
TYPED = "        del self.records[name]\n        os.remove(os.path.join(self.path, name))"


TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n\n{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"


def start_llama(model, template=None):
    import xllamacpp as xl

    p = xl.CommonParams()
    p.model.path = str(model)
    p.n_ctx = 4096
    p.n_parallel = 1
    p.cpuparams.n_threads = 1
    p.cpuparams_batch.n_threads = 1
    p.warmup = False
    p.verbosity = -1
    if template:
        p.chat_template, p.use_jinja = template, True
    return xl.Server(p)


class Proxy(BaseHTTPRequestHandler):
    """Passes everything on, and keeps the figures and prompts of completions."""

    target, seen, asked, lock = "", [], [], threading.Lock()

    def keep(self, body, event):
        figures, usage = event.get("timings"), event.get("usage")
        if not figures and usage and usage.get("prompt_tokens_details"):
            cached = usage["prompt_tokens_details"]["cached_tokens"] or 0
            figures = {"prompt_n": usage["prompt_tokens"] - cached, "cache_n": cached}
        if figures:
            with self.lock:
                self.seen.append((json.loads(body), figures))

    def forward(self, body):
        request = urllib.request.Request(self.target + self.path, body, {"Content-Type": "application/json"})
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.send_response(answer.status)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                for line in answer:
                    if line.startswith(b"data: {"):
                        self.keep(body, json.loads(line[6:]))
                    self.wfile.write(line)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                pass  # infill has hung up: so do we

    def do_GET(self):
        self.forward(None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "complet" in self.path:
            self.asked.append(json.loads(body))
        self.forward(body)

    def log_message(self, *_):
        pass


class Lsp:
    def __init__(self, binary, variables):
        base = {"PATH": "/usr/bin:/bin", "HOME": tempfile.mkdtemp(), "INFILL_COMPLETION_SHOW_THRESHOLD": "off"}
        self.process = subprocess.Popen([binary, "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=base | variables)
        self.number, self.text, self.version, self.said = 0, BEFORE + AFTER, 1, []
        self.line, self.column = BEFORE.count("\n"), 0
        capabilities = {"textDocument": {"inlineCompletion": {}}, "general": {"positionEncodings": ["utf-32"]}}
        self.call("initialize", {"capabilities": capabilities, "processId": None})
        self.send("initialized", {})
        document = {"uri": "file:///store.py", "languageId": "python", "version": 1, "text": self.text}
        self.send("textDocument/didOpen", {"textDocument": document})

    def send(self, method, params, number=None):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if number is not None:
            message["id"] = number
        data = json.dumps(message).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self.process.stdin.flush()

    def call(self, method, params):
        self.number += 1
        self.send(method, params, self.number)
        while True:
            length = 0
            while (line := self.process.stdout.readline().strip()):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if not length:
                sys.exit("infill has ended: " + self.process.stderr.read().decode())
            message = json.loads(self.process.stdout.read(length))
            if message.get("method") == "window/showMessage":
                self.said.append(message["params"]["message"])
            if message.get("id") == self.number and "method" not in message:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]

    def type(self, letter):
        at = {"line": self.line, "character": self.column}
        self.version += 1
        change = {"range": {"start": at, "end": at}, "text": letter}
        self.send("textDocument/didChange", {"textDocument": {"uri": "file:///store.py", "version": self.version}, "contentChanges": [change]})
        self.line, self.column = (self.line + 1, 0) if letter == "\n" else (self.line, self.column + 1)
        at = {"line": self.line, "character": self.column}
        result = self.call("textDocument/inlineCompletion", {"textDocument": {"uri": "file:///store.py"}, "position": at, "context": {"triggerKind": 2}})
        items = result["items"] if isinstance(result, dict) else result
        return items[0]["insertText"] if items else ""

    def close(self):
        self.call("shutdown", None)
        self.send("exit", None)
        self.process.stdin.close()
        told = self.process.stderr.read().decode()
        if "WARN" in told or self.process.wait():
            sys.exit(f"infill says: {told}")


def explained(binary, llama):
    """The code actions that are offered in the end, and what comes of an explanation."""
    lsp = Lsp(binary, {"INFILL_ENGINE_URL": llama.listening_address})
    wanted = {"textDocument": {"uri": "file:///store.py"}, "range": {"start": {"line": 4, "character": 0}, "end": {"line": 11, "character": 0}}, "context": {"diagnostics": []}}
    offered = []
    for _ in range(50):
        offered = lsp.call("textDocument/codeAction", wanted)
        if offered:
            break
        time.sleep(0.1)
    if offered:
        lsp.call("workspace/executeCommand", {"command": offered[0]["command"], "arguments": offered[0]["arguments"]})
    while offered and not lsp.said:
        lsp.call("infill/status", None)
        time.sleep(0.1)
    lsp.close()
    return [action["title"] for action in offered], lsp.said


def type_all(binary, variables, report=False):
    lsp, told = Lsp(binary, variables), []
    # The first answer waits until the engine is known.
    for letter in TYPED:
        before = len(Proxy.seen)
        text = lsp.type(letter)
        with Proxy.lock:
            new = Proxy.seen[before:]
        told.append((text, new))
        if report:
            costs = ", ".join(f"{t['prompt_n']} of {t['prompt_n'] + t['cache_n']}" for _, t in new) or "no request"
            print(f"{letter!r:>5}  prompt_n {costs:24}  {text[:44]!r}")
    lsp.close()
    return told


def costs(told):
    return [t["prompt_n"] for _, new in told for body, t in new if body["n_predict"] > 1]


def cold(body):
    """What llama.cpp says to a request when it has nothing of it."""
    data = json.dumps(body | {"cache_prompt": False, "stream": False}).encode()
    request = urllib.request.Request(Proxy.target + "/completion", data, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["content"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--infill", default=str(ROOT / "target/release/infill"))
    ap.add_argument("--model", type=Path, default=ROOT / "fixtures/nano/nano.gguf")
    a = ap.parse_args()
    packages.need(PACKAGE)
    llama = start_llama(a.model)
    Proxy.target = llama.listening_address
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    remote = {"INFILL_ENGINE_URL": f"http://127.0.0.1:{proxy.server_port}"}

    frozen = type_all(a.infill, remote, report=True)
    prompts = [t["prompt_n"] + t["cache_n"] for _, new in frozen for body, t in new if body["n_predict"] > 1]
    psm = type_all(a.infill, remote | {"INFILL_COMPLETION_LAYOUT": "psm"})
    with tempfile.TemporaryDirectory() as bare:
        # What was learnt of copying stands beside the model: llama.cpp has no part in that.
        own = type_all(a.infill, {"INFILL_MODEL": shutil.copy(a.model, bare)})

    warm = costs(frozen)[1:]
    print(f"\na frozen hole, the tail last: {len(warm)} requests, prompt_n median {statistics.median(warm)}, mean {statistics.mean(warm):.1f}, most {max(warm)}")
    fresh = costs(psm)[1:]
    print(f"a fresh split at each key: {len(fresh)} requests, prompt_n median {statistics.median(fresh)}, mean {statistics.mean(fresh):.1f}, most {max(fresh)}")
    # Where llama.cpp was asked: what is typed through is the same suggestion, not another one.
    both = [(theirs[0], ours[0], theirs[1][-1][0]) for theirs, ours in zip(frozen, own) if theirs[1] and (theirs[0] or ours[0])]
    other = [(x, y, cold(body)) for x, y, body in both if x != y]
    print(f"suggestions equal to those of infill's own engine: {len(both) - len(other)} of {len(both)}")
    for x, y, again in other:
        print(f"  {x!r}, ours {y!r}, with a cold cache {again!r}")

    marker = "<｜fim▁hole｜>"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.py").write_text(f"HOLE = '{marker}'\n\n\ndef add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    \n\n\nprint(add(1, 2), sub(2, 1))\n")
        done = subprocess.run([a.infill, "complete", "a.py:9:5"], cwd=folder, env={"PATH": "/usr/bin", "HOME": folder, "INFILL_COMPLETION_SHOW_THRESHOLD": "off"} | remote, capture_output=True, text=True)
    sent = Proxy.seen[-1][0]["prompt"]
    request = urllib.request.Request(Proxy.target + "/tokenize", json.dumps({"content": marker, "parse_special": True}).encode())
    hole = json.load(urllib.request.urlopen(request))["tokens"]
    print(f"a marker in the text: {done.stdout.strip()!r}, {sent.count(hole[0])} of its tokens in the prompt")

    failures = []
    if statistics.median(warm) > 4 or min(prompts) < 250:
        failures.append("keystrokes cost more than they should, or the prompt is too short to tell")
    if statistics.median(fresh) <= statistics.median(warm):
        failures.append("a fresh split is not dearer: the figures are not what they seem")
    if len(other) > len(both) / 10 or not all(again.endswith(y) for _, y, again in other):
        failures.append("llama.cpp suggests something else")
    if done.returncode or not done.stdout.strip() or sent.count(hole[0]) != 1:
        failures.append(f"a marker in the text: {done.stderr}")
    base = explained(a.infill, llama)
    chat = explained(a.infill, start_llama(a.model, TEMPLATE))
    print(f"actions without a chat template: {base[0]}; with one: {chat[0]}, which says {[said[:60] for said in chat[1][:1]]}")
    if base[0] or chat[0] != ["infill: explain"] or not chat[1] or chat[1][0].startswith("infill: "):
        failures.append(f"actions: {base}, {chat}")
    proxy.shutdown()
    sys.exit("\n".join(failures) or 0)


if __name__ == "__main__":
    main()
