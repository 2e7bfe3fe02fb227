// Visibility of triangles, without a host in the loop: clear_visibility, draw_triangles, draw_tiles.
// A pixel holds one 64-bit key (see visibility_key); atomicMin gives the nearest triangle, on a tie the lower id, in any order.
// A thread sets up a triangle and draws it if it covers few pixels. Larger ones go to a queue as tiles of 32 x 8 pixels, which the
// warps of draw_tiles share, so that no thread is left alone with a big one.
// Floor: 8 bytes a pixel to clear, 12 bytes a face and 12 a vertex to read, 8 to 32 bytes of atomics a fragment.
#include "device.cuh"
#include "dinar/raster.h"

DINAR_BEGIN
namespace {

constexpr int SMALL_BOX = 48;            // pixels of the bounding box that a thread draws on its own
constexpr int TILE_W = 32, TILE_H = 8;
constexpr int TILE_BITS = 40;            // the counter: triangles in the queue above, their tiles below

struct alignas(16) QueuedTriangle {
    GridTriangle triangle;
    int32_t view;
    uint64_t first_tile;                 // tiles of all triangles before it in the queue
};

struct Target {
    int height, width, origin_x, origin_y;
    uint64_t *pixels;
};

DINAR_DEVICE Target target_of_view(int view, int height, int width, int samples, const int *origins, uint64_t *visibility) {
    return Target{height, width, origins[2 * view] * samples, origins[2 * view + 1] * samples,
                  visibility + static_cast<int64_t>(view) * height * width};
}

// The part of a triangle in the pixels [x0, x1] x [y0, y1] of the window.
DINAR_DEVICE void draw(const GridTriangle &t, const Target &target, int x0, int y0, int x1, int y1) {
    const InverseDepth plane = make_inverse_depth(t);
    Edge edge[3];
    for (int i = 0; i < 3; ++i) {
        const int j = i == 2 ? 0 : i + 1;
        edge[i] = make_edge(t.x[i], t.y[i], t.x[j], t.y[j]);
    }
    int64_t row[3];
    for (int i = 0; i < 3; ++i) row[i] = edge_at(edge[i], x0 + target.origin_x, y0 + target.origin_y);
    for (int y = y0; y <= y1; ++y) {
        int64_t e[3] = {row[0], row[1], row[2]};
        uint64_t *pixels = target.pixels + static_cast<int64_t>(y) * target.width;
        for (int x = x0; x <= x1; ++x) {
            if ((e[0] | e[1] | e[2]) >= 0)
                atomic_min(pixels + x, visibility_key(inverse_depth_at(plane, x + target.origin_x, y + target.origin_y), t.id));
            for (int i = 0; i < 3; ++i) e[i] += edge[i].dx;
        }
        for (int i = 0; i < 3; ++i) row[i] += edge[i].dy;
    }
}

DINAR_DEVICE uint64_t tiles_of(const GridTriangle &t) {
    return static_cast<uint64_t>((t.x1 - t.x0) / TILE_W + 1) * static_cast<uint64_t>((t.y1 - t.y0) / TILE_H + 1);
}

// Small triangles are drawn, others queued; with the queue full (a scene of nothing but clipped giants) drawn all the same.
DINAR_DEVICE void add(const GridTriangle &t, const Target &target, int view, uint64_t *counter, QueuedTriangle *queue, int capacity) {
    if ((t.x1 - t.x0 + 1) * (t.y1 - t.y0 + 1) > SMALL_BOX) {
        const uint64_t old = atomic_add(counter, (1ull << TILE_BITS) + tiles_of(t));
        const uint64_t slot = old >> TILE_BITS;
        if (slot < static_cast<uint64_t>(capacity)) {
            queue[slot] = QueuedTriangle{t, view, old & ((1ull << TILE_BITS) - 1)};
            return;
        }
    }
    draw(t, target, t.x0, t.y0, t.x1, t.y1);
}

// Through the near plane or beyond the guard band: rare.
__noinline__ __device__ void add_clipped(const float corner[3][3], int id, bool cull, float near_z, const Target &target, int view,
                                         uint64_t *counter, QueuedTriangle *queue, int capacity) {
    ClipVertex polygon[CLIP_MAX];
    for (int i = 0; i < 3; ++i) polygon[i] = ClipVertex{corner[i][0], corner[i][1], corner[i][2]};
    const int n = clip_triangle(polygon, near_z);
    if (!n) return;
    const GridVertex first = snap_clipped(polygon[0]);
    GridVertex previous = snap_clipped(polygon[1]);
    for (int i = 2; i < n; ++i) {
        const GridVertex current = snap_clipped(polygon[i]);
        GridTriangle t;
        if (set_up_triangle(first, previous, current, id, cull, target.origin_x, target.origin_y, target.width, target.height, t))
            add(t, target, view, counter, queue, capacity);
        previous = current;
    }
}

}  // namespace
DINAR_END

