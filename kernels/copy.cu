// Copies the first slots of one block of the latent pool to another, in every layer; the other slots of the target become NaN.
//
// Compile: kernels/check copy
// Shapes: pool u16 [blocks][layers][16][width], width half the bytes of a slot (slot.cuh). Grid layers. slots = 0 only poisons: in FP8, by its
//   scales, whose bits 0x7fc07fc0 are NaN.
// Versions: one; a copy per layer by the driver would be 27 calls.
// Expected on an H200: 0.5 MB, 2 us. Not yet run.
// Spill limit: 0 bytes.
#include "common.cuh"

struct Copy { u16* pool; int from, to, slots, layers, width, unused; };

KERNEL(256, 1, copy_block, Copy) {
    const u64 size = (u64)BLOCK * a.width;
    const u16* from = a.pool + ((u64)a.from * a.layers + blockIdx.x) * size;
    u16* to = a.pool + ((u64)a.to * a.layers + blockIdx.x) * size;
    for (int i = threadIdx.x; i < BLOCK * a.width; i += 256) to[i] = i < a.slots * a.width ? from[i] : 0x7fc0;
}

#ifdef INFILL_EMULATE
REFERENCE(copy_block, Copy) {
    for (int l = 0; l < a.layers; l++) for (int i = 0; i < 16 * a.width; i++)
        a.pool[((u64)a.to * a.layers + l) * 16 * a.width + i] = i / a.width < a.slots ? a.pool[((u64)a.from * a.layers + l) * 16 * a.width + i] : 0x7fc0;
}
#endif
