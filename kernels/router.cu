// Which experts a token goes to: RMSNorm, scores, softmax over all experts, then the best ones (of the best groups).
//
// Compile: kernels/check router
// Shapes: x f32 [n, hidden], norm f32 [hidden], w f32 [experts, hidden] -> ids int32 and weights f32 [n, chosen], ids ascending.
//   groups = 0: greedy. Otherwise a group is as good as its best expert, and experts outside the `used` best groups count 0.
//   weight = softmax · scale, or divided by the sum of the chosen first (normalise). Ties go to the lower number.
// Versions: a matrix product and a second kernel for the choice; now the last block of a token (a ticket in global memory) chooses, one
//   launch less a layer. T = 1 for decode, 8 for prefill, where a warp chooses for one token each.
// Expected on an H200: Lite, one token: 0.5 MB, about 2 us, all of it latency. Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"

struct Router {
    const float* x; const float* norm; const u8* w; float* scores; int* tickets; int* ids; float* weights;
    int hidden, experts, chosen, groups, used, normalise, n; float scale, eps; int unused;
};

// The lane's best, made the warp's best: the larger value, then the lower index. Lane 0 has the last word, so that NaN cannot split a warp.
DEVICE int warp_best(float value, int index) {
    for (int m = 16; m > 0; m >>= 1) {
        float v = shfl_xor(value, m);
        int i = shfl_xor(index, m);
        if (v > value || (v == value && i < index)) { value = v; index = i; }
    }
    return shfl(index, 0);
}

// One warp, one token; p [experts] in shared memory. Scores were written by other blocks: read past the L1.
DEVICE void choose(const Router& a, const volatile float* scores, float* p, int* ids, float* weights) {
    const int lane = threadIdx.x & 31;
    float most = minus_infinity(), sum = 0;
    for (int e = lane; e < a.experts; e += 32) { p[e] = scores[e]; most = fmax_(most, p[e]); }
    most = warp_max(most);
    for (int e = lane; e < a.experts; e += 32) { p[e] = expf(p[e] - most); sum += p[e]; }
    sum = warp_sum(sum);
    for (int e = lane; e < a.experts; e += 32) p[e] /= sum;
    sync_warp();
    if (a.groups > 0) {
        const int size = a.experts / a.groups;
        float top = minus_infinity();
        for (int i = 0; lane < a.groups && i < size; i++) top = fmax_(top, p[lane * size + i]);
        u32 kept = 0;
        for (int i = 0; i < a.used; i++) {
            int group = warp_best(top, lane);
            kept |= 1u << group;
            if (lane == group) top = minus_infinity();
        }
        sync_warp();
        for (int e = lane; e < a.experts; e += 32) if (!(kept >> (e / size) & 1)) p[e] = 0;
        sync_warp();
    }
    int mine = 0x7fffffff;
    float weight = 0;
    for (int s = 0; s < a.chosen; s++) {
        float value = lane < a.experts ? p[lane] : minus_infinity();
        int index = lane < a.experts ? lane : 0x7fffffff;
        for (int e = lane + 32; e < a.experts; e += 32) if (p[e] > value) { value = p[e]; index = e; }
        int expert = warp_best(value, index);
        float w = p[expert];
        sync_warp();
        if (lane == expert % 32) p[expert] = minus_infinity();
        sync_warp();
        if (lane == s) { mine = expert; weight = w; }
    }
    float total = warp_sum(lane < a.chosen ? weight : 0.0f);
    float factor = a.normalise ? a.scale / (total + 1e-20f) : a.scale;
    int rank = 0;
    for (int s = 0; s < a.chosen; s++) {
        int other = shfl(mine, s);
        rank += other < mine || (other == mine && s < lane);
    }
    if (lane < a.chosen) { ids[rank] = mine; weights[rank] = weight * factor; }
}

