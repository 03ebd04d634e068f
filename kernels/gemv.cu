// y = W · x for one to eight vectors, with RMSNorm before and the residual after it: every dense product of a decode step.
//
// Compile: kernels/check gemv
// Shapes: W [rows, cols] in BF16, Q8_0, Q4_K or F8; x f32 [n, ldx]; norm f32 [cols] or null; y f32 [n, ldy], stored or added to.
//   y[t] = W · (x[t] · norm) / rms(x[t])      (rms = 1 without norm: the norm is a factor of a row, so it is applied to the sums)
//   cols % 8 = 0 (BF16), 16 (F8), 32 (Q8_0), 256 (Q4_K).
// Versions: a first one kept x in registers and one row a warp; shared staging lets two rows share each read of x. T = 1, 2, 4, 8
//   are compiled apart, so that one token does not pay for eight. Fusing the norm takes two launches out of each layer.
// Expected on an H200 (4.3 TB/s): q and kv_a of Lite [3648, 2048] bf16 14.9 MB 3.5 us; o_proj 8.4 MB 2.0 us; head 419 MB 98 us. Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"

struct Gemv {
    const u8* w; const void* scales; const float* x; const float* norm; float* y;
    int rows, cols, n, ldx, ldy, add; float eps; int unused;
};

// Values staged at once. The order of a sum does not depend on it.
template <int T> DEVICE int chunk_of(int cols) { int most = T == 8 ? 1024 : 2048, all = (cols + 255) / 256 * 256; return all < most ? all : most; }

template <int F, int T> DEVICE void gemv(const Gemv& a) {
    const int R = 2;
    SHARED(shared);
    const int cap = chunk_of<T>(a.cols), warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    const int first = (blockIdx.x * WARPS + warp) * R, token = blockIdx.y * T, n = a.n - token;
    const float* x = a.x + (u64)token * a.ldx;
    const u8* row[R];
    const void* scales[R];
    u64 index[R];
#pragma unroll
    for (int r = 0; r < R; r++) {
        index[r] = first + r < a.rows ? first + r : a.rows - 1;
        row[r] = a.w + index[r] * row_bytes<F>(a.cols);
        scales[r] = a.scales;
    }
    float acc[R][T] = {}, ss[T] = {};
    for (int k = 0; k < a.cols; k += cap) {
        int count = a.cols - k < cap ? a.cols - k : cap;
        if (k) sync_block();
        stage<F, T>(shared, cap, x, a.ldx, n, a.norm, k, count, ss);
        sync_block();
        accumulate<F, T, R>(acc, row, scales, index, a.cols, shared, cap, 0, k, count);
    }
    sync_block();
    block_sums<T>(ss, (float*)shared);
#pragma unroll
    for (int r = 0; r < R; r++) {
#pragma unroll
        for (int t = 0; t < T; t++) {
            float sum = warp_sum(acc[r][t]);
            float out = a.norm ? sum * inverse_rms(ss[t], a.cols, a.eps) : is_nan(ss[t]) ? ss[t] : sum;
            if (lane == 0 && t < n && first + r < a.rows) {
                float* y = a.y + (u64)(token + t) * a.ldy + first + r;
                *y = a.add ? *y + out : out;
            }
        }
    }
}

#define ALL(F, f) \
    KERNEL(THREADS, 2, gemv_##f##_1, Gemv) { gemv<F, 1>(a); } \
    KERNEL(THREADS, 2, gemv_##f##_2, Gemv) { gemv<F, 2>(a); } \
    KERNEL(THREADS, 2, gemv_##f##_4, Gemv) { gemv<F, 4>(a); } \
    KERNEL(THREADS, 2, gemv_##f##_8, Gemv) { gemv<F, 8>(a); }
ALL(BF16, bf16) ALL(Q8_0, q8_0) ALL(Q4_K, q4_k) ALL(F8, f8)
#undef ALL

#ifdef INFILL_EMULATE
template <int F> static void plain(const Gemv& a) {
    for (int t = 0; t < a.n; t++) {
        const float* x = a.x + (u64)t * a.ldx;
        double ss = 0;
        for (int k = 0; k < a.cols; k++) ss += double(x[k]) * x[k];
        for (int r = 0; r < a.rows; r++) {
            double sum = 0;
            for (int k = 0; k < a.cols; k++) sum += double(weight<F>(a.w, a.scales, a.cols, r, k)) * x[k] * (a.norm ? a.norm[k] : 1.0f);
            float& y = a.y[(u64)t * a.ldy + r];
            y = float((a.add ? y : 0.0f) + (a.norm ? sum / std::sqrt(ss / a.cols + a.eps) : sum));
        }
    }
}
REFERENCE(gemv_bf16, Gemv) { plain<BF16>(a); }
REFERENCE(gemv_q8_0, Gemv) { plain<Q8_0>(a); }
REFERENCE(gemv_q4_k, Gemv) { plain<Q4_K>(a); }
REFERENCE(gemv_f8, Gemv) { plain<F8>(a); }
#endif
