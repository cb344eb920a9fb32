// The histogram loss (Risser et al., sec. 4.3) by an exact rank match: every channel is sorted, and the sample at rank
// k gets the mean of the exemplar's quantiles over the mass that it covers. Samples of one value are one atom: they go
// to the mean over all that they cover together. Channels are rows of n samples, all pixels or those that count; grids
// are (chunks of samples, channels) unless a kernel says otherwise.

// ------------------------------------------------------------------------------------------------------------ sorting
// Radix sort of 8 bits at a time, least significant first, of all rows at once; stable, so the order is the same in
// every run. A sample is a key, the value as an integer of the same order, and the pixel that it comes from.

#define ITEMS 16
#define CHUNK (THREADS * ITEMS)
#define DIGITS 256

// Writes keys and pixels (C, n) of the features (C, N), at the pixels `chosen` (n), or at all if it is null.
extern "C" __global__ void make_keys(const float *features, const uint32 *chosen, int all, int n, uint32 *keys,
                                     uint32 *pixels) {
    const int k = blockIdx.x * THREADS + threadIdx.x;
    if (k >= n) return;
    const uint32 pixel = chosen ? chosen[k] : k;
    const float value = features[(uint64)blockIdx.y * all + pixel];
    const uint32 bits = value == 0 ? 0 : __float_as_uint(value);  // -0 is 0
    keys[(uint64)blockIdx.y * n + k] = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
    pixels[(uint64)blockIdx.y * n + k] = pixel;
}

__device__ float value_of(uint32 key) {
    return __uint_as_float(key ^ (key >> 31 ? 0x80000000u : 0xffffffffu));
}

// Writes counts (C, chunks, DIGITS): how often each digit is in each chunk.
extern "C" __global__ void count_digits(const uint32 *keys, int n, int shift, uint32 *counts) {
    __shared__ uint32 found[DIGITS];
    found[threadIdx.x] = 0;
    __syncthreads();
    const uint32 *row = keys + (uint64)blockIdx.y * n;
    for (int i = 0; i < ITEMS; ++i) {
        const int k = blockIdx.x * CHUNK + i * THREADS + threadIdx.x;
        if (k < n) atomicAdd(&found[row[k] >> shift & (DIGITS - 1)], 1u);
    }
    __syncthreads();
    counts[((uint64)blockIdx.y * gridDim.x + blockIdx.x) * DIGITS + threadIdx.x] = found[threadIdx.x];
}

// Turns counts into the number of samples that go before: those of smaller digits, and those of the same digit in
// earlier chunks. Grid: channels.
extern "C" __global__ void scan_counts(uint32 *counts, int chunks) {
    uint32 *row = counts + (uint64)blockIdx.x * chunks * DIGITS + threadIdx.x;  // a thread a digit
    uint32 sum = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) sum += row[(uint64)chunk * DIGITS];
    uint32 before = sum_before(sum);
    for (int chunk = 0; chunk < chunks; ++chunk) {
        const uint32 count = row[(uint64)chunk * DIGITS];
        row[(uint64)chunk * DIGITS] = before;
        before += count;
    }
}

// Puts every sample where the counts, and the samples before it in its chunk, say that it goes.
extern "C" __global__ void scatter(const uint32 *keys, const uint32 *pixels, const uint32 *counts, int n, int shift,
                                   uint32 *sorted_keys, uint32 *sorted_pixels) {
    __shared__ uint32 places[WARPS][DIGITS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint64 start = (uint64)blockIdx.y * n;
    for (int w = 0; w < WARPS; ++w) places[w][threadIdx.x] = 0;
    __syncthreads();
    // A warp takes 32 samples that follow on one another at a time, so ranks go by position.
    uint32 key[ITEMS], rank[ITEMS];
    const int first = blockIdx.x * CHUNK + warp * 32 * ITEMS + lane;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        const int k = first + i * 32;
        const bool valid = k < n;
        key[i] = valid ? keys[start + k] : 0;
        const uint32 digit = valid ? key[i] >> shift & (DIGITS - 1) : DIGITS;
        const uint32 peers = __match_any_sync(0xffffffffu, digit);
        const uint32 seen = valid ? places[warp][digit] : 0;
        __syncwarp();
        if (valid && lane == __ffs(peers) - 1) places[warp][digit] = seen + __popc(peers);
        __syncwarp();
        rank[i] = seen + __popc(peers & ((1u << lane) - 1));
    }
    __syncthreads();
    uint32 before = counts[((uint64)blockIdx.y * gridDim.x + blockIdx.x) * DIGITS + threadIdx.x];
    for (int w = 0; w < WARPS; ++w) {
        const uint32 count = places[w][threadIdx.x];
        places[w][threadIdx.x] = before;
        before += count;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        const int k = first + i * 32;
        if (k >= n) break;
        const uint64 place = start + places[warp][key[i] >> shift & (DIGITS - 1)] + rank[i];
        sorted_keys[place] = key[i];
        sorted_pixels[place] = pixels[start + k];
    }
}

