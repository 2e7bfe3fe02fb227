// Network output to 8-bit RGBA and depth. A thread per pixel of the picture, a view per grid z; the picture is written in full.
// Floor: 4 (+ 4 with depth) bytes a pixel out, and inside the window samples^2 * (4 elements + mask + depth) in.
#include "device.cuh"
#include "dinar/blend.h"

DINAR_BEGIN
namespace {

// fp16 or fp32 plane of one view; the branch is the same for all threads
struct Plane {
    const void *data;
    bool half;
    int64_t offset;
    DINAR_DEVICE float operator[](int64_t i) const {
        return half ? half_to_float(static_cast<const uint16_t *>(data)[offset + i]) : static_cast<const float *>(data)[offset + i];
    }
};

}  // namespace
DINAR_END

// rgb [views,3,H,W], alpha [views,1,H,W], mask (or null): elements between views are *_stride, of fp16 where *_half; H, W = samples times
// the window. origins [views,2]: where the window goes in the picture. depth [views,H,W] and depth_out [views,out_height,out_width], or
// both null. out: bytes r, g, b, a. Other arguments as in kernels/compose.py.
extern "C" __global__ void compose(int height, int width, int samples, int out_height, int out_width, long long rgb_stride, long long alpha_stride,
                                   long long mask_stride, int rgb_half, int alpha_half, int mask_half, int remap, float threshold,
                                   int has_background, float red, float green, float blue, int straight, const void *rgb, const void *alpha,
                                   const void *mask, const float *depth, const int *origins, unsigned int *out, float *depth_out) {
    using namespace dinar;
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    const int view = blockIdx.z;
    if (x >= out_width || y >= out_height) return;
    const int64_t at = (static_cast<int64_t>(view) * out_height + y) * out_width + x;
    const int wx = x - origins[2 * view], wy = y - origins[2 * view + 1];
    if (!inside(wx, wy, width / samples, height / samples)) {
        out[at] = has_background ? to_byte(red) | to_byte(green) << 8 | to_byte(blue) << 16 | 255u << 24 : 0u;
        if (depth_out) depth_out[at] = 0;
        return;
    }
    const int64_t plane = static_cast<int64_t>(height) * width;
    const Plane colour = {rgb, rgb_half != 0, view * rgb_stride}, opacity = {alpha, alpha_half != 0, view * alpha_stride},
                cover = {mask, mask_half != 0, view * mask_stride};
    float sum[4] = {0, 0, 0, 0}, nearest = 3.4e38f;
    for (int sy = 0; sy < samples; ++sy)
        for (int sx = 0; sx < samples; ++sx) {
            const int64_t i = (static_cast<int64_t>(wy) * samples + sy) * width + static_cast<int64_t>(wx) * samples + sx;
            float a = opacity[i];
            a = mask ? clamp_nan_low(a + clamp_nan_low(cover[i], 0.0f, 1.0f), 0.0f, 1.0f) : clamp_nan_low(a, 0.0f, 1.0f);
            if (remap) a = clamp_nan_low(threshold_alpha(a, threshold), 0.0f, 1.0f);
            for (int k = 0; k < 3; ++k) sum[k] += clamp_nan_low(colour[k * plane + i], 0.0f, 1.0f) * a;
            sum[3] += a;
            if (depth_out) {
                const float z = depth[view * plane + i];
                nearest = ((z > 0) & (z < nearest)) ? z : nearest;
            }
        }
    const float scale = 1.0f / static_cast<float>(samples * samples), a = sum[3] * scale;
    float c[3] = {sum[0] * scale, sum[1] * scale, sum[2] * scale};
    if (has_background) {
        const float background[3] = {red, green, blue};
        for (int k = 0; k < 3; ++k) c[k] += background[k] * (1 - a);
    } else if (straight) {
        const float inverse = (a > 0 ? 1.0f : 0.0f) / (a > 0 ? a : 1.0f);
        for (int k = 0; k < 3; ++k) c[k] *= inverse;
    }
    const uint32_t opaque = has_background ? 255u : to_byte(min2(a, 1.0f));
    out[at] = to_byte(min2(c[0], 1.0f)) | to_byte(min2(c[1], 1.0f)) << 8 | to_byte(min2(c[2], 1.0f)) << 16 | opaque << 24;
    if (depth_out) depth_out[at] = nearest < 3.4e38f ? nearest : 0.0f;
}
