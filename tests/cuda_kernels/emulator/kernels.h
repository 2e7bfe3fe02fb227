// CUDA's language for a C++ compiler: the kernels of kernels/cuda run block by block, thread by thread, on the CPU.
// Threads of a block are fibres that change over at __syncthreads, in rising or falling order, so that a forgotten barrier or a result
// that depends on the order shows.
#pragma once
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define DINAR_EMULATED
#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __syncthreads() emulated::barrier(__LINE__)

namespace emulated {

struct Index {
    unsigned x, y, z;
};

struct Fibre {
    ucontext_t context;
    std::vector<char> stack;
    Index thread;
    int line;                            // where it waits; 0 = it has ended
};

extern Index thread, block, block_dim, grid_dim;
void barrier(int line);
// body once for every thread of the grid; with fibres only if the kernel has barriers
void run(void (*body)(void **), void **arguments, bool barriers, Index grid, Index block_size, bool falling);

inline float bits_to_float(uint32_t b) {
    float x;
    memcpy(&x, &b, 4);
    return x;
}

}  // namespace emulated

#define threadIdx emulated::thread
#define blockIdx emulated::block
#define blockDim emulated::block_dim
#define gridDim emulated::grid_dim

inline unsigned long long atomicMin(unsigned long long *p, unsigned long long x) {
    const unsigned long long old = *p;
    if (x < old) *p = x;
    return old;
}
inline unsigned long long atomicAdd(unsigned long long *p, unsigned long long x) {
    const unsigned long long old = *p;
    *p = old + x;
    return old;
}

namespace dinar {
inline namespace plain {

inline float half_to_float(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ffu;
    if (exponent == 31) return emulated::bits_to_float(sign | 0x7f800000u | fraction << 13);
    const float magnitude = exponent ? emulated::bits_to_float((exponent + 112) << 23 | fraction << 13) : static_cast<float>(fraction) / 16777216.0f;
    return sign ? -magnitude : magnitude;
}

inline uint16_t float_to_half(float x) {
    uint32_t b;
    memcpy(&b, &x, 4);
    const uint16_t sign = static_cast<uint16_t>(b >> 16 & 0x8000u);
    b &= 0x7fffffffu;
    if (b > 0x7f800000u) return sign | 0x7fffu;
    if (b >= 0x477ff000u) return sign | 0x7c00u;             // rounds beyond 65504
    if (b < 0x38800000u) {                                   // below 2^-14: adding 0.5 rounds to multiples of 2^-24
        const float y = emulated::bits_to_float(b) + 0.5f;
        uint32_t r;
        memcpy(&r, &y, 4);
        return static_cast<uint16_t>(sign | (r - 0x3f000000u));
    }
    return static_cast<uint16_t>(sign | ((b + 0xfffu + (b >> 13 & 1u) - 0x38000000u) >> 13));
}

}  // namespace plain
}  // namespace dinar
