// The variation of an image: how much neighbouring pixels differ.
#pragma once

#include <cstddef>

#include "map.hpp"
#include "wrap.hpp"

namespace pyengine {

// A float32 image (H, W, C).
struct Image {
    const float *pixels;
    std::size_t height, width, channels;

    std::size_t size() const { return height * width * channels; }
};

// The mean squared difference of neighbouring pixels: of all pairs side by side or one above the other. Where it wraps
// round, the last row or column neighbours the first.
double variation(const Image &image, Wrap wrap, const Gradient &gradient, int threads);

}  // namespace pyengine
