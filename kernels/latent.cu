// After the projections of a layer: the latent goes into the pool, the rotated parts are rotated, the queries become queries of the latent.
//
// Compile: kernels/check latent
// Shapes: qkv f32 [n, ld] holds the queries [heads, nope + rope] at q_at and the latent with its key [kv_lora + rope] at kv_at;
//   norm f32 [kv_lora]; wk bf16 [heads, kv_lora, nope]; turns f32 [positions, rope / 2, 2] cos and sin (from the host, so that they have the
//   CPU's bits); pool as in slot.cuh, in bf16, or in FP8 for the kernels that end in _f8: each warp scales and rounds 128 values.
//   Each `group` tokens are of one sequence: start and first int32 [n / group], table int32. Token t of sequence s is at position
//   p = start[s] + t, slot p % 16 of block table[first[s] + p / 16].
//   latent_f32, latent_bf16: q [n, heads, kv_lora + rope] = (wk · q_nope | rotated q_rope). Grid (heads · parts + 1, n), parts of 128 rows of wk.
//   latent_split (prefill, where the product with wk is a GEMM): nope bf16 [n, heads, nope], and only the rotated part of q. Grid (1, n).
//   Pairs (2i, 2i + 1) are rotated.
// Versions: append, rotation and absorption were three launches; their blocks do not wait for each other, so they share one.
// Expected on an H200: Lite, one token: wk 2.1 MB, 2 us. Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"
#include "slot.cuh"

struct Latent {
    const float* qkv; const float* norm; const bf16* wk; const float* turns; const int* start; const int* first; const int* table; u8* pool; void* q; bf16* nope;
    int n, heads, width_nope, rope, kv_lora, ld, q_at, kv_at, layer, layers, parts, group; float eps; int unused;
};
static const int PART = 128;

template <bool BF> DEVICE void put(void* q, u64 at, float x) { if (BF) ((bf16*)q)[at] = to_bf16(x); else ((float*)q)[at] = x; }

// 128 values for each warp: their scale, and they in its terms. A lane has four.
template <class F> DEVICE void append_f8(const Latent& a, u8* slot, F latent) {
    const int lane = threadIdx.x & 31;
    for (int g = threadIdx.x / 32; g * F8_GROUP < a.kv_lora; g += WARPS) {
        const int k = g * F8_GROUP + lane * 4;
        float x[4] = {}, most = 0;
        if (k < a.kv_lora)
            for (int i = 0; i < 4; i++) { x[i] = latent(k + i); most = most_of(most, fabsf(x[i])); }
        for (int m = 16; m > 0; m >>= 1) most = most_of(most, shfl_xor(most, m));
        const float scale = f8_scale(most), inverse = 1.0f / scale;
        u32 four = 0;
        for (int i = 0; i < 4; i++) four |= (u32)to_f8(x[i] * inverse) << 8 * i;
        if (k < a.kv_lora) *(u32*)(slot + k) = four;
        if (lane == 0) ((float*)(slot + a.kv_lora))[g] = scale;
    }
}

template <bool BF, bool F8> DEVICE void append(const Latent& a, int token, bool split) {
    SHARED(shared);
    const int sequence = token / a.group, position = a.start[sequence] + token % a.group, tid = threadIdx.x, width = a.kv_lora + a.rope, query = a.width_nope + a.rope;
    const float* row = a.qkv + (u64)token * a.ld;
    const float* kv = row + a.kv_at;
    u8* slot = a.pool + (((u64)a.table[a.first[sequence] + position / BLOCK] * a.layers + a.layer) * BLOCK + position % BLOCK) * slot_bytes<F8>(a.kv_lora, a.rope);
    bf16* rotated = (bf16*)(slot + key_at<F8>(a.kv_lora));
    float ss[1] = {};
    for (int k = tid; k < a.kv_lora; k += THREADS) ss[0] += kv[k] * kv[k];
    block_sums<1>(ss, (float*)shared);
    float scale = inverse_rms(ss[0], a.kv_lora, a.eps);
    auto latent = [&](int k) { return a.norm[k] * (kv[k] * scale); };
    if (F8) append_f8(a, slot, latent);
    for (int k = tid; !F8 && k < a.kv_lora; k += THREADS) ((bf16*)slot)[k] = to_bf16(latent(k));
    const float* turns = a.turns + (u64)position * a.rope;
    const int pairs = a.rope / 2;
    for (int i = tid; i < (a.heads + 1) * pairs; i += THREADS) {
        int head = i / pairs, p = i % pairs;
        bool key = head == a.heads;
        const float* from = key ? kv + a.kv_lora : row + a.q_at + head * query + a.width_nope;
        float x = from[2 * p], y = from[2 * p + 1], c = turns[2 * p], s = turns[2 * p + 1];
        float u = x * c - y * s, v = x * s + y * c;
        if (key) { rotated[2 * p] = to_bf16(u); rotated[2 * p + 1] = to_bf16(v); }
        else {
            u64 at = ((u64)token * a.heads + head) * width + a.kv_lora + 2 * p;
            put<BF>(a.q, at, u); put<BF>(a.q, at + 1, v);
        }
    }
    if (split)
        for (int i = tid; i < a.heads * a.width_nope; i += THREADS)
            a.nope[(u64)token * a.heads * a.width_nope + i] = to_bf16(row[a.q_at + i / a.width_nope * query + i % a.width_nope]);
}

