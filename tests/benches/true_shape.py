"""Write a GGUF file of DeepSeek-Coder-V2-Lite's true shape with random weights: for speed, not for sense.

    python tests/benches/true_shape.py OUT.gguf --tokenizer tokenizer.json      10.4 GB, half a minute
    infill bench model OUT.gguf

Needs `numpy` and `gguf`. The mix of types is llama.cpp's Q4_K_M: Q4_K, in 13 of the 27 layers a better type for what
comes down, Q6_K for the head, and Q5_0 or Q8_0 where a row (of 1408, 10944 or 128) is not a multiple of 256. llama.cpp loads the
file too. Blocks are cut at random places out of a pool, so writing is as fast as the disk.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np

HIDDEN, HEADS, KV_LORA, NOPE, ROPE, V = 2048, 16, 512, 128, 64, 128
DENSE, EXPERT, EXPERTS, CHOSEN, SHARED, VOCAB = 10944, 1408, 64, 6, 2, 102400
T = gguf.GGMLQuantizationType
POOL = 16 << 20


def pool(kind, std, rng):
    """About 16 MB of blocks whose values have this standard deviation, and the bytes of one block."""
    if kind == T.F32:
        return (rng.standard_normal(POOL // 4, dtype=np.float32) * np.float32(std)).view(np.uint8), 4
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = rng.integers(0, 256, (POOL // size, size), dtype=np.uint8)
    half = lambda x: np.frombuffer(np.float16(x).tobytes(), np.uint8)
    if kind == T.Q4_K:
        blocks[:, 0:2], blocks[:, 2:4] = half(std / 256), half(std / 256 * 7.5)
    elif kind == T.Q6_K:
        blocks[:, 192:208] = rng.integers(-8, 8, (len(blocks), 16), dtype=np.int8).view(np.uint8)
        blocks[:, 208:210] = half(std / 85)
    elif kind == T.Q5_0:
        blocks[:, 0:2] = half(std / 9.2)
    elif kind == T.Q8_0:
        blocks[:, 0:2] = half(std / 74)
    else:
        raise ValueError(kind)
    return blocks.reshape(-1), size


def kinds(name, layer, layers, cols):
    """The type that llama.cpp's Q4_K_M gives a matrix."""
    if "ffn_gate_inp" in name:
        return T.F32
    if name == "output":
        return T.Q6_K
    eighth = layers // 8
    better = "ffn_down" in name and (layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2)
    if cols % 256:
        return T.Q8_0 if better else T.Q5_0
    return T.Q6_K if better else T.Q4_K


def matrices(layers):
    """(name, layer, shape) in the order of the file; norms have one dimension."""
    yield "token_embd", 0, (VOCAB, HIDDEN)
    yield "output_norm", 0, (HIDDEN,)
    yield "output", 0, (VOCAB, HIDDEN)
    for i in range(layers):
        b = f"blk.{i}."
        yield b + "attn_norm", i, (HIDDEN,)
        yield b + "attn_q", i, (HEADS * (NOPE + ROPE), HIDDEN)
        yield b + "attn_kv_a_mqa", i, (KV_LORA + ROPE, HIDDEN)
        yield b + "attn_kv_a_norm", i, (KV_LORA,)
        yield b + "attn_k_b", i, (HEADS, KV_LORA, NOPE)
        yield b + "attn_v_b", i, (HEADS, V, KV_LORA)
        yield b + "attn_output", i, (HIDDEN, HEADS * V)
        yield b + "ffn_norm", i, (HIDDEN,)
        if i == 0:
            parts = [("ffn_gate", (DENSE, HIDDEN)), ("ffn_up", (DENSE, HIDDEN)), ("ffn_down", (HIDDEN, DENSE))]
        else:
            shared = SHARED * EXPERT
            parts = [
                ("ffn_gate_inp", (EXPERTS, HIDDEN)),
                ("ffn_gate_exps", (EXPERTS, EXPERT, HIDDEN)),
                ("ffn_up_exps", (EXPERTS, EXPERT, HIDDEN)),
                ("ffn_down_exps", (EXPERTS, HIDDEN, EXPERT)),
                ("ffn_gate_shexp", (shared, HIDDEN)),
                ("ffn_up_shexp", (shared, HIDDEN)),
                ("ffn_down_shexp", (HIDDEN, shared)),
            ]
        yield from ((b + name, i, shape) for name, shape in parts)


