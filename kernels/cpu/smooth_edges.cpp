// Features at edges as averages over samples: mark pixels, see what each of their samples sees, average.
#include <atomic>

#include "dinar/edges.h"
#include "dinar/sample.h"
#include "dinar/simd.h"
#include "triangles.h"

DINAR_BEGIN
namespace {

constexpr int WORD = 64;                 // pixels of a row that share a word of marks

int count_bits(uint64_t x) {
    x = x - ((x >> 1) & 0x5555555555555555ull);
    x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return static_cast<int>((x * 0x0101010101010101ull) >> 56);
}

int lowest_bit(uint64_t x) { return count_bits((x & (~x + 1)) - 1); }

// The marked pixels, row by row; each has a slot, in this order.
struct Marks {
    Buffer<uint64_t> words;              // [H, words]
    Buffer<uint64_t> across, down;       // [H, words] of which each pixel's with the next
    Buffer<int32_t> first;               // [H, words] slot of the first marked pixel of a word
    int columns = 0;                     // words a row
    int32_t total = 0;
};

struct SmoothScratch {
    Marks marks;
    Buffer<float> projective;            // in samples
    Buffer<GridVertex> vertices;
    Buffer<float> depth;                 // [slots, S*S] 1/z
    Buffer<int32_t> id;
    Chunk *chunks = nullptr;
    int chunk_count = 0;
    ~SmoothScratch() { delete[] chunks; }
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

// Where a pixel and the next, to the right or below, show different surfaces. across, down: [columns] words each.
bool compare_row(const SmoothArgs &a, int y, uint64_t *across, uint64_t *down, int columns) {
    const UvBox *boxes = static_cast<const UvBox *>(a.uv_boxes);
    const int W = a.grid.width;
    const int32_t *row = a.triangle_id + static_cast<int64_t>(y) * W;
    const int32_t *below = y + 1 < a.grid.height ? row + W : row;
    const uint32_t limit = static_cast<uint32_t>(a.grid.faces) + 1;
    for (int w = 0; w < columns; ++w) {
        const int x0 = w * WORD, n = min2(WORD, W - x0), m = min2(n, W - 1 - x0);
        uint64_t right = 0, under = 0;
        int32_t differ = 0;              // nothing to look at in most words
        uint32_t largest = 0;
        for (int i = 0; i < n; ++i) {
            const int32_t id = row[x0 + i];
            differ |= id ^ below[x0 + i];
            largest = max2(largest, static_cast<uint32_t>(id + 1));
            largest = max2(largest, static_cast<uint32_t>(below[x0 + i] + 1));
        }
        for (int i = 0; i < m; ++i) differ |= row[x0 + i] ^ row[x0 + i + 1];
        if (m == n) largest = max2(largest, static_cast<uint32_t>(row[x0 + n] + 1));
        if (largest >= limit) return false;
        if (differ) {
            for (int i = 0; i < m; ++i) right |= static_cast<uint64_t>(apart(row[x0 + i], row[x0 + i + 1], boxes, a.gap)) << i;
            for (int i = 0; i < n; ++i) under |= static_cast<uint64_t>(apart(row[x0 + i], below[x0 + i], boxes, a.gap)) << i;
        }
        across[w] = right;
        down[w] = under;
    }
    return true;
}

// A pixel is marked when it and one of its four neighbours in the window show different surfaces.
void mark_row(int y, const uint64_t *across, const uint64_t *down, uint64_t *marks, int columns) {
    for (int w = 0; w < columns; ++w) {
        const int64_t at = static_cast<int64_t>(y) * columns + w;
        const uint64_t from_left = across[at] << 1 | (w > 0 ? across[at - 1] >> (WORD - 1) : 0);
        marks[at] = across[at] | from_left | down[at] | (y > 0 ? down[at - columns] : 0);
    }
}

// The marks of a word, cut to the columns of pixels [left, right].
DINAR_HD uint64_t cut(uint64_t bits, int w, int left, int right) {
    if (w == left / WORD) bits &= ~0ull << left % WORD;
    if (w == right / WORD) bits &= ~0ull >> (WORD - 1 - right % WORD);
    return bits;
}

template <int S> bool near_marks(const GridTriangle &t, int y0, int y1, const Marks &m) {
    const int left = t.x0 / S, right = t.x1 / S;
    for (int y = max2<int>(t.y0 / S, y0); y <= min2<int>(t.y1 / S, y1 - 1); ++y)
        for (int w = left / WORD; w <= right / WORD; ++w)
            if (cut(m.words.data()[static_cast<int64_t>(y) * m.columns + w], w, left, right)) return true;
    return false;
}

// Samples of a pixel are kept and drawn eight at a time: those of 2 x 2 with four lanes that never win.
template <int S> constexpr int LANES = S * S < 8 ? 8 : S * S;

// Samples of the marked pixels in rows [y0, y1) that a triangle covers and is nearest in. t: in samples of the window.
template <int S, class T> void draw_samples(const SmoothArgs &a, const GridTriangle &t, int y0, int y1, const Marks &m, float *depth, int32_t *id) {
    using V = typename Vector8<T>::type;
    constexpr int N = LANES<S>, PARTS = N / 8, half = SUBPIXEL / 2;
    const int left = t.x0 / S, right = t.x1 / S;
    const InverseDepth plane = make_inverse_depth(t);
    Edge edge[3];
    V step[3][PARTS];                    // edge values of the samples of a pixel, relative to its first
    i8 real[PARTS], column[PARTS], row[PARTS];
    T steps[3][N];
    int32_t lanes[3][N];
    for (int k = 0; k < N; ++k) {
        lanes[0][k] = k < S * S ? -1 : 0;
        lanes[1][k] = k % S * SUBPIXEL + half - plane.x;
        lanes[2][k] = k / S * SUBPIXEL + half - plane.y;
    }
    for (int i = 0; i < 3; ++i) {
        const int j = i == 2 ? 0 : i + 1;
        edge[i] = make_edge(t.x[i], t.y[i], t.x[j], t.y[j]);
        for (int k = 0; k < N; ++k) steps[i][k] = static_cast<T>(edge[i].dx) * (k % S) + static_cast<T>(edge[i].dy) * (k / S);
        for (int p = 0; p < PARTS; ++p) step[i][p] = load<V>(steps[i] + 8 * p);
    }
    for (int p = 0; p < PARTS; ++p) {
        real[p] = load<i8>(lanes[0] + 8 * p);
        column[p] = load<i8>(lanes[1] + 8 * p);
        row[p] = load<i8>(lanes[2] + 8 * p);
    }
    for (int y = max2<int>(t.y0 / S, y0); y <= min2<int>(t.y1 / S, y1 - 1); ++y) {
        const int top = y * S + a.grid.origin_y;
        f8 w_row[PARTS];
        for (int p = 0; p < PARTS; ++p) w_row[p] = to_float(row[p] + splat<i8, int32_t>(top * SUBPIXEL)) * splat<f8>(plane.dwdy) + splat<f8>(plane.w0);
        for (int w = left / WORD; w <= right / WORD; ++w) {
            const int64_t at = static_cast<int64_t>(y) * m.columns + w;
            const uint64_t all = m.words.data()[at];
            for (uint64_t bits = cut(all, w, left, right); bits; bits &= bits - 1) {
                const int bit = lowest_bit(bits), x = (w * WORD + bit) * S + a.grid.origin_x;
                const int64_t slot = m.first.data()[at] + count_bits(all & ((1ull << bit) - 1));
                const V e0 = splat<V, T>(static_cast<T>(edge_at(edge[0], x, top))), e1 = splat<V, T>(static_cast<T>(edge_at(edge[1], x, top))),
                        e2 = splat<V, T>(static_cast<T>(edge_at(edge[2], x, top)));
                float *nearest = depth + slot * N;
                int32_t *seen = id + slot * N;
                for (int p = 0; p < PARTS; ++p) {
                    const i8 covered = to_mask((e0 + step[0][p]) | (e1 + step[1][p]) | (e2 + step[2][p])) & real[p];
                    f8 v = to_float(column[p] + splat<i8, int32_t>(x * SUBPIXEL)) * splat<f8>(plane.dwdx) + w_row[p];
                    v = smaller(larger(v, splat<f8>(plane.lo)), splat<f8>(plane.hi));
                    const f8 old = load<f8>(nearest + 8 * p);
                    const i8 win = covered & greater(v, old);
                    store(nearest + 8 * p, choose(win, v, old));
                    store(seen + 8 * p, choose(win, splat<i8, int32_t>(t.id), load<i8>(seen + 8 * p)));
                }
            }
        }
    }
}

template <int S> void draw_band(const SmoothArgs &a, const Chunk &chunk, int y0, int y1, const Marks &m, float *depth, int32_t *id) {
    constexpr int SMALL = 1800 * SUBPIXEL;       // as in rasterize, and room for a pixel beyond the box
    const GridTriangle *t = chunk.triangles.data();
    for (int64_t i = 0; i < chunk.count; ++i) {
        if (t[i].y0 >= y1 * S || t[i].y1 < y0 * S || !near_marks<S>(t[i], y0, y1, m)) continue;      // most are far from any edge
        const int w = max3(t[i].x[0], t[i].x[1], t[i].x[2]) - min3(t[i].x[0], t[i].x[1], t[i].x[2]);
        const int h = max3(t[i].y[0], t[i].y[1], t[i].y[2]) - min3(t[i].y[0], t[i].y[1], t[i].y[2]);
        if (max2(w, h) <= SMALL) draw_samples<S, int32_t>(a, t[i], y0, y1, m, depth, id);
        else draw_samples<S, int64_t>(a, t[i], y0, y1, m, depth, id);
    }
}

// One texture sample for each surface that a pixel shows, where the middle one of its samples lies; their mean, empty samples
// counting as 0.
template <int S> bool average(const SmoothArgs &a, const float *projective, int x, int y, const int32_t *id) {
    constexpr int N = S * S;
    const UvBox *boxes = static_cast<const UvBox *>(a.uv_boxes);
    f4 sum{};
    int covered = 0;
    float nearest = 3.4e38f;
    uint32_t left = 0;                   // samples that are not yet in the sum
    for (int k = 0; k < N; ++k) left |= static_cast<uint32_t>(id[k] >= 0) << k;
    for (int k = 0; left; ++k) {
        if (!(left >> k & 1)) continue;
        const int32_t face = id[k];
        int members[N], n = 0;
        for (int j = k; j < N; ++j) {
            if (!(left >> j & 1) || apart(face, id[j], boxes, a.gap)) continue;
            left &= ~(1u << j);
            members[n++] = j;
        }
        covered += n;
        const int middle = members[n / 2];
        const int64_t at = 3 * static_cast<int64_t>(id[middle]);
        const int32_t *vertex = a.grid.indices + at;
        Corner corner[3];
        for (int i = 0; i < 3; ++i) {
            const float *p = projective + 3 * static_cast<int64_t>(vertex[i]);
            corner[i] = Corner{p[0], p[1], p[2]};
        }
        const Barycentrics b = resolve_pixel(corner[0], corner[1], corner[2], x * S + middle % S + a.grid.origin_x + 0.5,
                                             y * S + middle / S + a.grid.origin_y + 0.5, a.grid.near_z);
        nearest = min2(nearest, b.depth);
        const int32_t *f = a.uv_faces + at;
        const uint32_t limit = static_cast<uint32_t>(a.uvs);
        if ((static_cast<uint32_t>(f[0]) >= limit) | (static_cast<uint32_t>(f[1]) >= limit) | (static_cast<uint32_t>(f[2]) >= limit)) return false;
        const float *p = a.uv + 2 * static_cast<int64_t>(f[0]), *q = a.uv + 2 * static_cast<int64_t>(f[1]), *r = a.uv + 2 * static_cast<int64_t>(f[2]);
        const Bilinear t = bilinear(b.b0 * p[0] + b.b1 * q[0] + b.b2 * r[0], b.b0 * p[1] + b.b1 * q[1] + b.b2 * r[1], a.texture_width, a.texture_height);
        const float weight[4] = {t.w00, t.w01, t.w10, t.w11}, share = static_cast<float>(n) * (1.0f / N);
        for (int i = 0; i < 4; ++i) {
            if (!inside(t.x + (i & 1), t.y + (i >> 1), a.texture_width, a.texture_height)) continue;
            const f4 texel = load<f4>(a.texture + (static_cast<int64_t>(t.y + (i >> 1)) * a.texture_width + t.x + (i & 1)) * 4);
            sum = sum + texel * (weight[i] * share);
        }
    }
    const int64_t pixel = static_cast<int64_t>(y) * a.grid.width + x;
    const float mask = static_cast<float>(covered) * (1.0f / N);
    if (a.grid.depth && covered && a.grid.depth[pixel] == 0) a.grid.depth[pixel] = nearest;
    if (a.blocks) {
        const int64_t block = static_cast<int64_t>(y / 2) * (a.grid.width / 2) + x / 2;
        float *out = a.blocks + block * a.block_channels + (y % 2 * 2 + x % 2) * 4;
        for (int c = 0; c < 3; ++c) out[c] = sum[c];
        out[3] = mask;
        return true;
    }
    const int64_t plane = static_cast<int64_t>(a.grid.height) * a.grid.width;
    const float share = a.straight && covered ? static_cast<float>(N) / static_cast<float>(covered) : 1.0f;
    for (int c = 0; c < 3; ++c) a.colour[c * plane + pixel] = sum[c] * share;
    a.mask[pixel] = mask;
    return true;
}

template <int S> Status smooth(const SmoothArgs &a, SmoothScratch &s) {
    constexpr int N = LANES<S>;
    const int H = a.grid.height, columns = (a.grid.width + WORD - 1) / WORD;
    const int parts = max2(1, min2(min2(a.grid.threads, 64), H / 8));
    Marks &m = s.marks;
    m.columns = columns;
    uint64_t *words = m.words.reserve(static_cast<int64_t>(H) * columns);
    std::atomic<int> status{OK};
    const auto share = [parts](int64_t n, int i) { return static_cast<int>(n * i / parts); };
    uint64_t *across = m.across.reserve(static_cast<int64_t>(H) * columns), *down = m.down.reserve(static_cast<int64_t>(H) * columns);
    auto compare_part = [&](int i) {
        for (int y = share(H, i); y < share(H, i + 1); ++y) {
            const int64_t at = static_cast<int64_t>(y) * columns;
            if (!compare_row(a, y, across + at, down + at, columns)) status.store(BAD_INDEX, std::memory_order_relaxed);
        }
    };
    parallel(parts, parts, compare_part);
    if (status.load()) return static_cast<Status>(status.load());
    for (int y = 0; y < H; ++y) mark_row(y, across, down, words, columns);
    int32_t *first = m.first.reserve(static_cast<int64_t>(H) * columns);
    m.total = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(H) * columns; ++i) {
        first[i] = m.total;
        m.total += count_bits(words[i]);
    }
    if (!m.total) return OK;

