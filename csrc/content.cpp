#include "content.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "dispatch.hpp"
#include "parallel.hpp"

namespace pyengine {
namespace {

// Memory is the limit, for the narrowest vectors too: there is no need to choose.
using vector = Baseline::vector;
constexpr std::size_t lanes = Baseline::lanes;
constexpr std::size_t block = 16384;   // pixels of one channel in one unit of work
constexpr std::size_t stretch = 1024;  // pixels summed in float32

// Pixels of one channel, and what their gradient is: = or += factor w (O - T).
struct Row {
    const float *features, *target;
    const float *coverage;  // or null
    float *gradient;        // or null
    float factor;
    bool accumulate;
};

// Takes in one vector of pixels, or one pixel: sum += w (O - T)^2.
template <class V>
FORCE_INLINE void add_pixels(const Row &row, std::size_t p, V &sum) {
    V difference, other;
    std::memcpy(&difference, row.features + p, sizeof(V));
    std::memcpy(&other, row.target + p, sizeof(V));
    difference = difference - other;
    V pull = difference;
    if (row.coverage) {
        std::memcpy(&other, row.coverage + p, sizeof(V));
        pull = pull * other;
    }
    sum += pull * difference;
    if (!row.gradient) return;
    pull = pull * row.factor;
    if (row.accumulate) {
        std::memcpy(&other, row.gradient + p, sizeof(V));
        pull += other;
    }
    std::memcpy(row.gradient + p, &pull, sizeof(V));
}

// The row is passed by value, so that the compiler knows that no store changes it.
double add_row(const Row row, std::size_t length) {
    double total = 0;
    for (std::size_t p = 0; p < length;) {
        const std::size_t end = std::min(p + stretch, length);
        vector sums = {};
        float lane[lanes], rest = 0;
        for (; p + lanes <= end; p += lanes) add_pixels(row, p, sums);
        for (; p < end; ++p) add_pixels(row, p, rest);
        std::memcpy(lane, &sums, sizeof lane);
        for (const float sum : lane) total += sum;
        total += rest;
    }
    return total;
}

}  // namespace

double content_loss(const Map &map, const float *target, const Gradient &gradient, int threads) {
    if (map.total == 0) {
        gradient.vanish(map.size());
        return 0.0;
    }
    const std::size_t blocks = (map.pixels + block - 1) / block, units = map.channels * blocks;
    const double norm = 1.0 / (static_cast<double>(map.channels) * map.total);
    const float factor = static_cast<float>(2 * gradient.scale * norm);
    std::vector<double> sums(units);
    parallel_for(units, useful_threads(units, threads), [&](std::size_t unit, int) {
        const std::size_t p = unit % blocks * block, start = unit / blocks * map.pixels + p;
        const Row row{
            .features = map.features + start,
            .target = target + start,
            .coverage = map.coverage ? map.coverage + p : nullptr,
            .gradient = gradient.out ? gradient.out + start : nullptr,
            .factor = factor,
            .accumulate = gradient.accumulate,
        };
        sums[unit] = add_row(row, std::min(block, map.pixels - p));
    });
    double sum = 0;
    for (const double s : sums) sum += s;
    return sum * norm;
}

}  // namespace pyengine
