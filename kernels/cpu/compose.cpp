// Network output to 8-bit RGBA (and depth).
#include "compose_tile.h"

DINAR_BEGIN
namespace {

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
    if (c.frame.depth_out) {
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

template <int S, bool THRESHOLD> void compose_row(const ComposeArgs &c, int y, int x0, int x1) {
    const Frame &f = c.frame;
    const int64_t row = static_cast<int64_t>(y + f.origin_y) * f.out_width + f.origin_x;
    const float scale = 1.0f / static_cast<float>(S * S);
    Sums sums;
    for (int x = x0; x < x1; x += TILE) {
        const int n = min2(TILE, x1 - x);
        std::memset(&sums, 0, sizeof(float) * 4 * TILE);
        for (int i = 0; i < n; ++i) sums.depth[i] = 3.4e38f;
        for (int s = 0; s < S; ++s) add_row<S, THRESHOLD>(c, (static_cast<int64_t>(y) * S + s) * c.width + static_cast<int64_t>(x) * S, n, sums);
        write_pixels(f, scale, sums, n, f.out + row + x);
        if (f.depth_out)
            for (int i = 0; i < n; ++i) f.depth_out[row + x + i] = sums.depth[i] < 3.4e38f ? sums.depth[i] : 0.0f;
    }
}

}  // namespace

void compose(const ComposeArgs &c) {
    const bool remap = c.threshold != 0;
    void (*row)(const ComposeArgs &, int, int, int) =
        c.samples == 1   ? (remap ? compose_row<1, true> : compose_row<1, false>)
        : c.samples == 2 ? (remap ? compose_row<2, true> : compose_row<2, false>)
                         : (remap ? compose_row<4, true> : compose_row<4, false>);
    each_row(c.frame, c.height / c.samples, c.width / c.samples, c.threads, [&](int y, int x0, int x1) { row(c, y, x0, x1); });
}

DINAR_END
