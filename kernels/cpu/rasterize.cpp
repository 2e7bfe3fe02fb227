// Two passes per band of rows: visibility (exact coverage, nearest 1/z), then barycentrics and depth of what is visible.
#include <atomic>

#include "dinar/simd.h"
#include "triangles.h"

DINAR_BEGIN
namespace {

constexpr int BLOCK = 512;               // triangles set up at a time by one thread, so that they stay in the first-level cache
constexpr int SMALL = 1900 * SUBPIXEL;   // up to this extent edge values, divided by the grid step, fit 32 bits

template <class T> struct RowEdge {
    T value;       // at the left end of the row, window column 0 of the block grid
    T dx;
};

// Columns of the row where all edges can be >= 0, widened by one pixel against rounding; the exact test decides.
DINAR_HD void narrow(int64_t value, int32_t dx, int &lo, int &hi) {
    if (dx == 0) {
        if (value < 0) hi = lo - 1;
        return;
    }
    const double x = -static_cast<double>(value) / dx;
    if (dx > 0) {
        if (x - 1 > lo) lo = x - 1 > hi ? hi + 1 : static_cast<int>(x - 1);
    } else if (x + 1 < hi) {
        hi = x + 1 < lo ? lo - 1 : static_cast<int>(x + 1);
    }
}

// T = int32_t for all but huge triangles. Rows at least eight pixels wide are done eight at a time, always inside the row.
template <class T> void draw(const RasterizeArgs &a, const GridTriangle &t, int y0, int y1) {
    using V = typename Vector8<T>::type;
    const InverseDepth plane = make_inverse_depth(t);
    Edge edge[3];
    for (int i = 0; i < 3; ++i) {
        const int j = i == 2 ? 0 : i + 1;
        edge[i] = make_edge(t.x[i], t.y[i], t.x[j], t.y[j]);
    }
    constexpr int half = SUBPIXEL / 2;
    const int W = a.width, last = W - 8;
    const int left = min2(t.x0 & ~7, max2(last, 0));
    const bool wide = t.x1 - t.x0 >= 32;
    T row[3], dx[3], dy[3];
    V lanes[3];
    for (int i = 0; i < 3; ++i) {
        row[i] = static_cast<T>(edge_at(edge[i], left + a.origin_x, y0 + a.origin_y));
        dx[i] = edge[i].dx;
        dy[i] = edge[i].dy;
        lanes[i] = ramp<V, T>(0, dx[i]);
    }
    const int32_t step_left = (left + a.origin_x) * SUBPIXEL + half - plane.x;
    for (int y = y0; y <= y1; ++y, row[0] += dy[0], row[1] += dy[1], row[2] += dy[2]) {
        const float w_row = plane.w0 + plane.dwdy * static_cast<float>((y + a.origin_y) * SUBPIXEL + half - plane.y);
        float *depth = a.depth + static_cast<int64_t>(y) * W;
        int32_t *id = a.triangle_id + static_cast<int64_t>(y) * W;
        int from = left, to = t.x1;
        if (wide) {
            int lo = t.x0 - left, hi = t.x1 - left;
            for (int i = 0; i < 3; ++i) narrow(row[i], edge[i].dx, lo, hi);
            if (lo > hi) continue;
            from = left + (lo & ~7);
            to = left + hi;
        }
        if (last < 0) {
            for (int x = t.x0; x <= t.x1; ++x) {
                const T n = x - left;
                if (((row[0] + n * dx[0]) | (row[1] + n * dx[1]) | (row[2] + n * dx[2])) < 0) continue;
                float w = w_row + plane.dwdx * static_cast<float>(step_left + (x - left) * SUBPIXEL);
                w = w > plane.lo ? w : plane.lo;
                w = w < plane.hi ? w : plane.hi;
                if (w > depth[x]) {
                    depth[x] = w;
                    id[x] = t.id;
                }
            }
            continue;
        }
        for (int start = from; start <= to; start += 8) {
            const int x = min2(start, last);
            const T n = x - left;
            const V e0 = lanes[0] + splat<V, T>(row[0] + n * dx[0]), e1 = lanes[1] + splat<V, T>(row[1] + n * dx[1]),
                    e2 = lanes[2] + splat<V, T>(row[2] + n * dx[2]);
            const f8 dx8 = to_float(ramp<i8, int32_t>(step_left + (x - left) * SUBPIXEL, SUBPIXEL));
            f8 w = dx8 * splat<f8>(plane.dwdx) + splat<f8>(w_row);
            w = smaller(larger(w, splat<f8>(plane.lo)), splat<f8>(plane.hi));
            const f8 old = load<f8>(depth + x);
            const i8 win = to_mask(e0 | e1 | e2) & greater(w, old);
            store(depth + x, choose(win, w, old));
            store(id + x, choose(win, splat<i8, int32_t>(t.id), load<i8>(id + x)));
        }
    }
}

void draw_chunk(const RasterizeArgs &a, const Chunk &chunk, int y0, int y1) {
    const GridTriangle *t = chunk.triangles.data();
    for (int64_t i = 0; i < chunk.count; ++i) {
        const int top = max2<int>(t[i].y0, y0), bottom = min2<int>(t[i].y1, y1 - 1);
        if (top > bottom) continue;
        const int w = max3(t[i].x[0], t[i].x[1], t[i].x[2]) - min3(t[i].x[0], t[i].x[1], t[i].x[2]);
        const int h = max3(t[i].y[0], t[i].y[1], t[i].y[2]) - min3(t[i].y[0], t[i].y[1], t[i].y[2]);
        if (max2(w, h) <= SMALL) draw<int32_t>(a, t[i], top, bottom);
        else draw<int64_t>(a, t[i], top, bottom);
    }
}

void clear_band(const RasterizeArgs &a, int y0, int y1) {
    const int64_t begin = static_cast<int64_t>(y0) * a.width, n = static_cast<int64_t>(y1 - y0) * a.width;
    std::memset(a.triangle_id + begin, 0xff, sizeof(int32_t) * n);
    std::memset(a.depth + begin, 0, sizeof(float) * n);
}

// Pixels [x, x+n) of a row, n <= 16. Corners are copied first, one pixel after the other, so that the arithmetic vectorises.
void resolve_block(const RasterizeArgs &a, int y, int x, int n) {
    constexpr int N = 16;
    const int64_t at = static_cast<int64_t>(y) * a.width + x;
    float corner[9][N], b[N][3], z[N];
    int32_t covered[N];
    for (int i = 0; i < N; ++i) {
        const int32_t id = i < n ? a.triangle_id[at + i] : -1;
        covered[i] = id >= 0;
        const int32_t *face = a.indices + 3 * static_cast<int64_t>(id < 0 ? 0 : id);
        for (int k = 0; k < 3; ++k) {
            const float *p = a.projective + 3 * static_cast<int64_t>(face[k]);
            for (int r = 0; r < 3; ++r) corner[3 * k + r][i] = p[r];
        }
    }
    const double px = x + a.origin_x + 0.5, py = y + a.origin_y + 0.5;
    const float near_z = a.near_z;
    float b0[N], b1[N], b2[N];
    for (int i = 0; i < N; ++i) {
        const Corner v0{corner[0][i], corner[1][i], corner[2][i]}, v1{corner[3][i], corner[4][i], corner[5][i]},
            v2{corner[6][i], corner[7][i], corner[8][i]};
        const Barycentrics r = resolve_pixel(v0, v1, v2, px + i, py, near_z);
        b0[i] = covered[i] ? r.b0 : 0.0f;
        b1[i] = covered[i] ? r.b1 : 0.0f;
        b2[i] = covered[i] ? r.b2 : 0.0f;
        z[i] = covered[i] ? r.depth : 0.0f;
    }
    for (int i = 0; i < N; ++i) {
        b[i][0] = b0[i];
        b[i][1] = b1[i];
        b[i][2] = b2[i];
    }
    std::memcpy(a.barycentrics + 3 * at, b, sizeof(float) * 3 * n);
    std::memcpy(a.depth + at, z, sizeof(float) * n);
}

void resolve_band(const RasterizeArgs &a, int y0, int y1) {
    for (int y = y0; y < y1; ++y) {
        const int32_t *id = a.triangle_id + static_cast<int64_t>(y) * a.width;
        int empty = 0;                   // pixels of the row before x that are empty and not yet written
        int x = 0;
        const auto flush = [&] {
            if (empty) std::memset(a.barycentrics + 3 * (static_cast<int64_t>(y) * a.width + x - empty), 0, sizeof(float) * 3 * empty);
            empty = 0;
        };
        while (x < a.width) {
            const int n = min2(16, a.width - x);
            int32_t all = -1;
            for (int i = 0; i < n; ++i) all &= id[x + i];
            if (all == -1) {
                empty += n;
            } else {
                flush();
                resolve_block(a, y, x, n);
            }
            x += n;
        }
        flush();
    }
}

Status rasterize_alone(const RasterizeArgs &a, Scratch &s) {
    GridVertex *vertices = s.vertices.reserve(a.vertices);
    if (!snap_vertices(a, vertices, 0, a.vertices)) return NOT_FINITE;
    clear_band(a, 0, a.height);
    Chunk &chunk = *s.reserve_chunks(1);
    for (int f = 0; f < a.faces; f += BLOCK) {
        chunk.count = 0;
        if (!set_up(a, vertices, f, min2(f + BLOCK, a.faces), chunk)) return BAD_INDEX;
        draw_chunk(a, chunk, 0, a.height);
    }
    resolve_band(a, 0, a.height);
    return OK;
}

// Rows where each band begins, so that all cost about the same. bands+1 values.
void balance(const RasterizeArgs &a, Chunk *chunks, int bands, int *begin) {
    int64_t total = 0, sum = 0;
    int32_t *cost = chunks[0].cost.data();
    for (int y = 0; y < a.height; ++y) {
        for (int c = 1; c < bands; ++c) cost[y] += chunks[c].cost.data()[y];
        sum += cost[y];                  // the chunks hold differences from row to row
        total += sum;
    }
    const int64_t row = a.width / 8 + 1;
    total += row * a.height;
    sum = 0;
    int64_t done = 0;
    int band = 0;
    begin[0] = 0;
    for (int y = 0; y < a.height; ++y) {
        while (band + 1 < bands && done * bands >= total * (band + 1)) begin[++band] = y;
        sum += cost[y];
        done += sum + row;
    }
    while (band < bands) begin[++band] = a.height;
}

}  // namespace