// Rows part · 128.. of one head's wk: eight lanes a row.
template <bool BF> DEVICE void absorb(const Latent& a, int token, int head, int part) {
    SHARED(shared);
    float* q = (float*)shared;
    const float* from = a.qkv + (u64)token * a.ld + a.q_at + head * (a.width_nope + a.rope);
    for (int i = threadIdx.x; i < a.width_nope; i += THREADS) q[i] = from[i];
    sync_block();
    const int lane = threadIdx.x & 7, end = part * PART + PART < a.kv_lora ? part * PART + PART : a.kv_lora;
    for (int base = part * PART; base < end; base += THREADS / 8) {
        int k = base + (int)threadIdx.x / 8, safe = k < end ? k : end - 1;
        const bf16* w = a.wk + ((u64)head * a.kv_lora + safe) * a.width_nope;
        float sum = 0;
        for (int c = lane * 8; c < a.width_nope; c += 64) {
            uint4 v = load_once(w + c);
            sum += low_bf16(v.x) * q[c] + high_bf16(v.x) * q[c + 1] + low_bf16(v.y) * q[c + 2] + high_bf16(v.y) * q[c + 3];
            sum += low_bf16(v.z) * q[c + 4] + high_bf16(v.z) * q[c + 5] + low_bf16(v.w) * q[c + 6] + high_bf16(v.w) * q[c + 7];
        }
        for (int m = 4; m > 0; m >>= 1) sum += shfl_xor(sum, m);
        if (lane == 0 && k < end) put<BF>(a.q, ((u64)token * a.heads + head) * (a.kv_lora + a.rope) + k, sum);
    }
}

template <bool BF, bool F8> DEVICE void latent(const Latent& a) {
    int head = blockIdx.x / a.parts;
    if (head < a.heads) absorb<BF>(a, blockIdx.y, head, blockIdx.x % a.parts);
    else append<BF, F8>(a, blockIdx.y, false);
}
KERNEL(THREADS, 2, latent_f32, Latent) { latent<false, false>(a); }
KERNEL(THREADS, 2, latent_bf16, Latent) { latent<true, false>(a); }
KERNEL(THREADS, 2, latent_split, Latent) { append<true, false>(a, blockIdx.y, true); }
KERNEL(THREADS, 2, latent_f32_f8, Latent) { latent<false, true>(a); }
KERNEL(THREADS, 2, latent_bf16_f8, Latent) { latent<true, true>(a); }
KERNEL(THREADS, 2, latent_split_f8, Latent) { append<true, true>(a, blockIdx.y, true); }

#ifdef INFILL_EMULATE
template <bool BF, bool F8> static void plain(const Latent& a, bool split) {
    const int width = a.kv_lora + a.rope, query = a.width_nope + a.rope;
    for (int t = 0; t < a.n; t++) {
        const float* row = a.qkv + (u64)t * a.ld;
        const float* kv = row + a.kv_at;
        int p = a.start[t / a.group] + t % a.group;
        u8* slot = a.pool + (((u64)a.table[a.first[t / a.group] + p / 16] * a.layers + a.layer) * 16 + p % 16) * slot_bytes<F8>(a.kv_lora, a.rope);
        auto turned = [&](const float* x, int i) {
            float c = a.turns[(u64)p * a.rope + i / 2 * 2], s = a.turns[(u64)p * a.rope + i / 2 * 2 + 1];
            return i & 1 ? x[i - 1] * s + x[i] * c : x[i] * c - x[i + 1] * s;
        };
        double ss = 0;
        for (int k = 0; k < a.kv_lora; k++) ss += double(kv[k]) * kv[k];
        std::vector<double> all(width);
        for (int k = 0; k < a.kv_lora; k++) all[k] = a.norm[k] * kv[k] / std::sqrt(ss / a.kv_lora + a.eps);
        for (int i = 0; i < a.rope; i++) all[a.kv_lora + i] = turned(kv + a.kv_lora, i);
        plain_write(F8, slot, all, a.kv_lora);
        for (int h = 0; h < a.heads; h++) {
            const float* q = row + a.q_at + h * query;
            u64 out = ((u64)t * a.heads + h) * width;
            for (int k = 0; k < a.kv_lora && !split; k++) {
                double sum = 0;
                for (int j = 0; j < a.width_nope; j++) sum += double(q[j]) * from_bf16(a.wk[((u64)h * a.kv_lora + k) * a.width_nope + j]);
                put<BF>(a.q, out + k, float(sum));
            }
            for (int i = 0; i < a.rope; i++) put<BF>(a.q, out + a.kv_lora + i, turned(q + a.width_nope, i));
            for (int j = 0; j < a.width_nope && split; j++) a.nope[((u64)t * a.heads + h) * a.width_nope + j] = to_bf16(q[j]);
        }
    }
}
REFERENCE(latent_f32, Latent) { plain<false, false>(a, false); }
REFERENCE(latent_bf16, Latent) { plain<true, false>(a, false); }
REFERENCE(latent_split, Latent) { plain<true, false>(a, true); }
REFERENCE(latent_f32_f8, Latent) { plain<false, true>(a, false); }
REFERENCE(latent_bf16_f8, Latent) { plain<true, true>(a, false); }
REFERENCE(latent_split_f8, Latent) { plain<true, true>(a, true); }
#endif
