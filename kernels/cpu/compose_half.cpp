// What the mesh shows and a network's correction at half resolution to 8-bit RGBA (and depth), in one pass: means over 3x3 pixels,
// blocks to pixels, sum, clamp, remap, compositing.
#include "compose_tile.h"
#include "dinar/half.h"
#include "dinar/simd.h"

DINAR_BEGIN
namespace {

constexpr int PIXELS = TILE + 8;         // of a tile that starts inside a block

// Sums over three rows of pixels, for the columns of a block on the left and right; and the middle row's own values.
struct Column {
    f4 sum[2], middle[2];
};

struct Rows {
    const float *block[3];               // of the block rows that hold the three pixel rows, null: outside, all zero
    int part[3];                         // 0: upper pixels of the block, 8: lower ones
    int lo, hi;                          // blocks that are not zero in any of them
};

Column column(const Rows &r, int64_t size, int b) {
    Column c;
    for (int k = 0; k < 2; ++k) {
        f4 value[3];
        for (int j = 0; j < 3; ++j) value[j] = r.block[j] ? load<f4>(r.block[j] + b * size + r.part[j] + 4 * k) : splat<f4>(0.0f);
        c.sum[k] = (value[0] + value[1]) + value[2];
        c.middle[k] = value[1];
    }
    return c;
}

Rows rows_of(const ComposeHalfArgs &c, int y) {
    const int blocks = c.width / 2;
    const int64_t stride = static_cast<int64_t>(blocks) * (BLOCK + c.channels);
    Rows r;
    r.lo = c.spans ? blocks : 0;
    r.hi = c.spans ? 0 : blocks;
    for (int j = 0; j < 3; ++j) {
        const int at = y + j - 1, row = at >> 1;
        const bool in = at >= 0 && at < c.height;
        r.block[j] = in ? c.features + row * stride : nullptr;
        r.part[j] = (at & 1) * BLOCK / 2;
        if (in && c.spans && c.spans[2 * row] < c.spans[2 * row + 1]) {
            r.lo = min2(r.lo, c.spans[2 * row]);
            r.hi = max2(r.hi, c.spans[2 * row + 1]);
        }
    }
    return r;
}

// Two pixels of a block next to the body: out [2][4].
DINAR_HD void blend_block(const Column &left, const Column &here, const Column &right, const float *correction, float *out) {
    const f4 pair = here.sum[0] + here.sum[1];
    const f4 sum[2] = {left.sum[1] + pair, pair + right.sum[0]};
    for (int k = 0; k < 2; ++k) {
        float seen[4], around[4];
        store(seen, here.middle[k]);
        store(around, sum[k]);
        blended(seen, around, correction + 4 * k, out + 4 * k);
    }
}

// Blocks [b0, b1) of pixel row y: colour and alpha before the remap, out [pixels][4].
void blend_row(const ComposeHalfArgs &c, const Rows &r, int y, int b0, int b1, float *out) {
    const int64_t size = BLOCK + c.channels;
    const float *correction = c.correction + static_cast<int64_t>(y >> 1) * (c.width / 2) * BLOCK + (y & 1) * BLOCK / 2;
    const Column nothing = {{splat<f4>(0.0f), splat<f4>(0.0f)}, {splat<f4>(0.0f), splat<f4>(0.0f)}};
    auto at = [&](int b) { return b >= r.lo && b < r.hi ? column(r, size, b) : nothing; };
    // beside the body there is only the correction
    const int near0 = min2(max2(r.lo < r.hi ? r.lo - 1 : b1, b0), b1), near1 = max2(min2(r.hi + 1, b1), near0);
    auto alone = [&](int from, int to) {
        for (int b = from; b < to; ++b)
            for (int i = 0; i < 8; ++i) out[8 * (b - b0) + i] = clamp_nan_low(correction[b * BLOCK + i], 0.0f, 1.0f);
    };
    alone(b0, near0);
    Column left = at(near0 - 1), here = at(near0);
    for (int b = near0; b < near1; ++b) {
        const Column right = at(b + 1);
        blend_block(left, here, right, correction + b * BLOCK, out + 8 * (b - b0));
        left = here;
        here = right;
    }
    alone(near1, b1);
}

// n pixels [pixel][4] to premultiplied planes.
template <bool REMAP> void premultiply(const ComposeHalfArgs &c, const Rows &r, int x, int n, const float *rgba, Sums &sums) {
    const float tau = c.threshold;
    for (int i = 0; i < n; ++i) sums.a[i] = rgba[4 * i + 3];
    if (c.hardsegm && r.block[1]) {
        const float *mask = r.block[1] + r.part[1] + 3;
        const int64_t size = BLOCK + c.channels;
        for (int i = 0; i < n; ++i) {
            const int b = (x + i) >> 1;
            if (b >= r.lo && b < r.hi) sums.a[i] = min2(sums.a[i] + mask[b * size + 4 * ((x + i) & 1)], 1.0f);
        }
    }
    if (REMAP)
        for (int i = 0; i < n; ++i) sums.a[i] = clamp_nan_low(threshold_alpha(sums.a[i], tau), 0.0f, 1.0f);
    for (int i = 0; i < n; ++i) {
        sums.r[i] = rgba[4 * i] * sums.a[i];
        sums.g[i] = rgba[4 * i + 1] * sums.a[i];
        sums.b[i] = rgba[4 * i + 2] * sums.a[i];
    }
}

void compose_row(const ComposeHalfArgs &c, int y, int x0, int x1) {
    const Frame &f = c.frame;
    const int64_t row = static_cast<int64_t>(y + f.origin_y) * f.out_width + f.origin_x;
    const Rows rows = rows_of(c, y);
    Sums sums;
    float rgba[4 * PIXELS];
    for (int x = x0; x < x1; x += TILE) {
        const int n = min2(TILE, x1 - x), b0 = x / 2, b1 = (x + n + 1) / 2;
        blend_row(c, rows, y, b0, b1, rgba);
        const float *first = rgba + 4 * (x - 2 * b0);
        (c.threshold != 0 ? premultiply<true> : premultiply<false>)(c, rows, x, n, first, sums);
        write_pixels(f, 1.0f, sums, n, f.out + row + x);
        if (f.depth_out) {
            const float *depth = c.depth + static_cast<int64_t>(y) * c.width + x;
            for (int i = 0; i < n; ++i) f.depth_out[row + x + i] = depth[i] > 0 ? depth[i] : 0.0f;
        }
    }
}

}  // namespace

void compose_half(const ComposeHalfArgs &c) {
    each_row(c.frame, c.height, c.width, c.threads, [&](int y, int x0, int x1) { compose_row(c, y, x0, x1); });
}

DINAR_END
