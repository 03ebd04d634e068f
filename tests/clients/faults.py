#!/usr/bin/env python3
"""What goes wrong around a window, each in a process of its own so that the one that measures (windows.py) is not disturbed by it.

    tests/clients/faults.py remote half          # prints its address; after 20 good completions every answer is a half one
    tests/clients/faults.py clients 127.0.0.1:8766 200 quick      # HTTP clients that stream completions, one after another
    tests/clients/faults.py clients 127.0.0.1:8766 200 slow       # the same, and they read 64 bytes a second

It ends when its standard input does.
"""
import json
import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# So many completions are answered well: the window is at work when the fault comes.
GOOD = 20


class Remote(BaseHTTPRequestHandler):
    """An engine that speaks vLLM's API until it does what its fault says."""

    fault, asked = "", 0

    def do_GET(self):
        self.reply(json.dumps({"data": [{"id": "deepseek-coder-v2", "owned_by": "vllm", "max_model_len": 4096}]}).encode(), "application/json")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/completions":
            return self.send_error(404)
        Remote.asked += 1
        good = event({"text": "urn a - b", "finish_reason": None}) + event({"text": "", "finish_reason": "stop"}) + b"data: [DONE]\n\n"
        if Remote.asked <= GOOD:
            return self.reply(good, "text/event-stream")
        self.close_connection = True
        getattr(self, "fault_" + self.fault)(good)

    def fault_hangs(self, _):
        time.sleep(3600)

    def fault_garbage(self, _):
        self.wfile.write(b"\0garbage\r\n\r\n" * 100)

    def fault_half(self, good):
        self.begin(len(good))
        self.wfile.write(good[: len(good) // 3])

    def fault_drips(self, good):
        self.begin(len(good))
        for byte in good:
            self.wfile.write(bytes([byte]))
            time.sleep(0.02)

    def fault_429(self, _):
        self.send_error(429)

    def fault_500(self, _):
        self.send_error(500)

    def begin(self, length, kind="text/event-stream"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def reply(self, body, kind):
        self.begin(len(body), kind)
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 512

    def handle_error(self, *_):
        """A window hangs up when it is superseded."""


def event(choice):
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def client(address, slow):
    """One connection at a time that streams a completion, over and over."""
    host, port = address.rsplit(":", 1)
    body = json.dumps({"prompt": f"def f{threading.get_ident()}(a, b):\n", "suffix": "\n", "max_tokens": 64, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    while True:
        try:
            with socket.socket() as stream:
                if slow:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                stream.connect((host, int(port)))
                stream.sendall(head + body)
                while stream.recv(64 if slow else 65536):
                    if slow:
                        time.sleep(1)
        except OSError:
            time.sleep(0.05)  # the server has died, or has no room: try again


def main():
    kind, *more = sys.argv[1:]
    if kind == "remote":
        Remote.fault = more[0]
        server = Server(("127.0.0.1", 0), Remote)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
    else:
        address, count, pace = more
        os.nice(10)  # what is measured is what the server costs a window, not what these clients take of the processor
        for _ in range(int(count)):
            threading.Thread(target=client, args=(address, pace == "slow"), daemon=True).start()
        print(f"{count} clients", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
