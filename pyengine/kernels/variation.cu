// The variation of an image (H, W, C): how much neighbouring pixels differ. Grid: chunks of the image's entries.

extern "C" __global__ void variation(const float *image, float *gradient, double *partial, int height, int width,
                                     int channels, int wrap_y, int wrap_x, float factor, int accumulate) {
    const int k = blockIdx.x * THREADS + threadIdx.x, row = width * channels;
    float square = 0;
    if (k < height * row) {
        const int y = k / row, x = k % row / channels, c = k % channels;
        // Where there is no neighbour, the pixel is its own.
        const int left = x > 0 ? x - 1 : wrap_x ? width - 1 : 0, right = x + 1 < width ? x + 1 : wrap_x ? 0 : x;
        const int up = y > 0 ? y - 1 : wrap_y ? height - 1 : 0, down = y + 1 < height ? y + 1 : wrap_y ? 0 : y;
        const float here = image[k];
        const float to_right = image[y * row + right * channels + c] - here;
        const float to_below = image[down * row + x * channels + c] - here;
        square = to_right * to_right + to_below * to_below;
        if (gradient) {
            const float from_left = here - image[y * row + left * channels + c];
            const float from_above = here - image[up * row + x * channels + c];
            const float slope = factor * ((from_left - to_right) + (from_above - to_below));
            gradient[k] = accumulate ? gradient[k] + slope : slope;
        }
    }
    const double total = block_sum(square);
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}
