// Rotations and rigid transforms of the joint chain, in double.
#pragma once
#include "common.h"

DINAR_BEGIN

// Rodrigues: axis-angle a[3] (radians) -> R[9], row-major. sin(t)/t and (1-cos(t))/t^2 by series below 1e-2, where the quotients
// lose digits; the first term left out is below 1e-17.
DINAR_HD void rotation_from_axis_angle(const double a[3], double R[9]) {
    const double x = a[0], y = a[1], z = a[2], t2 = x * x + y * y + z * z;
    double s, c;
    if (t2 < 1e-4) {
        s = 1 - t2 * (1.0 / 6) * (1 - t2 * (1.0 / 20) * (1 - t2 * (1.0 / 42)));
        c = 0.5 * (1 - t2 * (1.0 / 12) * (1 - t2 * (1.0 / 30) * (1 - t2 * (1.0 / 56))));
    } else {
        const double t = sqrt(t2), h = sin(0.5 * t);
        s = sin(t) / t;
        c = 2 * h * h / t2;
    }
    R[0] = 1 - c * (y * y + z * z);
    R[1] = c * x * y - s * z;
    R[2] = c * x * z + s * y;
    R[3] = c * x * y + s * z;
    R[4] = 1 - c * (x * x + z * z);
    R[5] = c * y * z - s * x;
    R[6] = c * x * z - s * y;
    R[7] = c * y * z + s * x;
    R[8] = 1 - c * (x * x + y * y);
}

// world = parent * [R | offset]; all [12] = 3x4 row-major. parent null = a root.
DINAR_HD void chain_joint(const double *parent, const double R[9], const double offset[3], double world[12]) {
    for (int r = 0; r < 3; ++r) {
        if (!parent) {
            for (int c = 0; c < 3; ++c) world[4 * r + c] = R[3 * r + c];
            world[4 * r + 3] = offset[r];
            continue;
        }
        const double *p = parent + 4 * r;
        for (int c = 0; c < 3; ++c) world[4 * r + c] = p[0] * R[c] + p[1] * R[3 + c] + p[2] * R[6 + c];
        world[4 * r + 3] = p[0] * offset[0] + p[1] * offset[1] + p[2] * offset[2] + p[3];
    }
}

// The transform that carries rest-pose points to posed points, as four columns of four floats (the last float is padding).
DINAR_HD void skinning_columns(const double world[12], const double rest_joint[3], const double transl[3], float columns[16]) {
    for (int r = 0; r < 3; ++r) {
        const double *w = world + 4 * r;
        for (int c = 0; c < 3; ++c) columns[4 * c + r] = static_cast<float>(w[c]);
        const double moved = w[0] * rest_joint[0] + w[1] * rest_joint[1] + w[2] * rest_joint[2];
        columns[12 + r] = static_cast<float>(w[3] - moved + transl[r]);
    }
    for (int c = 0; c < 4; ++c) columns[4 * c + 3] = 0;
}

DINAR_END
