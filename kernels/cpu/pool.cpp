#include "pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace dinar {
namespace {

constexpr int MAX_THREADS = 64;
constexpr auto SPIN = std::chrono::microseconds(30);    // the kernels of one frame follow each other; a sleeping worker costs 50 us to wake

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
    asm volatile("yield");
#endif
}

template <class Condition> bool spin_until(Condition done) {
    const auto end = std::chrono::steady_clock::now() + SPIN;
    for (;;) {
        for (int i = 0; i < 16; ++i) {
            if (done()) return true;
            relax();
        }
        if (std::chrono::steady_clock::now() > end) return done();
    }
}

// Workers wait for `generation` to change and join the job if it is still open. Once the caller finds no task left it closes the job
// and waits only for those who joined: on a busy machine a worker that has not woken yet holds nobody up.
class Pool {
  public:
    // False when another thread is using the pool.
    bool run(int tasks, int threads, Task task, void *context) {
        std::unique_lock<std::mutex> one_job(job_mutex_, std::try_to_lock);
        if (!one_job) return false;
        const int helpers = start_workers(threads - 1);
        task_ = task;
        context_ = context;
        tasks_ = tasks;
        next_.store(0, std::memory_order_relaxed);
        out_of_memory_.store(false, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(wake_mutex_);
            room_ = helpers;
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        work();
        {
            std::lock_guard<std::mutex> lock(wake_mutex_);
            room_ = 0;
        }
        if (!spin_until([this] { return active_.load(std::memory_order_acquire) == 0; })) {
            std::unique_lock<std::mutex> lock(done_mutex_);
            done_.wait(lock, [this] { return active_.load(std::memory_order_acquire) == 0; });
        }
        if (out_of_memory_.load(std::memory_order_relaxed)) throw std::bad_alloc();
        return true;
    }

  private:
    int start_workers(int wanted) {
        while (workers_ < wanted) {
            try {
                std::thread(&Pool::loop, this, generation_.load(std::memory_order_relaxed)).detach();
            } catch (const std::system_error &) {
                break;      // no more threads to be had: go on with those there are
            }
            ++workers_;
        }
        return workers_ < wanted ? workers_ : wanted;
    }

    void work() {
        for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
            try {
                task_(context_, i);
            } catch (const std::bad_alloc &) {
                out_of_memory_.store(true, std::memory_order_relaxed);
            }
        }
    }

    void loop(unsigned seen) {
        for (;;) {
            const auto changed = [&] { return generation_.load(std::memory_order_acquire) != seen; };
            spin_until(changed);
            {
                std::unique_lock<std::mutex> lock(wake_mutex_);
                wake_.wait(lock, changed);
                seen = generation_.load(std::memory_order_relaxed);
                if (room_ == 0) continue;
                --room_;
                active_.fetch_add(1, std::memory_order_relaxed);
            }
            work();
            if (active_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                std::lock_guard<std::mutex> lock(done_mutex_);
                done_.notify_one();
            }
        }
    }

    std::mutex job_mutex_, wake_mutex_, done_mutex_;
    std::condition_variable wake_, done_;
    std::atomic<unsigned> generation_{0};
    std::atomic<int> next_{0}, active_{0};
    std::atomic<bool> out_of_memory_{false};
    int workers_ = 0, room_ = 0, tasks_ = 0;
    Task task_ = nullptr;
    void *context_ = nullptr;
};

// Never destroyed: detached workers may still wait on it while the process exits.
std::atomic<Pool *> shared_pool{nullptr};

Pool &pool() {
    Pool *p = shared_pool.load(std::memory_order_acquire);
    if (!p) {
#if !defined(_WIN32)
        // A forked child has no workers and perhaps a locked mutex: it starts with a pool of its own.
        static const int once = pthread_atfork(nullptr, nullptr, [] { shared_pool.store(nullptr, std::memory_order_release); });
        (void)once;
#endif
        Pool *fresh = new Pool;
        if (shared_pool.compare_exchange_strong(p, fresh, std::memory_order_acq_rel)) return *fresh;
        delete fresh;
    }
    return *p;
}

}  // namespace

int available_threads() {
    static const int n = static_cast<int>(std::thread::hardware_concurrency());
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

void run_tasks(int tasks, int threads, Task task, void *context) {
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads > tasks) threads = tasks;
    if (threads > 1 && pool().run(tasks, threads, task, context)) return;
    for (int i = 0; i < tasks; ++i) task(context, i);
}

}  // namespace dinar