Status rasterize(const RasterizeArgs &a) {
    static thread_local Scratch s;
    const int parts = min2(min2(a.threads, 64), max2(a.height / 8, 1));
    if (parts < 2) return rasterize_alone(a, s);

    GridVertex *vertices = s.vertices.reserve(a.vertices);
    Chunk *chunks = s.reserve_chunks(parts);
    std::atomic<int> status{OK};
    const auto share = [parts](int64_t n, int i) { return static_cast<int>(n * i / parts); };
    auto snap_part = [&](int i) {
        if (!snap_vertices(a, vertices, share(a.vertices, i), share(a.vertices, i + 1))) status.store(NOT_FINITE, std::memory_order_relaxed);
    };
    parallel(parts, parts, snap_part);
    if (status.load()) return static_cast<Status>(status.load());

    auto set_up_part = [&](int i) {
        Chunk &chunk = chunks[i];
        chunk.count = 0;
        if (!set_up(a, vertices, share(a.faces, i), share(a.faces, i + 1), chunk)) status.store(BAD_INDEX, std::memory_order_relaxed);
        int32_t *cost = chunk.cost.reserve(a.height + 1);
        std::memset(cost, 0, sizeof(int32_t) * (a.height + 1));
        for (int64_t t = 0; t < chunk.count; ++t) {
            const GridTriangle &g = chunk.triangles.data()[t];
            const int32_t c = 8 + g.x1 - g.x0;
            cost[g.y0] += c;
            cost[g.y1 + 1] -= c;
        }
    };
    parallel(parts, parts, set_up_part);
    if (status.load()) return static_cast<Status>(status.load());

    int begin[65];
    balance(a, chunks, parts, begin);
    auto draw_part = [&](int i) {
        if (begin[i] == begin[i + 1]) return;
        clear_band(a, begin[i], begin[i + 1]);
        for (int c = 0; c < parts; ++c) draw_chunk(a, chunks[c], begin[i], begin[i + 1]);
        resolve_band(a, begin[i], begin[i + 1]);
    };
    parallel(parts, parts, draw_part);
    return OK;
}

DINAR_END
