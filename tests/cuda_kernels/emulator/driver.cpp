// A CUDA driver of one device whose memory is the host's and whose kernels are those of kernels.h: what cuda.bindings loads in its place.
// As strict as the real one where mistakes are easy: work waits on its stream until somebody waits for it, page-locked memory is read and
// written only then, a call without a current context fails, allocating and waiting break a capture, and what a kernel writes beside its
// buffers is found. Only the functions that dinar_live uses exist.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels.h"
#include "table.h"

namespace {

enum Result {
    SUCCESS = 0, INVALID_VALUE = 1, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901
};
constexpr size_t GUARD = 4096;
constexpr uint8_t GUARD_BYTE = 0xa7, POISON = 0xcb, FREED = 0xdd;
constexpr size_t QUARANTINE = 64 << 20;  // freed memory is kept so long, to see who still writes to it

typedef std::function<void()> Work;
struct Graph {
    std::vector<Work> work;
};
struct Event {
    std::shared_ptr<bool> done = std::make_shared<bool>(true);
    std::shared_ptr<double> at = std::make_shared<double>(0);
    struct Stream *stream = nullptr;
    bool timing = true;
};
struct Stream {
    std::vector<Work> pending;
    Graph *capture = nullptr;
    size_t tail = 0;                     // of the capture: what comes next depends on the node of this number
    bool broken = false;                 // the capture
};
struct Memory {
    size_t bytes;
    bool host;
};

std::recursive_mutex lock;
thread_local void *context = nullptr;
std::map<uintptr_t, Memory> memory;      // by the address that was handed out
std::map<Stream *, bool> streams;
int allocations_ever = 0;

double now_ms() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

[[noreturn]] void fail(const char *what, uintptr_t p, size_t bytes) {
    fprintf(stderr, "emulated driver: %s %#zx (%zu bytes)\n", what, static_cast<size_t>(p), bytes);
    abort();
}

void check_guards() {
    for (const auto &[p, m] : memory)
        for (size_t i = 0; i < GUARD; ++i)
            if (reinterpret_cast<uint8_t *>(p)[m.bytes + i] != GUARD_BYTE || reinterpret_cast<uint8_t *>(p)[-1 - static_cast<ptrdiff_t>(i)] != GUARD_BYTE)
                fail("something was written beside the memory at", p, m.bytes);
}

bool inside(uintptr_t p, size_t bytes, bool host) {
    auto it = memory.upper_bound(p);
    if (it == memory.begin()) return false;
    --it;
    return it->second.host == host && p + bytes <= it->first + it->second.bytes;
}

Result allocate(size_t bytes, bool host, uintptr_t &out) {
    if (!bytes) return INVALID_VALUE;
    const size_t whole = (bytes + 255) / 256 * 256 + 2 * GUARD;
    uint8_t *p = static_cast<uint8_t *>(aligned_alloc(4096, (whole + 4095) / 4096 * 4096));
    memset(p, GUARD_BYTE, whole);
    memset(p + GUARD, POISON, bytes);
    out = reinterpret_cast<uintptr_t>(p + GUARD);
    memory[out] = {bytes, host};
    ++allocations_ever;
    return SUCCESS;
}

std::deque<std::pair<uintptr_t, size_t>> freed;
size_t freed_bytes = 0;

void forget_oldest() {
    const auto [p, bytes] = freed.front();
    for (size_t i = 0; i < bytes; ++i)
        if (reinterpret_cast<uint8_t *>(p)[i] != FREED) fail("something was written to freed memory at", p, bytes);
    freed.pop_front();
    freed_bytes -= bytes;
    free(reinterpret_cast<void *>(p - GUARD));
}

struct AtExit {
    ~AtExit() {
        while (!freed.empty()) forget_oldest();
    }
} at_exit;

void drain(Stream *s) {
    std::vector<Work> work;
    work.swap(s->pending);
    for (auto &w : work) w();
}

Result put(Stream *s, Work w) {
    if (!streams.count(s)) return INVALID_HANDLE;
    if (s->broken) return CAPTURE_INVALIDATED;
    if (s->capture) {
        if (s->tail != s->capture->work.size()) return s->broken = true, CAPTURE_INVALIDATED;    // a node was added that nothing waits for
        s->capture->work.push_back(std::move(w));
        ++s->tail;
    } else s->pending.push_back(std::move(w));
    return SUCCESS;
}

// Not allowed while this thread captures (mode THREAD_LOCAL; there is one capturing thread here).
bool breaks_capture() {
    bool any = false;
    for (auto &[s, _] : streams)
        if (s->capture) any = s->broken = true;
    return any;
}

#define ENTER()                                             \
    std::lock_guard<std::recursive_mutex> guard(lock);      \
    if (!context) return INVALID_CONTEXT

int dummy;
struct Function {
    const Kernel *kernel;
};

Result init(unsigned) { return SUCCESS; }
Result driver_version(int *v) { return *v = 13000, SUCCESS; }
Result device_count(int *n) { return *n = 1, SUCCESS; }
Result device_get(int *d, int i) { return *d = i, i == 0 ? SUCCESS : INVALID_VALUE; }
Result device_name(char *name, int n, int) { return snprintf(name, n, "Emulated GPU"), SUCCESS; }
Result device_memory(size_t *n, int) { return *n = 8ull << 30, SUCCESS; }
Result device_attribute(int *v, int attribute, int) {
    *v = attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 16 ? 4 : 0;        // compute capability 9.0, four multiprocessors
    return SUCCESS;
}
Result context_retain(void **c, int) { return *c = &dummy, SUCCESS; }
Result context_release(int) { return SUCCESS; }
Result context_set(void *c) { return context = c, SUCCESS; }
Result context_get(void **c) { return *c = context, SUCCESS; }
thread_local std::vector<void *> contexts;
Result context_push(void *c) {
    contexts.push_back(context);
    return context = c, SUCCESS;
}
Result context_pop(void **c) {
    if (contexts.empty()) return INVALID_CONTEXT;
    *c = context;
    context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}
Result context_synchronize() {
    ENTER();
    if (breaks_capture()) return CAPTURE_UNSUPPORTED;
    for (auto &[s, _] : streams) drain(s);
    check_guards();
    return SUCCESS;
}
Result error_name(int e, const char **s) {
    static const std::map<int, const char *> names = {
        {0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"}, {201, "CUDA_ERROR_INVALID_CONTEXT"}, {400, "CUDA_ERROR_INVALID_HANDLE"},
        {500, "CUDA_ERROR_NOT_FOUND"}, {600, "CUDA_ERROR_NOT_READY"}, {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
        {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"}};
    const auto it = names.find(e);
    *s = it == names.end() ? nullptr : it->second;
    return *s ? SUCCESS : INVALID_VALUE;
}

Result memory_info(size_t *free_bytes, size_t *total) {
    ENTER();
    size_t used = 0;
    for (auto &[_, m] : memory) used += m.host ? 0 : m.bytes;
    *total = 8ull << 30;
    *free_bytes = *total - used;
    return SUCCESS;
}
Result memory_allocate(uintptr_t *p, size_t n) {
    ENTER();
    return breaks_capture() ? CAPTURE_UNSUPPORTED : allocate(n, false, *p);
}
Result host_allocate(uintptr_t *p, size_t n, unsigned) {
    ENTER();
    return breaks_capture() ? CAPTURE_UNSUPPORTED : allocate(n, true, *p);
}
Result release(uintptr_t p) {
    ENTER();
    if (breaks_capture()) return CAPTURE_UNSUPPORTED;
    const auto it = memory.find(p);
    if (it == memory.end()) return INVALID_VALUE;
    for (auto &[s, _] : streams) drain(s);
    check_guards();
    const size_t bytes = it->second.bytes;
    memory.erase(it);
    memset(reinterpret_cast<void *>(p), FREED, bytes);
    freed.push_back({p, bytes});
    freed_bytes += bytes;
    while (freed_bytes > QUARANTINE) forget_oldest();
    return SUCCESS;
}
Result copy_in_now(uintptr_t to, const void *from, size_t n) {
    ENTER();
    if (breaks_capture()) return CAPTURE_UNSUPPORTED;
    if (!inside(to, n, false)) fail("copy to what is not device memory at", to, n);
    memcpy(reinterpret_cast<void *>(to), from, n);
    return SUCCESS;
}
Result copy_in(uintptr_t to, const void *from, size_t n, Stream *s) {
    ENTER();
    if (!n) return SUCCESS;
    if (!inside(to, n, false)) fail("copy to what is not device memory at", to, n);
    const bool locked = inside(reinterpret_cast<uintptr_t>(from), n, true);
    auto staged = std::make_shared<std::vector<uint8_t>>();
    if (!locked && !s->capture) staged->assign(static_cast<const uint8_t *>(from), static_cast<const uint8_t *>(from) + n);
    return put(s, [=] { memcpy(reinterpret_cast<void *>(to), staged->empty() ? from : staged->data(), n); });
}
Result copy_out(void *to, uintptr_t from, size_t n, Stream *s) {
    ENTER();
    if (!n) return SUCCESS;
    if (!inside(from, n, false)) fail("copy from what is not device memory at", from, n);
    const Result r = put(s, [=] { memcpy(to, reinterpret_cast<void *>(from), n); });
    if (r == SUCCESS && !s->capture && !inside(reinterpret_cast<uintptr_t>(to), n, true)) drain(s);
    return r;
}
Result copy_within(uintptr_t to, uintptr_t from, size_t n, Stream *s) {
    ENTER();
    if (!inside(from, n, false) || !inside(to, n, false)) fail("copy outside of device memory at", from, n);
    return put(s, [=] { memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), n); });
}
Result fill(uintptr_t p, unsigned char v, size_t n, Stream *s) {
    ENTER();
    if (!n) return SUCCESS;
    if (!inside(p, n, false)) fail("fill of what is not device memory at", p, n);
    return put(s, [=] { memset(reinterpret_cast<void *>(p), v, n); });
}

Result stream_create(Stream **s, unsigned) {
    ENTER();
    *s = new Stream;
    streams[*s] = true;
    return SUCCESS;
}
Result stream_priorities(int *least, int *greatest) { return *least = 0, *greatest = -5, SUCCESS; }
Result stream_create_with_priority(Stream **s, unsigned flags, int) { return stream_create(s, flags); }
Result stream_destroy(Stream *s) {
    ENTER();
    if (!streams.count(s)) return INVALID_HANDLE;
    drain(s);
    streams.erase(s);
    delete s;
    return SUCCESS;
}
Result stream_synchronize(Stream *s) {
    ENTER();
    if (!streams.count(s)) return INVALID_HANDLE;
    if (s->capture) return s->broken = true, CAPTURE_UNSUPPORTED;
    drain(s);
    check_guards();
    return SUCCESS;
}
Result stream_is_capturing(Stream *s, int *status) {
    ENTER();
    *status = s->capture ? (s->broken ? 2 : 1) : 0;
    return SUCCESS;
}
Result begin_capture(Stream *s, int) {
    ENTER();
    if (!streams.count(s)) return INVALID_HANDLE;
    if (s->capture) return CAPTURE_UNSUPPORTED;
    s->capture = new Graph;
    s->tail = 0;
    s->broken = false;
    return SUCCESS;
}
// A node is known by its number, from 1.
Result capture_info(Stream *s, int *status, uint64_t *id, Graph **g, const uintptr_t **before, const void **edges, size_t *n) {
    ENTER();
    if (!streams.count(s)) return INVALID_HANDLE;
    *status = s->capture ? (s->broken ? 2 : 1) : 0;
    if (id) *id = 7;
    if (g) *g = s->capture;
    if (before) *before = &s->tail;
    static const uint64_t plain = 0;     // an edge's data: eight bytes, 0 = nothing particular
    if (edges) *edges = &plain;
    if (n) *n = s->tail ? 1 : 0;
    return SUCCESS;
}
Result capture_info_cuda12(Stream *s, int *status, uint64_t *id, Graph **g, const uintptr_t **before, size_t *n) {
    return capture_info(s, status, id, g, before, nullptr, n);
}
Result add_child(uintptr_t *node, Graph *g, const uintptr_t *before, size_t n, const Graph *child) {
    ENTER();
    if (!g || !child || n > 1 || (n ? *before : 0) != g->work.size()) return INVALID_VALUE;      // a chain is all that is known here
    g->work.push_back([work = child->work] {
        for (auto &w : work) w();
    });
    return *node = g->work.size(), SUCCESS;
}
Result capture_after(Stream *s, const uintptr_t *nodes, const void *, size_t n, unsigned flags) {
    ENTER();
    if (!streams.count(s)) return INVALID_HANDLE;
    if (!s->capture || n != 1 || flags != 1 || *nodes > s->capture->work.size()) return INVALID_VALUE;
    return s->tail = *nodes, SUCCESS;
}
Result capture_after_cuda12(Stream *s, const uintptr_t *nodes, size_t n, unsigned flags) { return capture_after(s, nodes, nullptr, n, flags); }
Result end_capture(Stream *s, Graph **g) {
    ENTER();
    if (!s->capture) return INVALID_VALUE;
    *g = s->capture;
    s->capture = nullptr;
    if (!s->broken) return SUCCESS;
    delete *g;
    *g = nullptr;
    s->broken = false;
    return CAPTURE_INVALIDATED;
}
Result graph_nodes(Graph *g, void **, size_t *n) { return *n = g->work.size(), SUCCESS; }
Result graph_instantiate(Graph **out, Graph *g, unsigned long long) {
    ENTER();
    *out = new Graph(*g);
    return SUCCESS;
}
Result graph_destroy(Graph *g) {
    ENTER();
    if (!g) return INVALID_VALUE;
    for (auto &[s, _] : streams) drain(s);
    delete g;
    return SUCCESS;
}
Result graph_launch(Graph *g, Stream *s) {
    ENTER();
    return put(s, [g] {
        for (auto &w : g->work) w();
    });
}

Result event_create(Event **e, unsigned flags) {
    ENTER();
    *e = new Event;
    (*e)->timing = !(flags & 2);
    return SUCCESS;
}
Result event_destroy(Event *e) { return delete e, SUCCESS; }
Result event_record(Event *e, Stream *s) {
    ENTER();
    e->stream = s;
    e->done = std::make_shared<bool>(false);
    return put(s, [done = e->done, at = e->at] {
        *done = true;
        *at = now_ms();
    });
}
Result event_synchronize(Event *e) {
    ENTER();
    if (e->stream && e->stream->capture) return e->stream->broken = true, CAPTURE_UNSUPPORTED;
    if (!*e->done) drain(e->stream);
    check_guards();
    return SUCCESS;
}
Result event_query(Event *e) {
    ENTER();
    if (*e->done) return SUCCESS;
    drain(e->stream);                    // done the next time that somebody asks
    return NOT_READY;
}
Result event_elapsed(float *ms, Event *a, Event *b) {
    ENTER();
    if (!a->timing || !b->timing) return INVALID_HANDLE;
    if (!*a->done || !*b->done) return NOT_READY;
    *ms = static_cast<float>(*b->at - *a->at);
    return SUCCESS;
}
Result stream_wait(Stream *s, Event *e, unsigned) {
    ENTER();
    if (s->capture) return SUCCESS;
    return put(s, [other = e->stream, done = e->done] {      // the event itself may be destroyed by then
        if (!*done && streams.count(other)) drain(other);
    });
}

Result module_load(void **m, const void *image) {
    ENTER();
    if (memcmp(image, "\177ELF", 4)) return INVALID_VALUE;       // a cubin is an ELF file; its kernels are known by name
    return *m = &dummy, SUCCESS;
}
Result module_unload(void *) { return SUCCESS; }
Result module_function(Function **f, void *, const char *name) {
    ENTER();
    for (const Kernel &k : kernel_table)
        if (!strcmp(k.name, name)) return *f = new Function{&k}, SUCCESS;
    return NOT_FOUND;
}
Result launch(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, Stream *s, void **parameters,
              void **) {
    ENTER();
    const Kernel &k = *f->kernel;
    if (!gx || !gy || !gz || !bx || !by || !bz || bx * by * bz > 1024 || gy > 65535 || gz > 65535 || shared) return INVALID_VALUE;
    auto values = std::make_shared<std::vector<uint64_t>>(k.sizes.size());       // copied now, as the driver does
    for (size_t i = 0; i < k.sizes.size(); ++i) memcpy(&(*values)[i], parameters[i], k.sizes[i]);
    return put(s, [=, &k] {
        std::vector<void *> arguments;
        for (uint64_t &v : *values) arguments.push_back(&v);
        const char *order = getenv("DINAR_EMULATED_ORDER");
        emulated::run(k.call, arguments.data(), k.barriers, {gx, gy, gz}, {bx, by, bz}, order && !strcmp(order, "falling"));
    });
}

const std::map<std::string, void *> &functions() {
#define F(name, function) {name, reinterpret_cast<void *>(&function)}
    static const std::map<std::string, void *> all = {
        F("cuInit", init), F("cuDriverGetVersion", driver_version), F("cuDeviceGetCount", device_count), F("cuDeviceGet", device_get),
        F("cuDeviceGetName", device_name), F("cuDeviceTotalMem", device_memory), F("cuDeviceGetAttribute", device_attribute),
        F("cuDevicePrimaryCtxRetain", context_retain), F("cuDevicePrimaryCtxRelease", context_release), F("cuCtxSetCurrent", context_set),
        F("cuCtxGetCurrent", context_get), F("cuCtxPushCurrent", context_push), F("cuCtxPopCurrent", context_pop), F("cuCtxSynchronize", context_synchronize), F("cuGetErrorName", error_name),
        F("cuGetErrorString", error_name), F("cuMemGetInfo", memory_info), F("cuMemAlloc", memory_allocate), F("cuMemHostAlloc", host_allocate),
        F("cuMemFree", release), F("cuMemFreeHost", release), F("cuMemcpyHtoD", copy_in_now), F("cuMemcpyHtoDAsync", copy_in),
        F("cuMemcpyDtoHAsync", copy_out), F("cuMemcpyDtoDAsync", copy_within), F("cuMemsetD8Async", fill), F("cuStreamCreate", stream_create),
        F("cuStreamCreateWithPriority", stream_create_with_priority), F("cuCtxGetStreamPriorityRange", stream_priorities),
        F("cuStreamDestroy", stream_destroy), F("cuStreamSynchronize", stream_synchronize), F("cuStreamIsCapturing", stream_is_capturing),
        F("cuStreamBeginCapture", begin_capture), F("cuStreamEndCapture", end_capture), F("cuGraphGetNodes", graph_nodes),
        F("cuGraphAddChildGraphNode", add_child), F("cuStreamGetCaptureInfo", capture_info_cuda12), F("cuStreamGetCaptureInfo@12030", capture_info),
        F("cuStreamUpdateCaptureDependencies", capture_after_cuda12), F("cuStreamUpdateCaptureDependencies@12030", capture_after),
        F("cuGraphInstantiate", graph_instantiate), F("cuGraphInstantiateWithFlags", graph_instantiate), F("cuGraphDestroy", graph_destroy),
        F("cuGraphExecDestroy", graph_destroy), F("cuGraphLaunch", graph_launch), F("cuEventCreate", event_create),
        F("cuEventDestroy", event_destroy), F("cuEventRecord", event_record), F("cuEventSynchronize", event_synchronize),
        F("cuEventQuery", event_query), F("cuEventElapsedTime", event_elapsed), F("cuStreamWaitEvent", stream_wait),
        F("cuModuleLoadData", module_load), F("cuModuleUnload", module_unload), F("cuModuleGetFunction", module_function),
        F("cuLaunchKernel", launch)};
    return all;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int cuGetProcAddress_v2(const char *symbol, void **pointer, int version, uint64_t, int *status) {
    if (!strcmp(symbol, "cuGetProcAddress") || !strcmp(symbol, "cuGetProcAddress_v2")) {
        *pointer = reinterpret_cast<void *>(&cuGetProcAddress_v2);
        return SUCCESS;
    }
    const auto newer = version >= 12030 ? functions().find(symbol + std::string("@12030")) : functions().end();
    const auto it = newer == functions().end() ? functions().find(symbol) : newer;
    *pointer = it == functions().end() ? nullptr : it->second;
    if (status) *status = *pointer ? 0 : 1;
    return *pointer ? SUCCESS : NOT_FOUND;
}
EXPORT int cuGetProcAddress(const char *symbol, void **pointer, int version, uint64_t flags) {
    return cuGetProcAddress_v2(symbol, pointer, version, flags, nullptr);
}
EXPORT int cuInit(unsigned flags) { return init(flags); }
EXPORT int cuDeviceGetCount(int *n) { return device_count(n); }
EXPORT int cuDriverGetVersion(int *v) { return driver_version(v); }
// NVRTC looks here for tables of its own; without them it does without.
EXPORT int cuGetExportTable(const void **, const void *) { return NOT_FOUND; }

// A function of the host as work of a stream, or of the graph that is captured there.
EXPORT int emulated_host_call(Stream *s, void (*function)(size_t), size_t argument) {
    ENTER();
    return put(s, [=] { function(argument); });
}
// For tests: allocations since the start.
EXPORT int emulated_allocations() { return allocations_ever; }
