// The input of a network at half resolution, and what it gives, blended with the mesh and composited: kernels/gather_half.py and
// kernels/compose_half.py, but as planes, which engines on a GPU take. Every element is written.
// Floor of gather: 8 bytes a pixel in, 16 + C elements a block (plus 4 bytes of depth a pixel) out. Of compose: 4 (+ 4 with depth) bytes a
// pixel out, and inside the window 32 elements a block in.
#include "dinar/blend.h"
#include "dinar/half.h"
#include "sampling.cuh"

DINAR_BEGIN
namespace {

template <class T>
DINAR_DEVICE void gather_half(const Scene &s, const Texture &colour, const Texture &neural, int height, int width, float near_z, const int *origins,
                              const uint64_t *visibility, T *out, float *depth) {
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    const int view = blockIdx.z, blocks = width / 2;
    if (x >= blocks || y >= height / 2) return;
    const int64_t plane = static_cast<int64_t>(height / 2) * blocks, pixels = static_cast<int64_t>(height) * width;
    T *o = out + view * (BLOCK + neural.channels) * plane + static_cast<int64_t>(y) * blocks + x;
    const T zero = Element<T>::store(0.0f), one = Element<T>::store(1.0f);
    bool placed = false;
    for (int k = 0; k < 4; ++k) {
        const int px = 2 * x + (k & 1), py = 2 * y + (k >> 1);
        const int64_t at = view * pixels + static_cast<int64_t>(py) * width + px;
        const uint64_t key = visibility[at];
        T *pixel = o + 4 * k * plane;
        if (key == EMPTY_PIXEL) {
            for (int c = 0; c < 4; ++c) pixel[c * plane] = zero;
            if (depth) depth[at] = 0;
            continue;
        }
        const Surface seen = surface_at(s, view, static_cast<int>(key & 0xffffffffu), px, py, 1, near_z, origins);
        sample_planes(colour, seen.u, seen.v, pixel, plane);
        pixel[3 * plane] = one;
        if (depth) depth[at] = seen.depth;
        if (!placed) sample_planes(neural, seen.u, seen.v, o + BLOCK * plane, plane);
        placed = true;
    }
    if (!placed)
        for (int c = 0; c < neural.channels; ++c) o[(BLOCK + c) * plane] = zero;
}

// fp16 or fp32 planes of blocks; the branch is the same for all threads
struct Blocks {
    const void *data;
    bool half;
    int64_t offset, plane;
    int width;
    // channel c (0..3) of pixel (x, y)
    DINAR_DEVICE float at(int x, int y, int c) const {
        const int64_t i = offset + (4 * ((x & 1) + 2 * (y & 1)) + c) * plane + static_cast<int64_t>(y >> 1) * width + (x >> 1);
        return half ? half_to_float(static_cast<const uint16_t *>(data)[i]) : static_cast<const float *>(data)[i];
    }
};

}  // namespace
DINAR_END

// A thread per block of 2x2 pixels, a view per grid z. height, width: pixels. texture [Ht,Wt,texture_stride] of three channels, neural
// [ht,wt,neural_stride] of `channels`, fp16. out [views,16+channels,H/2,W/2]; depth [views,H,W] metres or null. Others as for gather.
extern "C" __global__ void gather_half_f16(int height, int width, int vertices, int texture_stride, int texture_height, int texture_width, int channels,
                                           int neural_stride, int neural_height, int neural_width, float near_z, const float *projective,
                                           const int *faces, const float *corner_uv, const void *texture, const void *neural, const int *origins,
                                           const unsigned long long *visibility, void *out, float *depth) {
    const dinar::Scene scene = {vertices, projective, faces, corner_uv};
    const dinar::Texture colour = {3, texture_stride, texture_height, texture_width, texture};
    const dinar::Texture looks = {channels, neural_stride, neural_height, neural_width, neural};
    dinar::gather_half(scene, colour, looks, height, width, near_z, origins, reinterpret_cast<const uint64_t *>(visibility),
                       static_cast<uint16_t *>(out), depth);
}