template <int T> DEVICE void router(const Router& a) {
    SHARED(shared);
    const int most = T == 8 ? 1024 : 2048, all = (a.hidden + 255) / 256 * 256, cap = all < most ? all : most;
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, expert = blockIdx.x * WARPS + warp, token = blockIdx.y * T;
    const int n = a.n - token < T ? a.n - token : T;
    const u64 index[1] = {(u64)(expert < a.experts ? expert : a.experts - 1)};
    const u8* row[1] = {a.w + index[0] * row_bytes<F32>(a.hidden)};
    const void* scales[1] = {nullptr};
    float acc[1][T] = {}, ss[T] = {};
    for (int k = 0; k < a.hidden; k += cap) {
        int count = a.hidden - k < cap ? a.hidden - k : cap;
        if (k) sync_block();
        stage<F32, T>(shared, cap, a.x + (u64)token * a.hidden, a.hidden, n, a.norm, k, count, ss);
        sync_block();
        accumulate<F32, T, 1>(acc, row, scales, index, a.hidden, shared, cap, 0, k, count);
    }
    sync_block();
    block_sums<T>(ss, (float*)shared);
#pragma unroll
    for (int t = 0; t < T; t++) {
        float score = warp_sum(acc[0][t]) * inverse_rms(ss[t], a.hidden, a.eps);
        if (lane == 0 && t < n && expert < a.experts) a.scores[(u64)(token + t) * a.experts + expert] = score;
    }
    fence();
    sync_block();
    int* last = (int*)shared;
    if (threadIdx.x == 0) {
        *last = add_atomic(a.tickets + blockIdx.y, 1) == (int)gridDim.x - 1;
        if (*last) a.tickets[blockIdx.y] = 0;
    }
    sync_block();
    bool chooses = *last;
    sync_block();
    fence();
    if (chooses && warp < n) {
        u64 t = token + warp;
        choose(a, a.scores + t * a.experts, (float*)shared + warp * a.experts, a.ids + t * a.chosen, a.weights + t * a.chosen);
    }
}
KERNEL(THREADS, 2, router_1, Router) { router<1>(a); }
KERNEL(THREADS, 2, router_8, Router) { router<8>(a); }

#ifdef INFILL_EMULATE
REFERENCE(router, Router) {
    for (int t = 0; t < a.n; t++) {
        const float* x = a.x + (u64)t * a.hidden;
        double ss = 0, sum = 0;
        for (int k = 0; k < a.hidden; k++) ss += double(x[k]) * x[k];
        std::vector<double> p(a.experts);
        for (int e = 0; e < a.experts; e++) {
            for (int k = 0; k < a.hidden; k++) p[e] += double(x[k]) * a.norm[k] * ((const float*)a.w)[(u64)e * a.hidden + k];
            p[e] /= std::sqrt(ss / a.hidden + a.eps);
            a.scores[(u64)t * a.experts + e] = float(p[e]);
        }
        double most = *std::max_element(p.begin(), p.end());
        for (double& v : p) sum += v = std::exp(v - most);
        for (double& v : p) v /= sum;
        if (a.groups > 0) {
            int size = a.experts / a.groups;
            std::vector<std::pair<double, int>> tops;
            for (int g = 0; g < a.groups; g++) tops.push_back({-*std::max_element(p.begin() + g * size, p.begin() + (g + 1) * size), g});
            std::sort(tops.begin(), tops.end());
            for (int g = a.used; g < a.groups; g++) std::fill_n(p.begin() + tops[g].second * size, size, 0.0);
        }
        std::vector<std::pair<int, double>> chosen;
        double total = 0;
        for (int s = 0; s < a.chosen; s++) {
            int best = int(std::max_element(p.begin(), p.end()) - p.begin());
            chosen.push_back({best, p[best]});
            total += p[best];
            p[best] = -1;
        }
        std::sort(chosen.begin(), chosen.end());
        for (int s = 0; s < a.chosen; s++) {
            a.ids[t * a.chosen + s] = chosen[s].first;
            a.weights[t * a.chosen + s] = float(chosen[s].second * (a.normalise ? a.scale / (total + 1e-20) : a.scale));
        }
    }
}
#endif
