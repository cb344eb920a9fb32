// The backward pass between two convolutions: the pool's adjoint, the loss's gradient, the ReLU's mask, the border, in
// one pass over memory. Grid: (chunks of pixels with the border, channels).

enum Unpool { UNPOOL_NONE, UNPOOL_AVERAGE, UNPOOL_MAX };

// padded (C, H + 2 border, W + 2 border) = where features (C, H, W) > 0 the sum of both gradients, else 0. `above` is
// with respect to the map, or to its 2x2 pool (C, ceil H/2, ceil W/2); `loss` may be null. `peak`, if not null, is
// raised to the largest magnitude, and has to be 0 before.
extern "C" __global__ void relu_gradient(const float *features, const float *above, const float *loss, float *padded,
                                         float *peak, int height, int width, int border, int unpool, int wrap_y,
                                         int wrap_x) {
    const int stride = width + 2 * border, k = blockIdx.x * THREADS + threadIdx.x;
    const bool inside = k < (height + 2 * border) * stride;
    float value = 0;
    int y = k / stride - border, x = k % stride - border;
    const bool beside = x < 0 || x >= width, outside = y < 0 || y >= height || beside;
    if (inside && (wrap_y || !(y < 0 || y >= height)) && (wrap_x || !beside)) {
        if (outside) {  // a border may be wider than the map
            y = (y % height + height) % height;
            x = (x % width + width) % width;
        }
        const uint64 start = (uint64)blockIdx.y * height * width;
        const float *map = features + start;
        const float here = map[y * width + x];
        if (here > 0) {
            if (unpool == UNPOOL_NONE) {
                value = above[start + y * width + x];
            } else {
                const int half = (width + 1) / 2, rows = (height + 1) / 2;
                const float window = above[(uint64)blockIdx.y * rows * half + y / 2 * half + x / 2];
                const int y0 = y / 2 * 2, x0 = x / 2 * 2;
                const int y1 = y0 + 1 < height ? y0 + 1 : y0, x1 = x0 + 1 < width ? x0 + 1 : x0;
                if (unpool == UNPOOL_AVERAGE) {
                    value = window / (float)((y1 - y0 + 1) * (x1 - x0 + 1));
                } else {
                    // Pixels that share their window's maximum share its gradient.
                    float most = here;
                    int shares = 0;
                    for (int v = y0; v <= y1; ++v)
                        for (int u = x0; u <= x1; ++u) most = fmaxf(most, map[v * width + u]);
                    for (int v = y0; v <= y1; ++v)
                        for (int u = x0; u <= x1; ++u) shares += map[v * width + u] == most;
                    value = here == most ? window / (float)shares : 0.0f;
                }
            }
            if (loss) value += loss[start + y * width + x];
        }
    }
    if (inside) padded[(uint64)blockIdx.y * (height + 2 * border) * stride + k] = value;
    if (peak) {
        // Magnitudes are ordered as their bits are.
        int bits = __float_as_int(fabsf(value));
        for (int offset = 16; offset > 0; offset /= 2) {
            const int other = __shfl_down_sync(0xffffffffu, bits, offset);
            bits = bits > other ? bits : other;
        }
        if (threadIdx.x % 32 == 0 && bits > 0) atomicMax((int *)peak, bits);
    }
}
