#include "gram.hpp"

#include <algorithm>
#include <vector>

#include "dispatch.hpp"
#include "parallel.hpp"

namespace pyengine {
namespace {

// ---------------------------------------------------------------------------------------------------------- A B^T
// Both operands of A B^T are rows, contiguous along the pixels that are summed over. So a tile of the result is a
// block of dot products: each accumulator is a vector of partial sums along the pixels, and nothing is transposed.
// The rows are copied chunk by chunk into a scratch whose row stride is no power of two, since rows that are a power of
// two apart would share a few cache sets; the copy also applies the coverage and pads with zeros.

constexpr std::size_t chunk = 2048;          // pixels summed in float32: enough to make adding up the lanes cheap
constexpr std::size_t stride = chunk + 16;   // floats between two rows of the scratch
constexpr std::size_t band = 96;             // rows of the result in one unit of work
constexpr std::size_t most_slices = 32;      // into which the pixels are split; each has its own partial result
constexpr std::size_t least_slice = 2048;    // pixels that are worth a partial result

FORCE_INLINE float sum(const Vector<4>::type &v) {
    float lane[4];
    std::memcpy(lane, &v, sizeof lane);
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

template <int Lanes>
FORCE_INLINE float sum_lanes(const typename Vector<Lanes>::type &v) {
    if constexpr (Lanes == 4) {
        return sum(v);
    } else {
        typename Vector<Lanes / 2>::type half[2];
        std::memcpy(half, &v, sizeof half);
        half[0] += half[1];
        return sum_lanes<Lanes / 2>(half[0]);
    }
}

// One chunk's contribution to rows [first, last) of the result, (C, C), or of its upper triangle: = or += left right^T.
// `left` holds the rows from `first` on, `right` those too for the triangle, else all; both go on with rows for the
// last tiles, whose sums are not kept.
struct Chunk {
    const float *left, *right;
    std::size_t length, first, last, channels;
    bool triangle, add;
    double *result;
};

// What describes the work is passed by value here and below, so that the compiler knows that no store changes it.
template <class S>
FORCE_INLINE void gram_chunk(const Chunk of) {
    constexpr std::size_t R = S::gram_rows, K = S::gram_columns;
    const std::size_t origin = of.triangle ? of.first : 0;
    for (std::size_t i = of.first; i < of.last; i += R) {
        for (std::size_t j = of.triangle ? i : 0; j < of.channels; j += K) {
            typename S::vector sums[R][K] = {};
            const float *a = of.left + (i - of.first) * stride, *b = of.right + (j - origin) * stride;
            for (std::size_t p = 0; p < of.length; p += S::lanes) {
                typename S::vector x[R], y;
                UNROLL
                for (std::size_t r = 0; r < R; ++r) S::load(x[r], a + r * stride + p);
                UNROLL
                for (std::size_t c = 0; c < K; ++c) {
                    S::load(y, b + c * stride + p);
                    UNROLL
                    for (std::size_t r = 0; r < R; ++r) sums[r][c] += x[r] * y;
                }
            }
            UNROLL
            for (std::size_t r = 0; r < R; ++r) {
                UNROLL
                for (std::size_t c = 0; c < K; ++c) {
                    if (i + r >= of.last || j + c >= of.channels) continue;
                    double &entry = of.result[(i + r) * of.channels + j + c];
                    entry = (of.add ? entry : 0.0) + sum_lanes<S::lanes>(sums[r][c]);
                }
            }
        }
    }
}

DISPATCH(run_gram_chunk, gram_chunk, (const Chunk &chunk), (chunk))

// ------------------------------------------------------------------------------------------------------------ M F
// An ordinary matrix product, blocked along the pixels only: the sum over the channels is short enough for a strip of F
// to stay in the second-level cache.

constexpr std::size_t block = 192;  // pixels in one unit of work: a multiple of every strip's width

// The matrix as panels of `gradient_rows` rows, each panel column by column; the last is padded with zeros.
template <class S>
FORCE_INLINE void pack_matrix(const float *matrix, std::size_t rows, std::size_t channels, float *packed) {
    constexpr std::size_t R = S::gradient_rows;
    for (std::size_t i = 0; i < rows; i += R)
        for (std::size_t j = 0; j < channels; ++j)
            for (std::size_t r = 0; r < R; ++r) *packed++ = i + r < rows ? matrix[(i + r) * channels + j] : 0.0f;
}

DISPATCH(run_pack_matrix, pack_matrix,
         (const float *matrix, std::size_t rows, std::size_t channels, float *packed), (matrix, rows, channels, packed))

// A block of pixels of the result, (rows, width): out = or += matrix features diag(w). Rows of `features` and of `out`
// are `pixels` apart.
struct Block {
    const float *packed;    // the matrix
    const float *features;
    const float *coverage;  // w, or null
    std::size_t rows, channels, pixels, width;
    bool accumulate;
    float *out;
    float *scratch;  // C x block
};

template <class S>
FORCE_INLINE void mixed_block(const Block of) {
    constexpr std::size_t R = S::gradient_rows, V = S::gradient_vectors, L = S::lanes, strip = V * L;
    static_assert(block % strip == 0, "a block is made of whole strips");
    for (std::size_t j = 0; j < of.channels; ++j) {
        for (std::size_t s = 0; s < of.width; s += strip) {
            float *to = of.scratch + s * of.channels + j * strip;
            const float *from = of.features + j * of.pixels + s;
            if (s + strip <= of.width) {
                std::memcpy(to, from, strip * sizeof(float));
            } else {
                std::fill(std::copy(from, from + (of.width - s), to), to + strip, 0.0f);
            }
        }
    }
    for (std::size_t s = 0; s < of.width; s += strip) {
        const std::size_t here = std::min(strip, of.width - s);
        for (std::size_t i = 0; i < of.rows; i += R) {
            typename S::vector sums[R][V] = {};
            S::multiply(of.packed + i * of.channels, of.scratch + s * of.channels, strip, of.channels, sums);
            UNROLL
            for (std::size_t r = 0; r < R; ++r) {
                if (i + r >= of.rows) break;
                float *to = of.out + (i + r) * of.pixels + s;
                if (here == strip && !of.coverage) {
                    UNROLL
                    for (std::size_t v = 0; v < V; ++v) {
                        typename S::vector old = {};
                        if (of.accumulate) S::load(old, to + v * L);
                        S::store(to + v * L, of.accumulate ? old + sums[r][v] : sums[r][v]);
                    }
                } else {
                    float row[strip];
                    std::memcpy(row, sums[r], sizeof row);
                    for (std::size_t p = 0; p < here; ++p) {
                        const float value = of.coverage ? of.coverage[s + p] * row[p] : row[p];
                        to[p] = of.accumulate ? to[p] + value : value;
                    }
                }
            }
        }
    }
}

DISPATCH(run_mixed_block, mixed_block, (const Block &part), (part))

constexpr std::size_t padding = 16;  // more rows than any tile has

}  // namespace

void gram(const Map &map, const float *other, double *gram, int threads) {
    const std::size_t channels = map.channels, pixels = map.pixels;
    if (map.total == 0) {
        std::fill_n(gram, channels * channels, 0.0);
        return;
    }
    const bool triangle = map.features == other;
    const bool separate = map.coverage || !triangle;  // whether the left rows are not the right ones
    const std::size_t slices = std::clamp(pixels / least_slice, std::size_t{1}, most_slices);
    const std::size_t slice = (pixels + slices - 1) / slices;
    const std::size_t bands = (channels + band - 1) / band;
    const std::size_t units = slices * bands;
    threads = useful_threads(units, threads);

    Buffer<double> partial(slices * channels * channels);
    std::vector<Buffer<float>> left, right;
    for (int t = 0; t < threads; ++t) {
        right.emplace_back((channels + padding) * stride);
        std::fill_n(right.back().data(), (channels + padding) * stride, 0.0f);
        left.emplace_back(separate ? (band + padding) * stride : 0);
        if (separate) std::fill_n(left.back().data(), (band + padding) * stride, 0.0f);
    }

    // The first band is the longest: bands in the outer loop leave the short ones for the end.
    parallel_for(units, threads, [&](std::size_t unit, int thread) {
        const std::size_t first = unit / slices * band, last = std::min(first + band, channels);
        const std::size_t begin = std::min(unit % slices * slice, pixels), end = std::min(begin + slice, pixels);
        const std::size_t origin = triangle ? first : 0;
        double *result = partial.data() + unit % slices * channels * channels;
        float *right_rows = right[thread].data(), *left_rows = separate ? left[thread].data() : right_rows;
        for (std::size_t p = begin; p < end; p += chunk) {
            const std::size_t length = std::min(chunk, end - p), padded = (length + 15) / 16 * 16;
            for (std::size_t i = origin; i < channels; ++i) {
                float *row = right_rows + (i - origin) * stride;
                std::fill(std::copy_n(other + i * pixels + p, length, row), row + padded, 0.0f);
            }
            for (std::size_t i = first; separate && i < last; ++i) {
                const float *from = map.features + i * pixels + p;
                const float *coverage = map.coverage ? map.coverage + p : nullptr;
                float *row = left_rows + (i - first) * stride;
                for (std::size_t k = 0; k < length; ++k) row[k] = coverage ? from[k] * coverage[k] : from[k];
                std::fill(row + length, row + padded, 0.0f);
            }
            run_gram_chunk({
                .left = left_rows,
                .right = right_rows,
                .length = length,
                .first = first,
                .last = last,
                .channels = channels,
                .triangle = triangle,
                .add = p > begin,
                .result = result,
            });
        }
    });

    parallel_for(channels, useful_threads(channels, channels < band ? 1 : threads), [&](std::size_t i, int) {
        for (std::size_t j = triangle ? i : 0; j < channels; ++j) {
            double sum = 0;
            for (std::size_t s = 0; s < slices; ++s) sum += partial.data()[(s * channels + i) * channels + j];
            gram[i * channels + j] = sum / map.total;
            if (triangle) gram[j * channels + i] = gram[i * channels + j];
        }
    });
}

template <class Real>
void mix(const Map &map, const Real *matrix, std::size_t rows, const Gradient &to, int threads) {
    const std::size_t channels = map.channels, units = (map.pixels + block - 1) / block;
    threads = useful_threads(units, threads);
    std::vector<float> scaled(rows * channels);
    for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = static_cast<float>(to.scale * matrix[i]);
    Buffer<float> packed((rows + padding) * channels);
    run_pack_matrix(scaled.data(), rows, channels, packed.data());
    std::vector<Buffer<float>> scratch;
    for (int t = 0; t < threads; ++t) scratch.emplace_back(channels * block);
    parallel_for(units, threads, [&](std::size_t unit, int thread) {
        const std::size_t p = unit * block;
        run_mixed_block({
            .packed = packed.data(),
            .features = map.features + p,
            .coverage = map.coverage ? map.coverage + p : nullptr,
            .rows = rows,
            .channels = channels,
            .pixels = map.pixels,
            .width = std::min(block, map.pixels - p),
            .accumulate = to.accumulate,
            .out = to.out + p,
            .scratch = scratch[thread].data(),
        });
    });
}

template void mix(const Map &, const float *, std::size_t, const Gradient &, int);
template void mix(const Map &, const double *, std::size_t, const Gradient &, int);

}  // namespace pyengine
