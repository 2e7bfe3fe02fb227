// Where a pixel shows an edge within the body or its outline, and what of a triangle a pixel's samples see.
#pragma once
#include "common.h"

DINAR_BEGIN

// Texture coordinates of a face: the least u, v and the largest.
struct UvBox {
    float u0, v0, u1, v1;
};

// Whether two neighbouring pixels show different surfaces: one is empty, or their faces lie apart in the texture. Faces of one
// surface that are next to each other touch there.
DINAR_HD bool apart(int32_t a, int32_t b, const UvBox *boxes, float gap) {
    if (a == b) return false;
    if ((a < 0) | (b < 0)) return true;
    const UvBox p = boxes[a], q = boxes[b];
    return max2(max2(p.u0 - q.u1, q.u0 - p.u1), max2(p.v0 - q.v1, q.v0 - p.v1)) > gap;
}

DINAR_END
