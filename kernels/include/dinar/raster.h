// Triangle visibility on an exact sub-pixel grid, and perspective-correct barycentrics.
// Pixel coordinates: x right, y down, the pixel (row i, column j) is sampled at (j+0.5, i+0.5).
#pragma once
#include "common.h"

DINAR_BEGIN

constexpr int SUBPIXEL = 256;            // grid steps per pixel
constexpr int SUBPIXEL_BITS = 8;
constexpr float GUARD = 1048576.0f;      // pixels; triangles that reach further are clipped, so that |grid coordinate| <= 2^28

struct GridVertex {
    int32_t x, y;      // 1/256 pixel, absolute in the image (not in the window: a window must give the same pixels)
    float w;           // 1/z; <= 0 means: not usable as it is, clip the triangle
};

struct GridTriangle {
    int32_t x[3], y[3];    // wound so that the signed area is positive
    float w[3];
    int32_t id;
    int16_t x0, y0, x1, y1;    // pixels of the window whose centres may be covered, inclusive
};

// Half away from zero; exact for any image size in use. Plain float arithmetic, so that every build snaps alike.
DINAR_HD int32_t snap(float pixels) {
    const float f = pixels * SUBPIXEL;
    return static_cast<int32_t>(f + (f < 0 ? -0.5f : 0.5f));
}

DINAR_HD GridVertex snap_vertex(float x, float y, float z, float near_z) {
    const bool front = z >= near_z;
    const float d = front ? z : 1.0f;
    const float px = x / d, py = y / d;
    const bool ok = front & (px >= -GUARD) & (px <= GUARD) & (py >= -GUARD) & (py <= GUARD);
    return GridVertex{snap(ok ? px : 0.0f), snap(ok ? py : 0.0f), ok ? 1.0f / d : -1.0f};
}

// Twice the signed area; positive = clockwise on the screen = a back face of a mesh wound counter-clockwise seen from outside.
DINAR_HD int64_t signed_area(const GridVertex &a, const GridVertex &b, const GridVertex &c) {
    return static_cast<int64_t>(b.x - a.x) * (c.y - a.y) - static_cast<int64_t>(b.y - a.y) * (c.x - a.x);
}

// Bounds, culling and winding. False when no pixel of the window can be covered. Window: origin (ox, oy), size (w, h), pixels.
DINAR_HD bool set_up_triangle(const GridVertex &a, const GridVertex &b, const GridVertex &c, int32_t id, bool cull,
                              int ox, int oy, int w, int h, GridTriangle &out) {
    constexpr int half = SUBPIXEL / 2;
    const int x0 = max2(((min3(a.x, b.x, c.x) + half - 1) >> SUBPIXEL_BITS) - ox, 0);
    const int y0 = max2(((min3(a.y, b.y, c.y) + half - 1) >> SUBPIXEL_BITS) - oy, 0);
    const int x1 = min2(((max3(a.x, b.x, c.x) - half) >> SUBPIXEL_BITS) - ox, w - 1);
    const int y1 = min2(((max3(a.y, b.y, c.y) - half) >> SUBPIXEL_BITS) - oy, h - 1);
    const int64_t area = signed_area(a, b, c);
    if ((x0 > x1) | (y0 > y1) | (area == 0) | ((area > 0) & cull)) return false;
    const GridVertex &p = area > 0 ? b : c, &q = area > 0 ? c : b;
    out = GridTriangle{{a.x, p.x, q.x}, {a.y, p.y, q.y}, {a.w, p.w, q.w}, id,
                       static_cast<int16_t>(x0), static_cast<int16_t>(y0), static_cast<int16_t>(x1), static_cast<int16_t>(y1)};
    return true;
}

// One edge as an exact integer function of the pixel: covered where value(x, y) >= 0 for all three.
// Divided (floor) by the grid step: the remainder is the same at all pixel centres, so the sign test stays exact.
struct Edge {
    int64_t value;         // at pixel (0, 0) of the image
    int32_t dx, dy;        // change per pixel to the right, down
};

