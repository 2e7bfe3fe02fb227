// Blocks of 2x2 pixels, four channels a pixel: red, green, blue and mask of what the mesh shows, then what the network adds to them.
#pragma once
#include "common.h"

DINAR_BEGIN

constexpr int BLOCK = 16;                // channels of a block's four pixels, row by row

// Colour and alpha of a pixel before the remap: what the mesh shows, off the mask the mean colour of its seen neighbours, the mean of
// the mask as alpha, plus the correction. sum: of 3x3 pixels, of which `seen` is the middle one; all have four values.
DINAR_HD void blended(const float seen[4], const float sum[4], const float correction[4], float out[4]) {
    const float off = (1.0f - seen[3]) / max2(sum[3], 1.0f);
    for (int k = 0; k < 3; ++k) out[k] = clamp_nan_low((seen[k] + sum[k] * off) + correction[k], 0.0f, 1.0f);
    out[3] = clamp_nan_low(sum[3] * (1.0f / 9.0f) + correction[3], 0.0f, 1.0f);
}

DINAR_END
