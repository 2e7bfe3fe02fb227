// Colour and mask at edges as averages over 2 x 2 samples: kernels/smooth_edges.py, with the samples of a raster of twice the size.
// Floor: 8 bytes a pixel of the window to look for edges, and at an edge 32 bytes of samples, up to four texture samples and one pixel out.
#include "dinar/edges.h"
#include "sampling.cuh"

DINAR_BEGIN
namespace {

constexpr int FINER = 2, POINTS = FINER * FINER;

DINAR_DEVICE int32_t face_at(const uint64_t *visibility, int64_t at) {
    const uint64_t key = visibility[at];
    return key == EMPTY_PIXEL ? -1 : static_cast<int32_t>(key & 0xffffffffu);
}

struct Edges {
    const UvBox *boxes;
    float gap;
};

// Whether the pixel and one of its four neighbours in the window show different surfaces. seen: of the view.
DINAR_DEVICE bool is_edge(const Edges &e, const uint64_t *seen, int x, int y, int width, int height) {
    const int64_t at = static_cast<int64_t>(y) * width + x;
    const int32_t face = face_at(seen, at);
    return (x > 0 && apart(face, face_at(seen, at - 1), e.boxes, e.gap)) || (x + 1 < width && apart(face, face_at(seen, at + 1), e.boxes, e.gap)) ||
           (y > 0 && apart(face, face_at(seen, at - width), e.boxes, e.gap)) ||
           (y + 1 < height && apart(face, face_at(seen, at + width), e.boxes, e.gap));
}

// blocks: whether `out` has planes of 2x2 pixels, as of gather_half; else mask is the plane of that number. planes: of a view.
template <class T>
DINAR_DEVICE void smooth(const Scene &s, const Texture &t, const Edges &e, int height, int width, int samples, float near_z, bool straight, bool blocks,
                         int planes, int mask, const int *origins, const int *enabled, const uint64_t *visibility, const uint64_t *fine, T *out, float *depth) {
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    const int view = blockIdx.z;
    if (x >= width || y >= height || !enabled[view]) return;
    const int64_t pixels = static_cast<int64_t>(height) * width, pixel = static_cast<int64_t>(y) * width + x;
    if (!is_edge(e, visibility + view * pixels, x, y, width, height)) return;
    int32_t id[POINTS];
    uint32_t left = 0;                   // samples that are not yet in the sum
    for (int k = 0; k < POINTS; ++k) {
        const int64_t row = static_cast<int64_t>(y) * FINER + k / FINER;
        id[k] = face_at(fine, view * pixels * POINTS + row * width * FINER + x * FINER + k % FINER);
        left |= static_cast<uint32_t>(id[k] >= 0) << k;
    }
    // One texture sample for each surface, where the middle one of its samples lies: as on a CPU
    float sum[3] = {0, 0, 0}, nearest = 3.4e38f;
    int covered = 0;
    for (int k = 0; left; ++k) {
        if (!(left >> k & 1)) continue;
        int members[POINTS], n = 0;
        for (int j = k; j < POINTS; ++j) {
            if (!(left >> j & 1) || apart(id[k], id[j], e.boxes, e.gap)) continue;
            left &= ~(1u << j);
            members[n++] = j;
        }
        covered += n;
        const int middle = members[n / 2];
        const Surface seen = surface_at<FINER>(s, view, id[middle], x * FINER + middle % FINER, y * FINER + middle / FINER, samples * FINER, near_z, origins);
        nearest = min2(nearest, seen.depth);
        const Bilinear b = bilinear(seen.u, seen.v, t.width, t.height);
        const float weight[4] = {b.w00, b.w01, b.w10, b.w11}, share = static_cast<float>(n) * (1.0f / POINTS);
        for (int i = 0; i < 4; ++i) {
            if (!inside(b.x + (i & 1), b.y + (i >> 1), t.width, t.height)) continue;
            float texel[LANES];
            Element<T>::load(static_cast<const T *>(t.texels) + (static_cast<int64_t>(b.y + (i >> 1)) * t.width + b.x + (i & 1)) * t.stride, texel);
            for (int c = 0; c < 3; ++c) sum[c] += texel[c] * (weight[i] * share);
        }
    }
    float *z = depth ? depth + view * pixels + pixel : nullptr;
    if (z && covered && *z == 0) *z = nearest;
    const float share = straight && covered ? static_cast<float>(POINTS) / static_cast<float>(covered) : 1.0f;
    const int64_t plane = blocks ? pixels / 4 : pixels;
    const int first = blocks ? 4 * (y % 2 * 2 + x % 2) : 0;
    T *o = out + view * planes * plane + (blocks ? static_cast<int64_t>(y / 2) * (width / 2) + x / 2 : pixel);
    for (int c = 0; c < 3; ++c) o[(first + c) * plane] = Element<T>::store(sum[c] * share);
    o[(blocks ? first + 3 : mask) * plane] = Element<T>::store(static_cast<float>(covered) * (1.0f / POINTS));
}

}  // namespace
DINAR_END

// A thread per pixel of the window, a view per grid z. uv_boxes [F,4]: the least u, v of a face and the largest. texture
// [Ht,Wt,stride], fp16, of which three channels are colour. enabled [views]: 0 leaves a view as it is. fine [views,2H,2W]: the
// visibility of a raster of twice the size. out [views,planes,...]: features of gather, or with `blocks` of gather_half. Others as there.
extern "C" __global__ void smooth_edges_f16(int height, int width, int samples, int vertices, int stride, int texture_height, int texture_width,
                                            float near_z, float gap, int straight, int blocks, int planes, int mask, const float *projective,
                                            const int *faces, const float *corner_uv, const float *uv_boxes, const void *texture, const int *origins,
                                            const int *enabled, const unsigned long long *visibility, const unsigned long long *fine, void *out, float *depth) {
    const dinar::Scene scene = {vertices, projective, faces, corner_uv};
    const dinar::Texture colour = {3, stride, texture_height, texture_width, texture};
    const dinar::Edges edges = {reinterpret_cast<const dinar::UvBox *>(uv_boxes), gap};
    dinar::smooth(scene, colour, edges, height, width, samples, near_z, straight != 0, blocks != 0, planes, mask, origins, enabled,
                  reinterpret_cast<const uint64_t *>(visibility), reinterpret_cast<const uint64_t *>(fine), static_cast<uint16_t *>(out), depth);
}

// The same with a texture and features of fp32.
extern "C" __global__ void smooth_edges_f32(int height, int width, int samples, int vertices, int stride, int texture_height, int texture_width,
                                            float near_z, float gap, int straight, int blocks, int planes, int mask, const float *projective,
                                            const int *faces, const float *corner_uv, const float *uv_boxes, const void *texture, const int *origins,
                                            const int *enabled, const unsigned long long *visibility, const unsigned long long *fine, void *out, float *depth) {
    const dinar::Scene scene = {vertices, projective, faces, corner_uv};
    const dinar::Texture colour = {3, stride, texture_height, texture_width, texture};
    const dinar::Edges edges = {reinterpret_cast<const dinar::UvBox *>(uv_boxes), gap};
    dinar::smooth(scene, colour, edges, height, width, samples, near_z, straight != 0, blocks != 0, planes, mask, origins, enabled,
                  reinterpret_cast<const uint64_t *>(visibility), reinterpret_cast<const uint64_t *>(fine), static_cast<float *>(out), depth);
}
