// Runs the kernels on a CPU: the same source, compiled by g++ with -DINFILL_EMULATE, one fibre per CUDA thread.
//
//   g++ -std=c++17 -O2 -shared -fPIC -DINFILL_EMULATE -x c++ all.cpp -o libkernels.so
//
// It is an emulation: it shows that the arithmetic, the indices, the barriers and the layouts of fragments are right as PTX documents
// them. It says nothing of speed, of races inside a warp, or of what a real device does.
//
// What it makes visible:
// - shared memory and outputs begin as NaN, and end at a page that cannot be touched;
// - warps go on together, or one after the other from barrier to barrier (from the last, shuffled): a missing barrier changes the result;
// - cp.async copies only when it is waited for; a barrier that not all threads reach stops the program.
#pragma once
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>
#include <algorithm>
#include <sys/mman.h>
#include <ucontext.h>

typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef unsigned long long u64;
struct dim3e { unsigned x, y, z; };
struct alignas(16) uint4 { u32 x, y, z, w; };
struct alignas(8) uint2 { u32 x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }

namespace emu {
enum State { READY, WARP, BLOCK, DONE };
struct Fibre {
    ucontext_t start; jmp_buf here; bool begun = false; State state = DONE; unsigned generation = 0, ops = 0;
    std::vector<u8> stack; std::vector<std::vector<std::function<void()>>> groups; std::vector<std::function<void()>> open;
};
struct Warp { unsigned arrived = 0, generation = 0; u64 slots[2][32][8]; };
struct Machine {
    std::vector<Fibre> fibres; std::vector<Warp> warps; jmp_buf scheduler; int current = 0; unsigned threads = 0;
    unsigned arrived = 0, generation = 0; const std::function<void()>* body = nullptr; u8* shared = nullptr; const char* kernel = "";
};
inline Machine m;
inline dim3e tid, bid, gdim, bdim;

[[noreturn]] inline void fail(const char* what) { fprintf(stderr, "emulated kernel %s, block (%u,%u,%u), thread %d: %s\n", m.kernel, bid.x, bid.y, bid.z, m.current, what); abort(); }

inline void yield() {
    if (_setjmp(m.fibres[m.current].here) == 0) _longjmp(m.scheduler, 1);
}
inline void entry() {
    for (;;) { (*m.body)(); m.fibres[m.current].state = DONE; yield(); }
}
inline void resume(int i) {
    Fibre& f = m.fibres[i];
    m.current = i; tid = {unsigned(i), 0, 0};
    if (_setjmp(m.scheduler) != 0) return;
    if (f.begun) _longjmp(f.here, 1);
    f.begun = true; f.stack.resize(256 << 10);
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = f.stack.data(); f.start.uc_stack.ss_size = f.stack.size(); f.start.uc_link = nullptr;
    makecontext(&f.start, entry, 0);
    setcontext(&f.start);
}
inline void block_barrier() {
    Fibre& f = m.fibres[m.current];
    f.generation = m.generation; f.state = BLOCK;
    if (++m.arrived == m.threads) { m.arrived = 0; m.generation++; }
    yield();
}
// All 32 lanes meet; each leaves up to eight words, and may then read the others'.
template <class F> inline auto exchange(const void* mine, size_t size, F read) {
    Fibre& f = m.fibres[m.current]; Warp& w = m.warps[m.current / 32];
    unsigned side = f.ops++ & 1;
    memcpy(w.slots[side][m.current & 31], mine, size);
    f.generation = w.generation; f.state = WARP;
    if (++w.arrived == 32) { w.arrived = 0; w.generation++; }
    yield();
    return read(w.slots[side]);
}
inline bool runnable(int i) {
    Fibre& f = m.fibres[i];
    switch (f.state) {
        case READY: return true;
        case WARP: return m.warps[i / 32].generation != f.generation;
        case BLOCK: return m.generation != f.generation;
        default: return false;
    }
}
inline void run_block(const std::function<void()>& body, unsigned threads, int order, unsigned seed) {
    if (m.fibres.size() < threads) m.fibres.resize(threads);
    m.warps.assign((threads + 31) / 32, Warp());
    m.threads = threads; m.body = &body; m.arrived = 0;
    for (unsigned i = 0; i < threads; i++) { m.fibres[i].state = READY; m.fibres[i].ops = 0; }
    auto random = [&](unsigned n) { seed = seed * 1664525u + 1013904223u; return (seed >> 8) % n; };
    auto turns = [&](unsigned n) {
        std::vector<int> turn(n);
        for (unsigned i = 0; i < n; i++) turn[i] = order == 1 ? n - 1 - i : i;
        if (order == 2) for (unsigned i = n - 1; i > 0; i--) std::swap(turn[i], turn[random(i + 1)]);
        return turn;
    };
    const std::vector<int> warps = turns(threads / 32), lanes = turns(32);
    // Order 0: all warps go on together. The others: one warp as far as it can, then the next, so that what a missing barrier
    // would let one warp overwrite is overwritten.
    for (;;) {
        bool any = false;
        unsigned done = 0;
        for (int w : warps) for (bool moved = true; moved;) {
            moved = false;
            for (int l : lanes) if (int i = w * 32 + l; runnable(i)) { m.fibres[i].state = READY; resume(i); any = moved = true; }
            if (order == 0) break;
        }
        for (unsigned i = 0; i < threads; i++) done += m.fibres[i].state == DONE;
        if (done == threads) break;
        if (!any) fail("a barrier or a warp operation that not all threads reach");
    }
    for (unsigned i = 0; i < threads; i++) if (!m.fibres[i].open.empty() || !m.fibres[i].groups.empty()) fail("a cp.async that nobody waited for");
}
struct Entry { size_t args; std::function<void(const void*)> run; unsigned threads; };
inline std::map<std::string, Entry>& kernels() { static std::map<std::string, Entry> all; return all; }
inline std::map<std::string, Entry>& references() { static std::map<std::string, Entry> all; return all; }
struct Register { Register(std::map<std::string, Entry>& to, const char* name, size_t args, unsigned threads, std::function<void(const void*)> run) { to[name] = {args, run, threads}; } };

// `bytes` that end where the next page faults (up to the 16 bytes of alignment), filled with `fill`.
inline void* guarded(size_t bytes, int fill) {
    size_t page = 4096, all = (bytes + page - 1) / page * page;
    u8* at = (u8*)mmap(nullptr, all + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return nullptr;
    mprotect(at + all, page, PROT_NONE);
    if (fill) memset(at, fill, all);
    return at + (all - (bytes + 15) / 16 * 16);
}
inline void unguard(void* p, size_t bytes) {
    size_t page = 4096, all = (bytes + page - 1) / page * page;
    munmap((u8*)p - (all - (bytes + 15) / 16 * 16), all + page);
}
}  // namespace emu

#define threadIdx emu::tid
#define blockIdx emu::bid
#define gridDim emu::gdim
#define blockDim emu::bdim
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define RESTRICT
#define SHARED(name) u8* name = emu::m.shared
#define KERNEL(threads, blocks, name, Args) \
    static void name##_body(const Args& a); \
    static emu::Register name##_kernel(emu::kernels(), #name, sizeof(Args), threads, [](const void* p) { name##_body(*(const Args*)p); }); \
    static void name##_body(const Args& a)
#define REFERENCE(name, Args) \
    static void name##_reference(const Args& a); \
    static emu::Register name##_ref(emu::references(), #name, sizeof(Args), 0, [](const void* p) { name##_reference(*(const Args*)p); }); \
    static void name##_reference(const Args& a)

DEVICE void sync_block() { emu::block_barrier(); }
DEVICE void sync_warp() { int x = 0; emu::exchange(&x, 4, [](auto&) { return 0; }); }
template <class T> DEVICE T shfl_xor(T v, int mask) { return emu::exchange(&v, sizeof v, [&](auto& s) { T r; memcpy(&r, s[(threadIdx.x & 31) ^ mask], sizeof r); return r; }); }
template <class T> DEVICE T shfl(T v, int lane) { return emu::exchange(&v, sizeof v, [&](auto& s) { T r; memcpy(&r, s[lane], sizeof r); return r; }); }
DEVICE float as_float(u32 x) { float f; memcpy(&f, &x, 4); return f; }
DEVICE u32 as_bits(float x) { u32 u; memcpy(&u, &x, 4); return u; }
DEVICE float half_to_float(u16 x) { _Float16 h; memcpy(&h, &x, 2); return (float)h; }
DEVICE int dp4a(int a, int b, int c) { for (int i = 0; i < 4; i++) c += int(int8_t(a >> 8 * i)) * int(int8_t(b >> 8 * i)); return c; }
DEVICE u32 byte_perm(u32 a, u32 b, u32 which) { u64 all = u64(b) << 32 | a; u32 r = 0; for (int i = 0; i < 4; i++) r |= u32(all >> 8 * (which >> 4 * i & 7) & 0xff) << 8 * i; return r; }
DEVICE u32 mul_bf16x2(u32 a, u32 b) {
    auto one = [](u32 x, u32 y) {
        u32 u = as_bits(as_float(x << 16) * as_float(y << 16));  // exact: 8 bits times 8 bits
        return (u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    };
    return one(a & 0xffff, b & 0xffff) | one(a >> 16, b >> 16) << 16;
}
DEVICE uint4 load_once(const void* p) { uint4 v; memcpy(&v, p, 16); if ((uintptr_t)p & 15) emu::fail("a load of 16 bytes that is not aligned"); return v; }
DEVICE int add_atomic(int* p, int v) { int old = *p; *p += v; return old; }
DEVICE void fence() {}
DEVICE float fmax_(float a, float b) { return fmaxf(a, b); }
DEVICE void copy16_async(void* to, const void* from, bool valid) {
    if (((uintptr_t)to | (valid ? (uintptr_t)from : 0)) & 15) emu::fail("a cp.async that is not aligned");
    emu::m.fibres[emu::m.current].open.push_back([=] { if (valid) memcpy(to, from, 16); else memset(to, 0, 16); });
}
DEVICE void commit_async() { auto& f = emu::m.fibres[emu::m.current]; f.groups.push_back(std::move(f.open)); f.open.clear(); }
template <int N> DEVICE void wait_async() {
    auto& g = emu::m.fibres[emu::m.current].groups;
    while ((int)g.size() > N) { for (auto& copy : g.front()) copy(); g.erase(g.begin()); }
}
// Fragments as in the PTX manual, "Matrix fragments for mma.m16n8k16".
DEVICE void mma(float c[4], const u32 a[4], const u32 b[2]) {
    u32 mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    emu::exchange(mine, sizeof mine, [&](auto& s) {
        int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
        auto word = [&](int l, int i) { u32 w[6]; memcpy(w, s[l], sizeof w); return w[i]; };
        auto part = [&](u32 w, int odd) { return as_float(odd ? w & 0xffff0000u : w << 16); };
        auto A = [&](int row, int k) { return part(word((row & 7) * 4 + (k & 7) / 2, (row >> 3) + 2 * (k >> 3)), k & 1); };
        auto B = [&](int k, int n) { return part(word(n * 4 + (k & 7) / 2, 4 + (k >> 3)), k & 1); };
        for (int i = 0; i < 4; i++) {
            int row = g + 8 * (i >> 1), col = 2 * t + (i & 1);
            double sum = c[i];
            for (int k = 0; k < 16; k++) sum += double(A(row, k)) * B(k, col);
            c[i] = float(sum);
        }
        return 0;
    });
}
// Four 8×8 matrices of 16-bit values; lane l gives the address of row l % 8 of matrix l / 8.
template <bool TRANSPOSE> DEVICE void load_matrices(u32 r[4], const void* row) {
    if ((uintptr_t)row & 15) emu::fail("an ldmatrix row that is not aligned");
    emu::exchange(&row, sizeof row, [&](auto& s) {
        int lane = threadIdx.x & 31;
        for (int i = 0; i < 4; i++) {
            auto at = [&](int y, int x) { const u16* p; memcpy(&p, s[i * 8 + y], sizeof p); return p[x]; };
            int y = lane / 4, x = 2 * (lane % 4);
            r[i] = TRANSPOSE ? at(x, y) | u32(at(x + 1, y)) << 16 : at(y, x) | u32(at(y, x + 1)) << 16;
        }
        return 0;
    });
}

#ifdef INFILL_EMULATE_EXPORTS
extern "C" {
// 0: ran; 1: no kernel of this name; 2: another size of arguments; 3: another number of threads.
int emulate(const char* name, const unsigned grid[3], unsigned threads, unsigned shared, const void* args, size_t size, int order) {
    auto found = emu::kernels().find(name);
    if (found == emu::kernels().end()) return 1;
    if (found->second.args != size) return 2;
    if (threads % 32 || found->second.threads != threads) return 3;
    emu::m.kernel = found->first.c_str();
    gridDim = {grid[0], grid[1], grid[2]}; blockDim = {threads, 1, 1};
    std::function<void()> body = [&] { found->second.run(args); };
    emu::m.shared = (u8*)emu::guarded(shared, 0xff);
    unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned i = 0; i < blocks; i++) {
        unsigned b = order == 1 ? blocks - 1 - i : i;
        blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        memset(emu::m.shared, 0xff, shared);
        emu::run_block(body, threads, order, b + 1);
    }
    emu::unguard(emu::m.shared, shared);
    return 0;
}
int reference(const char* name, const void* args, size_t size) {
    auto found = emu::references().find(name);
    if (found == emu::references().end()) return 1;
    if (found->second.args != size) return 2;
    found->second.run(args);
    return 0;
}
void* emulate_alloc(size_t bytes, int fill) { return emu::guarded(bytes, fill); }
void emulate_free(void* p, size_t bytes) { emu::unguard(p, bytes); }
}
#endif
