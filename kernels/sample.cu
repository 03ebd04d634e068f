// The most probable token of a row of logits under a mask, its log-probability, and the state of the next decode step.
//
// Compile: kernels/check sample
// Shapes: logits f32 [rows, vocab]; mask u32, a bit for each token that healing allows, or null; tokens from `limit` on
//   (rows of the head that the tokenizer has no token for) are never taken. Grid (blocks, rows): picked int32 [rows, 1 + 1] as (token, bits of
//   the f32 log-probability among those allowed); -1 where no logit is a number. The lower number wins a tie, as on the CPU.
//   With `next` (each row is another sequence): tokens[row] = its token, start[row] += 1, so that the next step of a captured graph needs
//   nothing from the host, and the pick is also written to trace[row, step[row]] of trace int32 [rows, next, 2], step[row] += 1.
//   mask [rows, ceil(vocab / 32)].
// Versions: logits went to the host (410 KB a token, about 20 us, and the CPU's pass over 102,400 numbers).
// Expected on an H200: 3 us. Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"

struct Sample {
    const float* logits; const u32* mask; float* partial; int* tickets; int* picked; int* tokens; int* start; int* trace; int* step;
    int vocab, limit, next, unused;
};
struct Best { float most; int token; float sum; };

DEVICE void merge(Best& b, float most, int token, float sum) {
    if (token < 0) return;
    if (b.token < 0) { b.most = most; b.token = token; b.sum = sum; return; }
    float top = fmax_(b.most, most);
    b.sum = b.sum * expf(b.most - top) + sum * expf(most - top);
    if (most > b.most || (most == b.most && token < b.token)) b.token = token;
    b.most = top;
}
DEVICE void merge_warp(Best& b) {
    for (int m = 16; m > 0; m >>= 1) {
        float most = shfl_xor(b.most, m), sum = shfl_xor(b.sum, m);
        int token = shfl_xor(b.token, m);
        merge(b, most, token, sum);
    }
}
// All threads' into thread 0.
DEVICE void merge_block(Best& b, float* scratch) {
    merge_warp(b);
    sync_block();
    if ((threadIdx.x & 31) == 0) { float* s = scratch + threadIdx.x / 32 * 3; s[0] = b.most; s[1] = as_float((u32)b.token); s[2] = b.sum; }
    sync_block();
    if (threadIdx.x == 0) for (int w = 1; w < WARPS; w++) merge(b, scratch[w * 3], (int)as_bits(scratch[w * 3 + 1]), scratch[w * 3 + 2]);
}

KERNEL(THREADS, 2, sample, Sample) {
    SHARED(shared);
    const int row = blockIdx.y, blocks = gridDim.x, end = a.limit < a.vocab ? a.limit : a.vocab;
    const float* logits = a.logits + (u64)row * a.vocab;
    const u32* mask = a.mask ? a.mask + (u64)row * ((a.vocab + 31) / 32) : nullptr;
    Best b = {minus_infinity(), -1, 0};
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < end; i += blocks * THREADS) {
        float x = logits[i];
        // -inf has no weight, and e^(-inf + inf) would be no number.
        bool allowed = !mask || (mask[i / 32] >> (i % 32) & 1);
        if (allowed && !is_nan(x) && x > minus_infinity()) merge(b, x, i, 1.0f);
    }
    merge_block(b, (float*)shared);
    float* partial = a.partial + (u64)row * blocks * 3;
    int* last = (int*)shared + 3 * WARPS;
    if (threadIdx.x == 0) {
        float* p = partial + blockIdx.x * 3;
        p[0] = b.most; p[1] = as_float((u32)b.token); p[2] = b.sum;
        fence();
        *last = add_atomic(a.tickets + row, 1) == blocks - 1;
        if (*last) a.tickets[row] = 0;
        fence();
    }
    sync_block();
    if (!*last) return;
    Best all = {minus_infinity(), -1, 0};
    for (int i = threadIdx.x; i < blocks; i += THREADS) {
        volatile const float* p = partial + i * 3;
        merge(all, p[0], (int)as_bits(p[1]), p[2]);
    }
    merge_block(all, (float*)shared);
    if (threadIdx.x == 0) {
        float logprob = -logf(all.sum);
        a.picked[row * 2] = all.token;
        a.picked[row * 2 + 1] = (int)as_bits(logprob);
        if (a.next) {
            int step = a.step[row], *trace = a.trace + ((u64)row * a.next + step) * 2;
            trace[0] = all.token;
            trace[1] = (int)as_bits(logprob);
            a.step[row] = step + 1;
            a.tokens[row] = all.token < 0 ? 0 : all.token;
            a.start[row] += 1;
        }
    }
}

#ifdef INFILL_EMULATE
REFERENCE(sample, Sample) {  // two rows
    for (int row = 0; row < 2; row++) {
        int best = -1;
        double sum = 0;
        const float* x = a.logits + (u64)row * a.vocab;
        const u32* mask = a.mask ? a.mask + (u64)row * ((a.vocab + 31) / 32) : nullptr;
        auto allowed = [&](int i) { return (!mask || (mask[i / 32] >> (i % 32) & 1)) && !is_nan(x[i]); };
        for (int i = 0; i < std::min(a.limit, a.vocab); i++) if (allowed(i) && (best < 0 || x[i] > x[best])) best = i;
        for (int i = 0; i < std::min(a.limit, a.vocab); i++) if (allowed(i)) sum += std::exp(double(x[i]) - x[best]);
        a.picked[row * 2] = best;
        a.picked[row * 2 + 1] = (int)as_bits(float(-std::log(sum)));
        if (a.next) {
            int* trace = a.trace + ((u64)row * a.next + a.step[row]) * 2;
            trace[0] = best;
            trace[1] = a.picked[row * 2 + 1];
            a.step[row] += 1; a.tokens[row] = best; a.start[row] += 1;
        }
    }
}
#endif
