// Texture sampling into the planes of the renderer's input.
#include <atomic>

#include "dinar/sample.h"
#include "dinar/simd.h"
#include "loops.h"

DINAR_BEGIN
namespace {

constexpr int MAX_CHANNELS = 64;
constexpr int N = 16;                    // pixels done at a time: one cache line of each plane
constexpr int CHUNK = 4096;              // pixels per task
// From this size on the output is written past the caches. Measured, 27 planes, write and then read once: 28 MB 2.3 -> 1.3 ms,
// but 14 MB 0.58 -> 0.67 ms.
constexpr int64_t LARGE = 20 << 20;

const float no_texel[MAX_CHANNELS] = {}; // what is read outside the texture and in empty pixels

struct Samples {
    float u[N], v[N], mask[N];
    const float *tap[N][4];
    float weight[4][N];
};

bool locate(const GatherArgs &a, int64_t at, int n, Samples &s) {
    float u[N], v[N];
    int32_t id[N];
    for (int i = 0; i < N; ++i) {
        id[i] = i < n ? a.triangle_id[at + i] : -1;
        u[i] = v[i] = 0;
        if (id[i] < 0) continue;
        if (id[i] >= a.faces) return false;
        const int32_t *face = a.uv_faces + 3 * static_cast<int64_t>(id[i]);
        const uint32_t limit = static_cast<uint32_t>(a.uvs);
        if ((static_cast<uint32_t>(face[0]) >= limit) | (static_cast<uint32_t>(face[1]) >= limit) | (static_cast<uint32_t>(face[2]) >= limit)) return false;
        const float *b = a.barycentrics + 3 * (at + i);
        const float *p = a.uv + 2 * static_cast<int64_t>(face[0]), *q = a.uv + 2 * static_cast<int64_t>(face[1]), *r = a.uv + 2 * static_cast<int64_t>(face[2]);
        u[i] = b[0] * p[0] + b[1] * q[0] + b[2] * r[0];
        v[i] = b[0] * p[1] + b[1] * q[1] + b[2] * r[1];
    }
    int32_t x[N], y[N];
    for (int i = 0; i < N; ++i) {
        const Bilinear t = bilinear(u[i], v[i], a.texture_width, a.texture_height);
        const bool covered = id[i] >= 0;
        s.u[i] = covered ? 2 * u[i] - 1 : -10.0f;
        s.v[i] = covered ? 2 * v[i] - 1 : -10.0f;
        s.mask[i] = covered ? 1.0f : 0.0f;
        s.weight[0][i] = t.w00;
        s.weight[1][i] = t.w01;
        s.weight[2][i] = t.w10;
        s.weight[3][i] = t.w11;
        x[i] = t.x;
        y[i] = t.y;
    }
    const int64_t right = a.channels, down = static_cast<int64_t>(a.texture_width) * a.channels;
    for (int i = 0; i < N; ++i) {
        const float *texel = a.texture + y[i] * down + x[i] * right;
        const bool whole = (x[i] >= 0) & (y[i] >= 0) & (x[i] < a.texture_width - 1) & (y[i] < a.texture_height - 1);
        if (id[i] < 0) {
            s.tap[i][0] = s.tap[i][1] = s.tap[i][2] = s.tap[i][3] = no_texel;
        } else if (whole) {
            s.tap[i][0] = texel;
            s.tap[i][1] = texel + right;
            s.tap[i][2] = texel + down;
            s.tap[i][3] = texel + down + right;
        } else {
            for (int k = 0; k < 4; ++k) {
                const bool in = inside(x[i] + (k & 1), y[i] + (k >> 1), a.texture_width, a.texture_height);
                s.tap[i][k] = in ? texel + (k & 1) * right + (k >> 1) * down : no_texel;
            }
        }
    }
    return true;
}

template <bool PAST_CACHES> DINAR_HD void put(float *p, const f8 &v) {
    if (PAST_CACHES) store_past_caches(p, v);
    else store(p, v);
}

// Eight channels of 16 pixels: eight pixels by eight channels in registers, turned, twice; then whole lines are stored.
template <bool PAST_CACHES> void sample_eight(const Samples &s, int channel, float *out, int64_t plane) {
    f8 rows[2][8];
    for (int half = 0; half < 2; ++half) {
        for (int i = 0; i < 8; ++i) {
            const int j = 8 * half + i;
            const float *const *p = s.tap[j];
            rows[half][i] = (load<f8>(p[0] + channel) * splat<f8>(s.weight[0][j]) + load<f8>(p[1] + channel) * splat<f8>(s.weight[1][j])) +
                            (load<f8>(p[2] + channel) * splat<f8>(s.weight[2][j]) + load<f8>(p[3] + channel) * splat<f8>(s.weight[3][j]));
        }
        transpose(rows[half]);
    }
    for (int c = 0; c < 8; ++c) {
        put<PAST_CACHES>(out + (channel + c) * plane, rows[0][c]);
        put<PAST_CACHES>(out + (channel + c) * plane + 8, rows[1][c]);
    }
}

template <bool PAST_CACHES> void put_row(float *p, const float row[N]) {
    put<PAST_CACHES>(p, load<f8>(row));
    put<PAST_CACHES>(p + 8, load<f8>(row + 8));
}

// C+3 planes of 16 pixels; the last group of channels overlaps the one before, so that no texel is read past its end.
template <bool PAST_CACHES> void write_block(const Samples &s, int channels, float *out, int64_t plane) {
    if (channels < 8) {
        for (int c = 0; c < channels; ++c) {
            float row[N];
            for (int i = 0; i < N; ++i) {
                const float *const *p = s.tap[i];
                row[i] = (p[0][c] * s.weight[0][i] + p[1][c] * s.weight[1][i]) + (p[2][c] * s.weight[2][i] + p[3][c] * s.weight[3][i]);
            }
            put_row<PAST_CACHES>(out + c * plane, row);
        }
    } else {
        for (int c = 0; c + 8 <= channels; c += 8) sample_eight<PAST_CACHES>(s, c, out, plane);
        if (channels % 8) sample_eight<PAST_CACHES>(s, channels - 8, out, plane);
    }
    put_row<PAST_CACHES>(out + channels * plane, s.u);
    put_row<PAST_CACHES>(out + (channels + 1) * plane, s.v);
    put_row<PAST_CACHES>(out + (channels + 2) * plane, s.mask);
}

void write_part(const Samples &s, const GatherArgs &a, int64_t at, int n) {
    float rows[(MAX_CHANNELS + 3) * N];
    write_block<false>(s, a.channels, rows, N);
    for (int c = 0; c < a.channels + 3; ++c) std::memcpy(a.out + c * a.pixels + at, rows + N * c, sizeof(float) * n);
}

template <bool PAST_CACHES> void fill(const GatherArgs &a, int64_t begin, int64_t end) {
    for (int c = 0; c < a.channels + 3; ++c) {
        float *p = a.out + c * a.pixels + begin, *last = a.out + c * a.pixels + end;
        const float value = c == a.channels || c == a.channels + 1 ? -10.0f : 0.0f;
        const f8 eight = splat<f8>(value);
        if (PAST_CACHES)
            for (; p < last && reinterpret_cast<uintptr_t>(p) % 32; ++p) *p = value;
        for (; last - p >= 8; p += 8) put<PAST_CACHES>(p, eight);
        for (; p < last; ++p) *p = value;
    }
}

// Blocks lie at `phase` modulo 16 pixels, so that they are whole cache lines; what is before and after is done in part.
template <bool PAST_CACHES> bool gather_chunk(const GatherArgs &a, int64_t begin, int64_t end, int phase) {
    Samples s;
    int64_t filled = begin;              // all before this is written
    for (int64_t at = begin; at < end;) {
        const int n = static_cast<int>(min2<int64_t>(N - (at + N - phase) % N, end - at));
        int32_t all = -1;
        for (int i = 0; i < n; ++i) all &= a.triangle_id[at + i] >> 31;
        if (!all) {
            if (filled < at) fill<PAST_CACHES>(a, filled, at);
            filled = at + n;
            if (!locate(a, at, n, s)) return false;
            if (n == N) write_block<PAST_CACHES>(s, a.channels, a.out + at, a.pixels);
            else write_part(s, a, at, n);
        }
        at += n;
    }
    if (filled < end) fill<PAST_CACHES>(a, filled, end);
    if (PAST_CACHES) finish_stores_past_caches();
    return true;
}

}  // namespace

Status gather(const GatherArgs &a) {
    std::atomic<int> status{OK};
    const bool past_caches = a.pixels % N == 0 && a.pixels * (a.channels + 3) * static_cast<int64_t>(sizeof(float)) >= LARGE;
    const int phase = past_caches ? static_cast<int>((64 - reinterpret_cast<uintptr_t>(a.out) % 64) % 64 / sizeof(float)) : 0;
    const auto chunk = past_caches ? gather_chunk<true> : gather_chunk<false>;
    auto task = [&](int i) {
        const int64_t begin = static_cast<int64_t>(i) * CHUNK;
        if (!chunk(a, begin, min2(begin + CHUNK, a.pixels), phase)) status.store(BAD_INDEX, std::memory_order_relaxed);
    };
    parallel(static_cast<int>((a.pixels + CHUNK - 1) / CHUNK), a.threads, task);
    return static_cast<Status>(status.load());
}

DINAR_END
