// Eight-lane and four-lane values for the CPU loops: the compiler's vector types where it has them, plain arrays elsewhere.
#pragma once
#include <cstring>

#include "common.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

DINAR_BEGIN

#if (defined(__GNUC__) || defined(__clang__)) && !defined(DINAR_PLAIN_LANES)
typedef float f4 __attribute__((vector_size(16)));
typedef float f8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));
typedef int64_t l8 __attribute__((vector_size(64)));

DINAR_HD i8 to_mask(i8 sign) { return sign >= 0; }
DINAR_HD i8 to_mask(l8 sign) { return __builtin_convertvector(sign >= 0, i8); }
DINAR_HD f8 to_float(i8 v) { return __builtin_convertvector(v, f8); }
DINAR_HD f8 choose(i8 mask, f8 a, f8 b) { return mask ? a : b; }
DINAR_HD i8 choose(i8 mask, i8 a, i8 b) { return mask ? a : b; }
DINAR_HD i8 greater(f8 a, f8 b) { return a > b; }
template <class V, class T> DINAR_HD V splat(T x) { return x - V{}; }
// start, start + step, ... in eight lanes
template <class V, class T> DINAR_HD V ramp(T start, T step) { return start + step * V{0, 1, 2, 3, 4, 5, 6, 7}; }
#else
template <class T, int N> struct Lanes {
    T v[N];
    T &operator[](int i) { return v[i]; }
    T operator[](int i) const { return v[i]; }
};
#define DINAR_LANE_OP(op)                                                                                                    \
    template <class T, int N> DINAR_HD Lanes<T, N> operator op(const Lanes<T, N> &a, const Lanes<T, N> &b) {                 \
        Lanes<T, N> r;                                                                                                       \
        for (int i = 0; i < N; ++i) r.v[i] = a.v[i] op b.v[i];                                                               \
        return r;                                                                                                            \
    }                                                                                                                        \
    template <class T, int N> DINAR_HD Lanes<T, N> operator op(const Lanes<T, N> &a, T b) {                                  \
        Lanes<T, N> r;                                                                                                       \
        for (int i = 0; i < N; ++i) r.v[i] = a.v[i] op b;                                                                    \
        return r;                                                                                                            \
    }
DINAR_LANE_OP(+)
DINAR_LANE_OP(*)
template <class T, int N> DINAR_HD Lanes<T, N> operator|(const Lanes<T, N> &a, const Lanes<T, N> &b) {
    Lanes<T, N> r;
    for (int i = 0; i < N; ++i) r.v[i] = a.v[i] | b.v[i];
    return r;
}
template <class T, int N> DINAR_HD Lanes<T, N> operator&(const Lanes<T, N> &a, const Lanes<T, N> &b) {
    Lanes<T, N> r;
    for (int i = 0; i < N; ++i) r.v[i] = a.v[i] & b.v[i];
    return r;
}
#undef DINAR_LANE_OP
typedef Lanes<float, 4> f4;
typedef Lanes<float, 8> f8;
typedef Lanes<int32_t, 8> i8;
typedef Lanes<int64_t, 8> l8;

template <class T> DINAR_HD i8 to_mask(const Lanes<T, 8> &sign) {
    i8 r;
    for (int i = 0; i < 8; ++i) r.v[i] = sign.v[i] >= 0 ? -1 : 0;
    return r;
}
DINAR_HD f8 to_float(const i8 &v) {
    f8 r;
    for (int i = 0; i < 8; ++i) r.v[i] = static_cast<float>(v.v[i]);
    return r;
}
template <class T> DINAR_HD Lanes<T, 8> choose(const i8 &mask, const Lanes<T, 8> &a, const Lanes<T, 8> &b) {
    Lanes<T, 8> r;
    for (int i = 0; i < 8; ++i) r.v[i] = mask.v[i] ? a.v[i] : b.v[i];
    return r;
}
DINAR_HD i8 greater(const f8 &a, const f8 &b) {
    i8 r;
    for (int i = 0; i < 8; ++i) r.v[i] = a.v[i] > b.v[i] ? -1 : 0;
    return r;
}
template <class V, class T> DINAR_HD V splat(T x) {
    V v;
    for (T &lane : v.v) lane = x;
    return v;
}
template <class V, class T> DINAR_HD V ramp(T start, T step) {
    V v;
    for (int i = 0; i < 8; ++i) v.v[i] = start + static_cast<T>(i) * step;
    return v;
}
#endif

