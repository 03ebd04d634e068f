// Absorbed multi-head latent attention on tensor cores, for the published widths (latent 512, rotated 64): prefill, and decode too.
//
// Compile: kernels/check mla_tiles
// Shapes: see mla.cuh; q bf16. A row is a (token, head) pair, row = token · heads + head: all rows of a sequence read the same latents, so a
//   tile of rows may hold heads of one token or of several. Grid (splits, ceil(group · heads / rows of a tile), sequences).
//   mla_tiles_1: 16 rows, 64 keys a step. mla_tiles_4: 64 rows, 16 keys a step. mla_tiles_4x2: the same with two buffers (113 KB of shared
//   memory, so for devices that have it: A100, H100, H200; the 24 GB cards have 99 KB). mla_tiles_1_f8, mla_tiles_4_f8: pool in FP8.
// Versions: expanded keys and values need 0.44 TFLOP where this needs 0.82 (504 tokens at depth 1,730), but also their expansion in
//   memory; absorbed, one kernel serves both and reads the pool as it lies. Queries stay in shared memory; the 8 warps split a step's keys for
//   the scores and the 512 columns for the sums; scores cross warps through shared memory as f32, and each warp redoes the softmax
//   of its 16 rows in registers, in the layout that the second product wants. FP8 becomes bf16 on its way to shared memory, which is exact:
//   through registers, so cp.async cannot bring it and a second buffer would gain nothing.
// Expected on an H200: about 200 TFLOP/s (bound by shared memory): 2,000 tokens of Lite, 1.9 TFLOP over all layers, 9 ms. FP8: decode at
//   2,000 positions reads 35 MB instead of 62 over all layers, 6 us less of 1.1 ms, and pays about as much for expanding them; prefill waits for
//   each step's latents, 12 ms instead of 9. It is for memory, not for speed. Not yet run.
// Spill limit: 0 bytes.
#include "mla.cuh"

static const int LORA = 512, ROPE = 64, WIDTH = LORA + ROPE, LD = WIDTH + 8;  // 8 more: rows of a matrix fall into different banks

template <int GROUPS, int STAGES, bool F8> DEVICE void tiles(const Mla& a) {
    const int COLUMN_WARPS = WARPS / GROUPS, KEYS = 8 * COLUMN_WARPS, ROWS = 16 * GROUPS, COLUMNS = LORA / COLUMN_WARPS, LDS = KEYS + 4;
    SHARED(shared);
    bf16* q = (bf16*)shared;                       // [ROWS, LD]
    bf16* keys = q + ROWS * LD;                    // [STAGES, KEYS, LD]
    float* scores = (float*)(keys + STAGES * KEYS * LD);  // [ROWS, LDS]
    const int tid = threadIdx.x, lane = tid & 31, warp = tid / 32, group = warp / COLUMN_WARPS, part = warp % COLUMN_WARPS;
    const int g = lane >> 2, t = lane & 3, rows = a.group * a.heads, row0 = blockIdx.y * ROWS;
    const int last = row0 + ROWS < rows ? row0 + ROWS - 1 : rows - 1, start = a.start[blockIdx.z];
    const u64 base = (u64)blockIdx.z * rows;  // of all sequences' rows
    const int* table = a.table + a.first[blockIdx.z];
    const int begin = blockIdx.x * a.span, all = start + last / a.heads + 1, end = begin + a.span < all ? begin + a.span : all;

    auto fetch = [&](int at, int stage) {
        bf16* to = keys + stage * KEYS * LD;
        const int FIRST = F8 ? LORA : 0, CHUNKS = (WIDTH - FIRST) / 8;  // bf16 from column FIRST on
        for (int i = tid; i < KEYS * CHUNKS; i += THREADS) {
            int key = i / CHUNKS, c = i % CHUNKS * 8, p = at + key;
            bool valid = p < end;
            copy16_async(to + key * LD + FIRST + c, valid ? latent_of<F8>(a, table, p) + (F8 ? key_at<F8>(LORA) : 0) + c * 2 : a.pool, valid);
        }
#pragma unroll
        for (int i = tid; F8 && i < KEYS * (LORA / 16); i += THREADS) {
            int key = i / (LORA / 16), c = i % (LORA / 16) * 16, p = at + key;
            uint4 raw = {};
            u32 factor = 0;
            if (p < end) {
                const u8* slot = latent_of<F8>(a, table, p);
                raw = *(const uint4*)(slot + c);
                factor = f8_factor(((const float*)(slot + LORA))[c / F8_GROUP]);
            }
            uint2 v0 = expand_f8(raw.x, factor), v1 = expand_f8(raw.y, factor), v2 = expand_f8(raw.z, factor), v3 = expand_f8(raw.w, factor);
            uint4* out = (uint4*)(to + key * LD + c);
            out[0] = {v0.x, v0.y, v1.x, v1.y};
            out[1] = {v2.x, v2.y, v3.x, v3.y};
        }
    };
    for (int i = tid; i < ROWS * (WIDTH / 8); i += THREADS) {
        int r = i / (WIDTH / 8), c = i % (WIDTH / 8) * 8;
        bool valid = row0 + r < rows;
        copy16_async(q + r * LD + c, (const bf16*)a.q + (valid ? (base + row0 + r) * WIDTH + c : 0), valid);
    }
    if (begin < end) fetch(begin, 0);
    commit_async();

    // How many positions this lane's two rows see.
    int seen[2];
#pragma unroll
    for (int i = 0; i < 2; i++) { int r = row0 + group * 16 + g + i * 8; seen[i] = r < rows ? start + r / a.heads + 1 : 0; }
    float acc[COLUMNS / 8][4] = {}, most[2] = {minus_infinity(), minus_infinity()}, sum[2] = {};
    for (int at = begin, step = 0; at < end; at += KEYS, step++) {
        const int stage = step % STAGES;
        wait_async<0>();
        sync_block();
        if (STAGES == 2) {
            if (at + KEYS < end) fetch(at + KEYS, (step + 1) % STAGES);
            commit_async();
        }
        const bf16* tile = keys + stage * KEYS * LD;
        // Scores of 16 rows with this warp's 8 keys.
        float s[4] = {};
        const bf16* qa = q + (group * 16 + (lane & 15)) * LD + (lane >> 4) * 8;
        const bf16* ka = tile + (part * 8 + (lane & 7)) * LD + (lane >> 3) * 8;
#pragma unroll 4
        for (int k = 0; k < WIDTH; k += 32) {
            u32 x[4], y[4], b[4];
            load_matrices<false>(b, ka + k);
            load_matrices<false>(x, qa + k);
            load_matrices<false>(y, qa + k + 16);
            mma(s, x, b);
            mma(s, y, b + 2);
        }
        float* to = scores + (group * 16 + g) * LDS + part * 8 + 2 * t;
        *(float2*)to = make_float2(s[0], s[1]);
        *(float2*)(to + 8 * LDS) = make_float2(s[2], s[3]);
        sync_block();
        // The softmax of rows g and g + 8, each lane with the elements that it holds of the next product's left side.
        const float* from = scores + (group * 16 + g) * LDS + 2 * t;
        float now[2] = {most[0], most[1]};
#pragma unroll
        for (int k = 0; k < KEYS; k += 8) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float2 v = *(const float2*)(from + i * 8 * LDS + k);
                int p = at + k + 2 * t;
                if (p < seen[i] && p < end) now[i] = fmax_(now[i], v.x * a.scale);
                if (p + 1 < seen[i] && p + 1 < end) now[i] = fmax_(now[i], v.y * a.scale);
            }
        }
        float factor[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            now[i] = fmax_(now[i], shfl_xor(now[i], 1));
            now[i] = fmax_(now[i], shfl_xor(now[i], 2));
            factor[i] = most[i] == now[i] ? 1.0f : expf(most[i] - now[i]);
            most[i] = now[i];
            sum[i] *= factor[i];
        }
