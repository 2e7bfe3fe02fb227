// The input of a network at half resolution: colour and mask of each pixel, four pixels a block, and a neural texture sampled once a
// block. Blocks lie one after the other, so a row is one run of memory, of which only what shows the body is written, and only what
// did so before is cleared.
#include <atomic>
#include <cstring>

#include "dinar/half.h"
#include "dinar/sample.h"
#include "dinar/simd.h"
#include "loops.h"

DINAR_BEGIN
namespace {

constexpr int ROWS = 4;                  // of blocks, per task
constexpr int AHEAD = 8;                 // blocks looked up before they are sampled

alignas(16) const float no_texel[64] = {};

// How one kind of texel is read: bytes take a quarter of the memory that is gone through, which is most of the cost of sampling.
template <class T> struct Texels;
template <> struct Texels<float> {
    static constexpr float scale = 1.0f;
    template <class V> static V get(const float *p) { return load<V>(p); }
};
template <> struct Texels<uint8_t> {
    static constexpr float scale = 1.0f / 255.0f;
    template <class V> static V get(const uint8_t *p) { return from_bytes<V>(p); }
};

// The four texels around (u, v) and their weights; texels outside the texture are zero.
template <class T> struct Taps {
    const T *at[4];
    float weight[4];
};

template <class T> Taps<T> taps_of(const void *texture, int height, int width, int channels, float u, float v) {
    const Bilinear t = bilinear(u, v, width, height);
    const int64_t right = channels, down = static_cast<int64_t>(width) * channels;
    const T *texels = static_cast<const T *>(texture), *none = reinterpret_cast<const T *>(no_texel);
    Taps<T> taps;
    if ((t.x >= 0) & (t.y >= 0) & (t.x < width - 1) & (t.y < height - 1)) {
        const T *texel = texels + t.y * down + t.x * right;
        taps.at[0] = texel;
        taps.at[1] = texel + right;
        taps.at[2] = texel + down;
        taps.at[3] = texel + down + right;
    } else {
        for (int k = 0; k < 4; ++k) {
            const int x = t.x + (k & 1), y = t.y + (k >> 1);
            taps.at[k] = inside(x, y, width, height) ? texels + y * down + x * right : none;
        }
    }
    taps.weight[0] = t.w00 * Texels<T>::scale;
    taps.weight[1] = t.w01 * Texels<T>::scale;
    taps.weight[2] = t.w10 * Texels<T>::scale;
    taps.weight[3] = t.w11 * Texels<T>::scale;
    return taps;
}

template <class V, class T> V sampled(const Taps<T> &t, int channel) {
    auto texel = [&](int k) { return Texels<T>::template get<V>(t.at[k] + channel) * splat<V>(t.weight[k]); };
    return (texel(0) + texel(1)) + (texel(2) + texel(3));
}

bool coordinates(const GatherHalfArgs &a, int64_t at, int32_t id, float &u, float &v) {
    if (id >= a.faces) return false;
    const int32_t *face = a.uv_faces + 3 * static_cast<int64_t>(id);
    const uint32_t limit = static_cast<uint32_t>(a.uvs);
    if ((static_cast<uint32_t>(face[0]) >= limit) | (static_cast<uint32_t>(face[1]) >= limit) | (static_cast<uint32_t>(face[2]) >= limit)) return false;
    const float *b = a.barycentrics + 3 * at;
    const float *p = a.uv + 2 * static_cast<int64_t>(face[0]), *q = a.uv + 2 * static_cast<int64_t>(face[1]), *r = a.uv + 2 * static_cast<int64_t>(face[2]);
    u = b[0] * p[0] + b[1] * q[0] + b[2] * r[0];
    v = b[0] * p[1] + b[1] * q[1] + b[2] * r[1];
    return true;
}

// A block on its way: where its pixels and its neural channels come from.
template <class T> struct Pending {
    Taps<T> colour[4], neural;
    uint32_t covered;                    // bit k: pixel k shows the body
};

inline void fetch(const void *p) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(p);
#endif
}

