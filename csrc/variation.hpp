// The variation of an image: how much neighbouring pixels differ.
#pragma once

#include <cstddef>

namespace pyengine {

// The mean squared difference of neighbouring pixels of `image` (H, W, C): of all pairs side by side or one above the
// other. With `wrap`, the last column and row neighbour the first. gradient, if not null, = or += scale times its
// gradient.
double variation(const float *image, std::size_t height, std::size_t width, std::size_t channels, bool wrap,
                 float *gradient, double scale, bool accumulate, int threads);

}  // namespace pyengine
