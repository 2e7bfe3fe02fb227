// From a visible triangle to texture coordinates, and from them to texels: what gather.cu and half.cu share.
#pragma once
#include "device.cuh"
#include "dinar/raster.h"
#include "dinar/sample.h"

DINAR_BEGIN
namespace {

constexpr int LANES = 8;                 // channels sampled at a time; textures are padded to a multiple of it

template <class T> struct Element;
template <> struct Element<float> {
    static DINAR_DEVICE float store(float x) { return x; }
    static DINAR_DEVICE void load(const float *p, float out[LANES]) {
        for (int i = 0; i < LANES; i += 4) {
            const Float4 q = *reinterpret_cast<const Float4 *>(p + i);
            for (int k = 0; k < 4; ++k) out[i + k] = q.v[k];
        }
    }
};
template <> struct Element<uint16_t> {
    static DINAR_DEVICE uint16_t store(float x) { return float_to_half(x); }
    static DINAR_DEVICE void load(const uint16_t *p, float out[LANES]) {
        const Half8 q = *reinterpret_cast<const Half8 *>(p);
        for (int i = 0; i < LANES; ++i) out[i] = half_to_float(q.v[i]);
    }
};

struct Scene {
    int vertices;
    const float *projective;
    const int *faces;
    const float *corner_uv;
};

struct Texture {
    int channels, stride, height, width;
    const void *texels;
};

// scale: of a raster that is so many times as large as what the vertices were projected for
DINAR_DEVICE Corner corner_of(const Scene &s, int view, int id, int k, int scale) {
    const float *p = s.projective + 3 * (static_cast<int64_t>(view) * s.vertices + s.faces[3 * static_cast<int64_t>(id) + k]);
    return Corner{p[0] * scale, p[1] * scale, p[2]};
}

struct Surface {
    float u, v, depth;
};

// What triangle `id` shows in the sample at (x, y) of the window.
template <int SCALE = 1> DINAR_DEVICE Surface surface_at(const Scene &s, int view, int id, int x, int y, int samples, float near_z, const int *origins) {
    const Barycentrics b = resolve_pixel(corner_of(s, view, id, 0, SCALE), corner_of(s, view, id, 1, SCALE), corner_of(s, view, id, 2, SCALE),
                                         x + origins[2 * view] * samples + 0.5, y + origins[2 * view + 1] * samples + 0.5, near_z);
    const Float4 *uv = reinterpret_cast<const Float4 *>(s.corner_uv) + 2 * static_cast<int64_t>(id);
    const Float4 first = uv[0], second = uv[1];          // u0 v0 u1 v1, u2 v2 and padding
    return Surface{b.b0 * first.v[0] + b.b1 * first.v[2] + b.b2 * second.v[0], b.b0 * first.v[1] + b.b1 * first.v[3] + b.b2 * second.v[1],
                   b.depth};
}

// The texture's channels at (u, v) into planes that lie `plane` elements apart.
template <class T> DINAR_DEVICE void sample_planes(const Texture &s, float u, float v, T *out, int64_t plane) {
    const Bilinear t = bilinear(u, v, s.width, s.height);
    const float weight[4] = {t.w00, t.w01, t.w10, t.w11};
    const T *texel = static_cast<const T *>(s.texels) + (static_cast<int64_t>(t.y) * s.width + t.x) * s.stride;
    const int64_t step[4] = {0, s.stride, static_cast<int64_t>(s.width) * s.stride, static_cast<int64_t>(s.width + 1) * s.stride};
    bool in[4];
    for (int k = 0; k < 4; ++k) in[k] = inside(t.x + (k & 1), t.y + (k >> 1), s.width, s.height);
    for (int c = 0; c < s.channels; c += LANES) {
        float tap[4][LANES];
        for (int k = 0; k < 4; ++k) {
            if (in[k]) Element<T>::load(texel + step[k] + c, tap[k]);
            else
                for (int i = 0; i < LANES; ++i) tap[k][i] = 0;
        }
        for (int i = 0; i < LANES; ++i) {
            if (c + i >= s.channels) break;
            out[(c + i) * plane] = Element<T>::store((tap[0][i] * weight[0] + tap[1][i] * weight[1]) + (tap[2][i] * weight[2] + tap[3][i] * weight[3]));
        }
    }
}

}  // namespace
DINAR_END
