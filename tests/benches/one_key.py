#!/usr/bin/env python3
"""What one key costs with a model of the true size: infill beside llama.cpp's server, in one run.

    python tests/benches/one_key.py lite.gguf --trace rustcode.json.gz --llama build/bin/llama-server
    infill                   first token 171 ms (p50), 3 tokens a key
    llama.cpp                first token 24103 ms, 503 tokens a key
    llama.cpp --spm-infill   first token 265 ms, 3 tokens a key

Takes the first stretch of a typing trace (josephg/editing-traces) in which so many keys in a row stay within one function, with at
least 6,000 characters before them and 2,000 behind, and sends these keys to each, one engine at a time on the same two threads. Ours goes
through the real state machine (`infill bench trace --timed`), the others get what llama.vim sends. lite.gguf: `true_shape.py`.
llama.cpp computes the suffix at every key, in its suffix-first mode too once the window moves, so it gets only the first `--peer-keys`.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BEFORE, BEHIND, REACH = 6000, 2000, 700


def steps(trace):
    for txn in trace["txns"]:
        for at, deleted, inserted in txn["patches"]:
            yield txn["time"], at, deleted, inserted


def typed(step):
    return step[2] == 0 and len(step[3]) == 1


def stretch(trace, keys):
    """A trace of its own: the text at the beginning of the stretch, and its steps."""
    text, all_steps = trace["startContent"], list(steps(trace))
    for i, (_, at, deleted, inserted) in enumerate(all_steps):
        part = run_of(all_steps[i:], keys) if BEFORE <= at <= len(text) - BEHIND else None
        if part:
            return {"startContent": text, "endContent": replay(text, part), "txns": [{"time": t, "patches": [p]} for t, *p in part]}
        text = text[:at] + inserted + text[at + deleted :]
    sys.exit(f"the trace has no {keys} keys in a row in one place: ask for fewer with --keys")


def run_of(rest, keys):
    """The steps from the first on until so many keys are typed; None where the cursor leaves, or much is deleted."""
    part, count = [], 0
    for step in rest:
        if abs(step[1] - rest[0][1]) > REACH or step[2] > 8 or len(step[3]) > 40:
            return None
        part.append(step)
        count += typed(step)
        if count == keys:
            return part
    return None


def replay(text, part):
    for _, at, deleted, inserted in part:
        text = text[:at] + inserted + text[at + deleted :]
    return text


def bench(infill, args, env):
    done = subprocess.run([infill, "bench", "trace", *args, "--json"], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"infill bench trace failed ({done.returncode})")
    return json.loads(done.stdout)


class Server:
    """A llama.cpp server on a port of this machine, for as long as the block runs."""

    def __init__(self, options, extra):
        self.url = f"http://127.0.0.1:{options.port}"
        command = [options.llama, "-m", options.model, "-t", str(options.threads), "-c", "4096", "-np", "1", "--no-warmup"]
        command += ["--host", "127.0.0.1", "--port", str(options.port), *options.llama_options.split(), *extra]
        self.log = open(options.out / "llama-server.log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def __enter__(self):
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit(f"llama-server left with {self.process.returncode}: see {self.log.name}")
            try:
                if urllib.request.urlopen(f"{self.url}/health", timeout=2).status == 200:
                    return self.url
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(1)
        sys.exit("llama-server did not become ready in ten minutes")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--trace", required=True)
    parser.add_argument("--keys", type=int, default=40)
    parser.add_argument("--peer-keys", type=int, default=5, help="keys for llama.cpp, in each of its modes")
    parser.add_argument("--infill", default="target/release/infill")
    parser.add_argument("--llama", help="llama-server; without it only infill runs")
    parser.add_argument("--llama-options", default="--no-repack")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--port", type=int, default=8017)
    parser.add_argument("--out", type=Path, default=Path("target/one-key"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    part = options.out / "stretch.json"
    opened = gzip.open if options.trace.endswith(".gz") else open
    with opened(options.trace, "rt", encoding="utf-8") as file:
        trace = stretch(json.load(file), options.keys)
    part.write_text(json.dumps(trace))
    line = next(at for _, at, *_ in steps(trace))
    print(f"{options.keys} keys; the first at character {line:,} of {len(trace['startContent']):,}", flush=True)
    # The model in this process, so that the worker's own times are read. Random weights never end a line: two tokens are enough to time the first.
    env = os.environ | {"INFILL_MODEL": options.model, "INFILL_ENGINE_SHARED": "false", "INFILL_COMPLETION_MAX_TOKENS": "2"}
    env |= {"RAYON_NUM_THREADS": str(options.threads)}
    rows = [("infill", bench(options.infill, [str(part), "--timed", str(options.keys)], env)[0])]
    show(*rows[0])
    peers = [("llama.cpp --spm-infill", ["--spm-infill"]), ("llama.cpp", [])] if options.llama else []
    for name, extra in peers:
        with Server(options, extra) as url:
            # nano answers beside it: its row costs nothing, and only the peer's is wanted.
            small = os.environ | {"INFILL_MODEL": "nano", "INFILL_ENGINE_SHARED": "false"}
            rows.append((name, bench(options.infill, [str(part), "--timed", str(options.peer_keys), "--against", url], small)[1]))
        show(*rows[-1])
    (options.out / "rows.json").write_text(json.dumps(dict(rows), indent=1))


def show(name, row):
    times = f"first token {row['first_token_ms_p50']:8.0f} ms (p50) {row['first_token_ms_p95']:8.0f} ms (p95)"
    tokens = f"{row['tokens_p50']:.0f} tokens a key (p50), {row['tokens_mean']:.0f} (mean)"
    print(f"{name:24} {times}, {tokens}, {row['typed_chars']} keys", flush=True)


if __name__ == "__main__":
    main()
