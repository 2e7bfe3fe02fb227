// One pool of worker threads for all kernels.
#pragma once

namespace dinar {

using Task = void (*)(void *context, int index);

// Cores that this process may use (at most 64).
int available_threads();

// Runs task(context, i) for i in [0, tasks) on at most `threads` threads, the caller included, and returns when all are done.
// While another Python thread has the pool, the caller does its tasks alone. Rethrows std::bad_alloc of a task.
void run_tasks(int tasks, int threads, Task task, void *context);

}  // namespace dinar
