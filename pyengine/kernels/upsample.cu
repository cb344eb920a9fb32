// Bilinear enlargement of an image (H, W, C), which in each axis wraps round, or goes on beyond its border as it
// ends. Grid: chunks of the result's entries.

__device__ int within(int x, int length, int wrap) {
    return wrap ? (x + length) % length : min(max(x, 0), length - 1);
}

extern "C" __global__ void upsample(const float *image, float *result, int height, int width, int channels,
                                    int new_height, int new_width, int wrap_y, int wrap_x) {
    const int k = blockIdx.x * THREADS + threadIdx.x, row = new_width * channels;
    if (k >= new_height * row) return;
    const int c = k % channels;
    const double y = (k / row + 0.5) * height / new_height - 0.5;
    const double x = (k % row / channels + 0.5) * width / new_width - 0.5;
    const int top = (int)floor(y), left = (int)floor(x);
    const float down = (float)(y - top), across = (float)(x - left);
    const int y0 = within(top, height, wrap_y), y1 = within(top + 1, height, wrap_y);
    const int x0 = within(left, width, wrap_x), x1 = within(left + 1, width, wrap_x);
    const float *upper = image + y0 * width * channels + c, *lower = image + y1 * width * channels + c;
    const float above = upper[x0 * channels] * (1 - across) + upper[x1 * channels] * across;
    const float below = lower[x0 * channels] * (1 - across) + lower[x1 * channels] * across;
    result[k] = above * (1 - down) + below * down;
}
