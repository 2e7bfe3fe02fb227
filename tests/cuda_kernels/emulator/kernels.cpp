// The scheduler of kernels.h.
#include "kernels.h"

namespace emulated {

Index thread, block, block_dim, grid_dim;

namespace {

constexpr size_t STACK = 128 << 10;
std::vector<Fibre> fibres;
Fibre *current = nullptr;
ucontext_t scheduler;
void (*kernel)(void **);
void **kernel_arguments;

void enter() {
    kernel(kernel_arguments);
    current->line = 0;
}

void run_block_of_fibres(int count, bool falling) {
    if (fibres.size() < static_cast<size_t>(count)) fibres.resize(count);
    for (int i = 0; i < count; ++i) {
        Fibre &f = fibres[i];
        const unsigned t = falling ? count - 1 - i : i;
        f.thread = {t % block_dim.x, t / block_dim.x % block_dim.y, t / (block_dim.x * block_dim.y)};
        f.stack.resize(STACK);
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = STACK;
        f.context.uc_link = &scheduler;
        f.line = -1;
        makecontext(&f.context, enter, 0);
    }
    for (bool waiting = true; waiting;) {
        int line = 0;
        for (int i = 0; i < count; ++i) {
            if (fibres[i].line == 0) continue;
            current = &fibres[i];
            thread = current->thread;
            swapcontext(&scheduler, &current->context);
            if (current->line == 0) continue;
            if (line && line != current->line) {
                fprintf(stderr, "emulated kernel: threads of a block wait at different barriers, lines %d and %d\n", line, current->line);
                abort();
            }
            line = current->line;
        }
        waiting = line != 0;
    }
    current = nullptr;
}

}  // namespace

void barrier(int line) {
    if (!current) {
        fprintf(stderr, "emulated kernel: barrier in a kernel that was not listed as having any\n");
        abort();
    }
    Fibre *self = current;
    self->line = line;
    swapcontext(&self->context, &scheduler);
}

void run(void (*body)(void **), void **arguments, bool barriers, Index grid, Index block_size, bool falling) {
    kernel = body;
    kernel_arguments = arguments;
    grid_dim = grid;
    block_dim = block_size;
    const int64_t blocks = static_cast<int64_t>(grid.x) * grid.y * grid.z;
    const int threads = static_cast<int>(block_size.x * block_size.y * block_size.z);
    for (int64_t n = 0; n < blocks; ++n) {
        const int64_t b = falling ? blocks - 1 - n : n;
        block = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                 static_cast<unsigned>(b / (static_cast<int64_t>(grid.x) * grid.y))};
        if (barriers) {
            run_block_of_fibres(threads, falling);
            continue;
        }
        for (int i = 0; i < threads; ++i) {
            const unsigned t = falling ? threads - 1 - i : i;
            thread = {t % block_size.x, t / block_size.x % block_size.y, t / (block_size.x * block_size.y)};
            body(arguments);
        }
    }
}

}  // namespace emulated