// Finds the texels of a block and asks for them, so that the memory is on its way while other blocks are looked up.
template <class T> bool look_up(const GatherHalfArgs &a, int64_t first, const float *out, Pending<T> &block) {
    block.covered = 0;
    for (int k = 0; k < 4; ++k) {
        const int64_t at = first + (k & 1) + (k >> 1) * static_cast<int64_t>(a.width);
        const int32_t id = a.triangle_id[at];
        if (id < 0) continue;
        float u, v;
        if (!coordinates(a, at, id, u, v)) return false;
        block.colour[k] = taps_of<T>(a.texture, a.texture_height, a.texture_width, 4, u, v);
        fetch(block.colour[k].at[0]);
        fetch(block.colour[k].at[2]);
        if (!block.covered) {
            block.neural = taps_of<T>(a.neural, a.neural_height, a.neural_width, a.channels, u, v);
            fetch(block.neural.at[0]);
            fetch(block.neural.at[2]);
        }
        block.covered |= 1u << k;
    }
    if (block.covered) fetch(out);
    return true;
}

template <class T> void write_block(const GatherHalfArgs &a, const Pending<T> &block, float *out) {
    if (!block.covered) {
        std::memset(out, 0, sizeof(float) * (BLOCK + a.channels));
        return;
    }
    for (int k = 0; k < 4; ++k) {
        float *pixel = out + 4 * k;
        store(pixel, block.covered >> k & 1 ? sampled<f4>(block.colour[k], 0) : splat<f4>(0.0f));
        pixel[3] = block.covered >> k & 1 ? 1.0f : 0.0f;
    }
    const Taps<T> &taps = block.neural;
    float *neural = out + BLOCK;
    int c = 0;
    for (; c + 8 <= a.channels; c += 8) store(neural + c, sampled<f8>(taps, c));
    for (; c < a.channels; ++c)
        neural[c] = (static_cast<float>(taps.at[0][c]) * taps.weight[0] + static_cast<float>(taps.at[1][c]) * taps.weight[1]) +
                    (static_cast<float>(taps.at[2][c]) * taps.weight[2] + static_cast<float>(taps.at[3][c]) * taps.weight[3]);
}

// The blocks [lo, hi) of a row outside of which nothing is covered; lo = hi where nothing is.
void covered_span(const int32_t *upper, const int32_t *lower, int blocks, int &lo, int &hi) {
    auto empty = [&](int b) { return (upper[2 * b] & upper[2 * b + 1] & lower[2 * b] & lower[2 * b + 1]) < 0; };
    for (lo = 0; lo < blocks && empty(lo);) ++lo;
    for (hi = blocks; hi > lo && empty(hi - 1);) --hi;
    if (lo == hi) lo = hi = 0;
}

template <class T> bool gather_row(const GatherHalfArgs &a, int y) {
    const int blocks = a.width / 2;
    const int64_t size = BLOCK + a.channels, first = 2 * static_cast<int64_t>(y) * a.width;
    const int32_t *upper = a.triangle_id + first, *lower = upper + a.width;
    float *row = a.out + static_cast<int64_t>(y) * blocks * size;
    auto zero = [&](int from, int to) {
        if (from < to) std::memset(row + from * size, 0, sizeof(float) * size * (to - from));
    };
    int lo, hi, old_lo = 0, old_hi = blocks;
    covered_span(upper, lower, blocks, lo, hi);
    if (a.spans) {
        old_lo = a.spans[2 * y];
        old_hi = a.spans[2 * y + 1];
        a.spans[2 * y] = lo;
        a.spans[2 * y + 1] = hi;
    }
    zero(old_lo, min2(old_hi, lo));
    zero(max2(old_lo, hi), old_hi);
    Pending<T> pending[AHEAD];
    for (int b = lo; b < hi; b += AHEAD) {
        const int n = min2(AHEAD, hi - b);
        for (int i = 0; i < n; ++i)
            if (!look_up(a, first + 2 * (b + i), row + (b + i) * size, pending[i])) return false;
        for (int i = 0; i < n; ++i) write_block(a, pending[i], row + (b + i) * size);
    }
    return true;
}

}  // namespace

Status gather_half(const GatherHalfArgs &a) {
    std::atomic<int> status{OK};
    const int rows = a.height / 2;
    const auto row = a.bytes ? gather_row<uint8_t> : gather_row<float>;
    auto task = [&](int t) {
        for (int y = t * ROWS; y < min2((t + 1) * ROWS, rows); ++y)
            if (!row(a, y)) status.store(BAD_INDEX, std::memory_order_relaxed);
    };
    parallel((rows + ROWS - 1) / ROWS, a.threads, task);
    return static_cast<Status>(status.load());
}

DINAR_END
