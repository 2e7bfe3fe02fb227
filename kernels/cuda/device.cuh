// What the CUDA kernels share. Compiled by NVRTC without any other header, for the device only, and without contraction into fused
// multiply-adds, so that a pixel gets the same bits as on the CPU.
#pragma once
#include "dinar/common.h"

#define DINAR_DEVICE __device__ __forceinline__

DINAR_BEGIN

// fp16 values are kept as their 16 bits: no header of the toolkit is needed for the two conversions.
#if !defined(DINAR_EMULATED)             // the tests run these kernels on the CPU, with conversions of their own
DINAR_DEVICE float half_to_float(uint16_t bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

// Round to nearest even; beyond the range infinity.
DINAR_DEVICE uint16_t float_to_half(float x) {
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#endif

DINAR_DEVICE uint64_t atomic_min(uint64_t *p, uint64_t x) { return atomicMin(reinterpret_cast<unsigned long long *>(p), x); }
DINAR_DEVICE uint64_t atomic_add(uint64_t *p, uint64_t x) { return atomicAdd(reinterpret_cast<unsigned long long *>(p), x); }

struct alignas(16) Float4 {
    float v[4];
};
struct alignas(16) Half8 {
    uint16_t v[8];
};

DINAR_DEVICE int64_t global_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

DINAR_END
