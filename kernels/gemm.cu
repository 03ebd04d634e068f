// Products of many tokens with a weight matrix, on tensor cores: dense, batched over heads, or grouped by expert; plain or silu(gate) · up.
//
// Compile: kernels/check gemm
// Shapes: a bf16 [m, k] (row stride lda), w [n, k] in BF16, Q8_0, Q4_K or F8 -> c [m, n] (row stride ldc): f32 stored (mode 0), f32 added
//   (mode 1), bf16 stored (mode 2). k % 8 = 0 (BF16), 16 (F8), 32 (Q8_0), 256 (Q4_K).
//   Batched: blockIdx.z moves a, c by a_step, c_step elements and w by w_step rows.
//   Grouped: tiles int32 [gridDim.y, 3] = (expert, first row, end row), expert -1 where there is no tile; w holds the experts' rows one after the
//   other; rows of a are from[row] where `from` is given, rows of c are the sorted ones.
//   gated_*: gate and up in one pass, c bf16 = silu(a · gate) · (a · up).
//   Grid (ceil(n / 128) or ceil(n / 64) for gated, ceil(m / 64) or tiles, batch).
// Versions: 64 × 128 × 64 tiles, 8 warps of 32 × 32, three buffers. BF16 weights come by cp.async; the others are read into registers
//   while the tile before is multiplied, expanded to bf16 and stored. mma.sync, on sm_90a too: the target of 60 ms for 2,000 tokens is
//   170 TFLOP/s, a sixth of the H200's peak, and an expert sees only 190 rows of such a prompt, so half of a 128-row wgmma tile would be empty in
//   one of two. wgmma takes its operands through descriptors and the asynchronous proxy, whose fences no emulation shows: it is to be written
//   where it can be run, if this one misses the target there. Quantised formats would expand into shared memory for it just the same.
// Expected on an H200: 250 TFLOP/s, so about 40 ms for 2,000 tokens of Lite (10 TFLOP). Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"

struct Gemm {
    const bf16* a; const u8* w; const void* scales; const u8* w2; const void* scales2; void* c; const int* from; const int* tiles;
    u64 a_step, w_step, c_step;
    int m, n, k, lda, ldc, mode;
};

static const int TM = 64, TN = 128, TK = 64, LDT = TK + 8, STAGES = 3;

DEVICE u32 two(float scale, float least, int low, int high) { return pack_bf16(scale * (float)low - least, scale * (float)high - least); }

// Half a row of a tile, 32 weights, from memory to registers to shared memory.
template <int F> struct Half {
    uint4 raw[2];
    float scale, least;
    bool high;
    DEVICE_MEMBER void load(const u8* w, const void* scales, u64 row, int k, int cols, bool valid) {
        scale = 0; least = 0; high = false;
        raw[0] = raw[1] = uint4{0, 0, 0, 0};
        // Columns are whole groups of 32, but for F8, where the second 16 may be missing.
        if (!valid || k >= cols) return;
        if (F == Q8_0) {
            const u8* p = w + row * cols + k;
            raw[0] = load_once(p); raw[1] = load_once(p + 16);
            scale = half_to_float(((const u16*)scales)[(row * cols + k) / 32]);
        } else if (F == F8) {
            const u8* p = w + row * cols + k;
            raw[0] = load_once(p);
            if (k + 16 < cols) raw[1] = load_once(p + 16);
            scale = ((const float*)scales)[row * ((cols + 127) / 128) + k / 128];
        } else {
            const u8* block = w + (row * (cols / 256) + k / 256) * 144;
            uint4 head = load_once(block);
            int j = k % 256 / 32, s, l, shift = (j & 3) * 8;
            u32 x = head.y >> shift, y = head.z >> shift, z = head.w >> shift;
            if (j < 4) { s = x & 63; l = y & 63; } else { s = (z & 15) | (x >> 6 & 3) << 4; l = (z >> 4 & 15) | (y >> 6 & 3) << 4; }
            scale = half_to_float(head.x & 0xffff) * (float)s;
            least = half_to_float(head.x >> 16) * (float)l;
            high = j & 1;
            raw[0] = load_once(block + 16 + j / 2 * 32); raw[1] = load_once(block + 32 + j / 2 * 32);
        }
    }
    DEVICE_MEMBER void store(bf16* to) const {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            u32 words[4] = {raw[i].x, raw[i].y, raw[i].z, raw[i].w}, out[8];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                u32 v = words[j];
                if (F == Q8_0) {
                    out[2 * j] = two(scale, 0, (int8_t)v, (int8_t)(v >> 8));
                    out[2 * j + 1] = two(scale, 0, (int8_t)(v >> 16), (int8_t)(v >> 24));
                } else if (F == F8) {
                    out[2 * j] = pack_bf16(scale * from_f8(v & 255), scale * from_f8(v >> 8 & 255));
                    out[2 * j + 1] = pack_bf16(scale * from_f8(v >> 16 & 255), scale * from_f8(v >> 24));
                } else {
                    if (high) v >>= 4;
                    out[2 * j] = two(scale, least, v & 15, v >> 8 & 15);
                    out[2 * j + 1] = two(scale, least, v >> 16 & 15, v >> 24 & 15);
                }
            }
            uint4* q = (uint4*)(to + i * 16);
            q[0] = uint4{out[0], out[1], out[2], out[3]};
            q[1] = uint4{out[4], out[5], out[6], out[7]};
        }
    }
};