// ----------------------------------------------------------------------------------------------------------- measuring
// Sums up to any rank are kept before every GROUP-th sample; the rest is added when it is asked for.

#define GROUP 32

// Writes the values (C, n) of sorted keys, and the coverage (C, n) of sorted pixels if `coverage` (N) is not null.
extern "C" __global__ void gather(const uint32 *keys, const uint32 *pixels, const float *coverage, int n, float *values,
                                  float *sorted_coverage) {
    const int k = blockIdx.x * THREADS + threadIdx.x;
    if (k >= n) return;
    const uint64 at = (uint64)blockIdx.y * n + k;
    if (values) values[at] = value_of(keys[at]);
    if (coverage) sorted_coverage[at] = coverage[pixels[at]];
}

// Writes sums (C, groups): of each group's samples, values * coverage, where either may be null and stands for ones.
extern "C" __global__ void sum_groups(const float *values, const float *coverage, int n, int groups, double *sums) {
    const int group = blockIdx.x * THREADS + threadIdx.x;
    if (group >= groups) return;
    const uint64 start = (uint64)blockIdx.y * n;
    double sum = 0;
    for (int k = group * GROUP; k < n && k < (group + 1) * GROUP; ++k)
        sum += (values ? (double)values[start + k] : 1.0) * (coverage ? (double)coverage[start + k] : 1.0);
    sums[(uint64)blockIdx.y * groups + group] = sum;
}

// Turns each group's sum into that of the groups before it. Grid: channels.
extern "C" __global__ void scan_groups(double *sums, int groups) {
    double *row = sums + (uint64)blockIdx.x * groups;
    const int share = (groups + THREADS - 1) / THREADS;
    const int first = threadIdx.x * share, last = first + share < groups ? first + share : groups;
    double sum = 0;
    for (int k = first; k < last; ++k) sum += row[k];
    double before = sum_before(sum);
    for (int k = first; k < last; ++k) {
        const double group = row[k];
        row[k] = before;
        before += group;
    }
}

// A sorted row, with the sums before its groups. Where coverage is null, samples count 1, and masses are counted rather
// than summed.
struct Sorted {
    const float *values, *coverage;
    const double *masses, *moments;
    int n;

    __device__ double mass_before(int k) const {
        if (!coverage) return k;
        const int group = min(k, n - 1) / GROUP;
        double sum = masses[group];
        for (int j = group * GROUP; j < k; ++j) sum += coverage[j];
        return sum;
    }

    __device__ double moment_before(int k) const {
        const int group = min(k, n - 1) / GROUP;
        double sum = moments[group];
        for (int j = group * GROUP; j < k; ++j) sum += (double)values[j] * (coverage ? (double)coverage[j] : 1.0);
        return sum;
    }

    __device__ double moment_between(int first, int last) const {
        if (last - first > 2 * GROUP) return moment_before(last) - moment_before(first);
        double sum = 0;
        for (int j = first; j < last; ++j) sum += (double)values[j] * (coverage ? (double)coverage[j] : 1.0);
        return sum;
    }

