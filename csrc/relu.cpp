#include "relu.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "parallel.hpp"

namespace pyengine {
namespace {

// One row of the average pool's adjoint: every pixel of a window gets an equal share. `rows` is 1 or 2.
void spread_mean(const float *above, std::size_t width, float rows, float *row) {
    const float share = 0.5f / rows;
    for (std::size_t k = 0; k < width / 2; ++k) row[2 * k] = row[2 * k + 1] = above[k] * share;
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

// The same where a mask says which pixels those are; what is not among them, or where there are none, is for `keep` to
// clear.
void spread_shares(const float *above, const Mask *words, std::size_t y, std::size_t width, float *row) {
    static constexpr int counts[16] = {1, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
    for (std::size_t k = 0; k < width; k += 2) {
        const int window = words[k / mask_side] >> (y % mask_side / 2 * 2 * mask_side + k % mask_side);
        const float share = above[k / 2] / static_cast<float>(counts[(window & 3) | (window >> (mask_side - 2) & 12)]);
        row[k] = share;
        if (k + 1 < width) row[k + 1] = share;
    }
}

// Clears the pixels of a row that a mask does not let through.
void keep(const Mask *words, std::size_t y, std::size_t width, float *row) {
    static constexpr std::uint32_t t = ~0u;
    static constexpr std::uint32_t patterns[16][mask_side] = {
        {0, 0, 0, 0}, {t, 0, 0, 0}, {0, t, 0, 0}, {t, t, 0, 0}, {0, 0, t, 0}, {t, 0, t, 0}, {0, t, t, 0}, {t, t, t, 0},
        {0, 0, 0, t}, {t, 0, 0, t}, {0, t, 0, t}, {t, t, 0, t}, {0, 0, t, t}, {t, 0, t, t}, {0, t, t, t}, {t, t, t, t}};
    const auto clear = [&](std::size_t square, std::size_t count) {
        std::uint32_t bits[mask_side] = {};
        const std::uint32_t *pattern = patterns[words[square] >> y % mask_side * mask_side & 15];
        std::memcpy(bits, row + square * mask_side, count * sizeof(float));
        for (std::size_t k = 0; k < mask_side; ++k) bits[k] &= pattern[k];
        std::memcpy(row + square * mask_side, bits, count * sizeof(float));
    };
    for (std::size_t square = 0; square < width / mask_side; ++square) clear(square, mask_side);
    if (width % mask_side) clear(width / mask_side, width % mask_side);
}

}  // namespace

float ReluGradient::run(float *out, bool measure, int threads) const {
    const std::size_t plane = height * width, stride = width + 2 * border, padded = (height + 2 * border) * stride;
    const std::size_t half = (width + 1) / 2, pooled = (height + 1) / 2 * half;
    std::vector<float> peaks(channels);
    parallel_for(channels, useful_threads(channels, threads), [&](std::size_t channel, int) {
        float *const inner = out + channel * padded + border * stride;  // the first row that is not border alone
        float peak = 0;
        for (std::size_t y = 0; y < height; ++y) {
            const std::size_t other = std::min(y ^ 1, height - 1), at = channel * plane + y * width;
            const float *map = mask ? nullptr : features + at;
            const Mask *words = mask ? mask + (channel * masks(height) + y / mask_side) * masks(width) : nullptr;
            float *to = inner + y * stride + border;
            const float *from = above + channel * pooled + y / 2 * half;
            if (pooling == Pooling::none) {
                std::copy_n(above + at, width, to);
            } else if (pooling == Pooling::average) {
                spread_mean(from, width, other == y ? 1.0f : 2.0f, to);
            } else if (mask) {
                spread_shares(from, words, y, width, to);
            } else {
                spread_maximum(from, map, features + channel * plane + other * width, width, to);
            }
            const float *gradient = loss ? loss + at : nullptr;
            for (std::size_t x = 0; gradient && x < width; ++x) to[x] += gradient[x];
            if (mask) {
                keep(words, y, width, to);
            } else {
                for (std::size_t x = 0; x < width; ++x) to[x] = map[x] > 0 ? to[x] : 0.0f;
            }
            for (std::size_t x = 0; measure && x < width; ++x) peak = std::max(peak, std::fabs(to[x]));
            for (std::size_t k = 0; k < border; ++k) {
                to[-1 - static_cast<std::ptrdiff_t>(k)] = wrap.x ? to[width - 1 - k % width] : 0.0f;
                to[width + k] = wrap.x ? to[k % width] : 0.0f;
            }
        }
        for (std::size_t k = 0; k < border; ++k) {
            float *const before = inner - (k + 1) * stride, *const after = inner + (height + k) * stride;
            if (wrap.y) {
                std::copy_n(inner + (height - 1 - k % height) * stride, stride, before);
                std::copy_n(inner + k % height * stride, stride, after);
            } else {
                std::fill_n(before, stride, 0.0f);
                std::fill_n(after, stride, 0.0f);
            }
        }
        peaks[channel] = peak;
    });
    return *std::max_element(peaks.begin(), peaks.end());
}

}  // namespace pyengine
