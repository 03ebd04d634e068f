// Rows of weights times vectors that a block keeps in shared memory: the inner part of gemv, experts and router.
//
// `stage` brings up to `cap` values of T vectors into shared memory, in the form that a weight format multiplies with; `accumulate`
// adds the products of R rows of one warp to acc[R][T]. The sum of an element runs in the same order for every T.
//   BF16, F8, F32   f32. Of each eight values the first four lie in one half and the others in the other half: 128-bit reads without conflicts
//   Q8_0, Q4_K      int8 with an f32 scale for 32 values (as ggml's Q8_1), so that dp4a does four products at once; for Q4_K also the
//                   sum of each 16
#pragma once
#include "common.cuh"

static const int THREADS = 256, WARPS = THREADS / 32;

template <int F> DEVICE constexpr bool is_quantised() { return F == Q8_0 || F == Q4_K; }
// Bytes of shared memory for one staged vector; cap is a multiple of 256.
template <int F> DEVICE int staged_bytes(int cap) { return is_quantised<F>() ? cap + cap / 32 * 4 + cap / 16 * 4 : cap * 4; }

DEVICE u32 round_byte(float x) {
#ifdef INFILL_EMULATE
    return (u32)(int)lrintf(x) & 255u;
#else
    return (u32)__float2int_rn(x) & 255u;
#endif
}

// Values k0..k0 + count of each vector, times `norm` where there is one; ss[t] += their squares (before `norm`).
template <int F, int T> DEVICE void stage(u8* to, int cap, const float* RESTRICT x, int ldx, int n, const float* RESTRICT norm, int k0, int count, float (&ss)[T]) {
    for (int base = 0; base < count; base += THREADS * 4) {
        int i = base + (int)threadIdx.x * 4;
        bool inside = i < count;
        float4 w = norm && inside ? *(const float4*)(norm + k0 + i) : make_float4(1, 1, 1, 1);
#pragma unroll
        for (int t = 0; t < T; t++) {
            float4 v = inside && t < n ? *(const float4*)(x + (u64)t * ldx + k0 + i) : make_float4(0, 0, 0, 0);
            ss[t] += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
            v.x *= w.x; v.y *= w.y; v.z *= w.z; v.w *= w.w;
            u8* vector = to + t * staged_bytes<F>(cap);
            if (!is_quantised<F>()) {
                if (inside) *(float4*)(vector + 4 * ((i >> 2 & 1) * (cap / 2) + (i >> 3) * 4)) = v;
                continue;
            }
            // Eight threads hold a block of 32.
            float most = fmax_(fmax_(fabsf(v.x), fabsf(v.y)), fmax_(fabsf(v.z), fabsf(v.w)));
            for (int m = 1; m < 8; m <<= 1) most = fmax_(most, shfl_xor(most, m));
            float scale = most / 127.0f, inverse = most > 0.0f ? 127.0f / most : 0.0f;
            u32 q = round_byte(v.x * inverse) | round_byte(v.y * inverse) << 8 | round_byte(v.z * inverse) << 16 | round_byte(v.w * inverse) << 24;
            int sum = dp4a((int)q, 0x01010101, 0);
            sum += shfl_xor(sum, 1);
            sum += shfl_xor(sum, 2);
            // A NaN must not become a finite sum.
            bool bad = is_nan(v.x) || is_nan(v.y) || is_nan(v.z) || is_nan(v.w);
            if (inside) {
                *(u32*)(vector + i) = q;
                float* scales = (float*)(vector + cap);
                if (i % 32 == 0) scales[i / 32] = scale;
                float* sums = scales + cap / 32;
                if (i % 16 == 0) sums[i / 16] = scale * (float)sum;
            }
            if (bad) ss[t] = as_float(0x7fc00000u);
        }
    }
}