def metadata(w, layers):
    w.add_type("model")
    w.add_name("Random weights of the Lite shape")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_block_count(layers)
    w.add_context_length(163840)
    w.add_embedding_length(HIDDEN)
    w.add_feed_forward_length(DENSE)
    w.add_head_count(HEADS)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(ROPE)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(40.0)
    w.add_rope_scaling_orig_ctx_len(4096)
    w.add_rope_scaling_yarn_log_mul(0.0707)
    w.add_vocab_size(VOCAB)
    w.add_leading_dense_block_count(1)
    w.add_expert_count(EXPERTS)
    w.add_expert_used_count(CHOSEN)
    w.add_expert_shared_count(SHARED)
    w.add_expert_feed_forward_length(EXPERT)
    w.add_expert_weights_scale(1.0)
    w.add_expert_weights_norm(False)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    w.add_kv_lora_rank(KV_LORA)
    w.add_key_length(KV_LORA + ROPE)
    w.add_value_length(KV_LORA)
    w.add_key_length_mla(NOPE + ROPE)
    w.add_value_length_mla(V)


def vocabulary(w, file):
    spec = json.loads(file.read_text())
    words = {i: s for s, i in spec["model"]["vocab"].items()} | {a["id"]: a["content"] for a in spec["added_tokens"]}
    special = {a["id"] for a in spec["added_tokens"]}
    ids = {s: i for i, s in words.items()}
    size = max(words) + 1
    kind = lambda i: gguf.TokenType.UNUSED if i not in words else gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("deepseek-llm")
    w.add_token_list([words.get(i, f"[PAD{i}]") for i in range(max(size, VOCAB))])
    w.add_token_types([kind(i) for i in range(max(size, VOCAB))])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]])
    w.add_bos_token_id(ids["<｜begin▁of▁sentence｜>"])
    w.add_eos_token_id(ids["<｜end▁of▁sentence｜>"])
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    for key, text in (("pre", "begin"), ("suf", "hole"), ("mid", "end")):
        w.add_uint32(f"tokenizer.ggml.fim_{key}_token_id", ids[f"<｜fim▁{text}｜>"])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out", type=Path)
    ap.add_argument("--tokenizer", type=Path, required=True, help="the model's tokenizer.json")
    ap.add_argument("--layers", type=int, default=27)
    ap.add_argument("--seed", type=int, default=0)
    a = ap.parse_args()
    rng = np.random.default_rng(a.seed)
    w = gguf.GGUFWriter(str(a.out), "deepseek2")
    metadata(w, a.layers)
    vocabulary(w, a.tokenizer)
    pools, plan = {}, []
    for name, layer, shape in matrices(a.layers):
        kind = T.F32 if len(shape) == 1 else kinds(name, layer, a.layers, shape[-1])
        per, size = gguf.GGML_QUANT_SIZES[kind]
        row = shape[-1] // per * size
        count = int(np.prod(shape[:-1], dtype=np.int64)) * row
        w.add_tensor_info(name + ".weight", shape if kind == T.F32 else (*shape[:-1], row), np.dtype(np.float32 if kind == T.F32 else np.uint8), count, None if kind == T.F32 else kind)
        plan.append((kind, shape, count))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    out = w.fout[0]
    out.write(bytes(-out.tell() % 32))
    for kind, shape, count in plan:
        if len(shape) == 1:
            data = np.ones(shape, np.float32).tobytes()
            out.write(data)
        else:
            std = 0.5 if shape == (VOCAB, HIDDEN) and kind == T.Q4_K else shape[-1] ** -0.5
            key = (kind, std)
            if key not in pools:
                pools[key] = pool(kind, std, rng)
            blocks, size = pools[key]
            left = count
            while left:
                begin = int(rng.integers(0, len(blocks) // size // 2)) * size
                piece = blocks[begin:begin + left]
                out.write(piece)
                left -= len(piece)
        out.write(bytes(-out.tell() % 32))
    w.close()
    print(a.out, a.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
