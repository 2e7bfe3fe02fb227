// Between our conventions and those of nvdiffrast: clip space and culled faces in, visibility out.
#include "device.cuh"
#include "dinar/raster.h"

// projective [views,V,3] to clip [views,V,4]: x/w and y/w run from -1 to 1 over the window, y down like our rows, z/w from -1 at
// `near_z` to 1 at infinity.
extern "C" __global__ void nvdiffrast_vertices(int vertices, int height, int width, int samples, float near_z, const float *projective,
                                               const int *origins, float *clip) {
    using namespace dinar;
    const int v = static_cast<int>(global_thread()), view = blockIdx.y;
    if (v >= vertices) return;
    const int64_t at = static_cast<int64_t>(view) * vertices + v;
    const double x = projective[3 * at], y = projective[3 * at + 1], z = projective[3 * at + 2];
    const int origin_x = origins[2 * view] * samples, origin_y = origins[2 * view + 1] * samples;
    reinterpret_cast<Float4 *>(clip)[at] =
        Float4{{static_cast<float>(2 * (x - origin_x * z) / width - z), static_cast<float>(2 * (y - origin_y * z) / height - z),
                static_cast<float>(z - 2.0 * near_z), static_cast<float>(z)}};
}

// faces [F,3] to triangles [views,F,3]. nvdiffrast draws both sides: a face that our rasterizer would leave out becomes a point, so that
// the others keep their numbers.
extern "C" __global__ void nvdiffrast_faces(int vertices, int faces, int cull, float near_z, const float *projective, const int *indices,
                                            int *triangles) {
    using namespace dinar;
    const int f = static_cast<int>(global_thread()), view = blockIdx.y;
    if (f >= faces) return;
    GridVertex v[3];
    const float *p[3];
    for (int i = 0; i < 3; ++i) {
        p[i] = projective + 3 * (static_cast<int64_t>(view) * vertices + indices[3 * static_cast<int64_t>(f) + i]);
        v[i] = snap_vertex(p[i][0], p[i][1], p[i][2], near_z);
    }
    double area;                         // > 0: seen from behind
    if (min3(v[0].w, v[1].w, v[2].w) > 0) {
        area = static_cast<double>(signed_area(v[0], v[1], v[2]));
    } else {                             // partly behind the camera: the sign of the volume is that of every part in front of it
        const double ax = p[0][0], ay = p[0][1], az = p[0][2], bx = p[1][0], by = p[1][1], bz = p[1][2], cx = p[2][0], cy = p[2][1], cz = p[2][2];
        area = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx);
    }
    const bool drawn = area < 0 || (area > 0 && !cull);
    for (int i = 0; i < 3; ++i)
        triangles[3 * (static_cast<int64_t>(view) * faces + f) + i] = drawn ? indices[3 * static_cast<int64_t>(f) + i] : 0;
}

// One view's raster [H,W,4] = (u, v, z/w, triangle + 1; all 0 = empty) to visibility [views,H,W].
extern "C" __global__ void nvdiffrast_pixels(long long pixels, int view, float near_z, const float *raster, unsigned long long *visibility) {
    using namespace dinar;
    const int64_t i = global_thread();
    if (i >= pixels) return;
    const Float4 r = reinterpret_cast<const Float4 *>(raster)[i];
    const int id = static_cast<int>(r.v[3]) - 1;
    const float w = max2((1.0f - r.v[2]) / (2.0f * near_z), 1e-30f);       // 1/z
    visibility[view * pixels + i] = id < 0 ? EMPTY_PIXEL : visibility_key(w, id);
}
