// The variation of an image: how much neighbouring pixels differ.
#pragma once

#include <cstddef>

#include "map.hpp"

namespace pyengine {

// A float32 image (H, W, C).
struct Image {
    const float *pixels;
    std::size_t height, width, channels;

    std::size_t size() const { return height * width * channels; }
};

// The mean squared difference of neighbouring pixels: of all pairs side by side or one above the other. With `wrap`, the
// last column and row neighbour the first.
double variation(const Image &image, bool wrap, const Gradient &gradient, int threads);

}  // namespace pyengine
