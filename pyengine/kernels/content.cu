// The content loss (Risser et al., eq. 4). Grid: (chunks of pixels, channels).

#define CONTENT_ITEMS 16

// partial[block] = sum w (O - T)^2; gradient, if not null, = or += factor w (O - T), with the coverage w, which is 1
// where it is null.
extern "C" __global__ void content_loss(const float *features, const float *target, const float *coverage,
                                        float *gradient, double *partial, int pixels, float factor, int accumulate) {
    const uint64 start = (uint64)blockIdx.y * pixels;
    const int first = blockIdx.x * THREADS * CONTENT_ITEMS + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < CONTENT_ITEMS; ++k) {
        const int p = first + k * THREADS;
        if (p >= pixels) break;
        const float difference = features[start + p] - target[start + p];
        const float covered = coverage ? coverage[p] * difference : difference;
        sum += covered * difference;
        if (gradient) gradient[start + p] = accumulate ? gradient[start + p] + factor * covered : factor * covered;
    }
    const double total = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = total;
}
