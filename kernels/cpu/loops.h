// Helpers of the loops; like them, compiled once per instruction set.
#pragma once
#include <cstdlib>
#include <new>

#include "dinar/common.h"
#include "kernels.h"
#include "pool.h"

DINAR_BEGIN

// Memory that a thread keeps from call to call. Not std::vector: its functions would be shared between the instruction sets.
template <class T> class Buffer {
  public:
    Buffer() = default;
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { std::free(data_); }
    // Contents are kept; grows by half at least.
    T *reserve(int64_t n) {
        if (n > capacity_) {
            const int64_t c = max2(n, capacity_ + capacity_ / 2);
            T *p = static_cast<T *>(std::realloc(data_, sizeof(T) * static_cast<size_t>(c)));
            if (!p) throw std::bad_alloc();
            data_ = p;
            capacity_ = c;
        }
        return data_;
    }
    T *data() const { return data_; }

  private:
    T *data_ = nullptr;
    int64_t capacity_ = 0;
};

template <class F> inline void parallel(int tasks, int threads, F &body) {
    run_tasks(tasks, threads, [](void *f, int i) { (*static_cast<F *>(f))(i); }, &body);
}

void lbs(const LbsArgs &);
Status project(ProjectArgs &);
Status rasterize(const RasterizeArgs &);
Status gather(const GatherArgs &);
Status smooth_edges(const SmoothArgs &, int64_t &marked);
void compose(const ComposeArgs &);
Status gather_half(const GatherHalfArgs &);
void compose_half(const ComposeHalfArgs &);

DINAR_END
