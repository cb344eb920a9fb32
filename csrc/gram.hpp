// Gram matrices of feature maps and the gradient of a loss on one.
#pragma once

#include "map.hpp"

namespace pyengine {

// gram (C, C) = A diag(w) B^T / total, with w the coverage, A = `map` and B = `other` (C, N); zeros where `total` is 0.
// Where `other` is the map itself, the same pointer, half of the work is spared.
void gram(const Map &map, const float *other, double *gram, int threads);

// The gradient is D F diag(w), with D = `difference` (C, C), times the scale rounded to float32, and F = `map`.
template <class Real>
void gram_gradient(const Map &map, const Real *difference, const Gradient &gradient, int threads);

}  // namespace pyengine