template <int F, bool GATED> DEVICE void gemm(const Gemm& a) {
    SHARED(shared);
    const int tid = threadIdx.x, lane = tid & 31, warp = tid / 32, wm = warp / 4, wn = warp % 4, g = lane >> 2, t = lane & 3;
    const int WIDE = GATED ? TN / 2 : TN, n0 = blockIdx.x * WIDE;
    int m0 = blockIdx.y * TM, end = a.m;
    u64 w_row = blockIdx.z * a.w_step;
    if (a.tiles) {
        const int* tile = a.tiles + 3 * blockIdx.y;
        if (tile[0] < 0) return;
        w_row = (u64)tile[0] * a.n; m0 = tile[1]; end = tile[2];
    }
    const bf16* left = a.a + blockIdx.z * a.a_step;
    bf16* sa = (bf16*)shared;                 // [STAGES, TM, LDT]
    bf16* sb = sa + STAGES * TM * LDT;        // [STAGES, TN, LDT]; gated: 64 rows of gate, 64 of up
    // Where each thread reads: two 16-byte pieces of the left tile; half a row of the right one.
    const bf16* rows[2];
    bool inside[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int r = m0 + (tid + i * THREADS) / 8;
        inside[i] = r < end;
        rows[i] = left + (u64)(inside[i] ? (a.from ? a.from[r] : r) : 0) * a.lda;
    }
    const int br = tid / 2, bc = (tid & 1) * 32, column = n0 + (GATED ? br % WIDE : br);
    const bool second = GATED && br >= WIDE, real = column < a.n;
    const u8* w = second ? a.w2 : a.w;
    const void* scales = second ? a.scales2 : a.scales;
    const u64 row = w_row + (real ? column : 0);
    Half<F> half;

    auto fetch = [&](int k0, int stage) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int c = (tid & 7) * 8, k = k0 + c;
            bool valid = inside[i] && k < a.k;
            copy16_async(sa + (stage * TM + (tid + i * THREADS) / 8) * LDT + c, valid ? rows[i] + k : left, valid);
        }
        if (F == BF16) {
            const bf16* from = (const bf16*)w + row * a.k;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int k = k0 + bc + i * 8;
                bool valid = real && k < a.k;
                copy16_async(sb + (stage * TN + br) * LDT + bc + i * 8, valid ? from + k : (const bf16*)w, valid);
            }
        } else half.load(w, scales, row, k0 + bc, a.k, real);
    };
    auto finish = [&](int stage) { if (F != BF16) half.store(sb + (stage * TN + br) * LDT + bc); };

    float acc[2][4][4] = {};
    const int steps = (a.k + TK - 1) / TK;
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) { fetch(s * TK, s); finish(s); }
        commit_async();
    }
    for (int i = 0; i < steps; i++) {
        wait_async<STAGES - 2>();
        sync_block();
        const int ahead = i + STAGES - 1;
        if (ahead < steps) fetch(ahead * TK, ahead % STAGES);
        commit_async();
        const bf16* ta = sa + (i % STAGES * TM + wm * 32 + (lane & 15)) * LDT + (lane >> 4) * 8;
        const bf16* tb = sb + i % STAGES * TN * LDT;
#pragma unroll
        for (int k = 0; k < TK; k += 16) {
            u32 x[2][4], y[2][4];
            load_matrices<false>(x[0], ta + k);
            load_matrices<false>(x[1], ta + 16 * LDT + k);
#pragma unroll
            for (int j = 0; j < 2; j++) {
                // Sixteen columns; gated: j = 0 gate, j = 1 up, the same columns.
                int first = GATED ? j * WIDE + wn * 16 : wn * 32 + j * 16;
                load_matrices<false>(y[j], tb + (first + (lane & 7) + (lane >> 4) * 8) * LDT + k + (lane >> 3 & 1) * 8);
            }
#pragma unroll
            for (int r = 0; r < 2; r++) {
#pragma unroll
                for (int j = 0; j < 4; j++) mma(acc[r][j], x[r], y[j / 2] + (j & 1) * 2);
            }
        }
        if (ahead < steps) finish(ahead % STAGES);
    }
    wait_async<0>();
    const u64 base = blockIdx.z * a.c_step;
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int m = m0 + wm * 32 + r * 16 + i * 8 + g;
            if (m >= end) continue;
