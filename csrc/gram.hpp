// The Gram matrix of a feature map and the gradient of a loss on it.
#pragma once

#include <cstddef>

namespace pyengine {

// gram (C, C) = F diag(w) F^T / total, with F (C, N); `weights` null means 1 for every pixel, `total` is their sum.
void gram(const float *features, const float *weights, double total, std::size_t channels, std::size_t pixels,
          double *gram, int threads);

// out (C, N) = or += matrix F diag(w), with matrix (C, C).
void gram_gradient(const float *features, const float *matrix, const float *weights, std::size_t channels,
                   std::size_t pixels, float *out, bool accumulate, int threads);

}  // namespace pyengine
