// What every header of the maths core needs. The headers hold plain inline functions over plain values, so that the CPU loops
// and a CUDA build compile the same source; no allocation, no exceptions, no standard containers.
#pragma once
#if defined(__CUDACC_RTC__)              // compiled at run time, without the standard headers
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <math.h>

#include <cstdint>
#include <cstring>
#endif

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define DINAR_HD __host__ __device__ inline
#elif defined(__GNUC__) || defined(__clang__)
#define DINAR_HD inline __attribute__((always_inline))
#else
#define DINAR_HD inline
#endif

// The CPU build compiles this source once per instruction set. Each copy lives in its own namespace, otherwise the linker would
// keep one of the equal-named inline functions and an old CPU might be given AVX-512 code.
#ifndef DINAR_VARIANT
#define DINAR_VARIANT plain
#endif
#define DINAR_BEGIN namespace dinar { inline namespace DINAR_VARIANT {
#define DINAR_END }}

DINAR_BEGIN

template <class T> DINAR_HD T min2(T a, T b) { return b < a ? b : a; }
template <class T> DINAR_HD T max2(T a, T b) { return a < b ? b : a; }
template <class T> DINAR_HD T min3(T a, T b, T c) { return min2(min2(a, b), c); }
template <class T> DINAR_HD T max3(T a, T b, T c) { return max2(max2(a, b), c); }

// The comparison is written so that NaN becomes lo.
DINAR_HD float clamp_nan_low(float x, float lo, float hi) {
    const float y = x > lo ? x : lo;
    return y < hi ? y : hi;
}

DINAR_HD uint32_t float_bits(float x) {
#if defined(__CUDA_ARCH__)
    return __float_as_uint(x);
#else
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
#endif
}

DINAR_HD float float_from_bits(uint32_t bits) {
#if defined(__CUDA_ARCH__)
    return __uint_as_float(bits);
#else
    float x;
    memcpy(&x, &bits, 4);
    return x;
#endif
}

DINAR_END
