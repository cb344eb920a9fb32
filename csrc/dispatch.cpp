#include "dispatch.hpp"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace pyengine {

const char *name_of(Isa isa) {
    switch (isa) {
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        default: return "baseline";
    }
}

std::vector<Isa> supported() {
    std::vector<Isa> sets{Isa::baseline};
#ifdef X86_TARGETS
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(Isa::avx2);
    if (__builtin_cpu_supports("avx512f")) sets.push_back(Isa::avx512);
#endif
    return sets;
}

Isa choose() {
    const std::vector<Isa> sets = supported();
    const char *const forced = std::getenv("PYENGINE_SIMD");
    if (!forced || !*forced) return sets.back();
    std::string names;
    for (const Isa set : sets) {
        if (std::strcmp(name_of(set), forced) == 0) return set;
        names += (names.empty() ? "" : ", ") + std::string(name_of(set));
    }
    throw std::runtime_error("PYENGINE_SIMD: expected an instruction set that this machine has (" + names + "), got " +
                             forced);
}

}  // namespace pyengine