template <class T> struct Vector8;
template <> struct Vector8<int32_t> { typedef i8 type; };
template <> struct Vector8<int64_t> { typedef l8 type; };

DINAR_HD f8 larger(f8 a, f8 b) { return choose(greater(a, b), a, b); }
DINAR_HD f8 smaller(f8 a, f8 b) { return choose(greater(b, a), a, b); }

template <class V, class T> DINAR_HD V load(const T *p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class V, class T> DINAR_HD void store(T *p, const V &v) { std::memcpy(p, &v, sizeof v); }

#if (defined(__GNUC__) || defined(__clang__)) && !defined(DINAR_PLAIN_LANES)
// As many bytes as V has lanes, as floats. Written out, because compilers convert such short vectors lane by lane.
template <class V> V from_bytes(const uint8_t *p);
#if defined(__SSE2__)
DINAR_HD __m128 four_from_bytes(__m128i bytes) {
    const __m128i zero = _mm_setzero_si128();
    return _mm_cvtepi32_ps(_mm_unpacklo_epi16(_mm_unpacklo_epi8(bytes, zero), zero));
}
template <> DINAR_HD f4 from_bytes<f4>(const uint8_t *p) {
    int32_t word;
    std::memcpy(&word, p, 4);
    const __m128 v = four_from_bytes(_mm_cvtsi32_si128(word));
    return load<f4>(&v);
}
template <> DINAR_HD f8 from_bytes<f8>(const uint8_t *p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(p));
    const __m128 half[2] = {four_from_bytes(bytes), four_from_bytes(_mm_srli_si128(bytes, 4))};
    return load<f8>(half);
}
#else
template <> DINAR_HD f4 from_bytes<f4>(const uint8_t *p) {
    f4 v;
    for (int i = 0; i < 4; ++i) v[i] = static_cast<float>(p[i]);
    return v;
}
template <> DINAR_HD f8 from_bytes<f8>(const uint8_t *p) {
    f8 v;
    for (int i = 0; i < 8; ++i) v[i] = static_cast<float>(p[i]);
    return v;
}
#endif
#else
template <class V> DINAR_HD V from_bytes(const uint8_t *p) {
    V v;
    for (auto &lane : v.v) lane = static_cast<float>(*p++);
    return v;
}
#endif

// Stores that go past the caches, for outputs too large to be still there when they are read; p is a multiple of 32 bytes.
DINAR_HD void store_past_caches(float *p, const f8 &v) {
#if defined(__SSE2__)
    __m128 half[2];
    std::memcpy(half, &v, sizeof half);
    _mm_stream_ps(p, half[0]);
    _mm_stream_ps(p + 4, half[1]);
#else
    store(p, v);
#endif
}
DINAR_HD void finish_stores_past_caches() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// rows[p][c] -> rows[c][p]
DINAR_HD void transpose(f8 rows[8]) {
#if defined(__has_builtin) && !defined(DINAR_PLAIN_LANES)
#if __has_builtin(__builtin_shufflevector)
#define DINAR_SHUFFLE 1
#endif
#endif
#ifdef DINAR_SHUFFLE
    f8 a[8], b[8];
    for (int i = 0; i < 4; ++i) {
        a[2 * i] = __builtin_shufflevector(rows[2 * i], rows[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[2 * i + 1] = __builtin_shufflevector(rows[2 * i], rows[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            b[4 * i + 2 * j] = __builtin_shufflevector(a[4 * i + j], a[4 * i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            b[4 * i + 2 * j + 1] = __builtin_shufflevector(a[4 * i + j], a[4 * i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; ++i) {
        rows[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        rows[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#else
    float t[8][8];
    for (int p = 0; p < 8; ++p)
        for (int c = 0; c < 8; ++c) t[c][p] = rows[p][c];
    for (int c = 0; c < 8; ++c) rows[c] = load<f8>(t[c]);
#endif
}

DINAR_END
