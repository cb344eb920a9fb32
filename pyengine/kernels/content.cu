// The content loss (Risser et al., eq. 4). Grid: (tiles of pixels, channels).

#define CONTENT_ITEMS 16

// partial[block] = sum w (O - T)^2; gradient, if not null, = or += factor w (O - T). `coverage` null means 1.
extern "C" __global__ void content_loss(const float *features, const float *target, const float *coverage,
                                        float *gradient, double *partial, int pixels, float factor, int accumulate) {
    const uint64 start = (uint64)blockIdx.y * pixels;
    const int first = blockIdx.x * THREADS * CONTENT_ITEMS + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < CONTENT_ITEMS; ++k) {
        const int p = first + k * THREADS;
        if (p >= pixels) break;
        const float difference = features[start + p] - target[start + p];
        const float pull = coverage ? coverage[p] * difference : difference;
        sum += pull * difference;
        if (gradient) gradient[start + p] = accumulate ? gradient[start + p] + factor * pull : factor * pull;
    }
    const double total = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = total;
}
