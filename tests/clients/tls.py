#!/usr/bin/env python3
"""Remote engines over TLS: a certificate is checked, always.

    tests/clients/tls.py [target/release/infill]

A small server that speaks vLLM's API behind a certificate made here (needs openssl), and `infill complete` with `engine.url` on it.
Fails unless an unknown certificate and one for another host are refused with what to do, before any code or key is sent, and a
known one (SSL_CERT_FILE) is accepted.
"""
import json
import ssl
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/infill").resolve()


class Engine(BaseHTTPRequestHandler):
    """Answers every completion with one word."""

    asked: list = []

    def reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.reply(json.dumps({"data": [{"id": "deepseek-coder-v2", "owned_by": "vllm"}]}).encode(), "application/json")

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/completions":
            return self.send_error(404)
        events = [{"choices": [{"text": " width", "finish_reason": None}]}, {"choices": [{"text": "", "finish_reason": "stop"}]}]
        self.reply(b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n", "text/event-stream")

    def log_message(self, *_: object) -> None:
        pass


def certificate(folder: Path, host: str) -> Path:
    """A certificate for a host, and its key, in one file."""
    file = folder / f"{host}.pem"
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=infill test",
                    "-addext", f"subjectAltName={host}", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert], check=True, capture_output=True)
    file.write_bytes(cert.read_bytes() + key.read_bytes())
    return file


def serve(file: Path) -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.handle_error = lambda *_: None  # a refused certificate ends the connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://127.0.0.1:{server.server_port}"


def complete(folder: Path, url: str, trusted: Path | None) -> subprocess.CompletedProcess:
    (folder / "a.py").write_text("def f(width):\n    return\n")
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "INFILL_ENGINE_URL": url, "INFILL_COMPLETION_SHOW_THRESHOLD": "off"}
    if trusted:
        variables["SSL_CERT_FILE"] = str(trusted)
    Engine.asked.clear()
    return subprocess.run([PROGRAM, "complete", "a.py:2:11"], cwd=folder, env=variables, capture_output=True, text=True, timeout=60)


def main() -> None:
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, other = certificate(folder, "IP:127.0.0.1"), certificate(folder, "DNS:elsewhere.example")
        for what, file, trusted, accepted, words in (
            ("an unknown certificate", ours, None, False, "SSL_CERT_FILE"),
            ("a known certificate", ours, ours, True, "width"),
            ("a known certificate for another host", other, other, False, "is for another host"),
        ):
            done = complete(folder, serve(file), trusted)
            right = done.stdout.strip() == words if accepted else done.returncode != 0 and words in done.stderr and not Engine.asked
            print(("ok   " if right else "FAIL ") + what + ": " + (done.stdout.strip() if accepted else done.stderr.strip()))
            if not right:
                failures.append(f"{what}: {done.returncode} {done.stdout} {done.stderr} {Engine.asked}")
    sys.exit("\n".join(failures) or 0)


if __name__ == "__main__":
    main()
