// What several kernels are given: a feature map, and where a gradient goes.
#pragma once

#include <algorithm>
#include <cstddef>

namespace pyengine {

// A float32 map (C, N), channels times pixels.
struct Map {
    const float *features;
    const float *coverage;  // how much each pixel counts, (N,); null means 1 for every pixel
    std::size_t channels, pixels;
    double total;  // what a mean over pixels divides by: the coverage's sum, or that of a map of which this is a part

    std::size_t size() const { return channels * pixels; }
};

// Where a gradient goes: `out`, of the shape of what it is the gradient of, = or += `scale` times the gradient.
struct Gradient {
    float *out;  // null where nobody wants the gradient
    double scale;
    bool accumulate;

    // Writes a gradient that is 0.
    void vanish(std::size_t size) const {
        if (out && !accumulate) std::fill_n(out, size, 0.0f);
    }
};

}  // namespace pyengine
