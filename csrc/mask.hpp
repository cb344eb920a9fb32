// What of a feature map the backward pass needs, where the map itself is not kept.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyengine {

// 2x2, stride 2; at an odd side the last window holds what is left.
enum class Pooling { none, average, max };

// Which pixels of a square of the map let the gradient of what comes next through: those above 0, and of a maximum pool's
// window those that share its maximum. Bits are row by row, the lowest first; beyond the map's border they are clear in a
// maximum pool's windows, otherwise they mean nothing.
using Mask = std::uint16_t;
constexpr std::size_t mask_side = 4;

// Squares along a side of a map.
constexpr std::size_t masks(std::size_t side) { return (side + mask_side - 1) / mask_side; }

}  // namespace pyengine
