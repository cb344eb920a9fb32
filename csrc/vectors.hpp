// What L-BFGS does with its vectors, the rows of one matrix.
#pragma once

#include <cstddef>

namespace pyengine {

// products (picks, rows) = the inner products of some rows of a matrix (rows, n) with all of them.
void inner_products(const float *matrix, std::size_t rows, std::size_t n, const std::size_t *picks, std::size_t count,
                    double *products, int threads);

// out (n) = the sum of the rows of a matrix (rows, n), each times its coefficient; a row times 0 is not read.
void combine(const float *matrix, std::size_t rows, std::size_t n, const float *coefficients, float *out, int threads);

}  // namespace pyengine
