// From visibility to the renderer network's input in one pass: barycentrics, texture coordinates, bilinear sampling, and planes of
// C texture channels, u, v, mask, in fp16 or fp32, and depth. Every element is written.
// Floor: 8 bytes a pixel in and (C+3) elements (plus 4 bytes of depth) out; a covered pixel reads four texels, which neighbours share.
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
    int vertices, channels, stride, texture_height, texture_width;
    const float *projective;
    const int *faces;
    const float *corner_uv;
    const void *texture;
};

DINAR_DEVICE Corner corner_of(const Scene &s, int view, int id, int k) {
    const float *p = s.projective + 3 * (static_cast<int64_t>(view) * s.vertices + s.faces[3 * static_cast<int64_t>(id) + k]);
    return Corner{p[0], p[1], p[2]};
}

template <class T>
DINAR_DEVICE void gather(const Scene &s, int height, int width, int samples, float near_z, const int *origins, const uint64_t *visibility, T *out,
                         float *depth) {
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    const int view = blockIdx.z;
    if (x >= width || y >= height) return;
    const int64_t plane = static_cast<int64_t>(height) * width, at = static_cast<int64_t>(y) * width + x;
    const uint64_t key = visibility[view * plane + at];
    T *o = out + view * (s.channels + 3) * plane + at;
    if (key == EMPTY_PIXEL) {
        const T zero = Element<T>::store(0.0f), nowhere = Element<T>::store(-10.0f);
        for (int c = 0; c < s.channels; ++c) o[c * plane] = zero;
        o[s.channels * plane] = nowhere;
        o[(s.channels + 1) * plane] = nowhere;
        o[(s.channels + 2) * plane] = zero;
        if (depth) depth[view * plane + at] = 0;
        return;
    }
    const int id = static_cast<int>(key & 0xffffffffu);
    const Barycentrics b = resolve_pixel(corner_of(s, view, id, 0), corner_of(s, view, id, 1), corner_of(s, view, id, 2),
                                         x + origins[2 * view] * samples + 0.5, y + origins[2 * view + 1] * samples + 0.5, near_z);
    const Float4 *uv = reinterpret_cast<const Float4 *>(s.corner_uv) + 2 * static_cast<int64_t>(id);
    const Float4 first = uv[0], second = uv[1];          // u0 v0 u1 v1, u2 v2 and padding
    const float u = b.b0 * first.v[0] + b.b1 * first.v[2] + b.b2 * second.v[0];
    const float v = b.b0 * first.v[1] + b.b1 * first.v[3] + b.b2 * second.v[1];
    const Bilinear t = bilinear(u, v, s.texture_width, s.texture_height);
    const float weight[4] = {t.w00, t.w01, t.w10, t.w11};
    const T *texel = static_cast<const T *>(s.texture) + (static_cast<int64_t>(t.y) * s.texture_width + t.x) * s.stride;
    const int64_t step[4] = {0, s.stride, static_cast<int64_t>(s.texture_width) * s.stride, static_cast<int64_t>(s.texture_width + 1) * s.stride};
    bool in[4];
    for (int k = 0; k < 4; ++k) in[k] = inside(t.x + (k & 1), t.y + (k >> 1), s.texture_width, s.texture_height);
    for (int c = 0; c < s.channels; c += LANES) {
        float tap[4][LANES];
        for (int k = 0; k < 4; ++k) {
            if (in[k]) Element<T>::load(texel + step[k] + c, tap[k]);
            else
                for (int i = 0; i < LANES; ++i) tap[k][i] = 0;
        }
        for (int i = 0; i < LANES; ++i) {
            if (c + i >= s.channels) break;
            o[(c + i) * plane] = Element<T>::store((tap[0][i] * weight[0] + tap[1][i] * weight[1]) + (tap[2][i] * weight[2] + tap[3][i] * weight[3]));
        }
    }
    o[s.channels * plane] = Element<T>::store(2 * u - 1);
    o[(s.channels + 1) * plane] = Element<T>::store(2 * v - 1);
    o[(s.channels + 2) * plane] = Element<T>::store(1.0f);
    if (depth) depth[view * plane + at] = b.depth;
}

}  // namespace
DINAR_END

// A thread per pixel, a view per grid z. corner_uv [F,8]: u, v of the three corners and padding. texture [Ht,Wt,stride], fp16.
// out [views,C+3,H,W]; depth [views,H,W] metres or null.
extern "C" __global__ void gather_f16(int height, int width, int samples, int vertices, int channels, int stride, int texture_height,
                                      int texture_width, float near_z, const float *projective, const int *faces, const float *corner_uv,
                                      const void *texture, const int *origins, const unsigned long long *visibility, void *out, float *depth) {
    const dinar::Scene scene = {vertices, channels, stride, texture_height, texture_width, projective, faces, corner_uv, texture};
    dinar::gather(scene, height, width, samples, near_z, origins, reinterpret_cast<const uint64_t *>(visibility), static_cast<uint16_t *>(out), depth);
}

// The same with a texture and an output of fp32.
extern "C" __global__ void gather_f32(int height, int width, int samples, int vertices, int channels, int stride, int texture_height,
                                      int texture_width, float near_z, const float *projective, const int *faces, const float *corner_uv,
                                      const void *texture, const int *origins, const unsigned long long *visibility, void *out, float *depth) {
    const dinar::Scene scene = {vertices, channels, stride, texture_height, texture_width, projective, faces, corner_uv, texture};
    dinar::gather(scene, height, width, samples, near_z, origins, reinterpret_cast<const uint64_t *>(visibility), static_cast<float *>(out), depth);
}
