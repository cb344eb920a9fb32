#include "vectors.hpp"

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
constexpr std::size_t block = 8192;    // entries of every row in one unit of work: few enough for the cache
constexpr std::size_t stretch = 1024;  // entries summed in float32

double inner_product(const float *a, const float *b, std::size_t length) {
    double total = 0;
    for (std::size_t p = 0; p < length;) {
        const std::size_t end = std::min(p + stretch, length);
        vector sums = {};
        float lane[lanes], rest = 0;
        for (; p + lanes <= end; p += lanes) {
            vector x, y;
            std::memcpy(&x, a + p, sizeof x);
            std::memcpy(&y, b + p, sizeof y);
            sums += x * y;
        }
        for (; p < end; ++p) rest += a[p] * b[p];
        std::memcpy(lane, &sums, sizeof lane);
        for (const float sum : lane) total += sum;
        total += rest;
    }
    return total;
}

}  // namespace

void inner_products(const float *matrix, std::size_t rows, std::size_t n, const std::size_t *picks, std::size_t count,
                    double *products, int threads) {
    const std::size_t units = (n + block - 1) / block, size = count * rows;
    std::vector<double> partial(units * size);
    parallel_for(units, useful_threads(units, threads), [&](std::size_t unit, int) {
        const std::size_t p = unit * block, length = std::min(block, n - p);
        for (std::size_t row = 0; row < rows; ++row)
            for (std::size_t k = 0; k < count; ++k)
                partial[unit * size + k * rows + row] =
                    inner_product(matrix + picks[k] * n + p, matrix + row * n + p, length);
    });
    std::fill_n(products, size, 0.0);
    for (std::size_t unit = 0; unit < units; ++unit)
        for (std::size_t k = 0; k < size; ++k) products[k] += partial[unit * size + k];
}

void combine(const float *matrix, std::size_t rows, std::size_t n, const float *coefficients, float *out, int threads) {
    const std::size_t units = (n + block - 1) / block;
    parallel_for(units, useful_threads(units, threads), [&](std::size_t unit, int) {
        const std::size_t p = unit * block, length = std::min(block, n - p);
        std::fill_n(out + p, length, 0.0f);
        for (std::size_t row = 0; row < rows; ++row) {
            const float *from = matrix + row * n + p, factor = coefficients[row];
            if (factor == 0) continue;
            for (std::size_t k = 0; k < length; ++k) out[p + k] += factor * from[k];
        }
    });
}

}  // namespace pyengine
