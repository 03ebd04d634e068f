// What the kernels share: names for device and emulation, formats, reductions, tensor-core wrappers.
//
// No CUDA header is included: bf16 is its 16 bits, and everything that is not C++ stands in this file (device) or emulate.h (CPU).
#pragma once
#ifdef INFILL_EMULATE
#include "emulate.h"
#else
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64; typedef signed char int8_t;
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define RESTRICT __restrict__
DEVICE u8* shared_memory() { extern __shared__ __align__(16) u8 dynamic[]; return dynamic; }
#define SHARED(name) u8* name = shared_memory()
#define KERNEL(threads, blocks, name, Args) extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Args a)

DEVICE void sync_block() { __syncthreads(); }
DEVICE void sync_warp() { __syncwarp(); }
template <class T> DEVICE T shfl_xor(T v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
template <class T> DEVICE T shfl(T v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
DEVICE float as_float(u32 x) { return __uint_as_float(x); }
DEVICE u32 as_bits(float x) { return __float_as_uint(x); }
DEVICE float half_to_float(u16 x) { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x)); return f; }
DEVICE int dp4a(int a, int b, int c) { return __dp4a(a, b, c); }
// Four of the bytes of b · 2^32 + a, by the four hexadecimal digits of `which`.
DEVICE u32 byte_perm(u32 a, u32 b, u32 which) { return __byte_perm(a, b, which); }
// Pairs of bf16; -0 is added, as the product alone needs sm_90.
DEVICE u32 mul_bf16x2(u32 a, u32 b) { u32 c; asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(c) : "r"(a), "r"(b), "r"(0x80008000u)); return c; }
// Weights are read once: past the L1.
DEVICE uint4 load_once(const void* p) {
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}
DEVICE int add_atomic(int* p, int v) { return atomicAdd(p, v); }
DEVICE void fence() { __threadfence(); }
DEVICE float fmax_(float a, float b) { return fmaxf(a, b); }
DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
// 16 bytes from global to shared memory, or zeros.
DEVICE void copy16_async(void* to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
DEVICE void commit_async() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void wait_async() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
// c += a · b, 16×16 · 16×8.
DEVICE void mma(float c[4], const u32 a[4], const u32 b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four 8×8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
template <bool TRANSPOSE> DEVICE void load_matrices(u32 r[4], const void* row) {
    if (TRANSPOSE)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
#endif

typedef u16 bf16;
// Positions in one block of the latent pool.
static const int BLOCK = 16;

// How weights lie on the device. A matrix has `rows` rows of `cols` values, cols a multiple of 8.
//   BF16  [rows, cols] bf16
//   Q8_0  [rows, cols] int8, and apart from them [rows, cols / 32] f16 scales: ggml's blocks of 34 bytes would not be aligned
//   Q4_K  [rows, cols / 256] blocks of 144 bytes, as ggml has them
//   F8    [rows, cols] E4M3, and apart from them [rows, ceil(cols / 128)] f32 scales that multiply. Checkpoints have one for 128 × 128, for a
//         row or for the whole tensor: it is repeated for each row, so that matrices of any height lie below each other (3 % more bytes)
//   F32   [rows, cols] f32: routers
enum Format { F32, BF16, Q8_0, Q4_K, F8 };
// Where row `r` of a matrix begins; the scales follow from the index.
struct Weights { const u8* data; const void* scales; };

template <int F> DEVICE u64 row_bytes(int cols) { return F == F32 ? 4ull * cols : F == BF16 ? 2ull * cols : F == Q4_K ? cols / 256 * 144ull : (u64)cols; }
DEVICE float minus_infinity() { return as_float(0xff800000u); }
DEVICE bool is_nan(float x) { return x != x; }
DEVICE float from_bf16(bf16 x) { return as_float((u32)x << 16); }
DEVICE float low_bf16(u32 pair) { return as_float(pair << 16); }
DEVICE float high_bf16(u32 pair) { return as_float(pair & 0xffff0000u); }
// To the nearest, ties to even; NaN stays NaN.
DEVICE bf16 to_bf16(float x) {
    u32 u = as_bits(x);
    return (bf16)((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
DEVICE u32 pack_bf16(float low, float high) { return (u32)to_bf16(low) | (u32)to_bf16(high) << 16; }
// E4M3 (no infinities): its bits, moved up, are an f16 that is 2^8 too small; subnormals come out right. NaN is not expected in weights.
DEVICE float from_f8(u8 x) { return half_to_float((u16)((x & 0x80u) << 8 | (x & 0x7fu) << 7)) * 256.0f; }
// Scale and minimum number j of a Q4_K block, six bits each in twelve bytes.
DEVICE void q4k_scale(const u8* s, int j, int& scale, int& least) {
    if (j < 4) { scale = s[j] & 63; least = s[j + 4] & 63; }
    else { scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4; least = (s[j + 4] >> 4) | (s[j] >> 6) << 4; }
}
// One weight, slowly: for references and for rows that are expanded once.
template <int F> DEVICE float weight(const void* data, const void* scales, int cols, u64 row, int col) {
    u64 at = row * cols + col;
    if (F == F32) return ((const float*)data)[at];
    if (F == BF16) return from_bf16(((const bf16*)data)[at]);
    if (F == Q8_0) return (float)((const int8_t*)data)[at] * half_to_float(((const u16*)scales)[at / 32]);
    if (F == F8) return from_f8(((const u8*)data)[at]) * ((const float*)scales)[row * ((cols + 127) / 128) + col / 128];
    const u8* b = (const u8*)data + at / 256 * 144;
    int in = (int)(at % 256), j = in / 32, q = b[16 + in / 64 * 32 + in % 32], scale, least;
    q4k_scale(b + 4, j, scale, least);
    q = j & 1 ? q >> 4 : q & 15;
    return half_to_float(((const u16*)b)[0]) * (float)scale * (float)q - half_to_float(((const u16*)b)[1]) * (float)least;
}
DEVICE float warp_sum(float x) {
    for (int m = 16; m > 0; m >>= 1) x += shfl_xor(x, m);
    return x;
}
DEVICE float warp_max(float x) {
    for (int m = 16; m > 0; m >>= 1) x = fmax_(x, shfl_xor(x, m));
    return x;
}
DEVICE float silu(float x) { return x / (1.0f + expf(-x)); }
DEVICE int ceil_div(int a, int b) { return (a + b - 1) / b; }
