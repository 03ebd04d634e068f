"""The GPU tests and the benchmark, in one go: see README.md.

    python3 tests/gpu/run.py [--quick] [--layers 27] [--work DIR]
    python3 tests/gpu/run.py --dry-run        no GPU: is the package whole, and does it run here up to the first call of CUDA?

Exit status 1 when a step failed (the table at the end says which), 2 when nothing could be run (the last line says why).
"""
import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "bin"
BEGUN = time.time()
# The true widths of DeepSeek-Coder-V2-Lite.
SHAPE = dict(
    architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", torch_dtype="bfloat16", hidden_act="silu", rms_norm_eps=1e-6,
    attention_bias=False, attention_dropout=0.0, moe_layer_freq=1, scoring_func="softmax", norm_topk_prob=False, seq_aux=True, aux_loss_alpha=0.001,
    ep_size=1, pretraining_tp=1, use_cache=True, initializer_range=0.02, tie_word_embeddings=False, vocab_size=102400, hidden_size=2048,
    intermediate_size=10944, moe_intermediate_size=1408, num_attention_heads=16, num_key_value_heads=16, qk_nope_head_dim=128,
    qk_rope_head_dim=64, v_head_dim=128, kv_lora_rank=512, q_lora_rank=None, first_k_dense_replace=1, max_position_embeddings=163840,
    rope_theta=10000.0, bos_token_id=100000, eos_token_id=100001, n_routed_experts=64, num_experts_per_tok=6, n_shared_experts=2,
    topk_method="greedy", n_group=1, topk_group=1, routed_scaling_factor=1.0,
    rope_scaling=dict(type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707))
rows = []


def row(step, what, value, wanted="", ok=None):
    """A line of the table; ok None: nothing to pass."""
    rows.append(dict(step=step, what=what, value=str(value), wanted=wanted, ok=ok))
    print(f"[{time.time() - BEGUN:6.1f} s] {what}: {value}{'' if ok is None else '  ok' if ok else '  FAILED'}", flush=True)


def attempt(step, what, f):
    """Runs one step; an error is a line of the table, and the next step runs."""
    try:
        f()
    except Exception as error:  # noqa: BLE001: whatever it is, it is reported
        row(step, what, f"{type(error).__name__}: {error}"[:300], ok=False)


def environment():
    return dict(os.environ, INFILL_ROOT=str(ROOT), INFILL_KERNELS=str(BIN / "libkernels.so"), INFILL_TEST_DEVICE="cuda:0", RUST_BACKTRACE="0", RUST_LIB_BACKTRACE="0")


def program(*args, prefix=()):
    done = subprocess.run([*prefix, *map(str, args)], capture_output=True, text=True, env=environment(), timeout=400)
    sys.stderr.write(done.stderr[-3000:])
    if done.returncode != 0:
        raise RuntimeError(f"{Path(args[0]).name} {args[1:3]} ended with {done.returncode}: {(done.stdout + done.stderr)[-400:]}")
    return done.stdout


def bandwidth(torch):
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    b.copy_(a)
    torch.cuda.synchronize()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(20):
        b.copy_(a)
    end.record()
    torch.cuda.synchronize()
    return 2 * 20 * a.numel() / (begin.elapsed_time(end) / 1e3) / 1e12


def tests(step, names, prefix=(), what=None):
    out = program(BIN / "gpu", "--test-threads", "1", *names, "--exact", prefix=prefix)
    passed = out.count("... ok")
    row(step, what or f"{names[0]} … ({len(names)} tests)", f"{passed} passed", f"{len(names)}", passed == len(names))


KERNELS = "gemv experts router latent mla combine gemm sort sample small launches_name_kernels what_is_wrong_is_said".split()
MODELS = ("few_tokens_agree_with_the_cpu many_tokens_agree_with_the_cpu warm_is_cold decoding_on_the_device_is_decoding_step_by_step "
          "several_sequences_share_a_pass blocks_are_copied_and_poisoned true_widths_run_through_the_tiles a_cache_in_fp8_stays_near quantised_files_agree_with_the_cpu "
          "checkpoints_in_fp8_agree_with_the_cpu smaller_precisions_stay_near nonsense_is_refused").split()
