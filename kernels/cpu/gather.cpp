// Texture sampling into the planes of the renderer's input.
#include <atomic>

#include "dinar/sample.h"
#include "dinar/simd.h"
#include "loops.h"

DINAR_BEGIN
namespace {

constexpr int MAX_CHANNELS = 64;
constexpr int CHUNK = 4096;              // pixels per task

const float no_texel[MAX_CHANNELS] = {}; // what is read outside the texture and in empty pixels

struct Samples {                         // eight pixels
    float u[8], v[8], mask[8];
    const float *tap[8][4];
    float weight[8][4];
};

bool locate(const GatherArgs &a, int64_t at, int n, Samples &s) {
    float u[8], v[8];
    int32_t id[8];
    bool ok = true;
    for (int i = 0; i < 8; ++i) {
        id[i] = i < n ? a.triangle_id[at + i] : -1;
        if (id[i] < 0) {
            u[i] = v[i] = 0;
            continue;
        }
        if (id[i] >= a.faces) return false;
        const int32_t *face = a.uv_faces + 3 * static_cast<int64_t>(id[i]);
        const float *b = a.barycentrics + 3 * (at + i);
        u[i] = v[i] = 0;
        for (int k = 0; k < 3; ++k) {
            if (static_cast<uint32_t>(face[k]) >= static_cast<uint32_t>(a.uvs)) {
                ok = false;
                break;
            }
            const float *uv = a.uv + 2 * static_cast<int64_t>(face[k]);
            u[i] += b[k] * uv[0];
            v[i] += b[k] * uv[1];
        }
    }
    Bilinear t[8];
    for (int i = 0; i < 8; ++i) t[i] = bilinear(u[i], v[i], a.texture_width, a.texture_height);
    for (int i = 0; i < 8; ++i) {
        const bool covered = id[i] >= 0;
        s.u[i] = covered ? 2 * u[i] - 1 : -10.0f;
        s.v[i] = covered ? 2 * v[i] - 1 : -10.0f;
        s.mask[i] = covered ? 1.0f : 0.0f;
        s.weight[i][0] = t[i].w00;
        s.weight[i][1] = t[i].w01;
        s.weight[i][2] = t[i].w10;
        s.weight[i][3] = t[i].w11;
        for (int k = 0; k < 4; ++k) {
            const int x = t[i].x + (k & 1), y = t[i].y + (k >> 1);
            const bool in = covered && inside(x, y, a.texture_width, a.texture_height);
            s.tap[i][k] = in ? a.texture + (static_cast<int64_t>(y) * a.texture_width + x) * a.channels : no_texel;
        }
    }
    return ok;
}

// Eight pixels by eight channels in registers, turned, and stored as eight rows.
void sample_eight(const Samples &s, int channel, float *out, int64_t plane) {
    f8 rows[8];
    for (int i = 0; i < 8; ++i) {
        const float *const *p = s.tap[i];
        rows[i] = (load<f8>(p[0] + channel) * splat<f8>(s.weight[i][0]) + load<f8>(p[1] + channel) * splat<f8>(s.weight[i][1])) +
                  (load<f8>(p[2] + channel) * splat<f8>(s.weight[i][2]) + load<f8>(p[3] + channel) * splat<f8>(s.weight[i][3]));
    }
    transpose(rows);
    for (int c = 0; c < 8; ++c) store(out + (channel + c) * plane, rows[c]);
}

void sample_one(const Samples &s, int channel, float *out, int64_t plane) {
    float row[8];
    for (int i = 0; i < 8; ++i) {
        const float *const *p = s.tap[i];
        row[i] = (p[0][channel] * s.weight[i][0] + p[1][channel] * s.weight[i][1]) + (p[2][channel] * s.weight[i][2] + p[3][channel] * s.weight[i][3]);
    }
    std::memcpy(out + channel * plane, row, sizeof row);
}

// C+3 planes of eight pixels; the last group of channels overlaps the one before, so that no texel is read past its end.
void write_eight(const Samples &s, int channels, float *out, int64_t plane) {
    if (channels < 8) {
        for (int c = 0; c < channels; ++c) sample_one(s, c, out, plane);
    } else {
        for (int c = 0; c + 8 <= channels; c += 8) sample_eight(s, c, out, plane);
        if (channels % 8) sample_eight(s, channels - 8, out, plane);
    }
    std::memcpy(out + channels * plane, s.u, sizeof s.u);
    std::memcpy(out + (channels + 1) * plane, s.v, sizeof s.v);
    std::memcpy(out + (channels + 2) * plane, s.mask, sizeof s.mask);
}

void fill(const GatherArgs &a, int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    for (int c = 0; c < a.channels + 3; ++c) {
        float *p = a.out + c * a.pixels + begin;
        if (c < a.channels || c == a.channels + 2) std::memset(p, 0, sizeof(float) * n);
        else
            for (int64_t i = 0; i < n; ++i) p[i] = -10.0f;
    }
}

bool gather_chunk(const GatherArgs &a, int64_t begin, int64_t end) {
    Samples s;
    int64_t filled = begin;              // all before this is written
    for (int64_t at = begin; at < end; at += 8) {
        const int n = static_cast<int>(min2<int64_t>(8, end - at));
        int32_t all = -1;
        for (int i = 0; i < n; ++i) all &= a.triangle_id[at + i] < 0 ? -1 : 0;
        if (all) continue;
        if (filled < at) fill(a, filled, at);
        filled = at + n;
        if (!locate(a, at, n, s)) return false;
        if (n == 8) {
            write_eight(s, a.channels, a.out + at, a.pixels);
        } else {
            float rows[(MAX_CHANNELS + 3) * 8];
            write_eight(s, a.channels, rows, 8);
            for (int c = 0; c < a.channels + 3; ++c) std::memcpy(a.out + c * a.pixels + at, rows + 8 * c, sizeof(float) * n);
        }
    }
    if (filled < end) fill(a, filled, end);
    return true;
}

}  // namespace

Status gather(const GatherArgs &a) {
    std::atomic<int> status{OK};
    auto task = [&](int i) {
        const int64_t begin = static_cast<int64_t>(i) * CHUNK;
        if (!gather_chunk(a, begin, min2(begin + CHUNK, a.pixels))) status.store(BAD_INDEX, std::memory_order_relaxed);
    };
    parallel(static_cast<int>((a.pixels + CHUNK - 1) / CHUNK), a.threads, task);
    return static_cast<Status>(status.load());
}

DINAR_END
