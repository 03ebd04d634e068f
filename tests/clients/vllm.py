"""infill against a running vLLM server: what it counts as found in its prefix cache.

    vllm serve MODEL --port 8000
    python tests/clients/vllm.py --url http://127.0.0.1:8000 [--infill target/release/infill]

Types the same code as llama_cpp.py, in the layout of the frozen hole and as a fresh split at each key, and reads
`vllm:prefix_cache_queries_total` and `vllm:prefix_cache_hits_total` (tokens) before and after. Any model serves, one with
random weights too, but a server just started: its cache must not know these prompts from a run before. Fails unless a request of the frozen hole computes less than `--block` tokens (the server's cache block)
and a few, and a file that holds a marker is sent as token ids.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path

import llama_cpp as typed


def counted(url):
    text = urllib.request.urlopen(url + "/metrics").read().decode()

    def number(name):
        return sum(float(n) for n in re.findall(rf"^vllm:{name}(?:\{{.*\}})? ([0-9.e+]+)$", text, re.M))

    return number("prefix_cache_queries_total"), number("prefix_cache_hits_total")


def cost(url, binary, variables, skip):
    """Tokens computed by a request, and in its prompt, after the first `skip` keys."""
    lsp = typed.Lsp(binary, variables)
    for letter in typed.TYPED[:skip]:
        lsp.type(letter)
    before, asked = counted(url), len(typed.Proxy.asked)
    for letter in typed.TYPED[skip:]:
        lsp.type(letter)
    after, requests = counted(url), len(typed.Proxy.asked) - asked
    lsp.close()
    queries, hits = after[0] - before[0], after[1] - before[1]
    return (queries - hits) / requests, queries / requests, requests


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--url", required=True)
    ap.add_argument("--infill", default=str(typed.ROOT / "target/release/infill"))
    ap.add_argument("--block", type=int, default=32)
    a = ap.parse_args()
    typed.Proxy.target = a.url
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), typed.Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    # Short answers of few keys: what is generated says nothing here, and a CPU takes its time.
    remote = {"INFILL_ENGINE_URL": f"http://127.0.0.1:{proxy.server_port}", "INFILL_COMPLETION_MAX_TOKENS": "3"}
    typed.TYPED = typed.TYPED[:20]
    frozen = cost(a.url, a.infill, remote, 9)
    print("a frozen hole, the tail last: computed %.1f of %.1f tokens, mean of %d requests" % frozen)
    fresh = cost(a.url, a.infill, remote | {"INFILL_COMPLETION_LAYOUT": "psm"}, 9)
    print("a fresh split at each key:    computed %.1f of %.1f tokens, mean of %d requests" % fresh)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.py").write_text("HOLE = '<｜fim▁hole｜>'\n\n\ndef add(a, b):\n    \n")
        env = {"PATH": "/usr/bin", "HOME": folder, "INFILL_COMPLETION_SHOW_THRESHOLD": "off"} | remote
        done = subprocess.run([a.infill, "complete", "a.py:5:5"], cwd=folder, env=env, capture_output=True, text=True)
    sent = typed.Proxy.asked[-1]["prompt"]
    print(f"a marker in the text: sent as {type(sent).__name__}, exit code {done.returncode}")
    proxy.shutdown()
    if frozen[0] > a.block + 8 or fresh[0] <= frozen[0] or done.returncode or not isinstance(sent, list):
        sys.exit("more is computed than a block, or the marker was not sent as ids")


if __name__ == "__main__":
    main()