// The same with textures and an output of fp32.
extern "C" __global__ void gather_half_f32(int height, int width, int vertices, int texture_stride, int texture_height, int texture_width, int channels,
                                           int neural_stride, int neural_height, int neural_width, float near_z, const float *projective,
                                           const int *faces, const float *corner_uv, const void *texture, const void *neural, const int *origins,
                                           const unsigned long long *visibility, void *out, float *depth) {
    const dinar::Scene scene = {vertices, projective, faces, corner_uv};
    const dinar::Texture colour = {3, texture_stride, texture_height, texture_width, texture};
    const dinar::Texture looks = {channels, neural_stride, neural_height, neural_width, neural};
    dinar::gather_half(scene, colour, looks, height, width, near_z, origins, reinterpret_cast<const uint64_t *>(visibility),
                       static_cast<float *>(out), depth);
}

// A thread per pixel of the picture, a view per grid z; the picture is written in full. height, width: of the window, pixels. features
// [views,16+C,H/2,W/2], correction [views,16,H/2,W/2]: elements between views are *_stride, of fp16 where *_half. Others as for compose.
extern "C" __global__ void compose_half(int height, int width, int out_height, int out_width, long long features_stride, long long correction_stride,
                                        int features_half, int correction_half, int hardsegm, int remap, float threshold, int has_background,
                                        float red, float green, float blue, int straight, const void *features, const void *correction,
                                        const float *depth, const int *origins, unsigned int *out, float *depth_out) {
    using namespace dinar;
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    const int view = blockIdx.z;
    if (x >= out_width || y >= out_height) return;
    const int64_t at = (static_cast<int64_t>(view) * out_height + y) * out_width + x;
    const int wx = x - origins[2 * view], wy = y - origins[2 * view + 1];
    if (!inside(wx, wy, width, height)) {
        out[at] = has_background ? to_byte(red) | to_byte(green) << 8 | to_byte(blue) << 16 | 255u << 24 : 0u;
        if (depth_out) depth_out[at] = 0;
        return;
    }
    const int64_t plane = static_cast<int64_t>(height / 2) * (width / 2);
    const Blocks mesh = {features, features_half != 0, view * features_stride, plane, width / 2};
    const Blocks change = {correction, correction_half != 0, view * correction_stride, plane, width / 2};
    float seen[4], sum[4], add[4], rgba[4];
    for (int c = 0; c < 4; ++c) {
        float column[3];                 // rows from top to bottom, then the pair of columns that share a block, then the third: as on a CPU
        for (int i = 0; i < 3; ++i) {
            float value[3];
            for (int j = 0; j < 3; ++j) value[j] = inside(wx + i - 1, wy + j - 1, width, height) ? mesh.at(wx + i - 1, wy + j - 1, c) : 0.0f;
            column[i] = (value[0] + value[1]) + value[2];
        }
        sum[c] = wx & 1 ? (column[0] + column[1]) + column[2] : column[0] + (column[1] + column[2]);
        seen[c] = mesh.at(wx, wy, c);
        add[c] = change.at(wx, wy, c);
    }
    blended(seen, sum, add, rgba);
    float a = rgba[3];
    if (hardsegm) a = min2(a + seen[3], 1.0f);
    if (remap) a = clamp_nan_low(threshold_alpha(a, threshold), 0.0f, 1.0f);
    float c[3] = {rgba[0] * a, rgba[1] * a, rgba[2] * a};
    if (has_background) {
        const float background[3] = {red, green, blue};
        for (int k = 0; k < 3; ++k) c[k] += background[k] * (1 - a);
    } else if (straight) {
        const float inverse = (a > 0 ? 1.0f : 0.0f) / (a > 0 ? a : 1.0f);
        for (int k = 0; k < 3; ++k) c[k] *= inverse;
    }
    const uint32_t opaque = has_background ? 255u : to_byte(min2(a, 1.0f));
    out[at] = to_byte(min2(c[0], 1.0f)) | to_byte(min2(c[1], 1.0f)) << 8 | to_byte(min2(c[2], 1.0f)) << 16 | opaque << 24;
    if (depth_out) {
        const float z = depth[view * static_cast<int64_t>(height) * width + static_cast<int64_t>(wy) * width + wx];
        depth_out[at] = z > 0 ? z : 0.0f;
    }
}
