// Set-up of triangles, which rasterize and smooth_edges share.
#pragma once
#include "dinar/raster.h"
#include "loops.h"

DINAR_BEGIN
namespace {

struct Chunk {                           // what one thread set up, and the cost of each row for the balance of the bands
    Buffer<GridTriangle> triangles;
    Buffer<int32_t> cost;
    int64_t count = 0;
};

struct Scratch {
    Buffer<GridVertex> vertices;
    Chunk *chunks = nullptr;
    int chunk_count = 0;
    ~Scratch() { delete[] chunks; }
    Chunk *reserve_chunks(int n) {
        if (n > chunk_count) {
            delete[] chunks;
            chunks = nullptr;
            chunk_count = 0;
            chunks = new Chunk[n];
            chunk_count = n;
        }
        return chunks;
    }
};

bool snap_vertices(const RasterizeArgs &a, GridVertex *out, int begin, int end) {
    uint32_t not_finite = 0;
    for (int v = begin; v < end; ++v) {
        const float *p = a.projective + 3 * static_cast<int64_t>(v);
        uint32_t b[3];
        std::memcpy(b, p, sizeof b);
        for (uint32_t bits : b) not_finite |= static_cast<uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
        out[v] = snap_vertex(p[0], p[1], p[2], a.near_z);
    }
    return !not_finite;
}

// Triangles that cross the near plane or the guard band: rare, so kept out of the loop.
#if defined(__GNUC__) || defined(__clang__)
__attribute__((noinline, cold))
#endif
void add_clipped(const RasterizeArgs &a, const int32_t *face, int32_t id, Chunk &chunk) {
    ClipVertex polygon[CLIP_MAX];
    for (int i = 0; i < 3; ++i) {
        const float *p = a.projective + 3 * static_cast<int64_t>(face[i]);
        polygon[i] = ClipVertex{p[0], p[1], p[2]};
    }
    const int n = clip_triangle(polygon, a.near_z);
    if (!n) return;
    GridTriangle *out = chunk.triangles.reserve(chunk.count + n - 2);
    const GridVertex first = snap_clipped(polygon[0]);
    GridVertex previous = snap_clipped(polygon[1]);
    for (int i = 2; i < n; ++i) {
        const GridVertex current = snap_clipped(polygon[i]);
        chunk.count += set_up_triangle(first, previous, current, id, a.cull, a.origin_x, a.origin_y, a.width, a.height, out[chunk.count]);
        previous = current;
    }
}

bool set_up(const RasterizeArgs &a, const GridVertex *vertices, int begin, int end, Chunk &chunk) {
    GridTriangle *out = chunk.triangles.reserve(chunk.count + (end - begin));
    const uint32_t limit = static_cast<uint32_t>(a.vertices);
    for (int f = begin; f < end; ++f) {
        const int32_t *face = a.indices + 3 * static_cast<int64_t>(f);
        const uint32_t i0 = static_cast<uint32_t>(face[0]), i1 = static_cast<uint32_t>(face[1]), i2 = static_cast<uint32_t>(face[2]);
        if ((i0 >= limit) | (i1 >= limit) | (i2 >= limit)) return false;
        const GridVertex &v0 = vertices[i0], &v1 = vertices[i1], &v2 = vertices[i2];
        if (min3(v0.w, v1.w, v2.w) <= 0) {
            add_clipped(a, face, f, chunk);
            out = chunk.triangles.reserve(chunk.count + (end - f));
            continue;
        }
        chunk.count += set_up_triangle(v0, v1, v2, f, a.cull, a.origin_x, a.origin_y, a.width, a.height, out[chunk.count]);
    }
    return true;
}

}  // namespace
DINAR_END
