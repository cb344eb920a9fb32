// 3x3 convolutions by Winograd's minimal filtering.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "mask.hpp"

namespace pyengine {

// What a convolution sees beyond the border of a map; `given`: the map that is read is larger by a pixel on each side.
enum class Border { given, zeros, wrap, reflect };

// Calls a function for every number from 0 to below the first argument, on as many threads as it likes.
using Loop = std::function<void(std::size_t, const std::function<void(std::size_t)> &)>;

struct Filters {
    const float *values;  // (O, I, 3, 3)
    const float *biases;  // (O,)
    std::size_t outputs, inputs;
};

// What is done in one go with a convolution.
struct Stage {
    Border y, x;  // above and below, left and right; both given, or neither
    bool relu;
    Pooling pooling;

    bool given() const { return y == Border::given; }
};

// A map of H x W pixels before a convolution and after its stage.
struct Maps {
    std::size_t height, width;
    const float *in;  // (I, H, W), or with a border given (I, H + 2, W + 2)
    float *out;       // (O, H, W), or its pool, (O, ceil H/2, ceil W/2)
    Mask *mask;       // (O, masks(H), masks(W)), or null
};

// Correlation with 3x3 filters, stride 1, that keeps the size, and the bias, ReLU and pool after it: F(4x4, 3x3) of Lavin
// & Gray (1509.09308, section 4), which makes 4x4 pixels of 36 products where the sum of products would need 144. A
// result's rounding depends on where its pixel lies in the grid of 4x4 tiles, on nothing else: not on the size, not on
// threads.
class Winograd {
public:
    Winograd(const Filters &filters, const Stage &stage);

    std::size_t outputs() const { return outputs_; }
    std::size_t inputs() const { return inputs_; }
    const Stage &stage() const { return stage_; }

    void run(const Maps &maps, const Loop &loop) const;

private:
    std::size_t outputs_, inputs_;
    Stage stage_;
    std::vector<float> filters_, biases_;  // in the layout of the inner loop, with outputs up to whole panels
};

}  // namespace pyengine
