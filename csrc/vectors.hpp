// What L-BFGS does with its vectors, the rows of one matrix.
#pragma once

#include <cstddef>
#include <vector>

namespace pyengine {

// A float32 matrix, (count, length).
struct Rows {
    const float *entries;
    std::size_t count, length;

    const float *operator[](std::size_t row) const { return entries + row * length; }
};

// products (picks, rows) = the inner products of some rows of a matrix with all of them.
void inner_products(const Rows &rows, const std::vector<std::size_t> &picks, double *products, int threads);

// out (length) = the sum of a matrix's rows, each times its coefficient; a row times 0 is not read.
void combine(const Rows &rows, const float *coefficients, float *out, int threads);

}  // namespace pyengine