    // The sample that covers what comes after a mass.
    __device__ int at(double mass) const {
        if (!coverage) return min((int)mass, n - 1);
        int low = 0, high = (n + GROUP - 1) / GROUP;
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            if (masses[middle] <= mass) low = middle; else high = middle;
        }
        double before = masses[low];
        int k = low * GROUP;
        for (; k + 1 < n && before + coverage[k] <= mass; ++k) before += coverage[k];
        return k;
    }
};

// ------------------------------------------------------------------------------------------------------------ matching

// The first rank whose key is not below (or with `after` above) that at rank k.
__device__ int bound_of(const uint32 *keys, int n, int k, bool after) {
    const uint32 key = keys[k];
    if (after ? k + 1 == n || keys[k + 1] != key : k == 0 || keys[k - 1] != key) return after ? k + 1 : k;
    int low = after ? k + 1 : 0, high = after ? n : k;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (after ? keys[middle] > key : keys[middle] >= key) high = middle; else low = middle + 1;
    }
    return low;
}

// The mean of the exemplar's quantiles over the mass from rank `low` to rank `high` of n samples that count alike. All
// in integers: a sample of the exemplar is n units, one of ours is the number of the exemplar's.
__device__ double mean_of_ranks(const Sorted &exemplar, uint64 low, uint64 high, uint64 n) {
    const uint64 begin = low * exemplar.n, end = high * exemplar.n;
    const int first = (int)(begin / n), last = (int)(end / n);
    const uint64 skipped = begin % n, left = end % n;
    if (first == last || (last == first + 1 && left == 0)) return exemplar.values[first];
    double sum = (double)(n - skipped) * exemplar.values[first] + (double)n * exemplar.moment_between(first + 1, last);
    if (left) sum += (double)left * exemplar.values[last];
    return sum / (double)(end - begin);
}

__device__ double mean_of_masses(const Sorted &exemplar, double begin, double end) {
    const int first = exemplar.at(begin), last = exemplar.at(end);
    const double whole = end - begin;
    if (first == last || !(whole > 0)) return exemplar.values[first];
    const double before = exemplar.mass_before(last);
    double sum = (exemplar.mass_before(first + 1) - begin) * exemplar.values[first];
    sum += exemplar.moment_between(first + 1, last) + (end - before) * exemplar.values[last];
    return sum / whole;
}

// partial[block] = sum w (O - R)^2 over sorted samples of ours; gradient (C, N), if not null, = or += factor w (O - R).
// The exemplar's rows are of the same channels; `unit` is its mass over ours.
extern "C" __global__ void match(const uint32 *keys, const uint32 *pixels, const float *coverage, const double *masses,
                                 int n, int all, const float *values, const float *value_coverage,
                                 const double *value_masses, const double *moments, int count, double unit,
                                 float *gradient, double factor, int accumulate, double *partial) {
    const int k = blockIdx.x * THREADS + threadIdx.x;
    double square = 0;
    if (k < n) {
        const uint64 row = (uint64)blockIdx.y * n, other = (uint64)blockIdx.y * count;
        const int groups = (n + GROUP - 1) / GROUP, value_groups = (count + GROUP - 1) / GROUP;
        const Sorted exemplar{values + other, value_coverage ? value_coverage + other : 0,
                              value_masses ? value_masses + (uint64)blockIdx.y * value_groups : 0,
                              moments + (uint64)blockIdx.y * value_groups, count};
        const int low = bound_of(keys + row, n, k, false), high = bound_of(keys + row, n, k, true);
        double mean;
        if (!coverage && !value_coverage) {
            mean = mean_of_ranks(exemplar, low, high, n);
        } else {
            const Sorted ours{0, coverage ? coverage + row : 0, masses ? masses + (uint64)blockIdx.y * groups : 0, 0, n};
            mean = mean_of_masses(exemplar, unit * ours.mass_before(low), unit * ours.mass_before(high));
        }
        const double distance = value_of(keys[row + k]) - mean;
        const double covered = coverage ? coverage[row + k] * distance : distance;
        square = covered * distance;
        const uint64 at = (uint64)blockIdx.y * all + pixels[row + k];
        const float slope = (float)(factor * covered);
        if (gradient) gradient[at] = accumulate ? gradient[at] + slope : slope;
    }
    const double total = block_sum(square);
    if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = total;
}
