// A stand-in for NVIDIA's driver: libcuda.so for a machine without one, whose device is the emulation of the kernels.
//
//   g++ -std=c++17 -O2 -fno-gnu-unique -shared -fPIC -DINFILL_EMULATE -Ikernels kernels/driver.cpp -o libcuda.so.1
//   LD_LIBRARY_PATH=. INFILL_TEST_DEVICE=cuda:0 INFILL_KERNELS=$PWD/libcuda.so.1 ./gpu-…
//
// It is there to run src/model/cuda/driver.rs itself, and is as unkind as CUDA's manual allows a driver to be:
// - nothing that is queued in a stream runs before somebody waits for it, so memory that changes or goes too early is seen;
// - ordinary memory is copied at the call, pinned memory when its turn comes; freed memory cannot be touched;
// - while a graph is recorded, allocating, freeing and waiting fail, and so does a function that was not loaded before;
// - every call wants the context of its thread; launches keep the limits of grids, threads and shared memory (48 KB unless allowed more).
// FAKE_DRIVER (12040), FAKE_CAPABILITY (90), FAKE_GPUS (1), FAKE_MEMORY (2000000000 bytes) and FAKE_SHARED (232448) describe the device.
#include "emulate.cpp"
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, CAPTURE_UNSUPPORTED = 900 };
// Capture modes.
enum { GLOBAL = 0, THREAD_LOCAL = 1 };

namespace fake {
std::recursive_mutex lock;
long setting(const char* name, long value) { const char* text = getenv(name); return text ? atol(text) : value; }

struct Function { std::string name; unsigned threads; size_t args; int shared = 48 << 10; bool loaded = false; };
struct Module { std::vector<std::unique_ptr<Function>> functions; };
typedef std::function<void()> Work;
struct Event { u64 at = 0; };
struct Graph { std::vector<Work> work; };
struct Stream {
    std::deque<Work> queue;
    u64 queued = 0, done = 0;
    std::unique_ptr<Graph> capture;
    // The thread whose other calls fail while this captures; none: those of all threads.
    std::thread::id only;
    void add(Work work) {
        if (capture) { capture->work.push_back(std::move(work)); return; }
        queue.push_back(std::move(work)); queued++;
    }
    void run(u64 until) {
        while (done < until && !queue.empty()) { Work work = std::move(queue.front()); queue.pop_front(); done++; work(); }
    }
};
std::set<Stream*> streams;
std::map<u64, size_t> memory, pinned;
size_t used = 0;
int context = 0;  // its address is the context
thread_local void* current = nullptr;

bool capturing() {
    const std::thread::id everybody, me = std::this_thread::get_id();
    for (Stream* s : streams) if (s->capture && (s->only == everybody || s->only == me)) return true;
    return false;
}
// What almost every call asks first.
CUresult ready(bool while_capturing) {
    if (!current) return INVALID_CONTEXT;
    return capturing() && !while_capturing ? CAPTURE_UNSUPPORTED : OK;
}
bool is_pinned(const void* p) {
    auto after = pinned.upper_bound((u64)p);
    return after != pinned.begin() && (u64)p < (--after)->first + after->second;
}
}  // namespace fake

using namespace fake;
#define CALL extern "C" CUresult
#define LOCKED std::lock_guard<std::recursive_mutex> guard(fake::lock)
#define READY(while_capturing) LOCKED; if (CUresult bad = ready(while_capturing)) return bad

