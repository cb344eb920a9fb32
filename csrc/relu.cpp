#include "relu.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.hpp"

namespace pyengine {
namespace {

// One row of the average pool's adjoint: every pixel of a window gets an equal share.
void spread_mean(const float *above, std::size_t width, float rows, float *row) {
    for (std::size_t x = 0; x + 1 < width; x += 2) row[x] = row[x + 1] = above[x / 2] / (2 * rows);
    if (width % 2) row[width - 1] = above[width / 2] / rows;
}

// One row of the max pool's adjoint: the pixels that share their window's maximum share its gradient. `other` is the
// window's other row, or the same where there is none.
void spread_maximum(const float *above, const float *here, const float *other, std::size_t width, float *row) {
    for (std::size_t x = 0; x < width; ++x) {
        const std::size_t first = x / 2 * 2, last = std::min(first + 1, width - 1);
        const float most = std::max(std::max(here[first], here[last]), std::max(other[first], other[last]));
        int shares = 0;
        for (std::size_t k = first; k <= last; ++k) shares += (here[k] == most) + (other != here && other[k] == most);
        row[x] = here[x] == most ? above[x / 2] / static_cast<float>(shares) : 0.0f;
    }
}

}  // namespace

float ReluGradient::run(float *out, bool measure, int threads) const {
    const std::size_t plane = height * width, stride = width + 2, padded = (height + 2) * stride;
    const std::size_t half = (width + 1) / 2, pooled = (height + 1) / 2 * half;
    threads = useful_threads(channels, threads);
    std::vector<std::vector<float>> rows(static_cast<std::size_t>(threads), std::vector<float>(width));
    std::vector<float> peaks(channels);
    parallel_for(channels, threads, [&](std::size_t channel, int thread) {
        const float *maps = features + channel * plane;
        float *target = out + channel * padded, *row = rows[static_cast<std::size_t>(thread)].data(), peak = 0;
        for (std::size_t y = 0; y < height; ++y) {
            const float *map = maps + y * width, *gradient = loss ? loss + channel * plane + y * width : nullptr;
            if (above && pooling == Pooling::none) {
                std::copy_n(above + channel * plane + y * width, width, row);
            } else if (above) {
                const float *from = above + channel * pooled + y / 2 * half;
                const std::size_t other = std::min(y ^ 1, height - 1);
                if (pooling == Pooling::average) spread_mean(from, width, other == y ? 1.0f : 2.0f, row);
                if (pooling == Pooling::max) spread_maximum(from, map, maps + other * width, width, row);
            } else {
                std::fill_n(row, width, 0.0f);
            }
            float *to = target + (y + 1) * stride + 1;
            for (std::size_t x = 0; x < width; ++x) {
                const float sum = gradient ? row[x] + gradient[x] : row[x];
                to[x] = map[x] > 0 ? sum : 0.0f;
            }
            for (std::size_t x = 0; measure && x < width; ++x) peak = std::max(peak, std::fabs(to[x]));
            to[-1] = wrap ? to[width - 1] : 0.0f;
            to[width] = wrap ? to[0] : 0.0f;
        }
        float *first = target + stride, *last = target + height * stride;
        if (wrap) {
            std::copy_n(last, stride, target);
            std::copy_n(first, stride, last + stride);
        } else {
            std::fill_n(target, stride, 0.0f);
            std::fill_n(last + stride, stride, 0.0f);
        }
        peaks[channel] = peak;
    });
    return *std::max_element(peaks.begin(), peaks.end());
}

}  // namespace pyengine
