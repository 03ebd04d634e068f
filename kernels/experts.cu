// The second half of a layer for few tokens, as two products: act = silu(gate · x) * (up · x), then x += Σ weight · down · act.
//
// Compile: kernels/check experts
// Shapes: stacks of experts gate, up [experts · inner, hidden], down [experts · hidden, inner]; one more MLP that every token goes through
//   (shared experts, or a dense layer with chosen = 0) of width shared_inner; ids int32 and weights f32 [n, chosen], ids ascending;
//   x f32 [n, hidden] with its RMSNorm; act f32 [n, ldact] = the chosen experts' values one after the other, then the shared ones.
//   The sum of a token is: shared, then the experts in ascending order, as on the CPU.
// Versions: a kernel for each expert would be 3 · 8 launches a layer. Here (token, expert) pairs are blockIdx.y, shared ones too. The
//   second kernel keeps all of act (11,264 values for Lite, 45 KB in f32) in shared memory behind one barrier; a version that staged it
//   expert by expert waited seven times.
// Expected on an H200: Lite, bf16, one token: gate and up 92 MB in 21.5 us, down 46 MB in 10.8 us; Q8_0 0.53 of that, Q4_K 0.28. Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"

struct GateUp {
    const u8* gate; const void* gate_scales; const u8* up; const void* up_scales;
    const u8* shared_gate; const void* shared_gate_scales; const u8* shared_up; const void* shared_up_scales;
    const float* x; const float* norm; const int* ids; float* act;
    int hidden, inner, shared_inner, n, chosen, ldact; float eps; int unused;
};
struct Down {
    const u8* w; const void* scales; const u8* shared_w; const void* shared_scales;
    const float* act; const int* ids; const float* weights; float* x;
    int hidden, inner, shared_inner, n, chosen, ldact, ldx, unused;
};

DEVICE int chunk_of(int cols) { int all = (cols + 255) / 256 * 256; return all < 2048 ? all : 2048; }

// blockIdx.y: the n · chosen pairs, then (where shared_inner > 0) the n tokens for the shared MLP. Warp: one row of gate and one of up.
template <int F> DEVICE void gate_up(const GateUp& a) {
    SHARED(shared);
    const int pairs = a.n * a.chosen, y = blockIdx.y;
    const bool routed = y < pairs;
    const int token = routed ? y / a.chosen : y - pairs, width = routed ? a.inner : a.shared_inner;
    if ((int)blockIdx.x * WARPS >= width) return;
    const int cap = chunk_of(a.hidden), mine = blockIdx.x * WARPS + threadIdx.x / 32;
    const u64 at = (routed ? (u64)a.ids[y] * a.inner : 0) + (mine < width ? mine : width - 1);
    const u64 size = row_bytes<F>(a.hidden);
    const u8* row[2] = {(routed ? a.gate : a.shared_gate) + at * size, (routed ? a.up : a.shared_up) + at * size};
    const void* scales[2] = {routed ? a.gate_scales : a.shared_gate_scales, routed ? a.up_scales : a.shared_up_scales};
    const u64 index[2] = {at, at};
    float acc[2][1] = {}, ss[1] = {};
    for (int k = 0; k < a.hidden; k += cap) {
        int count = a.hidden - k < cap ? a.hidden - k : cap;
        if (k) sync_block();
        stage<F, 1>(shared, cap, a.x + (u64)token * a.hidden, a.hidden, 1, a.norm, k, count, ss);
        sync_block();
        accumulate<F, 1, 2>(acc, row, scales, index, a.hidden, shared, cap, 0, k, count);
    }
    sync_block();
    block_sums<1>(ss, (float*)shared);
    float scale = inverse_rms(ss[0], a.hidden, a.eps);
    float gate = warp_sum(acc[0][0]) * scale, up = warp_sum(acc[1][0]) * scale;
    if ((threadIdx.x & 31) == 0 && mine < width)
        a.act[(u64)token * a.ldact + (routed ? (y % a.chosen) * a.inner : a.chosen * a.inner) + mine] = silu(gate) * up;
}

