// Absorbed multi-head latent attention for any widths, over paged latents, split over the context. Sums in f32.
//
// Compile: kernels/check mla_decode
// Shapes: see mla.cuh; q f32. Grid (splits, ceil(heads / 16), n). kv_lora at most 512, kv_lora + rope even.
// Versions: first a warp for each head, which read every latent once a head (16 times); now 16 heads share a tile of 16 latents in shared
//   memory (one block of the pool), a thread has one score, and then two columns of all heads' sums. Rows are padded so that a column of
//   keys falls into different banks. For the published widths mla_tiles does the same on tensor cores; this one serves other shapes,
//   and is the exact one (queries are not rounded). mla_decode_f8 expands a tile's FP8 to bf16, which is exact, on its way to shared memory.
// Expected on an H200: Lite, 2,000 positions, 32 splits of 64: 2.3 MB (FP8: 1.3 MB), about 12 us with either (bound by shared memory, not by HBM). Not yet run.
// Spill limit: 0 bytes.
#include "mla.cuh"

static const int HEADS = 16;

// The latents of `count` positions from `at` on, as bf16 [count, ldk].
template <bool F8> DEVICE void load_tile(const Mla& a, const u8* from, bf16* keys, int count, int ldk) {
    const int words = F8 ? a.kv_lora / 4 : (a.kv_lora + a.rope) / 2, pairs = a.rope / 2, bytes = slot_bytes<F8>(a.kv_lora, a.rope);
    for (int i = threadIdx.x; i < count * words; i += THREADS) {
        const u8* slot = from + i / words * bytes;
        u32* to = (u32*)(keys + i / words * ldk);
        const int w = i % words;
        const u32 word = ((const u32*)slot)[w];
        if (!F8) { to[w] = word; continue; }
        uint2 v = expand_f8(word, f8_factor(((const float*)(slot + a.kv_lora))[w * 4 / F8_GROUP]));
        to[2 * w] = v.x; to[2 * w + 1] = v.y;
    }
    for (int i = threadIdx.x; F8 && i < count * pairs; i += THREADS) {
        const u8* slot = from + i / pairs * bytes;
        ((u32*)(keys + i / pairs * ldk + a.kv_lora))[i % pairs] = ((const u32*)(slot + key_at<F8>(a.kv_lora)))[i % pairs];
    }
}

template <bool F8> DEVICE void decode(const Mla& a) {
    SHARED(shared);
    const int tid = threadIdx.x, lane = tid & 31, token = blockIdx.z, head0 = blockIdx.y * HEADS, width = a.kv_lora + a.rope;
    const int heads = a.heads - head0 < HEADS ? a.heads - head0 : HEADS;
    const int ldq = width + 1, ldk = width + 2;
    float* q = (float*)shared;                                   // [16, ldq]
    float* scores = q + (HEADS * ldq + 3) / 4 * 4;               // [key, head]
    float* state = scores + HEADS * BLOCK;                       // m, l, factor of each head
    bf16* keys = (bf16*)(state + 3 * HEADS);                     // [16, ldk]
    const int begin = blockIdx.x * a.span, sequence = token / a.group, all = a.start[sequence] + token % a.group + 1, end = begin + a.span < all ? begin + a.span : all;
    const int* table = a.table + a.first[sequence];
    const u64 out = ((u64)blockIdx.x * a.n + token) * a.heads + head0;

    for (int i = tid; i < HEADS * width; i += THREADS) {
        int h = i / width, k = i % width;
        q[h * ldq + k] = h < heads ? ((const float*)a.q)[((u64)token * a.heads + head0 + h) * width + k] : 0.0f;
    }
    if (tid < HEADS) { state[tid] = minus_infinity(); state[HEADS + tid] = 0; }
    float acc[HEADS][2] = {};
    for (int at = begin; at < end; at += BLOCK) {
        const int count = end - at < BLOCK ? end - at : BLOCK;
        sync_block();
        load_tile<F8>(a, latent_of<F8>(a, table, at), keys, count, ldk);
        sync_block();
        // A score: 16 keys in the low lanes, so that a half warp shares a head's reads.
        const int key = tid % BLOCK, head = tid / BLOCK;
        float score = minus_infinity();
        if (key < count) {
            const u32* k2 = (const u32*)(keys + key * ldk);
            const float* q2 = q + head * ldq;
            float s0 = 0, s1 = 0;
#pragma unroll 8
            for (int i = 0; i < width / 2; i++) { u32 v = k2[i]; s0 += low_bf16(v) * q2[2 * i]; s1 += high_bf16(v) * q2[2 * i + 1]; }
            score = (s0 + s1) * a.scale;
        }
        float most = score;
        for (int m = 8; m > 0; m >>= 1) most = fmax_(most, shfl_xor(most, m));
        float before = state[head], now = fmax_(before, most);
        float p = key < count ? expf(score - now) : 0.0f, sum = p;
        for (int m = 8; m > 0; m >>= 1) sum += shfl_xor(sum, m);
        scores[key * HEADS + head] = p;
        sync_warp();
        if (key == 0) {
            float factor = expf(before - now);
            state[head] = now;
            state[HEADS + head] = state[HEADS + head] * factor + sum;
            state[2 * HEADS + head] = factor;
        }
        sync_block();
        const int column = tid * 2;
        if (column < a.kv_lora) {
#pragma unroll
            for (int h = 0; h < HEADS; h++) { float f = state[2 * HEADS + h]; acc[h][0] *= f; acc[h][1] *= f; }
            for (int j = 0; j < count; j++) {
                u32 v = *(const u32*)(keys + j * ldk + column);
                float x = low_bf16(v), y = high_bf16(v);
#pragma unroll
                for (int h = 0; h < HEADS; h += 4) {
                    float4 w = *(const float4*)(scores + j * HEADS + h);
                    acc[h][0] += w.x * x; acc[h][1] += w.x * y; acc[h + 1][0] += w.y * x; acc[h + 1][1] += w.y * y;
                    acc[h + 2][0] += w.z * x; acc[h + 2][1] += w.z * y; acc[h + 3][0] += w.w * x; acc[h + 3][1] += w.w * y;
                }
            }
        }
    }
    sync_block();
    if (tid < heads) { a.ml[(out + tid) * 2] = state[tid]; a.ml[(out + tid) * 2 + 1] = state[HEADS + tid]; }
    const int column = tid * 2;
    if (begin < end && column < a.kv_lora) {
#pragma unroll
        for (int h = 0; h < HEADS; h++)
            if (h < heads) *(float2*)(a.acc + (out + h) * a.kv_lora + column) = make_float2(acc[h][0], acc[h][1]);
    }
    (void)lane;
}
KERNEL(THREADS, 2, mla_decode, Mla) { decode<false>(a); }
KERNEL(THREADS, 2, mla_decode_f8, Mla) { decode<true>(a); }

#ifdef INFILL_EMULATE
REFERENCE(mla_decode, Mla) { plain_mla<false, false>(a); }
REFERENCE(mla_decode_f8, Mla) { plain_mla<false, true>(a); }
#endif
