// The backward pass between two convolutions: the pool's adjoint, the loss's gradient, the ReLU's mask, the border.
#pragma once

#include <cstddef>

#include "mask.hpp"
#include "wrap.hpp"

namespace pyengine {

struct ReluGradient {
    const float *features;  // F (C, H, W), after the ReLU, or null: what there is of it is in `mask`
    const Mask *mask;       // (C, masks(H), masks(W))
    const float *above;     // gradient with respect to what comes after: F, or its 2x2 pool (C, ceil H/2, ceil W/2)
    const float *loss;      // gradient of a loss with respect to F, or null; not with a mask
    std::size_t channels, height, width;
    Pooling pooling;
    Wrap wrap;
    std::size_t border;  // pixels on each side, as many as the next convolution sees; maybe more than the map has

    // out (C, H + 2 border, W + 2 border) = where F > 0 the sum of both gradients, else 0, with a border that wraps
    // round, axis by axis, or is 0. Returns the largest magnitude in it, or 0 if `measure` is false.
    float run(float *out, bool measure, int threads) const;
};

}  // namespace pyengine
