// Puts the splits of an attention together, and expands the mean latent to a head's values.
//
// Compile: kernels/check mla_combine
// Shapes: acc, ml as in mla.cuh; wv bf16 [heads, v, kv_lora].
//   combine_f32, combine_bf16: out [n, heads, v]. Grid (heads, ceil(v / 32), n).
//   means_bf16 (prefill, where the expansion is a GEMM): out bf16 [n, heads, kv_lora]. Grid (heads, 1, n).
// Versions: the expansion as a product of its own was one launch more a layer. Blocks of 32 values read the splits again (from L2).
// Expected on an H200: Lite, one token, 32 splits: wv 2.1 MB and 4 MB from L2, 3 us. Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"

struct Combine { const float* acc; const float* ml; const bf16* wv; void* out; int n, heads, kv_lora, v, splits, unused; };

// The mean latent of one token and head, in shared memory.
DEVICE void mean(const Combine& a, float* to, int head, int token) {
    float most = minus_infinity(), total = 0;
    const u64 row = (u64)token * a.heads + head, step = (u64)a.n * a.heads;
    for (int s = 0; s < a.splits; s++) most = fmax_(most, a.ml[(s * step + row) * 2]);
    for (int s = 0; s < a.splits; s++) {
        float l = a.ml[(s * step + row) * 2 + 1];
        if (l != 0.0f) total += l * expf(a.ml[(s * step + row) * 2] - most);
    }
    for (int k = threadIdx.x; k < a.kv_lora; k += THREADS) {
        float sum = 0;
        for (int s = 0; s < a.splits; s++)
            if (a.ml[(s * step + row) * 2 + 1] != 0.0f) sum += expf(a.ml[(s * step + row) * 2] - most) * a.acc[(s * step + row) * a.kv_lora + k];
        to[k] = sum / total;
    }
    sync_block();
}

template <bool BF> DEVICE void combine(const Combine& a) {
    SHARED(shared);
    float* x = (float*)shared;
    const int head = blockIdx.x, token = blockIdx.z, lane = threadIdx.x & 7, row = blockIdx.y * 32 + threadIdx.x / 8;
    mean(a, x, head, token);
    const bf16* w = a.wv + ((u64)head * a.v + (row < a.v ? row : a.v - 1)) * a.kv_lora;
    float sum = 0;
    for (int c = lane * 8; c < a.kv_lora; c += 64) {
        uint4 v = load_once(w + c);
        sum += low_bf16(v.x) * x[c] + high_bf16(v.x) * x[c + 1] + low_bf16(v.y) * x[c + 2] + high_bf16(v.y) * x[c + 3];
        sum += low_bf16(v.z) * x[c + 4] + high_bf16(v.z) * x[c + 5] + low_bf16(v.w) * x[c + 6] + high_bf16(v.w) * x[c + 7];
    }
    for (int m = 4; m > 0; m >>= 1) sum += shfl_xor(sum, m);
    u64 at = ((u64)token * a.heads + head) * a.v + row;
    if (lane == 0 && row < a.v) { if (BF) ((bf16*)a.out)[at] = to_bf16(sum); else ((float*)a.out)[at] = sum; }
}
KERNEL(THREADS, 2, combine_f32, Combine) { combine<false>(a); }
KERNEL(THREADS, 2, combine_bf16, Combine) { combine<true>(a); }
KERNEL(THREADS, 2, means_bf16, Combine) {
    SHARED(shared);
    float* x = (float*)shared;
    mean(a, x, blockIdx.x, blockIdx.z);
    bf16* out = (bf16*)a.out + ((u64)blockIdx.z * a.heads + blockIdx.x) * a.kv_lora;
    for (int k = threadIdx.x; k < a.kv_lora; k += THREADS) out[k] = to_bf16(x[k]);
}

#ifdef INFILL_EMULATE
static std::vector<double> plain_mean(const Combine& a, int t, int h) {
    std::vector<double> x(a.kv_lora);
    double most = -INFINITY, total = 0;
    for (int s = 0; s < a.splits; s++) most = std::max(most, double(a.ml[(((u64)s * a.n + t) * a.heads + h) * 2]));
    for (int s = 0; s < a.splits; s++) {
        u64 row = ((u64)s * a.n + t) * a.heads + h;
        if (a.ml[row * 2 + 1] == 0) continue;
        double w = std::exp(a.ml[row * 2] - most);
        total += w * a.ml[row * 2 + 1];
        for (int k = 0; k < a.kv_lora; k++) x[k] += w * a.acc[row * a.kv_lora + k];
    }
    for (double& v : x) v /= total;
    return x;
}
template <class Put> static void plain(const Combine& a, Put put) {
    for (int t = 0; t < a.n; t++) for (int h = 0; h < a.heads; h++) {
        auto x = plain_mean(a, t, h);
        for (int r = 0; r < a.v; r++) {
            double sum = 0;
            for (int k = 0; k < a.kv_lora; k++) sum += x[k] * from_bf16(a.wv[((u64)h * a.v + r) * a.kv_lora + k]);
            put(((u64)t * a.heads + h) * a.v + r, float(sum));
        }
    }
}
REFERENCE(combine_f32, Combine) { plain(a, [&](u64 i, float x) { ((float*)a.out)[i] = x; }); }
REFERENCE(combine_bf16, Combine) { plain(a, [&](u64 i, float x) { ((bf16*)a.out)[i] = to_bf16(x); }); }
REFERENCE(means_bf16, Combine) {
    for (int t = 0; t < a.n; t++) for (int h = 0; h < a.heads; h++) {
        auto x = plain_mean(a, t, h);
        for (int k = 0; k < a.kv_lora; k++) ((bf16*)a.out)[((u64)t * a.heads + h) * a.kv_lora + k] = to_bf16(float(x[k]));
    }
}
#endif
