#include "content.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "dispatch.hpp"
#include "parallel.hpp"

namespace pyengine {
namespace {

// Memory is the limit, for the narrowest vectors too: no need to choose.
using vector = Baseline::vector;
constexpr std::size_t lanes = Baseline::lanes;
constexpr std::size_t block = 16384;   // pixels of one channel in one unit of work
constexpr std::size_t stretch = 1024;  // pixels summed in float32

// One vector of pixels, or one pixel: sum += w (O - T)^2; gradient, if not null, = or += factor w (O - T).
template <class V>
FORCE_INLINE void add_pixels(const float *features, const float *target, const float *weights, std::size_t p,
                             float factor, bool accumulate, float *gradient, V &sum) {
    V difference, other;
    std::memcpy(&difference, features + p, sizeof(V));
    std::memcpy(&other, target + p, sizeof(V));
    difference = difference - other;
    V pull = difference;
    if (weights) {
        std::memcpy(&other, weights + p, sizeof(V));
        pull = pull * other;
    }
    sum += pull * difference;
    if (!gradient) return;
    pull = pull * factor;
    if (accumulate) {
        std::memcpy(&other, gradient + p, sizeof(V));
        pull += other;
    }
    std::memcpy(gradient + p, &pull, sizeof(V));
}

double add_row(const float *features, const float *target, const float *weights, std::size_t length, float factor,
               bool accumulate, float *gradient) {
    double total = 0;
    for (std::size_t p = 0; p < length;) {
        const std::size_t end = std::min(p + stretch, length);
        vector sums = {};
        float lane[lanes], rest = 0;
        for (; p + lanes <= end; p += lanes)
            add_pixels(features, target, weights, p, factor, accumulate, gradient, sums);
        for (; p < end; ++p) add_pixels(features, target, weights, p, factor, accumulate, gradient, rest);
        std::memcpy(lane, &sums, sizeof lane);
        for (const float sum : lane) total += sum;
        total += rest;
    }
    return total;
}

}  // namespace

double content_loss(const float *features, const float *target, const float *weights, double total,
                    std::size_t channels, std::size_t pixels, float *gradient, double scale, bool accumulate,
                    int threads) {
    const std::size_t blocks = (pixels + block - 1) / block, units = channels * blocks;
    const double norm = 1.0 / (static_cast<double>(channels) * total);
    const float factor = static_cast<float>(2 * scale * norm);
    std::vector<double> sums(units);
    parallel_for(units, useful_threads(units, threads), [&](std::size_t unit, int) {
        const std::size_t p = unit % blocks * block, start = unit / blocks * pixels + p;
        sums[unit] = add_row(features + start, target + start, weights ? weights + p : nullptr,
                             std::min(block, pixels - p), factor, accumulate, gradient ? gradient + start : nullptr);
    });
    double sum = 0;
    for (const double s : sums) sum += s;
    return sum * norm;
}

}  // namespace pyengine
