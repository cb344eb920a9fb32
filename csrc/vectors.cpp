#include "vectors.hpp"

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

void inner_products(const Rows &rows, const std::vector<std::size_t> &picks, double *products, int threads) {
    const std::size_t units = (rows.length + block - 1) / block, size = picks.size() * rows.count;
    std::vector<double> partial(units * size);
    parallel_for(units, useful_threads(units, threads), [&](std::size_t unit, int) {
        const std::size_t p = unit * block, length = std::min(block, rows.length - p);
        for (std::size_t row = 0; row < rows.count; ++row)
            for (std::size_t k = 0; k < picks.size(); ++k)
                partial[unit * size + k * rows.count + row] =
                    inner_product(rows[picks[k]] + p, rows[row] + p, length);
    });
    std::fill_n(products, size, 0.0);
    for (std::size_t unit = 0; unit < units; ++unit)
        for (std::size_t k = 0; k < size; ++k) products[k] += partial[unit * size + k];
}

void combine(const Rows &rows, const float *coefficients, float *out, int threads) {
    const std::size_t units = (rows.length + block - 1) / block;
    parallel_for(units, useful_threads(units, threads), [&](std::size_t unit, int) {
        const std::size_t p = unit * block, length = std::min(block, rows.length - p);
        float *to = out + p;
        std::fill_n(to, length, 0.0f);
        for (std::size_t row = 0; row < rows.count; ++row) {
            const float *from = rows[row] + p, factor = coefficients[row];
            if (factor == 0) continue;
            for (std::size_t k = 0; k < length; ++k) to[k] += factor * from[k];
        }
    });
}

}  // namespace pyengine
