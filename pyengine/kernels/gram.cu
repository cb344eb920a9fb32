// What surrounds the matrix products of the Gram losses, which are cuBLAS's. The pixels are split into slices, each
// with a product of its own in float32; these are added up in float64. Grids: chunks of the matrices' entries.

// gram (size) = factor * the sum over slices of partial (slices, size).
extern "C" __global__ void gram_sum(const float *partial, int slices, int size, double factor, double *gram) {
    const int k = blockIdx.x * THREADS + threadIdx.x;
    if (k >= size) return;
    double sum = 0;
    for (int s = 0; s < slices; ++s) sum += partial[(uint64)s * size + k];
    gram[k] = factor * sum;
}

// With D = factor * the sum over slices, less the target: difference (size) = scale D, squares[block] = sum D^2.
extern "C" __global__ void gram_difference(const float *partial, int slices, int size, double factor,
                                           const double *target, double scale, float *difference, double *squares) {
    const int k = blockIdx.x * THREADS + threadIdx.x;
    double d = 0;
    if (k < size) {
        for (int s = 0; s < slices; ++s) d += partial[(uint64)s * size + k];
        d = factor * d - target[k];
        difference[k] = (float)(scale * d);
    }
    const double total = block_sum(d * d);
    if (threadIdx.x == 0) squares[blockIdx.x] = total;
}

// out (size) = scale * matrix, as float32.
extern "C" __global__ void scale_matrix(const double *matrix, int size, double scale, float *out) {
    const int k = blockIdx.x * THREADS + threadIdx.x;
    if (k < size) out[k] = (float)(scale * matrix[k]);
}

// out (C, N) = features * coverage (N). Grid: (chunks of pixels, channels).
extern "C" __global__ void weigh(const float *features, const float *coverage, float *out, int pixels) {
    const int p = blockIdx.x * THREADS + threadIdx.x;
    if (p < pixels) out[(uint64)blockIdx.y * pixels + p] = coverage[p] * features[(uint64)blockIdx.y * pixels + p];
}
