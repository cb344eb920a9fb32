// The histogram loss: the distance of a feature map from its own exact rank match to an exemplar.
#pragma once

#include <cstddef>
#include <vector>

#include "map.hpp"

namespace pyengine {

// The distribution of every channel of an exemplar, as the step function Q_S of its quantiles.
class Histogram {
public:
    Histogram(const Map &exemplar, int threads);

    std::size_t channels() const { return quantiles_.size(); }

    // sum w (O - R(O))^2 / (C sum w), with w the coverage, O = `map`, and R(O) its match; the gradient is
    // 2 w (O - R(O)) / (C sum w). The map's C channels are those from the exemplar's `first` on.
    double loss(const Map &map, std::size_t first, const Gradient &gradient, int threads) const;

    // One channel: the steps' values in rising order. One step, the `zero_step`th, stands for all `zeros` samples that
    // are 0, if there are any; every other is one sample. `edges` are the masses up to each step's end, kept only where
    // there is a coverage: without, they follow from counting.
    struct Quantiles {
        std::vector<float> values;
        std::vector<double> edges;
        std::size_t zero_step, zeros;
    };

private:
    std::vector<Quantiles> quantiles_;
    std::size_t pixels_;
    double total_;
};

}  // namespace pyengine