MODULES = ("torch", "transformers", "safetensors")


def give_up(reason):
    print(f"run.py: {reason}", file=sys.stderr)
    sys.exit(2)


def probe():
    """The device as our own code sees it; ends the run with its words where there is none."""
    done = subprocess.run([BIN / "gpu_measure", "probe"], capture_output=True, text=True, env=environment(), timeout=120)
    if done.returncode != 0:
        give_up(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"gpu_measure ended with {done.returncode}")
    return json.loads(done.stdout)


def package():
    """What must be there before anything else; what is missing ends the run."""
    for name in ("gpu", "gpu_measure", "infill", "libkernels.so"):
        if not (BIN / name).is_file():
            give_up(f"{BIN / name} is not there: build the package with tests/gpu/pack OUT and run OUT/tests/gpu/run.py")


def dry_run():
    """Everything short of a GPU. Prints a line for each thing; exit status 1 where one is wrong."""
    def check(what, f):
        def run():
            value, ok = f()
            row(0, what, value, ok=ok)
        attempt(0, what, run)

    def size():
        total = sum(f.stat().st_size for folder in (BIN, ROOT / "tests/gpu", ROOT / "fixtures") for f in folder.rglob("*") if f.is_file())
        return f"{total / 1e6:.1f} MB", total <= 64 << 20

    def names():
        out = program(BIN / "gpu", "--list")
        there = {line.split(":")[0] for line in out.splitlines() if line.endswith(": test")}
        odd = there ^ set(KERNELS + MODELS)
        return ", ".join(sorted(odd)) or f"{len(there)}", not odd

    def emulated():
        done = subprocess.run([BIN / "gpu", "--exact", "small", "several_sequences_share_a_pass"], capture_output=True, text=True,
                              env=dict(environment(), INFILL_TEST_DEVICE="emulated:0"), timeout=400)
        return f"{done.stdout.count('... ok')} passed", done.returncode == 0 and done.stdout.count("... ok") == 2

    def device():
        done = subprocess.run([BIN / "gpu_measure", "probe"], capture_output=True, text=True, env=environment(), timeout=120)
        said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        # A sentence with a remedy is as right an answer as a device.
        return said[-1] if said else "nothing", done.returncode == 0 or "set device to" in done.stderr

    def modules():
        missing = [m for m in MODULES if importlib.util.find_spec(m) is None]
        return "all there" if not missing else f"missing here: {', '.join(missing)}", None

    check("size", size)
    check("tests that run.py and the program name alike", names)
    check("two tests in emulation", emulated)
    check("the first call of CUDA", device)
    check("Python's torch, transformers and safetensors", modules)
    sys.exit(any(r["ok"] is False for r in rows))


