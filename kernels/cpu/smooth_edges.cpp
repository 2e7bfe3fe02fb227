// Features at edges as averages over samples: mark pixels, see what each of their samples sees, average.
#include <atomic>

#include "dinar/edges.h"
#include "dinar/simd.h"
#include "edge_average.h"
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

// apart() for a face and several others, without branches. -1 is apart from every face, not from -1.
#if defined(__SSE2__)
class Apart {
public:
    Apart(const void *boxes, float gap) : boxes_(static_cast<const float *>(boxes)), gap_(_mm_set1_ps(gap)), flip_(_mm_set_ps(-0.0f, -0.0f, 0.0f, 0.0f)) {}
    void from(int32_t a) { id_ = a, box_ = box(a); }
    bool operator()(int32_t b) const {
        const __m128 other = box(b), turned = _mm_shuffle_ps(other, other, _MM_SHUFFLE(1, 0, 3, 2));
        const __m128 between = _mm_xor_ps(_mm_sub_ps(box_, turned), flip_);    // u0-u1', v0-v1', u0'-u1, v0'-v1
        return (_mm_movemask_ps(_mm_cmpgt_ps(between, gap_)) != 0) | ((id_ ^ b) < 0);
    }

private:
    __m128 box(int32_t id) const { return _mm_loadu_ps(boxes_ + 4 * static_cast<int64_t>(max2(id, 0))); }
    const float *boxes_;
    __m128 gap_, flip_, box_;
    int32_t id_ = -1;
};
#else
class Apart {
public:
    Apart(const void *boxes, float gap) : boxes_(static_cast<const UvBox *>(boxes)), gap_(gap) {}
    void from(int32_t a) { id_ = a; }
    bool operator()(int32_t b) const { return (id_ & b) >= 0 && apart(id_, b, boxes_, gap_); }

private:
    const UvBox *boxes_;
    float gap_;
    int32_t id_ = -1;
};
#endif

// Where a pixel and the next, to the right or below, show different surfaces. across, down: [columns] words each.
bool compare_row(const SmoothArgs &a, int y, uint64_t *across, uint64_t *down, int columns) {
    const int W = a.grid.width;
    const int32_t *row = a.triangle_id + static_cast<int64_t>(y) * W;
    const int32_t *below = y + 1 < a.grid.height ? row + W : row;
    const uint32_t limit = static_cast<uint32_t>(a.grid.faces) + 1;
    Apart differs(a.uv_boxes, a.gap);
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
            int from = 0, to = n;        // empty at both ends, most of the time
            while (from < m && (row[x0 + from] & row[x0 + from + 1] & below[x0 + from]) == -1) ++from;
            while (to > from && to < m && (row[x0 + to - 1] & row[x0 + to] & below[x0 + to - 1]) == -1) --to;
            for (int i = from; i < to; ++i) {
                differs.from(row[x0 + i]);
                if (i < m) right |= static_cast<uint64_t>(differs(row[x0 + i + 1])) << i;
                under |= static_cast<uint64_t>(differs(below[x0 + i])) << i;
            }
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

// Column and row of each sample in its pixel, and -1 where a lane is one.
template <int S, class T> struct Places {
    T column[LANES<S>], row[LANES<S>], real[LANES<S>];
    constexpr Places() : column(), row(), real() {
        for (int k = 0; k < LANES<S>; ++k) {
            column[k] = k % S;
            row[k] = k / S;
            real[k] = k < S * S ? -1 : 0;
        }
    }
};

// Samples of the marked pixels in rows [y0, y1) that a triangle covers and is nearest in. t: in samples of the window.
template <int S, class T> void draw_samples(const SmoothArgs &a, const GridTriangle &t, int y0, int y1, const Marks &m, float *depth, int32_t *id) {
    using V = typename Vector8<T>::type;
    static constexpr Places<S, T> places;
    static constexpr Places<S, int32_t> whole;
    constexpr int N = LANES<S>, PARTS = N / 8, half = SUBPIXEL / 2;
    const int left = t.x0 / S, right = t.x1 / S, top = max2<int>(t.y0 / S, y0), bottom = min2<int>(t.y1 / S, y1 - 1);
    const int origin_x = left * S + a.grid.origin_x;
    const InverseDepth plane = make_inverse_depth(t);
    T first[3], dx[3], dy[3];            // edge values of the first sample of a row's pixel `left`, and steps from pixel to pixel
    V step[3][PARTS];                    // edge values of the samples of a pixel, relative to its first
    for (int i = 0; i < 3; ++i) {
        const int j = i == 2 ? 0 : i + 1;
        const Edge edge = make_edge(t.x[i], t.y[i], t.x[j], t.y[j]);
        first[i] = static_cast<T>(edge_at(edge, origin_x, top * S + a.grid.origin_y));
        dx[i] = static_cast<T>(edge.dx) * S;
        dy[i] = static_cast<T>(edge.dy) * S;
        for (int p = 0; p < PARTS; ++p)
            step[i][p] = load<V>(places.column + 8 * p) * splat<V, T>(edge.dx) + load<V>(places.row + 8 * p) * splat<V, T>(edge.dy);
    }
    i8 column[PARTS], row[PARTS];
    for (int p = 0; p < PARTS; ++p) {
        column[p] = load<i8>(whole.column + 8 * p) * splat<i8, int32_t>(SUBPIXEL) + splat<i8, int32_t>(half - plane.x);
        row[p] = load<i8>(whole.row + 8 * p) * splat<i8, int32_t>(SUBPIXEL) + splat<i8, int32_t>(half - plane.y);
    }
    for (int y = top; y <= bottom; ++y, first[0] += dy[0], first[1] += dy[1], first[2] += dy[2]) {
        f8 w_row[PARTS];
        for (int p = 0; p < PARTS; ++p)
            w_row[p] = to_float(row[p] + splat<i8, int32_t>((y * S + a.grid.origin_y) * SUBPIXEL)) * splat<f8>(plane.dwdy) + splat<f8>(plane.w0);
        for (int w = left / WORD; w <= right / WORD; ++w) {
            const int64_t at = static_cast<int64_t>(y) * m.columns + w;
            const uint64_t all = m.words.data()[at];
            for (uint64_t bits = cut(all, w, left, right); bits; bits &= bits - 1) {
                const int bit = lowest_bit(bits), n = w * WORD + bit - left;
                const int64_t slot = m.first.data()[at] + count_bits(all & ((1ull << bit) - 1));
                const V e0 = splat<V, T>(first[0] + n * dx[0]), e1 = splat<V, T>(first[1] + n * dx[1]), e2 = splat<V, T>(first[2] + n * dx[2]);
                float *nearest = depth + slot * N;
                int32_t *seen = id + slot * N;
                for (int p = 0; p < PARTS; ++p) {
                    const i8 covered = to_mask((e0 + step[0][p]) | (e1 + step[1][p]) | (e2 + step[2][p])) & load<i8>(whole.real + 8 * p);
                    f8 v = to_float(column[p] + splat<i8, int32_t>((origin_x + n * S) * SUBPIXEL)) * splat<f8>(plane.dwdx) + w_row[p];
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
        Average<S> average(fine, scaled);
        int64_t slot = from;
        for (int y = y0; y < y1; ++y)
            for (int w = 0; w < columns; ++w)
                for (uint64_t bits = words[static_cast<int64_t>(y) * columns + w]; bits; bits &= bits - 1, ++slot)
                    average.add(w * WORD + lowest_bit(bits), y, id + slot * N);
        if (!average.finish()) status.store(BAD_INDEX, std::memory_order_relaxed);
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