// Top-left rule (winding: clockwise on the screen): a centre on an edge belongs to the triangle whose left or top edge it is.
DINAR_HD Edge make_edge(int32_t ax, int32_t ay, int32_t bx, int32_t by) {
    constexpr int half = SUBPIXEL / 2;
    const int32_t ex = bx - ax, ey = by - ay;
    const bool top_left = (ey < 0) | ((ey == 0) & (ex > 0));
    const int64_t v = static_cast<int64_t>(ex) * (half - ay) - static_cast<int64_t>(ey) * (half - ax) - (top_left ? 0 : 1);
    return Edge{v >> SUBPIXEL_BITS, -ey, ex};
}

DINAR_HD int64_t edge_at(const Edge &e, int x, int y) {
    return e.value + static_cast<int64_t>(e.dx) * x + static_cast<int64_t>(e.dy) * y;
}

// 1/z is linear on the screen: w = (w0 + dwdy * dy) + dwdx * dx with dx, dy in grid steps from vertex 0, kept inside [lo, hi]
// because the gradient of a sliver is ill-conditioned. Larger w = nearer; equal w: the lower id wins.
struct InverseDepth {
    float w0, dwdx, dwdy, lo, hi;
    int32_t x, y;
};

DINAR_HD InverseDepth make_inverse_depth(const GridTriangle &t) {
    const float x1 = static_cast<float>(t.x[1] - t.x[0]), y1 = static_cast<float>(t.y[1] - t.y[0]);
    const float x2 = static_cast<float>(t.x[2] - t.x[0]), y2 = static_cast<float>(t.y[2] - t.y[0]);
    const float w1 = t.w[1] - t.w[0], w2 = t.w[2] - t.w[0];
    const int64_t area = static_cast<int64_t>(t.x[1] - t.x[0]) * (t.y[2] - t.y[0]) - static_cast<int64_t>(t.y[1] - t.y[0]) * (t.x[2] - t.x[0]);
    const float r = 1.0f / static_cast<float>(area);
    return InverseDepth{t.w[0], (w1 * y2 - w2 * y1) * r, (w2 * x1 - w1 * x2) * r,
                        min3(t.w[0], t.w[1], t.w[2]), max3(t.w[0], t.w[1], t.w[2]), t.x[0], t.y[0]};
}

DINAR_HD float inverse_depth_at(const InverseDepth &p, int x, int y) {
    constexpr int half = SUBPIXEL / 2;
    const float row = p.w0 + p.dwdy * static_cast<float>(y * SUBPIXEL + half - p.y);
    return clamp_nan_low(static_cast<float>(x * SUBPIXEL + half - p.x) * p.dwdx + row, p.lo, p.hi);
}

// What is smallest wins a pixel: the nearest (largest 1/z > 0), then the lower id. No fragment has the key of an empty pixel.
constexpr uint64_t EMPTY_PIXEL = ~0ull;

DINAR_HD uint64_t visibility_key(float w, int32_t id) {
    return static_cast<uint64_t>(~float_bits(w)) << 32 | static_cast<uint32_t>(id);
}

struct Corner {
    float x, y, z;     // px*z, py*z, z
};
struct Barycentrics {
    float b0, b1, b2, depth;
};

// v - x * z, rounded once: the products cancel. x is a pixel centre, so the product is exact in double. GPUs other than those of data
// centres are slow in double; there, a fused multiply-add gives the same but for one case in 2^29, where rounding twice shows.
DINAR_HD float minus_product(float v, double x, float z) {
#if defined(__CUDA_ARCH__) || defined(DINAR_EMULATED)
    return fmaf(-static_cast<float>(x), z, v);
#else
    return static_cast<float>(v - x * z);
#endif
}

