// The nearest of many vectors. With h = (||s||^2 + cost) / 2 of a source s, that of a query q is the source of the largest
// q.s - h; the products are cuBLAS's, for a slice of the queries at a time.

#define INFINITE __int_as_float(0x7f800000)

// halves (count) = h of the sources (dimensions, count). Grid: tiles of the sources.
extern "C" __global__ void half_norms(const float *sources, const float *cost, float *halves, int dimensions, int count) {
    const int s = blockIdx.x * THREADS + threadIdx.x;
    if (s >= count) return;
    double sum = cost ? cost[s] : 0.0;
    for (int d = 0; d < dimensions; ++d) {
        const double entry = sources[(uint64)d * count + s];
        sum += entry * entry;
    }
    halves[s] = (float)(sum / 2);
}

// The first source of the largest product less its half, for each row of products (queries of the slice, count). What is no
// number is never the largest; source 0 is taken where all are. Grid: the slice's queries.
extern "C" __global__ void pick_nearest(const float *products, const float *halves, int count, int *indices) {
    __shared__ float scores[THREADS];
    __shared__ int sources[THREADS];
    const float *row = products + (uint64)blockIdx.x * count;
    float best = -INFINITE;
    int found = 0x7fffffff;
    for (int s = threadIdx.x; s < count; s += THREADS) {
        const float score = row[s] - halves[s];
        if (score > best) {
            best = score;
            found = s;
        }
    }
    scores[threadIdx.x] = best;
    sources[threadIdx.x] = found;
    __syncthreads();
    for (int step = THREADS / 2; step > 0; step /= 2) {
        if (threadIdx.x < step) {
            const float score = scores[threadIdx.x + step];
            const int source = sources[threadIdx.x + step];
            const bool first = score == scores[threadIdx.x] && source < sources[threadIdx.x];
            if (first || score > scores[threadIdx.x]) {
                scores[threadIdx.x] = score;
                sources[threadIdx.x] = source;
            }
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) indices[blockIdx.x] = sources[0] < count ? sources[0] : 0;
}

// distances (queries) from the sources that were found, with their cost. Grid: tiles of the queries.
extern "C" __global__ void distances_to(const float *queries, const float *sources, const float *cost, const int *indices,
                                        float *distances, int dimensions, int asked, int count) {
    const int q = blockIdx.x * THREADS + threadIdx.x;
    if (q >= asked) return;
    const int s = indices[q];
    double sum = cost ? cost[s] : 0.0;
    for (int d = 0; d < dimensions; ++d) {
        const double difference = (double)queries[(uint64)d * asked + q] - sources[(uint64)d * count + s];
        sum += difference * difference;
    }
    distances[q] = (float)sum;
}
