// RMSNorm of rows, to bf16 for the tensor cores; with a residual to add first.
//
// Compile: kernels/check norm
// Shapes: x f32 [n, ldx]; delta f32 [n, cols] or null; weight f32 [cols]; out bf16 [n, cols].   x += delta; out = weight · x / rms(x)
//   rows = which rows of x (int32 [n], for the tokens whose logits are wanted), or null. Grid n.
// Versions: only prefill uses it; in a decode step the norm is part of the product that follows (gemv, experts, router).
// Expected on an H200: 2,000 rows of 2048: 25 MB, 7 us. Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"

struct Norm { float* x; const float* delta; const float* weight; bf16* out; int cols, ldx; float eps; int unused; };

KERNEL(THREADS, 2, rms_norm, Norm) {
    SHARED(shared);
    float* x = a.x + (u64)blockIdx.x * a.ldx;
    const float* delta = a.delta ? a.delta + (u64)blockIdx.x * a.cols : nullptr;
    float ss[1] = {};
    for (int k = threadIdx.x * 4; k < a.cols; k += THREADS * 4) {
        float4 v = *(float4*)(x + k);
        if (delta) {
            float4 d = *(const float4*)(delta + k);
            v.x += d.x; v.y += d.y; v.z += d.z; v.w += d.w;
            *(float4*)(x + k) = v;
        }
        ss[0] += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    block_sums<1>(ss, (float*)shared);
    float scale = inverse_rms(ss[0], a.cols, a.eps);
    for (int k = threadIdx.x * 4; k < a.cols; k += THREADS * 4) {
        float4 v = *(float4*)(x + k), w = *(const float4*)(a.weight + k);
        uint2 packed;
        packed.x = pack_bf16(v.x * scale * w.x, v.y * scale * w.y);
        packed.y = pack_bf16(v.z * scale * w.z, v.w * scale * w.w);
        *(uint2*)(a.out + (u64)blockIdx.x * a.cols + k) = packed;
    }
}

#ifdef INFILL_EMULATE
REFERENCE(rms_norm, Norm) {  // three rows
    for (int t = 0; t < 3; t++) {
        double ss = 0;
        for (int k = 0; k < a.cols; k++) {
            float& x = a.x[(u64)t * a.ldx + k];
            if (a.delta) x += a.delta[(u64)t * a.cols + k];
            ss += double(x) * x;
        }
        for (int k = 0; k < a.cols; k++) a.out[(u64)t * a.cols + k] = to_bf16(float(a.weight[k] * a.x[(u64)t * a.ldx + k] / std::sqrt(ss / a.cols + a.eps)));
    }
}
#endif
