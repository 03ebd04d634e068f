// How one position of one layer lies in the latent pool [blocks][layers][16]: the normed latent, then the rotated key.
//
//   bf16   kv_lora + rope bf16                                              published widths: 1,152 bytes, 31,104 for a token of Lite
//   FP8    kv_lora E4M3 | a f32 scale for each 128 of them | rope bf16      published widths:   656 bytes, 17,712 for a token of Lite
//
// FP8 is laid out as FlashMLA's "FP8 with scale", which vLLM and SGLang have for DeepSeek-V3.2. The rotated key stays bf16: it is a
// ninth of the values, and no norm bounds it. A scale is a power of two that puts the largest of its values between 224 and 448: as E4M3
// is a floating-point format, nothing is lost by that, and value · scale is exact in bf16, so a reader rounds nothing and multiplies
// what the cache holds. A value is off by 1/16 of itself at most, or by 1/229,376 of the largest of its 128 where that is more.
// Scales end at 128: larger latents than 57,344 are cut to that (normed ones reach 22.6 times the norm's weight).
// NaN in a scale makes all of its values NaN: so unwritten slots (bytes 0xff, or copy.cu's) read as NaN in both formats.
#pragma once
#include "common.cuh"

static const int F8_GROUP = 128;

template <bool F8> DEVICE int scales_bytes(int kv_lora) { return F8 ? (kv_lora + F8_GROUP - 1) / F8_GROUP * 4 : 0; }
// Where the rotated key begins, and how long a slot is: multiples of 4 (16 for the published widths), as kv_lora is one of 8 and rope even.
template <bool F8> DEVICE int key_at(int kv_lora) { return F8 ? kv_lora + scales_bytes<F8>(kv_lora) : kv_lora * 2; }
template <bool F8> DEVICE int slot_bytes(int kv_lora, int rope) { return key_at<F8>(kv_lora) + rope * 2; }

// The larger one; NaN where one is.
DEVICE float most_of(float a, float b) { return a > b || is_nan(a) ? a : b; }
// The scale of values up to `most`.
DEVICE float f8_scale(float most) {
    float ratio = most / 448.0f;
    if (ratio > 128.0f) ratio = 128.0f;
    if (ratio < as_float(27u << 23)) ratio = as_float(27u << 23);  // 2^-100
    return is_nan(ratio) ? ratio : as_float((as_bits(ratio) + 0x7fffffu) & 0xff800000u);
}
// To the nearest E4M3, ties to even, at most 448.
DEVICE u8 to_f8(float x) {
    u32 u = as_bits(x), sign = u >> 24 & 0x80u, size = u & 0x7fffffffu;
    if (size > 0x7f800000u) return 0x7f;
    // Below 2^-6 all codes are 2^-9 apart, as floats at 2^14 are: the sum rounds, and its last bits are the code.
    if (size < 121u << 23) return (u8)(sign | (as_bits(as_float(size) + 16384.0f) & 0xffu));
    u32 code = ((size + 0x7ffffu + (size >> 20 & 1u)) >> 20) - (120u << 3);
    return (u8)(sign | (code < 0x7eu ? code : 0x7eu));
}
// A scale in the form that `expand_f8` multiplies with: the bits of an E4M3 at their place in a bf16 are 2^120 too small.
DEVICE u32 f8_factor(float scale) { u32 f = as_bits(scale * as_float(247u << 23)) >> 16; return f | f << 16; }
// Four values as two pairs of bf16.
DEVICE uint2 expand_f8(u32 four, u32 factor) {
    u32 a = byte_perm(four, 0, 0x1404), b = byte_perm(four, 0, 0x3424);  // each byte on top of 16 bits
    uint2 v;
    v.x = mul_bf16x2((a & 0x80008000u) | (a >> 4 & 0x07f007f0u), factor);
    v.y = mul_bf16x2((b & 0x80008000u) | (b >> 4 & 0x07f007f0u), factor);
    return v;
}

#ifdef INFILL_EMULATE
// The plain reference of all that, from the format's definition.
static double plain_from_f8(u8 x) {
    int exponent = x >> 3 & 15, mantissa = x & 7;
    double size = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
    return x & 0x80 ? -size : size;
}
static u8 plain_to_f8(double x) {
    int best = 0;
    for (int c = 1; c < 127; c++) {
        double now = std::fabs(plain_from_f8(c) - std::fabs(x)), before = std::fabs(plain_from_f8(best) - std::fabs(x));
        if (now < before || (now == before && c % 2 == 0)) best = c;
    }
    return u8(best | (std::signbit(x) ? 0x80 : 0));
}
static void plain_write(bool f8, u8* slot, const std::vector<double>& x, int kv_lora) {
    for (int k = 0; k < (int)x.size(); k++)
        if (!f8) ((bf16*)slot)[k] = to_bf16(float(x[k]));
        else if (k >= kv_lora) ((bf16*)(slot + key_at<true>(kv_lora)))[k - kv_lora] = to_bf16(float(x[k]));
    for (int g = 0; g < kv_lora && f8; g += F8_GROUP) {
        int end = std::min(kv_lora, g + F8_GROUP), exponent;
        double most = 0;
        for (int k = g; k < end; k++) most = std::max(most, std::fabs(x[k]));
        most = std::min(128.0, std::max(std::ldexp(1, -100), most / 448));
        double scale = std::ldexp(1, std::frexp(most, &exponent) == 0.5 ? exponent - 1 : exponent);
        ((float*)(slot + kv_lora))[g / F8_GROUP] = float(scale);
        for (int k = g; k < end; k++) slot[k] = plain_to_f8(x[k] / scale);
    }
}
static double plain_read(bool f8, const u8* slot, int k, int kv_lora) {
    if (!f8) return from_bf16(((const bf16*)slot)[k]);
    if (k < kv_lora) return plain_from_f8(slot[k]) * ((const float*)(slot + kv_lora))[k / F8_GROUP];
    return from_bf16(((const bf16*)(slot + key_at<true>(kv_lora)))[k - kv_lora]);
}
#endif