#pragma unroll
            for (int j = 0; j < (GATED ? 2 : 4); j++) {
                int n = n0 + (GATED ? wn * 16 : wn * 32) + j * 8 + 2 * t;
                float x = acc[r][j][2 * i], y = acc[r][j][2 * i + 1];
                if (GATED) { x = silu(x) * acc[r][j + 2][2 * i]; y = silu(y) * acc[r][j + 2][2 * i + 1]; }
                u64 at = base + (u64)m * a.ldc + n;
                for (int e = 0; e < 2; e++) {
                    float v = e ? y : x;
                    if (n + e >= a.n) continue;
                    if (GATED || a.mode == 2) ((bf16*)a.c)[at + e] = to_bf16(v);
                    else if (a.mode == 1) ((float*)a.c)[at + e] += v;
                    else ((float*)a.c)[at + e] = v;
                }
            }
        }
    }
}
#define ALL(F, f) \
    KERNEL(THREADS, 2, gemm_##f, Gemm) { gemm<F, false>(a); } \
    KERNEL(THREADS, 2, gated_##f, Gemm) { gemm<F, true>(a); }
ALL(BF16, bf16) ALL(Q8_0, q8_0) ALL(Q4_K, q4_k) ALL(F8, f8)
#undef ALL

#ifdef INFILL_EMULATE
// Weights are rounded to bf16, as in the kernel; the reference of a batch or of groups takes `m` for the number of batches' rows.
template <int F, bool GATED> static void plain(const Gemm& a) {
    auto product = [&](const bf16* x, const u8* w, const void* s, u64 row) {
        double sum = 0;
        for (int k = 0; k < a.k; k++) sum += double(from_bf16(x[k])) * from_bf16(to_bf16(weight<F>(w, s, a.k, row, k)));
        return sum;
    };
    auto one = [&](int batch, u64 w_row, int m) {
        const bf16* x = a.a + batch * a.a_step + (u64)(a.from ? a.from[m] : m) * a.lda;
        for (int n = 0; n < a.n; n++) {
            double v = product(x, a.w, a.scales, w_row + n);
            if (GATED) v = v / (1 + std::exp(-v)) * product(x, a.w2, a.scales2, w_row + n);
            u64 at = batch * a.c_step + (u64)m * a.ldc + n;
            if (GATED || a.mode == 2) ((bf16*)a.c)[at] = to_bf16(float(v));
            else if (a.mode == 1) ((float*)a.c)[at] += float(v);
            else ((float*)a.c)[at] = float(v);
        }
    };
    if (a.tiles) {
        for (const int* tile = a.tiles; tile[0] >= -1; tile += 3)  // the test ends its list with -2
            for (int m = tile[1]; tile[0] >= 0 && m < std::min(tile[1] + TM, tile[2]); m++) one(0, (u64)tile[0] * a.n, m);
        return;
    }
    int batches = a.a_step ? 2 : 1;  // the test has two
    for (int b = 0; b < batches; b++) for (int m = 0; m < a.m; m++) one(b, b * a.w_step, m);
}
#define ALL(F, f) \
    REFERENCE(gemm_##f, Gemm) { plain<F, false>(a); } \
    REFERENCE(gated_##f, Gemm) { plain<F, true>(a); }
ALL(BF16, bf16) ALL(Q8_0, q8_0) ALL(Q4_K, q4_k) ALL(F8, f8)
#undef ALL
#endif