#pragma unroll
        for (int c = 0; c < COLUMNS / 8; c++) { acc[c][0] *= factor[0]; acc[c][1] *= factor[0]; acc[c][2] *= factor[1]; acc[c][3] *= factor[1]; }
#pragma unroll
        for (int k = 0; k < KEYS; k += 16) {
            u32 p[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int i = j & 1, key = k + (j >> 1) * 8, at0 = at + key + 2 * t;
                float2 v = *(const float2*)(from + i * 8 * LDS + key);
                float x = at0 < seen[i] && at0 < end ? expf(v.x * a.scale - most[i]) : 0.0f;
                float y = at0 + 1 < seen[i] && at0 + 1 < end ? expf(v.y * a.scale - most[i]) : 0.0f;
                p[j] = pack_bf16(x, y);
                // What is summed is what is multiplied.
                sum[i] += low_bf16(p[j]) + high_bf16(p[j]);
            }
            const bf16* va = tile + (k + (lane & 15)) * LD + part * COLUMNS + (lane >> 4) * 8;
#pragma unroll
            for (int c = 0; c < COLUMNS; c += 16) {
                u32 b[4];
                load_matrices<true>(b, va + c);
                mma(acc[c / 8], p, b);
                mma(acc[c / 8 + 1], p, b + 2);
            }
        }
        sync_block();
        if (STAGES == 1) {
            if (at + KEYS < end) fetch(at + KEYS, 0);
            commit_async();
        }
    }
    wait_async<0>();
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float l = sum[i] + shfl_xor(sum[i], 1);
        l += shfl_xor(l, 2);
        int r = row0 + group * 16 + g + i * 8;
        if (r >= rows) continue;
        u64 out = (u64)blockIdx.x * a.n * a.heads + base + r;
        if (part == 0 && t == 0) { a.ml[out * 2] = most[i]; a.ml[out * 2 + 1] = l; }
        if (most[i] == minus_infinity()) continue;
#pragma unroll
        for (int c = 0; c < COLUMNS / 8; c++)
            *(float2*)(a.acc + out * LORA + part * COLUMNS + c * 8 + 2 * t) = make_float2(acc[c][2 * i], acc[c][2 * i + 1]);
    }
}
KERNEL(THREADS, 2, mla_tiles_1, Mla) { tiles<1, 1, false>(a); }
KERNEL(THREADS, 1, mla_tiles_4, Mla) { tiles<4, 1, false>(a); }
KERNEL(THREADS, 1, mla_tiles_4x2, Mla) { tiles<4, 2, false>(a); }
KERNEL(THREADS, 2, mla_tiles_1_f8, Mla) { tiles<1, 1, true>(a); }
KERNEL(THREADS, 1, mla_tiles_4_f8, Mla) { tiles<4, 1, true>(a); }

#ifdef INFILL_EMULATE
REFERENCE(mla_tiles, Mla) { plain_mla<true, false>(a); }
REFERENCE(mla_tiles_f8, Mla) { plain_mla<true, true>(a); }
#endif