// Every pixel empty, the queue empty. Two pixels a thread; the buffer is padded to an even number. enabled [views], or null: where all
// are 0, nothing is drawn and the pixels stay.
extern "C" __global__ void clear_visibility(long long pairs, int views, const int *enabled, unsigned long long *visibility, unsigned long long *counter) {
    using namespace dinar;
    struct alignas(16) Pair {
        uint64_t v[2];
    };
    const int64_t i = global_thread();
    bool any = !enabled;
    for (int view = 0; enabled && view < views; ++view) any |= enabled[view] != 0;
    if (i < pairs && any) reinterpret_cast<Pair *>(visibility)[i] = Pair{{EMPTY_PIXEL, EMPTY_PIXEL}};
    if (i == 0) *counter = 0;
}

// A thread per face (x) and view (y). projective [views,V,3], faces [F,3], origins [views,2] in pixels (samples of them to a pixel).
// scale: of the raster, see corner_of. enabled: as for clear_visibility, a view alone.
extern "C" __global__ void draw_triangles(int vertices, int faces, int height, int width, int samples, int scale, int cull, float near_z, int capacity,
                                          const float *projective, const int *indices, const int *origins, const int *enabled,
                                          unsigned long long *visibility, unsigned long long *counter, void *queue) {
    using namespace dinar;
    const int f = static_cast<int>(global_thread()), view = blockIdx.y;
    if (f >= faces || (enabled && !enabled[view])) return;
    const Target target = target_of_view(view, height, width, samples, origins, reinterpret_cast<uint64_t *>(visibility));
    float corner[3][3];
    GridVertex v[3];
    for (int i = 0; i < 3; ++i) {
        const float *p = projective + 3 * (static_cast<int64_t>(view) * vertices + indices[3 * static_cast<int64_t>(f) + i]);
        corner[i][0] = p[0] * scale;
        corner[i][1] = p[1] * scale;
        corner[i][2] = p[2];
        v[i] = snap_vertex(corner[i][0], corner[i][1], corner[i][2], near_z);
    }
    uint64_t *count = reinterpret_cast<uint64_t *>(counter);
    QueuedTriangle *items = static_cast<QueuedTriangle *>(queue);
    if (min3(v[0].w, v[1].w, v[2].w) <= 0) {
        add_clipped(corner, f, cull != 0, near_z, target, view, count, items, capacity);
        return;
    }
    GridTriangle t;
    if (set_up_triangle(v[0], v[1], v[2], f, cull != 0, target.origin_x, target.origin_y, width, height, t))
        add(t, target, view, count, items, capacity);
}

// Warps (blockDim.y of 32 lanes) share the tiles of the queued triangles, whose number only the device knows.
extern "C" __global__ void draw_tiles(int height, int width, int samples, int capacity, const int *origins, unsigned long long *visibility,
                                      const unsigned long long *counter, const void *queue) {
    using namespace dinar;
    const QueuedTriangle *items = static_cast<const QueuedTriangle *>(queue);
    const uint64_t total = *counter;
    uint64_t tiles = total & ((1ull << TILE_BITS) - 1);
    int count = static_cast<int>(min2<uint64_t>(total >> TILE_BITS, capacity));
    if (!count) return;
    if (total >> TILE_BITS > static_cast<uint64_t>(capacity)) tiles = items[count - 1].first_tile + tiles_of(items[count - 1].triangle);
    for (uint64_t tile = static_cast<uint64_t>(blockIdx.x) * blockDim.y + threadIdx.y; tile < tiles; tile += static_cast<uint64_t>(gridDim.x) * blockDim.y) {
        int lo = 0, hi = count - 1;      // the last triangle that begins at or before this tile
        while (lo < hi) {
            const int middle = (lo + hi + 1) / 2;
            if (items[middle].first_tile <= tile) lo = middle;
            else hi = middle - 1;
        }
        const GridTriangle t = items[lo].triangle;
        const int at = static_cast<int>(tile - items[lo].first_tile), columns = (t.x1 - t.x0) / TILE_W + 1;
        const int x = t.x0 + at % columns * TILE_W + static_cast<int>(threadIdx.x), y = t.y0 + at / columns * TILE_H;
        if (x > t.x1) continue;
        const Target target = target_of_view(items[lo].view, height, width, samples, origins, reinterpret_cast<uint64_t *>(visibility));
        draw(t, target, x, y, x, min2(y + TILE_H - 1, static_cast<int>(t.y1)));
    }
}
