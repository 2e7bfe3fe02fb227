// Picks the loops for this CPU, once.
#include <cstring>
#include <initializer_list>

#include "kernels.h"

namespace dinar {

extern const Kernels table_base;
#ifdef DINAR_HAS_V3
extern const Kernels table_v3;
#endif
#ifdef DINAR_HAS_V4
extern const Kernels table_v4;
#endif

const Kernels *find_kernels(const char *name) {
    if (!std::strcmp(name, "base")) return &table_base;
#ifdef DINAR_HAS_V3
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!std::strcmp(name, "v3") && v3) return &table_v3;
#endif
#ifdef DINAR_HAS_V4
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq");
    if (!std::strcmp(name, "v4") && v4) return &table_v4;
#endif
    return nullptr;
}

const Kernels &best_kernels() {
    for (const char *name : {"v4", "v3"})
        if (const Kernels *k = find_kernels(name)) return *k;
    return table_base;
}

}  // namespace dinar
