// The embeddings of tokens, as f32.
//
// Compile: kernels/check embed
// Shapes: tokens int32 [n]; table [vocab, cols] in any format; x f32 [n, cols]. Grid n.
// Versions: one. A token outside the vocabulary (never sent by the host) gives NaN rather than a read out of bounds.
// Expected on an H200: one token 4 KB, 2 us, all latency. Not yet run.
// Spill limit: 0 bytes.
#include "common.cuh"

struct Embed { const u8* w; const void* scales; const int* tokens; float* x; int vocab, cols; };

template <int F> DEVICE void embed(const Embed& a) {
    int token = a.tokens[blockIdx.x];
    for (int k = threadIdx.x; k < a.cols; k += 256)
        a.x[(u64)blockIdx.x * a.cols + k] = (u32)token < (u32)a.vocab ? weight<F>(a.w, a.scales, a.cols, token, k) : as_float(0x7fc00000u);
}
KERNEL(256, 1, embed_bf16, Embed) { embed<BF16>(a); }
KERNEL(256, 1, embed_q8_0, Embed) { embed<Q8_0>(a); }
KERNEL(256, 1, embed_q4_k, Embed) { embed<Q4_K>(a); }
KERNEL(256, 1, embed_f8, Embed) { embed<F8>(a); }

#ifdef INFILL_EMULATE
template <int F> static void plain(const Embed& a, int n) {
    for (int t = 0; t < n; t++) for (int k = 0; k < a.cols; k++) a.x[(u64)t * a.cols + k] = weight<F>(a.w, a.scales, a.cols, a.tokens[t], k);
}
// The reference takes three tokens.
REFERENCE(embed_bf16, Embed) { plain<BF16>(a, 3); }
REFERENCE(embed_q8_0, Embed) { plain<Q8_0>(a, 3); }
REFERENCE(embed_q4_k, Embed) { plain<Q4_K>(a, 3); }
REFERENCE(embed_f8, Embed) { plain<F8>(a, 3); }
#endif
