// The content loss: the distance of a feature map from another, pixel by pixel.
#pragma once

#include <cstddef>

namespace pyengine {

// sum w (O - T)^2 / (C total), with O = `features` and T = `target`, both (C, N); `weights` null means 1 for every
// pixel, `total` is their sum. gradient, if not null, = or += scale 2 w (O - T) / (C total).
double content_loss(const float *features, const float *target, const float *weights, double total,
                    std::size_t channels, std::size_t pixels, float *gradient, double scale, bool accumulate,
                    int threads);

}  // namespace pyengine
