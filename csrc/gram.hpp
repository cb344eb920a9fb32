// Gram matrices of feature maps and the gradient of a loss on one.
#pragma once

#include <cstddef>

namespace pyengine {

// gram (C, C) = A diag(w) B^T / total, with A = `features` and B = `other`, both (C, N); `weights` null means 1 for
// every pixel, `total` is their sum. Where `other` is `features`, the same pointer, half of the work is spared.
void gram(const float *features, const float *other, const float *weights, double total, std::size_t channels,
          std::size_t pixels, double *gram, int threads);

// out (C, N) = or += matrix F diag(w), with matrix (C, C).
void gram_gradient(const float *features, const float *matrix, const float *weights, std::size_t channels,
                   std::size_t pixels, float *out, bool accumulate, int threads);

}  // namespace pyengine