// acc[r][t] += Σ weights of row r, columns k0..k0 + count, × staged values at..at + count of vector t.
// row[r] is the row's first byte, index[r] its number (for scales).
template <int F, int T, int R>
DEVICE void accumulate(float (&acc)[R][T], const u8* const (&row)[R], const void* const (&scales)[R], const u64 (&index)[R], int cols, const u8* staged, int cap, int at, int k0, int count) {
    const int lane = threadIdx.x & 31, size = staged_bytes<F>(cap);
    if (F == BF16) {
#pragma unroll 4
        for (int c = lane * 8; c < count; c += 256) {
            uint4 w[R];
#pragma unroll
            for (int r = 0; r < R; r++) w[r] = load_once(row[r] + 2ull * (k0 + c));
#pragma unroll
            for (int t = 0; t < T; t++) {
                const float* x = (const float*)(staged + t * size) + ((at + c) >> 3) * 4;
                float4 a = *(const float4*)x, b = *(const float4*)(x + cap / 2);
#pragma unroll
                for (int r = 0; r < R; r++) {
                    float s = acc[r][t];
                    s += low_bf16(w[r].x) * a.x; s += high_bf16(w[r].x) * a.y; s += low_bf16(w[r].y) * a.z; s += high_bf16(w[r].y) * a.w;
                    s += low_bf16(w[r].z) * b.x; s += high_bf16(w[r].z) * b.y; s += low_bf16(w[r].w) * b.z; s += high_bf16(w[r].w) * b.w;
                    acc[r][t] = s;
                }
            }
        }
    } else if (F == F32) {
#pragma unroll 4
        for (int c = lane * 4; c < count; c += 128) {
            uint4 w[R];
#pragma unroll
            for (int r = 0; r < R; r++) w[r] = load_once(row[r] + 4ull * (k0 + c));
#pragma unroll
            for (int t = 0; t < T; t++) {
                float4 a = *(const float4*)((const float*)(staged + t * size) + ((at + c) >> 2 & 1) * (cap / 2) + ((at + c) >> 3) * 4);
#pragma unroll
                for (int r = 0; r < R; r++) {
                    float s = acc[r][t];
                    s += as_float(w[r].x) * a.x; s += as_float(w[r].y) * a.y; s += as_float(w[r].z) * a.z; s += as_float(w[r].w) * a.w;
                    acc[r][t] = s;
                }
            }
        }
    } else if (F == F8) {
#pragma unroll (T == 8 ? 1 : 2)
        for (int c = lane * 16; c < count; c += 512) {
            // Columns are a multiple of 16.
            uint4 w[R];
            float scale[R];
#pragma unroll
            for (int r = 0; r < R; r++) {
                w[r] = load_once(row[r] + k0 + c);
                scale[r] = ((const float*)scales[r])[index[r] * ((cols + 127) / 128) + (k0 + c) / 128];
            }
#pragma unroll
            for (int t = 0; t < T; t++) {
                const float* x = (const float*)(staged + t * size) + ((at + c) >> 3) * 4;
#pragma unroll
                for (int r = 0; r < R; r++) {
                    u32 words[4] = {w[r].x, w[r].y, w[r].z, w[r].w};
                    float s = 0;
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        float4 a = *(const float4*)(x + (i & 1) * (cap / 2) + (i >> 1) * 4);
                        s += from_f8(words[i] & 255) * a.x; s += from_f8(words[i] >> 8 & 255) * a.y;
                        s += from_f8(words[i] >> 16 & 255) * a.z; s += from_f8(words[i] >> 24) * a.w;
                    }
                    acc[r][t] += scale[r] * s;
                }
            }
        }
    } else if (F == Q8_0) {
#pragma unroll 4
        for (int c = lane * 16; c < count; c += 512) {
            uint4 w[R];
            float scale[R];
#pragma unroll
            for (int r = 0; r < R; r++) {
                w[r] = load_once(row[r] + k0 + c);
                scale[r] = half_to_float(((const u16*)scales[r])[(index[r] * cols + k0 + c) / 32]);
            }
#pragma unroll
            for (int t = 0; t < T; t++) {
                const u8* x = staged + t * size;
                uint4 q = *(const uint4*)(x + at + c);
                float unit = ((const float*)(x + cap))[(at + c) / 32];
#pragma unroll
                for (int r = 0; r < R; r++) {
                    int s = dp4a(w[r].x, q.x, dp4a(w[r].y, q.y, dp4a(w[r].z, q.z, dp4a(w[r].w, q.w, 0))));
                    acc[r][t] += scale[r] * unit * (float)s;
                }
            }
        }
    } else {
        // A block of 256 for eight lanes; a lane has 16 bytes, so 16 low and 16 high nibbles of two sub-blocks of 32.
        const int part = lane & 7, pair = part >> 1, half = part & 1;
#pragma unroll 2
        for (int c = (lane >> 3) * 256; c < count; c += 1024) {
            uint4 w[R];
            float d0[R], d1[R], m0[R], m1[R];
#pragma unroll
            for (int r = 0; r < R; r++) {
                const u8* block = row[r] + (u64)((k0 + c) / 256) * 144;
                uint4 head = load_once(block);
                w[r] = load_once(block + 16 + part * 16);
                float d = half_to_float(head.x & 0xffff), m = half_to_float(head.x >> 16);
                int shift = (pair & 1) * 16;
                u32 low = head.y >> shift, middle = head.z >> shift, high = head.w >> shift;
                u32 s0, s1, l0, l1;
                if (pair < 2) { s0 = low & 63; s1 = low >> 8 & 63; l0 = middle & 63; l1 = middle >> 8 & 63; }
                else {
                    s0 = (high & 15) | (low >> 6 & 3) << 4; s1 = (high >> 8 & 15) | (low >> 14 & 3) << 4;
                    l0 = (high >> 4 & 15) | (middle >> 6 & 3) << 4; l1 = (high >> 12 & 15) | (middle >> 14 & 3) << 4;
                }
                d0[r] = d * (float)s0; d1[r] = d * (float)s1; m0[r] = m * (float)l0; m1[r] = m * (float)l1;
            }
            int e = at + c + pair * 64 + half * 16;
#pragma unroll
            for (int t = 0; t < T; t++) {
                const u8* x = staged + t * size;
                uint4 a = *(const uint4*)(x + e), b = *(const uint4*)(x + e + 32);
                const float* units = (const float*)(x + cap);
                const float* sums = units + cap / 32;
                float u0 = units[e / 32], u1 = units[e / 32 + 1], t0 = sums[e / 16], t1 = sums[e / 16 + 2];
#pragma unroll
                for (int r = 0; r < R; r++) {
                    const u32 low = 0x0f0f0f0fu;
                    int s0 = dp4a(w[r].x & low, a.x, dp4a(w[r].y & low, a.y, dp4a(w[r].z & low, a.z, dp4a(w[r].w & low, a.w, 0))));
                    int s1 = dp4a(w[r].x >> 4 & low, b.x, dp4a(w[r].y >> 4 & low, b.y, dp4a(w[r].z >> 4 & low, b.z, dp4a(w[r].w >> 4 & low, b.w, 0))));
                    acc[r][t] += d0[r] * u0 * (float)s0 - m0[r] * t0 + d1[r] * u1 * (float)s1 - m1[r] * t1;
                }
            }
        }
    }
}

// ss[t] summed over the block, left in every thread; `scratch` holds WARPS · T floats.
template <int T> DEVICE void block_sums(float (&ss)[T], float* scratch) {
#pragma unroll
    for (int t = 0; t < T; t++) {
        float s = warp_sum(ss[t]);
        if ((threadIdx.x & 31) == 0) scratch[t * WARPS + threadIdx.x / 32] = s;
    }
    sync_block();
#pragma unroll
    for (int t = 0; t < T; t++) {
        float s = 0;
        for (int w = 0; w < WARPS; w++) s += scratch[t * WARPS + w];
        ss[t] = s;
    }
}
DEVICE float inverse_rms(float squares, int cols, float eps) { return 1.0f / sqrtf(squares / (float)cols + eps); }
