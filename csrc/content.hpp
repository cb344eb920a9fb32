// The content loss: the distance of a feature map from another, pixel by pixel.
#pragma once

#include "map.hpp"

namespace pyengine {

// sum w (O - T)^2 / (C total), with w the coverage, O = `map` and T = `target` (C, N); its gradient is
// 2 w (O - T) / (C total). Both are 0 where `total` is.
double content_loss(const Map &map, const float *target, const Gradient &gradient, int threads);

}  // namespace pyengine
