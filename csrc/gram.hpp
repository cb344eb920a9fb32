// Gram matrices of feature maps, and channels mixed by a matrix, as a gradient of a loss on one has them.
#pragma once

#include "map.hpp"

namespace pyengine {

// gram (C, C) = A diag(w) B^T / total, with w the coverage, A = `map` and B = `other` (C, N); zeros where `total` is 0.
// Where `other` is the map itself, the same pointer, half of the work is spared.
void gram(const Map &map, const float *other, double *gram, int threads);

// What is written, (rows, N), is M F diag(w), with M = `matrix` (rows, C) times the scale, rounded to float32, and
// F = `map`.
template <class Real>
void mix(const Map &map, const Real *matrix, std::size_t rows, const Gradient &to, int threads);

}  // namespace pyengine
