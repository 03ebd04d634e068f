// Tokens by expert for the grouped products of a prefill, and their results summed back.
//
// Compile: kernels/check sort
// Shapes: ids int32 [n, chosen] -> from int32 [n · chosen], the token of each sorted row; place int32 [n, chosen], the sorted row of each pair;
//   tiles int32 [most, 3] = (expert, first row, end row of the expert) for at most 64 rows each, expert -1 behind the last. One block.
//   gather: x f32 [n, hidden] += Σ weights[t, s] · rows f32 [n · chosen, hidden] at place[t, s], s ascending (experts ascending). Grid n.
// Versions: the order of an expert's rows is left to atomics: a row's result does not depend on its place. (A stable sort cost more.)
// Expected on an H200: 12,288 pairs, about 8 us; gather 100 MB, 25 us. Not yet run.
// Spill limit: 0 bytes.
#include "dot.cuh"

struct Sort { const int* ids; int* from; int* place; int* tiles; int n, chosen, experts, most; };
struct Gather { const float* rows; const int* place; const float* weights; float* x; int hidden, chosen; };
static const int TILE = 64;

KERNEL(1024, 1, sort, Sort) {
    SHARED(shared);
    int* count = (int*)shared;           // [experts]
    int* first = count + a.experts;      // [experts + 1]
    const int pairs = a.n * a.chosen;
    for (int e = threadIdx.x; e < a.experts; e += 1024) count[e] = 0;
    sync_block();
    for (int i = threadIdx.x; i < pairs; i += 1024) add_atomic(count + a.ids[i], 1);
    sync_block();
    if (threadIdx.x == 0) {
        int at = 0, tile = 0;
        for (int e = 0; e < a.experts; e++) {
            first[e] = at;
            for (int r = 0; r < count[e] && tile < a.most; r += TILE, tile++) { a.tiles[3 * tile] = e; a.tiles[3 * tile + 1] = at + r; a.tiles[3 * tile + 2] = at + count[e]; }
            at += count[e];
            count[e] = 0;
        }
        first[a.experts] = tile;
    }
    sync_block();
    for (int i = first[a.experts] + threadIdx.x; i < a.most; i += 1024) a.tiles[3 * i] = -1;
    for (int i = threadIdx.x; i < pairs; i += 1024) {
        int e = a.ids[i], row = first[e] + add_atomic(count + e, 1);
        a.from[row] = i / a.chosen;
        a.place[i] = row;
    }
}

KERNEL(THREADS, 2, gather, Gather) {
    const int t = blockIdx.x;
    for (int k = threadIdx.x * 4; k < a.hidden; k += THREADS * 4) {
        float4 sum = *(float4*)(a.x + (u64)t * a.hidden + k);
        for (int s = 0; s < a.chosen; s++) {
            float w = a.weights[t * a.chosen + s];
            float4 v = *(const float4*)(a.rows + (u64)a.place[t * a.chosen + s] * a.hidden + k);
            sum.x += w * v.x; sum.y += w * v.y; sum.z += w * v.z; sum.w += w * v.w;
        }
        *(float4*)(a.x + (u64)t * a.hidden + k) = sum;
    }
}

#ifdef INFILL_EMULATE
REFERENCE(sort, Sort) {
    int at = 0, tile = 0;
    for (int e = 0; e < a.experts; e++) {
        int begin = at;
        for (int i = 0; i < a.n * a.chosen; i++) if (a.ids[i] == e) { a.from[at] = i / a.chosen; a.place[i] = at++; }
        for (int r = begin; r < at; r += TILE, tile++) { a.tiles[3 * tile] = e; a.tiles[3 * tile + 1] = r; a.tiles[3 * tile + 2] = at; }
    }
    for (; tile < a.most; tile++) a.tiles[3 * tile] = -1;
}
REFERENCE(gather, Gather) {  // three tokens
    for (int t = 0; t < 3; t++) for (int k = 0; k < a.hidden; k++) {
        double sum = a.x[(u64)t * a.hidden + k];
        for (int s = 0; s < a.chosen; s++) sum += double(a.weights[t * a.chosen + s]) * a.rows[(u64)a.place[t * a.chosen + s] * a.hidden + k];
        a.x[(u64)t * a.hidden + k] = float(sum);
    }
}
#endif
