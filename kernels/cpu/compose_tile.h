// The last part of compositing, shared by compose and compose_half: sums of premultiplied samples to 8-bit RGBA, and clearing.
#pragma once
#include <cstring>

#include "dinar/blend.h"
#include "loops.h"

DINAR_BEGIN

constexpr int TILE = 128;                // output pixels done at a time

struct Sums {
    float r[TILE], g[TILE], b[TILE], a[TILE], depth[TILE];
};

enum Colour { PREMULTIPLIED, STRAIGHT, OPAQUE };

// scale: one over the samples in a sum.
template <Colour COLOUR> void write_tile(const Frame &f, float scale, const Sums &sums, int n, uint32_t *out) {
    const float bg[3] = {f.background[0], f.background[1], f.background[2]};
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

inline void write_pixels(const Frame &f, float scale, const Sums &sums, int n, uint32_t *out) {
    const auto write = f.has_background ? write_tile<OPAQUE> : f.straight ? write_tile<STRAIGHT> : write_tile<PREMULTIPLIED>;
    write(f, scale, sums, n, out);
}

inline uint32_t empty_pixel(const Frame &f) {
    if (!f.has_background) return 0;
    return to_byte(f.background[0]) | to_byte(f.background[1]) << 8 | to_byte(f.background[2]) << 16 | 255u << 24;
}

// n pixels from `begin` on get the colour and depth of what is empty.
inline void clear(const Frame &f, uint32_t colour, int64_t begin, int64_t n) {
    if (n <= 0) return;
    if (colour == 0) std::memset(f.out + begin, 0, sizeof(uint32_t) * n);
    else
        for (int64_t i = 0; i < n; ++i) f.out[begin + i] = colour;
    if (f.depth_out) std::memset(f.depth_out + begin, 0, sizeof(float) * n);
}

// Every row of the picture: row(y, x0, x1) for the columns of the window's row y that lie inside of it, the rest is cleared.
template <class Row> void each_row(const Frame &f, int height, int width, int threads, Row row) {
    constexpr int ROWS = 8;
    const int x0 = max2(0, -f.origin_x), x1 = min2(width, f.out_width - f.origin_x);
    const uint32_t empty = empty_pixel(f);
    auto task = [&](int t) {
        for (int oy = t * ROWS; oy < min2((t + 1) * ROWS, f.out_height); ++oy) {
            const int y = oy - f.origin_y;
            const int64_t begin = static_cast<int64_t>(oy) * f.out_width;
            if (y < 0 || y >= height || x0 >= x1) {
                clear(f, empty, begin, f.out_width);
                continue;
            }
            clear(f, empty, begin, x0 + f.origin_x);
            row(y, x0, x1);
            clear(f, empty, begin + x1 + f.origin_x, f.out_width - (x1 + f.origin_x));
        }
    };
    parallel((f.out_height + ROWS - 1) / ROWS, threads, task);
}

DINAR_END
