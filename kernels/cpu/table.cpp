// The loops of one instruction set under one name.
#include "loops.h"

#define DINAR_STRING_(x) #x
#define DINAR_STRING(x) DINAR_STRING_(x)

namespace dinar {
extern const Kernels DINAR_TABLE;
const Kernels DINAR_TABLE = {DINAR_STRING(DINAR_VARIANT), lbs, project, rasterize, gather, compose, gather_half, compose_half, smooth_edges};
}
