#include "variation.hpp"

#include <vector>

#include "parallel.hpp"

namespace pyengine {
namespace {

// The same entries of a stretch of pixels and of their neighbours'. Where there is no neighbour, the pixel is its own.
struct Neighbours {
    const float *here, *left, *right, *up, *down;
};

// The sum of the squared differences to the right and below; gradient, if not null, = or += factor times the
// differences to all four sides.
double variation_of(const Neighbours &at, std::size_t length, float factor, bool accumulate, float *gradient) {
    double sum = 0;
    for (std::size_t k = 0; k < length; ++k) {
        const float x = at.here[k], right = at.right[k] - x, down = at.down[k] - x;
        sum += right * right + down * down;
    }
    for (std::size_t k = 0; gradient && k < length; ++k) {
        const float x = at.here[k];
        const float slope = ((x - at.left[k]) + (x - at.right[k])) + ((x - at.up[k]) + (x - at.down[k]));
        gradient[k] = accumulate ? gradient[k] + factor * slope : factor * slope;
    }
    return sum;
}

}  // namespace

double variation(const Image &image, Wrap wrap, const Gradient &gradient, int threads) {
    const std::size_t height = image.height, width = image.width, channels = image.channels, row = width * channels;
    const std::size_t pairs = (wrap.x ? width : width - 1) * height + (wrap.y ? height : height - 1) * width;
    if (pairs == 0) {
        gradient.vanish(image.size());
        return 0.0;
    }
    const double norm = 1.0 / (static_cast<double>(pairs) * static_cast<double>(channels));
    const float factor = static_cast<float>(2 * gradient.scale * norm);
    std::vector<double> sums(height);
    parallel_for(height, useful_threads(height, threads), [&](std::size_t y, int) {
        const float *here = image.pixels + y * row;
        const float *up = y > 0 ? here - row : wrap.y ? image.pixels + (height - 1) * row : here;
        const float *down = y + 1 < height ? here + row : wrap.y ? image.pixels : here;
        // Takes in pixels [x, end), whose neighbours begin at `left` and at `right`.
        const auto add = [&](std::size_t x, std::size_t left, std::size_t right, std::size_t end) {
            const std::size_t k = x * channels;
            float *out = gradient.out ? gradient.out + y * row + k : nullptr;
            sums[y] += variation_of({here + k, here + left * channels, here + right * channels, up + k, down + k},
                                    end * channels - k, factor, gradient.accumulate, out);
        };
        const std::size_t last = width - 1;
        add(0, wrap.x ? last : 0, last ? 1 : 0, 1);
        if (last > 1) add(1, 0, 2, last);
        if (last > 0) add(last, last - 1, wrap.x ? 0 : last, width);
    });
    double sum = 0;
    for (const double s : sums) sum += s;
    return sum * norm;
}

}  // namespace pyengine
