// Bilinear texture coordinates, as grid_sample(mode="bilinear", padding_mode="zeros", align_corners=True).
#pragma once
#include "common.h"

DINAR_BEGIN

struct Bilinear {
    int32_t x, y;                    // the upper left texel; may be -1 (or beyond): see inside()
    float w00, w01, w10, w11;        // weights of (x, y), (x+1, y), (x, y+1), (x+1, y+1)
};

// u, v in [0, 1] from the first to the last texel centre. Far outside (and NaN) no texel is touched.
DINAR_HD Bilinear bilinear(float u, float v, int width, int height) {
    const float x = clamp_nan_low(u * static_cast<float>(width - 1), -2.0f, static_cast<float>(width + 1));
    const float y = clamp_nan_low(v * static_cast<float>(height - 1), -2.0f, static_cast<float>(height + 1));
    const int32_t xi = static_cast<int32_t>(x + 2.0f) - 2, yi = static_cast<int32_t>(y + 2.0f) - 2;    // floor: x >= -2
    const float fx = max2(x - static_cast<float>(xi), 0.0f), fy = max2(y - static_cast<float>(yi), 0.0f);
    return Bilinear{xi, yi, (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy};
}

DINAR_HD bool inside(int x, int y, int width, int height) {
    return (static_cast<uint32_t>(x) < static_cast<uint32_t>(width)) & (static_cast<uint32_t>(y) < static_cast<uint32_t>(height));
}

DINAR_END
