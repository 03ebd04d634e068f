"""infill against a running vLLM or SGLang server: what it says it has reused, key by key.

    vllm serve MODEL --enable-prompt-tokens-details --port 8000
    python tests/clients/vllm.py --url http://127.0.0.1:8000 [--infill target/release/infill]

Types the same code as llama_cpp.py; a proxy reads `usage.prompt_tokens_details.cached_tokens` out of each answer. Fails
unless the median request finds all but `--block` tokens (the server's cache block) in the server's cache, and a file that
holds a marker is sent as token ids in which it is none.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import llama_cpp as typed


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--url", required=True)
    ap.add_argument("--infill", default=str(typed.ROOT / "target/release/infill"))
    ap.add_argument("--block", type=int, default=16)
    a = ap.parse_args()
    typed.Proxy.target = a.url
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), typed.Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    remote = {"INFILL_ENGINE_URL": f"http://127.0.0.1:{proxy.server_port}"}
    told = typed.type_all(a.infill, remote, report=True)
    figures = [t for _, new in told for body, t in new if body["max_tokens"] > 1][1:]
    computed = [t["prompt_n"] for t in figures]
    print(f"\n{len(figures)} requests of {statistics.median(t['prompt_n'] + t['cache_n'] for t in figures):.0f} tokens; "
          f"computed: median {statistics.median(computed)}, most {max(computed)}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.py").write_text("HOLE = '<｜fim▁hole｜>'\n\n\ndef add(a, b):\n    \n")
        env = {"PATH": "/usr/bin", "HOME": folder, "INFILL_COMPLETION_SHOW_THRESHOLD": "off"} | remote
        done = subprocess.run([a.infill, "complete", "a.py:5:5"], cwd=folder, env=env, capture_output=True, text=True)
    sent = typed.Proxy.asked[-1]["prompt"]
    print(f"a marker in the text: sent as {type(sent).__name__}; {done.stderr.strip() or done.stdout.strip()!r}")
    proxy.shutdown()
    if statistics.median(computed) > a.block + 4 or done.returncode or not isinstance(sent, list):
        sys.exit(f"more is computed than a block, or the marker was not sent as ids: {json.dumps(sent)[:200]}")


if __name__ == "__main__":
    main()
