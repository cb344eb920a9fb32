// What L-BFGS does with its vectors, the rows of one matrix (rows, n).

#define STRETCH 16  // entries that a thread sums in float32
#define MOST_PICKS 3
#define MOST_ROWS 64
#define MOST_PAIRS 16

// partial[pick, row, chunk] = inner product of a row with a picked one, over a chunk. Grid: (rows, chunks), so that the
// blocks that share a chunk of the picked rows run side by side and find it in the cache.
extern "C" __global__ void inner_products(const float *matrix, long long n, int picks, int first, int second, int third,
                                          double *partial) {
    const long long start = (long long)blockIdx.y * THREADS * STRETCH + threadIdx.x;
    const float *row = matrix + blockIdx.x * n;
    const int picked[MOST_PICKS] = {first, second, third};
    float sums[MOST_PICKS] = {0, 0, 0};
    for (int k = 0; k < STRETCH; ++k) {
        const long long p = start + k * THREADS;
        if (p >= n) break;
        const float here = row[p];
        for (int i = 0; i < MOST_PICKS; ++i)
            if (i < picks) sums[i] += here * matrix[picked[i] * n + p];
    }
    for (int i = 0; i < picks; ++i) {
        const double total = block_sum(sums[i]);
        if (threadIdx.x == 0) partial[((uint64)i * gridDim.x + blockIdx.x) * gridDim.y + blockIdx.y] = total;
    }
}

// Writes the picked rows, and the columns of the same numbers, of products (rows, rows), from sums (picks, rows). One
// block.
extern "C" __global__ void store_products(const double *sums, int rows, int picks, int first, int second, int third,
                                          double *products) {
    const int picked[MOST_PICKS] = {first, second, third};
    for (int i = 0; i < picks; ++i) {
        for (int row = threadIdx.x; row < rows; row += THREADS) {
            products[picked[i] * rows + row] = sums[i * rows + row];
            products[row * rows + picked[i]] = sums[i * rows + row];
        }
        __syncthreads();
    }
}

// Writes the coefficients (rows) of the quasi-Newton direction: Nocedal's two loops, on inner products. `slots` holds
// the number of the slot of each of `count` pairs, oldest first, in 4 bits each; the step of slot k is row 2 k, the
// change of the gradient row 2 k + 1. One thread.
extern "C" __global__ void two_loop(const double *products, int rows, uint64 slots, int count, int start,
                                    float *coefficients) {
    double c[MOST_ROWS], factors[MOST_PAIRS];
    for (int row = 0; row < rows; ++row) c[row] = row == start;
    const auto dot = [&](int with) {
        double sum = 0;
        for (int row = 0; row < rows; ++row)
            if (c[row] != 0) sum += products[with * rows + row] * c[row];
        return sum;
    };
    for (int k = count - 1; k >= 0; --k) {
        const int step = 2 * (int)(slots >> (4 * k) & 15);
        factors[k] = dot(step) / products[step * rows + step + 1];
        c[step + 1] -= factors[k];
    }
    if (count > 0) {
        const int step = 2 * (int)(slots >> (4 * (count - 1)) & 15), change = step + 1;
        const double scale = products[step * rows + change] / products[change * rows + change];
        for (int row = 0; row < rows; ++row) c[row] *= scale;
    }
    for (int k = 0; k < count; ++k) {
        const int step = 2 * (int)(slots >> (4 * k) & 15), change = step + 1;
        c[step] += factors[k] - dot(change) / products[step * rows + change];
    }
    for (int row = 0; row < rows; ++row) coefficients[row] = (float)c[row];
}

// out (n) = the sum of the rows, each times its coefficient.
extern "C" __global__ void combine(const float *matrix, long long n, int rows, const float *coefficients, float *out) {
    const long long p = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (p >= n) return;
    float sum = 0;
    for (int row = 0; row < rows; ++row) {
        const float factor = coefficients[row];
        if (factor != 0) sum += factor * matrix[row * n + p];
    }
    out[p] = sum;
}

// out = -gradient, but 0 where it would push x over the bounds 0 and 1.
extern "C" __global__ void descent(const float *x, const float *gradient, float *out, long long n) {
    const long long p = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (p >= n) return;
    const bool held = (x[p] <= 0 && gradient[p] > 0) || (x[p] >= 1 && gradient[p] < 0);
    out[p] = held ? 0.0f : -gradient[p];
}

// out = x + length direction, within the bounds; x itself where it is at a bound and its descent is 0.
extern "C" __global__ void advance(const float *x, const float *descent, const float *direction, float length,
                                   float *out, long long n) {
    const long long p = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (p >= n) return;
    const bool held = descent[p] == 0 && (x[p] <= 0 || x[p] >= 1);
    const float moved = held ? x[p] : x[p] + length * direction[p];
    out[p] = moved < 0 ? 0.0f : moved > 1 ? 1.0f : moved;
}
