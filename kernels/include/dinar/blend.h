// Alpha of the renderer network and 8-bit colours.
#pragma once
#include "common.h"

DINAR_BEGIN

// exp(x) to 2 units in the last place for |x| <= 87 (clamped): 2^n times a polynomial of the rest. Written out so that loops over
// it vectorise and every build gives the same bits.
DINAR_HD float exp_clamped(float x) {
    const float c = clamp_nan_low(x, -87.0f, 87.0f);
    const float t = c * 1.44269504f;
    const int32_t n = static_cast<int32_t>(t + (t < 0 ? -0.5f : 0.5f));
    const float k = static_cast<float>(n);
    const float r = (c - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.3334519e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    return p * float_from_bits(static_cast<uint32_t>(n + 127) << 23);
}

// The alpha remap of the DINAR renderer for tau != 0.
DINAR_HD float threshold_alpha(float a, float tau) {
    return (1.0f - exp_clamped((tau - a) * 20.0f)) * (1.0f + exp_clamped((a - tau - 0.2f) * 70.0f));
}

// Round half up; v in [0, 1].
DINAR_HD uint32_t to_byte(float v) { return static_cast<uint32_t>(static_cast<int32_t>(v * 255.0f + 0.5f)); }

DINAR_END