    // All in samples: the same triangles as a raster of S times the size has.
    RasterizeArgs grid = a.grid;
    float *scaled = s.projective.reserve(3 * static_cast<int64_t>(grid.vertices));
    grid.projective = scaled;
    grid.width *= S;
    grid.height *= S;
    grid.origin_x *= S;
    grid.origin_y *= S;
    SmoothArgs fine = a;                 // its sizes stay in pixels, its origin is in samples
    fine.grid.origin_x = grid.origin_x;
    fine.grid.origin_y = grid.origin_y;
    GridVertex *vertices = s.vertices.reserve(grid.vertices);
    Chunk *chunks = s.reserve_chunks(parts);
    auto snap_part = [&](int i) {
        const int begin = share(grid.vertices, i), end = share(grid.vertices, i + 1);
        for (int v = begin; v < end; ++v) {
            const float *p = a.grid.projective + 3 * static_cast<int64_t>(v);
            scaled[3 * static_cast<int64_t>(v)] = p[0] * S;
            scaled[3 * static_cast<int64_t>(v) + 1] = p[1] * S;
            scaled[3 * static_cast<int64_t>(v) + 2] = p[2];
        }
        if (!snap_vertices(grid, vertices, begin, end)) status.store(NOT_FINITE, std::memory_order_relaxed);
    };
    parallel(parts, parts, snap_part);
    if (status.load()) return static_cast<Status>(status.load());
    auto set_up_part = [&](int i) {
        chunks[i].count = 0;
        if (!set_up(grid, vertices, share(grid.faces, i), share(grid.faces, i + 1), chunks[i])) status.store(BAD_INDEX, std::memory_order_relaxed);
    };
    parallel(parts, parts, set_up_part);
    if (status.load()) return static_cast<Status>(status.load());