def checkpoint(torch, folder, layers, seed):
    """Random weights under the published names, a file for each layer."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    c = dict(SHAPE, num_hidden_layers=layers)
    (folder / "config.json").write_text(json.dumps(c, indent=1))
    g = torch.Generator(device="cuda").manual_seed(seed)
    hidden, heads = c["hidden_size"], c["num_attention_heads"]

    def matrix(o, i, scale=1.0):
        return (torch.randn(o, i, generator=g, device="cuda", dtype=torch.bfloat16) * (scale / i**0.5)).cpu()

    def norm(n):
        return (1 + 0.2 * torch.randn(n, generator=g, device="cuda")).to(torch.bfloat16).cpu()

    def mlp(t, at, inner):
        t[at + "gate_proj.weight"], t[at + "up_proj.weight"] = matrix(inner, hidden, 1.5), matrix(inner, hidden)
        t[at + "down_proj.weight"] = matrix(hidden, inner)

    index = {}

    def save(name, t):
        save_file(t, str(folder / name), metadata={"format": "pt"})
        index.update({key: name for key in t})

    for layer in range(layers):
        p, t = f"model.layers.{layer}.", {}
        a = p + "self_attn."
        t[a + "q_proj.weight"] = matrix(heads * 192, hidden, 2.0)
        t[a + "kv_a_proj_with_mqa.weight"] = matrix(576, hidden)
        t[a + "kv_a_layernorm.weight"] = norm(512)
        t[a + "kv_b_proj.weight"] = matrix(heads * 256, 512)
        t[a + "o_proj.weight"] = matrix(hidden, heads * 128)
        t[p + "input_layernorm.weight"], t[p + "post_attention_layernorm.weight"] = norm(hidden), norm(hidden)
        if layer == 0:
            mlp(t, p + "mlp.", c["intermediate_size"])
        else:
            t[p + "mlp.gate.weight"] = matrix(64, hidden, 1.5)
            for e in range(64):
                mlp(t, p + f"mlp.experts.{e}.", 1408)
            mlp(t, p + "mlp.shared_experts.", 2816)
        save(f"layer-{layer}.safetensors", t)
    t = {"model.embed_tokens.weight": (matrix(c["vocab_size"], hidden) * (hidden**0.5 * 0.5)).to(torch.bfloat16), "model.norm.weight": norm(hidden)}
    t["lm_head.weight"] = matrix(c["vocab_size"], hidden, 2.0)
    save("outer.safetensors", t)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def transformers_model(torch, folder, dtype):
    from transformers import DeepseekV2ForCausalLM

    return DeepseekV2ForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager", device_map="cuda").eval()


def logits(torch, work):
    folder = work / "eight"
    checkpoint(torch, folder, 8, 1)
    row(5, "8 layers of the true widths made", f"{time.time() - BEGUN:.0f} s")
    ids = torch.randint(0, 100000, (200,), generator=torch.Generator().manual_seed(2))
    model = transformers_model(torch, folder, torch.float32)
    with torch.no_grad():
        want = model(ids[None].cuda()).logits[0].float()
    del model
    torch.cuda.empty_cache()
    ids.to(torch.int32).numpy().tofile(work / "ids")
    for chunk in (200, 8, 1):
        program(BIN / "gpu_measure", "logits", folder, "bf16", work / "ids", work / "logits", chunk)
        got = torch.frombuffer(bytearray((work / "logits").read_bytes()), dtype=torch.float32).view(200, -1).cuda()
        off = ((got - want).norm(dim=1) / want.norm(dim=1)).median().item()
        same = (got.argmax(1) == want.argmax(1)).float().mean().item()
        row(5, f"logits against transformers, {chunk} at a time", f"median off {off:.2%}, same argmax {same:.1%}", "< 3 %", off < 0.03)
    shutil.rmtree(folder)


def benchmark(torch, work, layers, peak):
    folder = work / "all"
    checkpoint(torch, folder, layers, 3)
    row(6, f"{layers} layers made", f"{time.time() - BEGUN:.0f} s")
    found = {}
    for precision in ("bf16", "q8", "q4k"):
        found[precision] = json.loads(program(BIN / "gpu_measure", "time", folder, precision, 2000).splitlines()[-1])
        for key in ("decode_ms", "prefill_ms", "keystroke_ms", "line_of_16_ms", "decode_of_4_ms"):
            limit = dict(decode_ms=1.8, prefill_ms=60, keystroke_ms=4, line_of_16_ms=35).get(key) if precision == "bf16" else None
            value = found[precision][key]
            row(6, f"{precision} {key}", f"{value:.2f}", f"≤ {limit}" if limit else "", None if limit is None else value <= limit)
        beside = (found[precision]["taken"] - found[precision]["weights"] - found[precision]["cache"]) / 1e9
        row(6, f"{precision} weights, cache, all else in GB", f"{found[precision]['weights'] / 1e9:.2f}, {found[precision]['cache'] / 1e9:.2f}, {beside:.2f}",
            "all else ≤ 1", beside <= 1)
        fp8 = found[precision]["fp8_cache"]
        row(6, f"{precision} with a cache in FP8: decode_ms, prefill_ms, keystroke_ms",
            ", ".join(f"{fp8['times'][key]:.2f}" for key in ("decode_ms", "prefill_ms", "keystroke_ms")))
        row(6, f"{precision} bytes of cache a token, FP8 and bf16", f"{fp8['bytes_a_token']}, {fp8['bf16_bytes_a_token']}")
    faster = found["q8"]["decode_ms"] < found["bf16"]["decode_ms"] and found["q4k"]["decode_ms"] < found["bf16"]["decode_ms"]
    row(6, "Q8_0 and Q4_K decode faster than bf16", faster, "True", faster)
    read = (2.45e9 * 2) * layers / 27
    row(6, "bf16 decode, share of the copy bandwidth", f"{read / (found['bf16']['decode_ms'] / 1e3) / (peak * 1e12):.0%}")
    model = transformers_model(torch, folder, torch.bfloat16)
    ids = torch.randint(0, 100000, (1, 2000)).cuda()
    with torch.no_grad():
        for _ in range(2):
            torch.cuda.synchronize()
            begun = time.time()
            out = model(ids, use_cache=True)
            torch.cuda.synchronize()
            prefill = time.time() - begun
        cache, token = out.past_key_values, ids[:, -1:]
        begun = time.time()
        for _ in range(8):
            out = model(token, past_key_values=cache, use_cache=True)
        torch.cuda.synchronize()
    row(6, "transformers: prefill, decode in ms", f"{prefill * 1e3:.1f}, {(time.time() - begun) / 8 * 1e3:.1f}")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--dry-run", action="store_true", help="check the package; needs no GPU")
    options.add_argument("--layers", type=int, default=27)
    options.add_argument("--work", type=Path, default=Path("/tmp/infill-gpu"))
    options = options.parse_args()
    package()
    if options.dry_run:
        dry_run()
    found = probe()
    for module in MODULES:
        if importlib.util.find_spec(module) is None:
            give_up(f"Python has no {module}: run this with the Python that has torch, transformers and safetensors")
    import torch
    import transformers

    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    row(0, "machine", f"{found['name']}, {found['free'] / 1e9:.1f} of {found['all'] / 1e9:.1f} GB free, modules in {found['open_s']:.1f} s; torch {torch.__version__}, transformers {transformers.__version__}")
    peak = [1.0]

    def copy():
        peak[0] = bandwidth(torch)
        row(1, "copy bandwidth, TB/s", f"{peak[0]:.2f}")

    attempt(1, "copy bandwidth", copy)
    torch.cuda.empty_cache()
    attempt(2, "kernels", lambda: tests(2, KERNELS))
    attempt(3, "models", lambda: tests(3, MODELS))
    if sanitizer := shutil.which("compute-sanitizer"):
        attempt(4, "compute-sanitizer", lambda: tests(4, ["small", "latent", "mla", "combine", "sort"], [sanitizer, "--error-exitcode", "7"], "compute-sanitizer"))
    else:
        row(4, "compute-sanitizer", "NOT RUN: it is not installed")
    attempt(5, "logits", lambda: logits(torch, options.work))
    if not options.quick:
        attempt(6, "benchmark", lambda: benchmark(torch, options.work, options.layers, peak[0]))
    shutil.rmtree(options.work, ignore_errors=True)
    print(f"\n{time.strftime('%Y-%m-%d')}, {time.time() - BEGUN:.0f} s\n\n| step | what | value | wanted | |\n|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['step']} | {r['what']} | {r['value']} | {r['wanted']} | {'' if r['ok'] is None else 'ok' if r['ok'] else 'FAILED'} |")
    (ROOT / "result.json").write_text(json.dumps(rows, indent=1))
    sys.exit(any(r["ok"] is False for r in rows))


main()