// Perspective-correct barycentrics of the pixel centre (x, y) in the original triangle.
// Moving the pixel to the origin first leaves 2D homogeneous edge functions, which need no clipping. The snapped outline may exceed the
// true one by 1/512 pixel, hence the clamp.
DINAR_HD Barycentrics resolve_pixel(const Corner &v0, const Corner &v1, const Corner &v2, double x, double y, float near_z) {
    const float ax = minus_product(v0.x, x, v0.z), ay = minus_product(v0.y, y, v0.z);
    const float bx = minus_product(v1.x, x, v1.z), by = minus_product(v1.y, y, v1.z);
    const float cx = minus_product(v2.x, x, v2.z), cy = minus_product(v2.y, y, v2.z);
    const float e0 = bx * cy - by * cx, e1 = cx * ay - cy * ax, e2 = ax * by - ay * bx;
    const float sign = e0 + e1 + e2 < 0 ? -1.0f : 1.0f;
    const float f0 = max2(e0 * sign, 0.0f), f1 = max2(e1 * sign, 0.0f), f2 = max2(e2 * sign, 0.0f);
    const float sum = f0 + f1 + f2;
    const bool ok = (sum > 0) & (sum < 3e38f);
    const float r = 1.0f / (ok ? sum : 3.0f);
    const float b0 = (ok ? f0 : 1.0f) * r, b1 = (ok ? f1 : 1.0f) * r, b2 = (ok ? f2 : 1.0f) * r;
    return Barycentrics{b0, b1, b2, max2(b0 * v0.z + b1 * v1.z + b2 * v2.z, near_z)};
}

// Sutherland-Hodgman in homogeneous coordinates against z = near and the four planes of the guard band.
struct ClipVertex {
    double x, y, z;
};
constexpr int CLIP_MAX = 8;              // 3 vertices + 5 planes

DINAR_HD double clip_distance(const ClipVertex &v, int plane, double near_z) {
    const double g = GUARD;
    return plane == 0 ? v.z - near_z : plane == 1 ? g * v.z + v.x : plane == 2 ? g * v.z - v.x : plane == 3 ? g * v.z + v.y : g * v.z - v.y;
}

// polygon: 3 vertices in, up to CLIP_MAX out. An edge is always cut from its inner end, so that the two triangles that share it
// get the same point.
DINAR_HD int clip_triangle(ClipVertex polygon[CLIP_MAX], double near_z) {
    int n = 3;
    for (int plane = 0; plane < 5; ++plane) {
        ClipVertex in[CLIP_MAX];
        for (int i = 0; i < n; ++i) in[i] = polygon[i];
        int m = 0;
        for (int i = 0; i < n; ++i) {
            const ClipVertex &a = in[i], &b = in[i + 1 < n ? i + 1 : 0];
            const double da = clip_distance(a, plane, near_z), db = clip_distance(b, plane, near_z);
            if (da >= 0 && m < CLIP_MAX) polygon[m++] = a;
            if ((da >= 0) != (db >= 0) && m < CLIP_MAX) {
                const bool a_inside = da >= 0;
                const ClipVertex &p = a_inside ? a : b, &q = a_inside ? b : a;
                const double dp = a_inside ? da : db, dq = a_inside ? db : da, t = dp / (dp - dq);
                polygon[m++] = ClipVertex{p.x + t * (q.x - p.x), p.y + t * (q.y - p.y), plane == 0 ? near_z : p.z + t * (q.z - p.z)};
            }
        }
        n = m;
        if (n < 3) return 0;
    }
    return n;
}

// A vertex of a clipped polygon on the grid. It passed the planes up to rounding, so px and py are only limited, never dropped.
DINAR_HD GridVertex snap_clipped(const ClipVertex &v) {
    const float d = static_cast<float>(v.z);
    const float px = static_cast<float>(v.x) / d, py = static_cast<float>(v.y) / d;
    return GridVertex{snap(clamp_nan_low(px, -GUARD, GUARD)), snap(clamp_nan_low(py, -GUARD, GUARD)), 1.0f / d};
}

DINAR_END
