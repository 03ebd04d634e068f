"""The least of an LSP client over stdio, with what Zed announces: completion items, workspace/configuration.

    with Server(["infill", "lsp"], {}, {"infill": {}}) as server:
        server.initialize({})
        print(server.complete("file:///a.py", "python", "import o", 0, 8))
"""
import json
import os
import subprocess
import threading

CAPABILITIES = {
    "general": {"positionEncodings": ["utf-16"]},
    "workspace": {"configuration": True, "didChangeConfiguration": {"dynamicRegistration": True}},
    "textDocument": {"completion": {"completionItem": {"snippetSupport": True}, "contextSupport": True}},
}
TIMEOUT = 60  # seconds until a server that says nothing is killed


class Server:
    def __init__(self, command, env, configuration):
        self.configuration, self.complaints, self.last = configuration, [], 0
        ours = {name: value for name, value in os.environ.items() if not name.startswith("INFILL_")}  # no settings but those given
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**ours, "INFILL_ENGINE_SHARED": "false", **env})
        self.watchdog = threading.Timer(TIMEOUT, self.process.kill)

    def __enter__(self):
        self.watchdog.start()
        return self

    def __exit__(self, *_):
        self.watchdog.cancel()
        self.process.kill()
        self.process.wait()

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def receive(self):
        length = 0
        while (line := self.process.stdout.readline()) != b"\r\n":
            if not line:
                raise EOFError(f"the server ended, or said nothing for {TIMEOUT} s; it had complained: {self.complaints}")
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return json.loads(self.process.stdout.read(length))

    def answer(self, message):
        """A request of the server's own."""
        result = None
        if message["method"] == "workspace/configuration":
            result = [self.configuration.get(item["section"]) for item in message["params"]["items"]]
        self.send({"id": message["id"], "result": result})

    def request(self, method, params):
        self.last += 1
        self.send({"id": self.last, "method": method, "params": params})
        while True:
            message = self.receive()
            if "method" in message and "id" in message:
                self.answer(message)
            elif message.get("method") == "window/showMessage":
                self.complaints.append(message["params"]["message"])
            elif message.get("id") == self.last:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]

    def initialize(self, options):
        params = {"processId": os.getpid(), "rootUri": None, "capabilities": CAPABILITIES, "initializationOptions": options}
        result = self.request("initialize", params)
        self.send({"method": "initialized", "params": {}})
        return result

    def complete(self, uri, language, text, line, character):
        document = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        place = {"line": line, "character": character}
        result = self.request("textDocument/completion", {"textDocument": {"uri": uri}, "position": place})
        return result["items"] if isinstance(result, dict) else result or []