CALL cuInit(unsigned) { return setting("FAKE_GPUS", 1) ? OK : NO_DEVICE; }
CALL cuDriverGetVersion(int* version) { *version = (int)setting("FAKE_DRIVER", 12040); return OK; }
CALL cuDeviceGetCount(int* count) { *count = (int)setting("FAKE_GPUS", 1); return OK; }
CALL cuDeviceGet(CUdevice* device, int index) { *device = index; return index < setting("FAKE_GPUS", 1) ? OK : INVALID_VALUE; }
CALL cuDeviceGetName(char* name, int size, CUdevice) { snprintf(name, size, "an emulation behind a driver"); return OK; }
CALL cuDeviceTotalMem_v2(size_t* bytes, CUdevice) { *bytes = setting("FAKE_MEMORY", 2000000000); return OK; }
CALL cuDeviceGetAttribute(int* value, int which, CUdevice) {
    const int capability = (int)setting("FAKE_CAPABILITY", 90);
    switch (which) {
        case 75: *value = capability / 10; return OK;
        case 76: *value = capability % 10; return OK;
        case 97: *value = (int)setting("FAKE_SHARED", 232448); return OK;
        case 16: *value = 4; return OK;
        default: return INVALID_VALUE;
    }
}
CALL cuDevicePrimaryCtxRetain(void** c, CUdevice) { *c = &context; return OK; }
CALL cuDevicePrimaryCtxRelease_v2(CUdevice) { return OK; }
CALL cuCtxSetCurrent(void* c) { current = c; return OK; }
CALL cuGetErrorName(CUresult error, const char** text) {
    switch (error) {
        case INVALID_VALUE: *text = "CUDA_ERROR_INVALID_VALUE"; break;
        case OUT_OF_MEMORY: *text = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case INVALID_CONTEXT: *text = "CUDA_ERROR_INVALID_CONTEXT"; break;
        case CAPTURE_UNSUPPORTED: *text = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"; break;
        case NO_DEVICE: *text = "CUDA_ERROR_NO_DEVICE"; break;
        default: *text = "CUDA_ERROR_UNKNOWN";
    }
    return OK;
}
CALL cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

CALL cuStreamCreate(Stream** stream, unsigned) { READY(false); streams.insert(*stream = new Stream); return OK; }
CALL cuStreamDestroy_v2(Stream* stream) { READY(false); streams.erase(stream); delete stream; return OK; }
CALL cuStreamSynchronize(Stream* stream) { READY(false); stream->run(stream->queued); return OK; }
CALL cuEventCreate(Event** event, unsigned) { READY(false); *event = new Event; return OK; }
CALL cuEventDestroy_v2(Event* event) { READY(false); delete event; return OK; }
CALL cuEventRecord(Event* event, Stream* stream) { READY(false); event->at = stream->queued; return OK; }
CALL cuEventSynchronize(Event* event) {
    READY(false);
    // One stream is enough here.
    for (Stream* stream : streams) stream->run(event->at);
    return OK;
}

CALL cuMemGetInfo_v2(size_t* free, size_t* all) { READY(true); *all = setting("FAKE_MEMORY", 2000000000); *free = *all - std::min(*all, used); return OK; }
CALL cuMemAlloc_v2(CUdeviceptr* at, size_t bytes) {
    READY(false);
    if (!bytes) return INVALID_VALUE;
    if (used + bytes > (size_t)setting("FAKE_MEMORY", 2000000000)) return OUT_OF_MEMORY;
    *at = (CUdeviceptr)emu::guarded(bytes, 0xff);
    memory[*at] = bytes; used += bytes;
    return OK;
}
CALL cuMemFree_v2(CUdeviceptr at) {
    READY(false);
    auto found = memory.find(at);
    if (found == memory.end()) return INVALID_VALUE;
    // Whatever is still queued and uses it dies of that.
    emu::unguard((void*)at, found->second);
    used -= found->second; memory.erase(found);
    return OK;
}
CALL cuMemHostAlloc(void** at, size_t bytes, unsigned) { READY(false); *at = emu::guarded(bytes, 0xff); pinned[(u64)*at] = bytes; return OK; }
CALL cuMemFreeHost(void* at) {
    READY(false);
    auto found = pinned.find((u64)at);
    if (found == pinned.end()) return INVALID_VALUE;
    emu::unguard(at, found->second); pinned.erase(found);
    return OK;
}
CALL cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, Stream* stream) {
    READY(false);
    if (is_pinned(from)) { stream->add([=] { memcpy((void*)to, from, bytes); }); return OK; }
    std::shared_ptr<std::vector<u8>> staged(new std::vector<u8>((const u8*)from, (const u8*)from + bytes));
    stream->add([=] { memcpy((void*)to, staged->data(), bytes); });
    return OK;
}
CALL cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, Stream* stream) {
    READY(false);
    stream->add([=] { memcpy(to, (const void*)from, bytes); });
    if (!is_pinned(to)) stream->run(stream->queued);
    return OK;
}
CALL cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t bytes, Stream* stream) { READY(false); stream->add([=] { memset((void*)at, value, bytes); }); return OK; }

