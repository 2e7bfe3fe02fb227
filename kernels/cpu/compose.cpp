// Network output to 8-bit RGBA (and depth).
#include "dinar/blend.h"
#include "loops.h"

DINAR_BEGIN
namespace {

constexpr int TILE = 128;                // output pixels done at a time

struct Sums {
    float r[TILE], g[TILE], b[TILE], a[TILE], depth[TILE];
};

// Adds samples [first, first + n*S) of one input row, premultiplied.
template <int S, bool THRESHOLD> void add_row(const ComposeArgs &c, int64_t first, int n, Sums &sums) {
    const int64_t plane = static_cast<int64_t>(c.height) * c.width;
    const int m = n * S;
    const float tau = c.threshold;
    float alpha[TILE * S];
    const float *in = c.alpha + first;
    if (c.mask) {
        const float *mask = c.mask + first;
        for (int i = 0; i < m; ++i) alpha[i] = clamp_nan_low(in[i] + clamp_nan_low(mask[i], 0.0f, 1.0f), 0.0f, 1.0f);
    } else {
        for (int i = 0; i < m; ++i) alpha[i] = clamp_nan_low(in[i], 0.0f, 1.0f);
    }
    if (THRESHOLD)
        for (int i = 0; i < m; ++i) alpha[i] = clamp_nan_low(threshold_alpha(alpha[i], tau), 0.0f, 1.0f);
    float *out[3] = {sums.r, sums.g, sums.b};
    for (int k = 0; k < 3; ++k) {
        const float *colour = c.rgb + k * plane + first;
        for (int i = 0; i < n; ++i) {
            float s = out[k][i];
            for (int j = 0; j < S; ++j) s += clamp_nan_low(colour[S * i + j], 0.0f, 1.0f) * alpha[S * i + j];
            out[k][i] = s;
        }
    }
    for (int i = 0; i < n; ++i) {
        float s = sums.a[i];
        for (int j = 0; j < S; ++j) s += alpha[S * i + j];
        sums.a[i] = s;
    }
    if (c.depth_out) {
        const float *depth = c.depth + first;
        for (int i = 0; i < n; ++i) {
            float d = sums.depth[i];
            for (int j = 0; j < S; ++j) {
                const float z = depth[S * i + j];
                d = ((z > 0) & (z < d)) ? z : d;
            }
            sums.depth[i] = d;
        }
    }
}

enum Colour { PREMULTIPLIED, STRAIGHT, OPAQUE };

template <Colour COLOUR> void write_tile(const ComposeArgs &c, const Sums &sums, int n, uint32_t *out) {
    const float scale = 1.0f / static_cast<float>(c.samples * c.samples);
    const float bg[3] = {c.background[0], c.background[1], c.background[2]};
    for (int i = 0; i < n; ++i) {
        const float a = sums.a[i] * scale;
        float r = sums.r[i] * scale, g = sums.g[i] * scale, b = sums.b[i] * scale;
        if (COLOUR == OPAQUE) {
            r += bg[0] * (1 - a);
            g += bg[1] * (1 - a);
            b += bg[2] * (1 - a);
        } else if (COLOUR == STRAIGHT) {
            const float inverse = (a > 0 ? 1.0f : 0.0f) / (a > 0 ? a : 1.0f);
            r *= inverse;
            g *= inverse;
            b *= inverse;
        }
        const uint32_t opacity = COLOUR == OPAQUE ? 255u : to_byte(min2(a, 1.0f));
        out[i] = to_byte(min2(r, 1.0f)) | to_byte(min2(g, 1.0f)) << 8 | to_byte(min2(b, 1.0f)) << 16 | opacity << 24;
    }
}

template <int S, bool THRESHOLD> void compose_row(const ComposeArgs &c, int y, int x0, int x1) {
    const int64_t row = static_cast<int64_t>(y + c.origin_y) * c.out_width + c.origin_x;
    Sums sums;
    for (int x = x0; x < x1; x += TILE) {
        const int n = min2(TILE, x1 - x);
        std::memset(&sums, 0, sizeof(float) * 4 * TILE);
        for (int i = 0; i < n; ++i) sums.depth[i] = 3.4e38f;
        for (int s = 0; s < S; ++s) add_row<S, THRESHOLD>(c, (static_cast<int64_t>(y) * S + s) * c.width + static_cast<int64_t>(x) * S, n, sums);
        const auto write = c.has_background ? write_tile<OPAQUE> : c.straight ? write_tile<STRAIGHT> : write_tile<PREMULTIPLIED>;
        write(c, sums, n, c.out + row + x);
        if (c.depth_out)
            for (int i = 0; i < n; ++i) c.depth_out[row + x + i] = sums.depth[i] < 3.4e38f ? sums.depth[i] : 0.0f;
    }
}

void clear(const ComposeArgs &c, uint32_t colour, int64_t begin, int64_t n) {
    if (n <= 0) return;
    if (colour == 0) std::memset(c.out + begin, 0, sizeof(uint32_t) * n);
    else
        for (int64_t i = 0; i < n; ++i) c.out[begin + i] = colour;
    if (c.depth_out) std::memset(c.depth_out + begin, 0, sizeof(float) * n);
}

}  // namespace

void compose(const ComposeArgs &c) {
    constexpr int ROWS = 8;
    const int h = c.height / c.samples, w = c.width / c.samples;
    const int x0 = max2(0, -c.origin_x), x1 = min2(w, c.out_width - c.origin_x);      // the part of the window inside `out`
    uint32_t empty = 0;
    if (c.has_background) empty = to_byte(c.background[0]) | to_byte(c.background[1]) << 8 | to_byte(c.background[2]) << 16 | 255u << 24;
    const bool remap = c.threshold != 0;
    void (*row)(const ComposeArgs &, int, int, int) =
        c.samples == 1   ? (remap ? compose_row<1, true> : compose_row<1, false>)
        : c.samples == 2 ? (remap ? compose_row<2, true> : compose_row<2, false>)
                         : (remap ? compose_row<4, true> : compose_row<4, false>);
    auto task = [&](int t) {
        for (int oy = t * ROWS; oy < min2((t + 1) * ROWS, c.out_height); ++oy) {
            const int y = oy - c.origin_y;
            const int64_t begin = static_cast<int64_t>(oy) * c.out_width;
            if (y < 0 || y >= h || x0 >= x1) {
                clear(c, empty, begin, c.out_width);
                continue;
            }
            clear(c, empty, begin, x0 + c.origin_x);
            row(c, y, x0, x1);
            clear(c, empty, begin + x1 + c.origin_x, c.out_width - (x1 + c.origin_x));
        }
    };
    parallel((c.out_height + ROWS - 1) / ROWS, c.threads, task);
}

DINAR_END