    float *depth = s.depth.reserve(static_cast<int64_t>(m.total) * N);
    int32_t *id = s.id.reserve(static_cast<int64_t>(m.total) * N);
    int begin[65];                       // rows where each band begins, so that all have about as many marked pixels
    begin[0] = 0;
    for (int i = 1, y = 0; i <= parts; ++i) {
        while (y < H && first[static_cast<int64_t>(y) * columns] < static_cast<int64_t>(m.total) * i / parts) ++y;
        begin[i] = i == parts ? H : y;
    }
    auto draw_part = [&](int i) {
        const int y0 = begin[i], y1 = begin[i + 1];
        if (y0 >= y1) return;
        const int64_t from = first[static_cast<int64_t>(y0) * columns], to = y1 < H ? first[static_cast<int64_t>(y1) * columns] : m.total;
        std::memset(depth + from * N, 0, sizeof(float) * N * (to - from));
        std::memset(id + from * N, 0xff, sizeof(int32_t) * N * (to - from));
        for (int c = 0; c < parts; ++c) draw_band<S>(fine, chunks[c], y0, y1, m, depth, id);
        int64_t slot = from;
        for (int y = y0; y < y1; ++y)
            for (int w = 0; w < columns; ++w)
                for (uint64_t bits = words[static_cast<int64_t>(y) * columns + w]; bits; bits &= bits - 1, ++slot)
                    if (!average<S>(fine, scaled, w * WORD + lowest_bit(bits), y, id + slot * N)) status.store(BAD_INDEX, std::memory_order_relaxed);
    };
    parallel(parts, parts, draw_part);
    return static_cast<Status>(status.load());
}

}  // namespace

Status smooth_edges(const SmoothArgs &a, int64_t &marked) {
    static thread_local SmoothScratch s;
    const Status status = a.samples == 2 ? smooth<2>(a, s) : smooth<4>(a, s);
    marked = s.marks.total;
    return status;
}

DINAR_END