CALL cuModuleLoadDataEx(Module** module, const void* image, unsigned, int*, void**) {
    READY(false);
    std::string text((const char*)image), target = setting("FAKE_CAPABILITY", 90) == 90 ? ".target sm_90a" : ".target sm_80";
    if (text.find(target) == std::string::npos) return INVALID_IMAGE;
    std::unique_ptr<Module> made(new Module);
    const std::string mark = ".visible .entry ";
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
        size_t begin = at + mark.size(), end = text.find('(', begin);
        std::string name = text.substr(begin, end - begin);
        auto found = emu::kernels().find(name);
        if (found == emu::kernels().end()) return NOT_FOUND;
        made->functions.emplace_back(new Function{name, found->second.threads, found->second.args});
    }
    *module = made.release();
    return OK;
}
CALL cuModuleUnload(Module* module) { READY(false); delete module; return OK; }
CALL cuModuleGetFunction(Function** function, Module* module, const char* name) {
    READY(false);
    for (auto& f : module->functions) if (f->name == name) { *function = f.get(); return OK; }
    return NOT_FOUND;
}
CALL cuFuncSetAttribute(Function* function, int which, int value) {
    READY(false);
    if (which != 8 || value > setting("FAKE_SHARED", 232448)) return INVALID_VALUE;
    function->shared = value;
    return OK;
}
CALL cuFuncLoad(Function* function) { READY(false); function->loaded = true; return OK; }
CALL cuLaunchKernel(Function* f, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared, Stream* stream, void** parameters, void** extra) {
    READY(true);
    if (!x || !y || !z || x > 0x7fffffffu || y > 65535 || z > 65535 || tx != f->threads || ty != 1 || tz != 1 || extra) return INVALID_VALUE;
    if ((int)shared > f->shared) return INVALID_VALUE;
    if (stream->capture && !f->loaded) return CAPTURE_UNSUPPORTED;
    f->loaded = true;
    std::vector<u8> args((const u8*)parameters[0], (const u8*)parameters[0] + f->args);
    std::string name = f->name;
    stream->add([=] {
        const unsigned grid[3] = {x, y, z};
        if (emulate(name.c_str(), grid, tx, shared, args.data(), args.size(), 0)) abort();
    });
    return OK;
}

CALL cuStreamBeginCapture_v2(Stream* stream, int mode) {
    READY(false);
    if (mode != GLOBAL && mode != THREAD_LOCAL) return INVALID_VALUE;
    stream->capture.reset(new Graph);
    stream->only = mode == GLOBAL ? std::thread::id() : std::this_thread::get_id();
    return OK;
}
CALL cuStreamEndCapture(Stream* stream, Graph** graph) { LOCKED; *graph = stream->capture.release(); return *graph ? OK : INVALID_VALUE; }
CALL cuGraphInstantiateWithFlags(Graph** run, Graph* graph, u64) { READY(false); *run = new Graph(*graph); return OK; }
CALL cuGraphLaunch(Graph* run, Stream* stream) {
    READY(false);
    // The executable graph may be destroyed when the launch is queued: its work is copied.
    for (const Work& work : run->work) stream->add(work);
    return OK;
}
CALL cuGraphExecDestroy(Graph* run) { READY(false); delete run; return OK; }
CALL cuGraphDestroy(Graph* graph) { READY(false); delete graph; return OK; }
