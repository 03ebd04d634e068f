// All kernels and their references in one library for the CPU: see emulate.h and tests/gpu.
//
//   g++ -std=c++17 -O2 -shared -fPIC -DINFILL_EMULATE -Ikernels kernels/emulate.cpp -o libkernels.so
#define INFILL_EMULATE_EXPORTS
#include "common.cuh"
#include "dot.cuh"
#include "mla.cuh"
#include "slot.cuh"
#define ADD(name) namespace name {
ADD(f_embed)
#include "embed.cu"
}
ADD(f_norm)
#include "norm.cu"
}
ADD(f_gemv)
#include "gemv.cu"
}
ADD(f_experts)
#include "experts.cu"
}
ADD(f_router)
#include "router.cu"
}
ADD(f_latent)
#include "latent.cu"
}
ADD(f_mla_decode)
#include "mla_decode.cu"
}
ADD(f_mla_combine)
#include "mla_combine.cu"
}
ADD(f_mla_tiles)
#include "mla_tiles.cu"
}
ADD(f_gemm)
#include "gemm.cu"
}
ADD(f_sort)
#include "sort.cu"
}
ADD(f_sample)
#include "sample.cu"
}
ADD(f_copy)
#include "copy.cu"
}
