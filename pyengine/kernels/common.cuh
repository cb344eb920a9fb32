// What all kernels use. NVRTC, which compiles them, has no headers: there are only built-in types and functions. Blocks
// have THREADS threads. Floats are summed in a fixed order, so results do not change from run to run.

#define THREADS 256
#define WARPS (THREADS / 32)

typedef unsigned int uint32;
typedef unsigned long long uint64;

// The sum over the block of each thread's value, on thread 0.
__device__ double block_sum(double value) {
    __shared__ double sums[WARPS];
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    double total = 0;
    if (threadIdx.x == 0)
        for (int warp = 0; warp < WARPS; ++warp) total += sums[warp];
    __syncthreads();
    return total;
}

// The sum of the values of the threads before this one.
template <class T>
__device__ T sum_before(T value) {
    __shared__ T sums[WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    T inclusive = value;
    for (int offset = 1; offset < 32; offset *= 2) {
        const T other = __shfl_up_sync(0xffffffffu, inclusive, offset);
        if (lane >= offset) inclusive += other;
    }
    if (lane == 31) sums[warp] = inclusive;
    __syncthreads();
    T before = 0;
    for (int w = 0; w < warp; ++w) before += sums[w];
    __syncthreads();
    return before + inclusive - value;
}
