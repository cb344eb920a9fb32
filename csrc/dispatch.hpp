// Vector types, and the choice of the instruction set when the module is loaded.
//
// A hot loop is written once, as a FORCE_INLINE template over a Simd struct, and instantiated in one thin wrapper per
// instruction set; the wrapper's target attribute decides what the compiler may emit. Elsewhere than on x86, or with a
// compiler that knows no target attribute, the baseline wrapper is the only one. PYENGINE_SIMD forces a set, so that
// each can be tested on a machine that has better ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__GNUC__)
#define FORCE_INLINE inline __attribute__((always_inline))
#else
#define FORCE_INLINE inline
#endif

// In front of a loop over accumulators: only when every such loop is unrolled do they all stay in registers.
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 32")
#else
#define UNROLL
#endif

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define X86_TARGETS
#define TARGET_AVX512 __attribute__((target("avx512f")))
#define TARGET_AVX2 __attribute__((target("avx2,fma")))
#endif

namespace pyengine {

// `Lanes` floats, or integers, that the compiler keeps in one register.
template <int Lanes>
struct Vector {
#if defined(__GNUC__)
    typedef float type __attribute__((vector_size(4 * Lanes)));
    typedef std::int32_t integers __attribute__((vector_size(4 * Lanes)));
#else
    struct type {
        float lane[Lanes];
        type &operator+=(const type &other) {
            for (int l = 0; l < Lanes; ++l) lane[l] += other.lane[l];
            return *this;
        }
        friend type operator+(type a, const type &b) { return a += b; }
        friend type operator-(type a, const type &b) {
            for (int l = 0; l < Lanes; ++l) a.lane[l] -= b.lane[l];
            return a;
        }
        friend type operator*(type a, const type &b) {
            for (int l = 0; l < Lanes; ++l) a.lane[l] *= b.lane[l];
            return a;
        }
        friend type operator*(type a, float b) {
            for (int l = 0; l < Lanes; ++l) a.lane[l] *= b;
            return a;
        }
        friend type operator+(type a, float b) {
            for (int l = 0; l < Lanes; ++l) a.lane[l] += b;
            return a;
        }
    };
    struct integers {
        std::int32_t lane[Lanes];
    };
#endif
};

// What a micro-kernel's shape is made from: the lanes of a register, and the blocks of accumulators that fill the
// register file (32 registers with AVX-512, 16 before) and leave room for the operands.
template <int Lanes, int GramRows, int GramColumns, int GradientRows, int GradientVectors>
struct Simd {
    using vector = typename Vector<Lanes>::type;
    static constexpr int lanes = Lanes;
    static constexpr int gram_rows = GramRows, gram_columns = GramColumns;
    static constexpr int gradient_rows = GradientRows, gradient_vectors = GradientVectors;

    static FORCE_INLINE void load(vector &v, const float *from) { std::memcpy(&v, from, sizeof v); }
    static FORCE_INLINE void store(float *to, const vector &v) { std::memcpy(to, &v, sizeof v); }

    // A block of a matrix product: sums += the outer products of `count` columns of `left`, one after the other, with as
    // many rows of `right`, `stride` apart.
    static FORCE_INLINE void multiply(const float *left, const float *right, std::size_t stride, std::size_t count,
                                      vector (&sums)[GradientRows][GradientVectors]) {
        for (std::size_t k = 0; k < count; ++k, left += GradientRows, right += stride) {
            vector y[GradientVectors];
            UNROLL
            for (int v = 0; v < GradientVectors; ++v) load(y[v], right + v * Lanes);
            UNROLL
            for (int r = 0; r < GradientRows; ++r)
                UNROLL
                for (int v = 0; v < GradientVectors; ++v) sums[r][v] += y[v] * left[r];
        }
    }
};

using Avx512 = Simd<16, 6, 4, 8, 3>;
using Avx2 = Simd<8, 3, 4, 6, 2>;
using Baseline = Simd<4, 3, 3, 4, 2>;

// The instruction sets, the best last.
enum class Isa { baseline, avx2, avx512 };

const char *name_of(Isa isa);

// Those that this machine has.
std::vector<Isa> supported();

// The best of them, or the one that the environment variable PYENGINE_SIMD names. Throws std::runtime_error where it
// names none of them.
Isa choose();

// The one in use: what everything that depends on the instruction set asks.
inline Isa isa() {
    static const Isa chosen = choose();
    return chosen;
}

}  // namespace pyengine

// Defines `return_type name(parameters)`, which calls `body<Simd>(arguments)` compiled for the instruction set in use.
#ifdef X86_TARGETS
#define DISPATCH(name, body, parameters, arguments)                              \
    TARGET_AVX512 void name##_avx512 parameters { body<Avx512> arguments; }      \
    TARGET_AVX2 void name##_avx2 parameters { body<Avx2> arguments; }            \
    void name parameters {                                                       \
        switch (isa()) {                                                         \
            case Isa::avx512: return name##_avx512 arguments;                    \
            case Isa::avx2: return name##_avx2 arguments;                        \
            case Isa::baseline: return body<Baseline> arguments;                 \
        }                                                                        \
    }
#else
#define DISPATCH(name, body, parameters, arguments) \
    void name parameters { body<Baseline> arguments; }
#endif
