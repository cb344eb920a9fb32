// The end of every sum: what the blocks wrote, added up by one block.

// sums[k] = factor * the sum of row k of partial (gridDim.x, count).
extern "C" __global__ void sum_rows(const double *partial, int count, double factor, double *sums) {
    const double *row = partial + (uint64)blockIdx.x * count;
    double sum = 0;
    for (int k = threadIdx.x; k < count; k += THREADS) sum += row[k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = factor * sum;
}
