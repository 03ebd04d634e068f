// What the attention kernels share: their arguments and the plain reference.
#pragma once
#include "dot.cuh"
#include "slot.cuh"

// q [n, heads, kv_lora + rope], f32 or bf16 as the kernel says; acc f32 [splits, n, heads, kv_lora]; ml f32 [splits, n, heads, 2].
// Each `group` tokens are of one sequence z, which begin at position start[z]; its block table begins at table[first[z]].
// Split s covers positions s · span.., span a multiple of 64; token t of sequence z sees positions 0..=start[z] + t.
// Per split: m the largest scaled score, l = Σ e^(score - m), acc = Σ e^(score - m) · latent. A split without positions has m = -inf, l = 0 and
// leaves acc alone.
// pool as in slot.cuh: bf16, or FP8 in the kernels that end in _f8.
struct Mla {
    const void* q; const u8* pool; const int* table; const int* first; const int* start; float* acc; float* ml;
    int n, heads, kv_lora, rope, layer, layers, splits, span, group; float scale;
};
// The slot of a position.
template <bool F8> DEVICE const u8* latent_of(const Mla& a, const int* table, int position) {
    return a.pool + (((u64)table[position / BLOCK] * a.layers + a.layer) * BLOCK + position % BLOCK) * slot_bytes<F8>(a.kv_lora, a.rope);
}

#ifdef INFILL_EMULATE
template <bool BF, bool F8> static void plain_mla(const Mla& a) {
    const int width = a.kv_lora + a.rope;
    for (int s = 0; s < a.splits; s++) for (int t = 0; t < a.n; t++) for (int h = 0; h < a.heads; h++) {
        u64 row = ((u64)t * a.heads + h) * width, out = ((u64)s * a.n + t) * a.heads + h;
        auto q = [&](int k) { return BF ? from_bf16(((const bf16*)a.q)[row + k]) : ((const float*)a.q)[row + k]; };
        int end = std::min((s + 1) * a.span, a.start[t / a.group] + t % a.group + 1);
        const int* table = a.table + a.first[t / a.group];
        std::vector<double> scores;
        double most = -INFINITY, sum = 0;
        for (int p = s * a.span; p < end; p++) {
            double dot = 0;
            for (int k = 0; k < width; k++) dot += double(q(k)) * plain_read(F8, latent_of<F8>(a, table, p), k, a.kv_lora);
            scores.push_back(dot * a.scale);
            most = std::max(most, scores.back());
        }
        std::vector<double> mean(a.kv_lora);
        for (size_t i = 0; i < scores.size(); i++) {
            int p = s * a.span + int(i);
            double w = std::exp(scores[i] - most);
            sum += w;
            for (int k = 0; k < a.kv_lora; k++) mean[k] += w * plain_read(F8, latent_of<F8>(a, table, p), k, a.kv_lora);
        }
        a.ml[out * 2] = float(most); a.ml[out * 2 + 1] = float(sum);
        for (int k = 0; k < a.kv_lora && !scores.empty(); k++) a.acc[out * a.kv_lora + k] = float(mean[k]);
    }
}
#endif