// blockIdx.y: the token. Warp: one row of the result.
template <int F> DEVICE void down(const Down& a) {
    SHARED(shared);
    const int token = blockIdx.y, all = a.chosen * a.inner + a.shared_inner, cap = (all + 255) / 256 * 256;
    const int mine = blockIdx.x * WARPS + threadIdx.x / 32;
    const u64 at = mine < a.hidden ? mine : a.hidden - 1;
    float ss[1] = {};
    stage<F, 1>(shared, cap, a.act + (u64)token * a.ldact, a.ldact, 1, nullptr, 0, all, ss);
    sync_block();
    float total = 0;
    if (a.shared_inner > 0) {
        float acc[1][1] = {};
        const u8* row[1] = {a.shared_w + at * row_bytes<F>(a.shared_inner)};
        const void* scales[1] = {a.shared_scales};
        const u64 index[1] = {at};
        accumulate<F, 1, 1>(acc, row, scales, index, a.shared_inner, shared, cap, a.chosen * a.inner, 0, a.shared_inner);
        total = acc[0][0];
    }
    for (int s = 0; s < a.chosen; s++) {
        float acc[1][1] = {};
        const u64 index[1] = {(u64)a.ids[token * a.chosen + s] * a.hidden + at};
        const u8* row[1] = {a.w + index[0] * row_bytes<F>(a.inner)};
        const void* scales[1] = {a.scales};
        accumulate<F, 1, 1>(acc, row, scales, index, a.inner, shared, cap, s * a.inner, 0, a.inner);
        total += a.weights[token * a.chosen + s] * acc[0][0];
    }
    total = warp_sum(total);
    // A NaN that eight-bit rounding would hide.
    sync_block();
    block_sums<1>(ss, (float*)shared);
    if (is_nan(ss[0])) total = ss[0];
    if ((threadIdx.x & 31) == 0 && mine < a.hidden) a.x[(u64)token * a.ldx + mine] += total;
}

#define ALL(F, f) \
    KERNEL(THREADS, 2, gate_up_##f, GateUp) { gate_up<F>(a); } \
    KERNEL(THREADS, 2, down_##f, Down) { down<F>(a); }
ALL(BF16, bf16) ALL(Q8_0, q8_0) ALL(Q4_K, q4_k) ALL(F8, f8)
#undef ALL

#ifdef INFILL_EMULATE
template <int F> static void plain_gate_up(const GateUp& a) {
    for (int y = 0; y < a.n * (a.chosen + (a.shared_inner > 0)); y++) {
        bool routed = y < a.n * a.chosen;
        int token = routed ? y / a.chosen : y - a.n * a.chosen, width = routed ? a.inner : a.shared_inner;
        const float* x = a.x + (u64)token * a.hidden;
        double ss = 0;
        for (int k = 0; k < a.hidden; k++) ss += double(x[k]) * x[k];
        double rms = std::sqrt(ss / a.hidden + a.eps);
        for (int i = 0; i < width; i++) {
            u64 row = (routed ? (u64)a.ids[y] * a.inner : 0) + i;
            double g = 0, u = 0;
            for (int k = 0; k < a.hidden; k++) {
                double v = x[k] / rms * a.norm[k];
                g += v * weight<F>(routed ? a.gate : a.shared_gate, routed ? a.gate_scales : a.shared_gate_scales, a.hidden, row, k);
                u += v * weight<F>(routed ? a.up : a.shared_up, routed ? a.up_scales : a.shared_up_scales, a.hidden, row, k);
            }
            a.act[(u64)token * a.ldact + (routed ? (y % a.chosen) * a.inner : a.chosen * a.inner) + i] = float(g / (1 + std::exp(-g)) * u);
        }
    }
}
template <int F> static void plain_down(const Down& a) {
    for (int t = 0; t < a.n; t++) for (int r = 0; r < a.hidden; r++) {
        double total = 0;
        const float* act = a.act + (u64)t * a.ldact;
        for (int k = 0; k < a.shared_inner; k++) total += double(act[a.chosen * a.inner + k]) * weight<F>(a.shared_w, a.shared_scales, a.shared_inner, r, k);
        for (int s = 0; s < a.chosen; s++) {
            u64 row = (u64)a.ids[t * a.chosen + s] * a.hidden + r;
            for (int k = 0; k < a.inner; k++) total += double(a.weights[t * a.chosen + s]) * act[s * a.inner + k] * weight<F>(a.w, a.scales, a.inner, row, k);
        }
        a.x[(u64)t * a.ldx + r] += float(total);
    }
}
#define ALL(F, f) \
    REFERENCE(gate_up_##f, GateUp) { plain_gate_up<F>(a); } \
    REFERENCE(down_##f, Down) { plain_down<F>(a); }
ALL(BF16, bf16) ALL(Q8_0, q8_0) ALL(Q4_K, q4_k) ALL(F8, f8)
#undef ALL
#endif
