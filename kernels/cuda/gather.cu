// From visibility to the renderer network's input in one pass: barycentrics, texture coordinates, bilinear sampling, and planes of
// C texture channels, u, v, mask, in fp16 or fp32, and depth. Every element is written.
// Floor: 8 bytes a pixel in and (C+3) elements (plus 4 bytes of depth) out; a covered pixel reads four texels, which neighbours share.
#include "sampling.cuh"

DINAR_BEGIN
namespace {

template <class T>
DINAR_DEVICE void gather(const Scene &s, const Texture &t, int height, int width, int samples, float near_z, const int *origins, const uint64_t *visibility, T *out,
                         float *depth) {
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    const int view = blockIdx.z;
    if (x >= width || y >= height) return;
    const int64_t plane = static_cast<int64_t>(height) * width, at = static_cast<int64_t>(y) * width + x;
    const uint64_t key = visibility[view * plane + at];
    T *o = out + view * (t.channels + 3) * plane + at;
    if (key == EMPTY_PIXEL) {
        const T zero = Element<T>::store(0.0f), nowhere = Element<T>::store(-10.0f);
        for (int c = 0; c < t.channels; ++c) o[c * plane] = zero;
        o[t.channels * plane] = nowhere;
        o[(t.channels + 1) * plane] = nowhere;
        o[(t.channels + 2) * plane] = zero;
        if (depth) depth[view * plane + at] = 0;
        return;
    }
    const int id = static_cast<int>(key & 0xffffffffu);
    const Surface at_pixel = surface_at(s, view, id, x, y, samples, near_z, origins);
    sample_planes(t, at_pixel.u, at_pixel.v, o, plane);
    o[t.channels * plane] = Element<T>::store(2 * at_pixel.u - 1);
    o[(t.channels + 1) * plane] = Element<T>::store(2 * at_pixel.v - 1);
    o[(t.channels + 2) * plane] = Element<T>::store(1.0f);
    if (depth) depth[view * plane + at] = at_pixel.depth;
}

}  // namespace
DINAR_END

// A thread per pixel, a view per grid z. corner_uv [F,8]: u, v of the three corners and padding. texture [Ht,Wt,stride], fp16.
// out [views,C+3,H,W]; depth [views,H,W] metres or null.
extern "C" __global__ void gather_f16(int height, int width, int samples, int vertices, int channels, int stride, int texture_height,
                                      int texture_width, float near_z, const float *projective, const int *faces, const float *corner_uv,
                                      const void *texture, const int *origins, const unsigned long long *visibility, void *out, float *depth) {
    const dinar::Scene scene = {vertices, projective, faces, corner_uv};
    const dinar::Texture seen = {channels, stride, texture_height, texture_width, texture};
    dinar::gather(scene, seen, height, width, samples, near_z, origins, reinterpret_cast<const uint64_t *>(visibility), static_cast<uint16_t *>(out), depth);
}

// The same with a texture and an output of fp32.
extern "C" __global__ void gather_f32(int height, int width, int samples, int vertices, int channels, int stride, int texture_height,
                                      int texture_width, float near_z, const float *projective, const int *faces, const float *corner_uv,
                                      const void *texture, const int *origins, const unsigned long long *visibility, void *out, float *depth) {
    const dinar::Scene scene = {vertices, projective, faces, corner_uv};
    const dinar::Texture seen = {channels, stride, texture_height, texture_width, texture};
    dinar::gather(scene, seen, height, width, samples, near_z, origins, reinterpret_cast<const uint64_t *>(visibility), static_cast<float *>(out), depth);
}
