#include "nearest.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "dispatch.hpp"
#include "parallel.hpp"

namespace pyengine {
namespace {

// With h[s] = (||s||^2 + cost[s]) / 2, the nearest source is that of the largest q.s - h[s]: an ordinary matrix product that
// starts from -h, and a comparison that is done while the product is still in registers. The matrix itself, which would be
// many times larger than what goes in, is never written.

constexpr std::size_t block = 192;         // queries in one unit of work: a multiple of every strip's width
constexpr std::size_t cached = 32 * 1024;  // floats of sources that stay in the cache while a unit's strips pass
constexpr std::size_t padding = 16;        // more sources than any panel has

constexpr float infinity = std::numeric_limits<float>::infinity();

// The sources as panels of `gradient_rows`, each panel dimension by dimension; the last is padded with zeros.
template <class S>
FORCE_INLINE void pack_sources(const Map &sources, std::size_t panel, float *to) {
    constexpr std::size_t R = S::gradient_rows;
    const std::size_t first = panel * R, here = std::min(R, sources.pixels - first);
    to += first * sources.channels;
    for (std::size_t d = 0; d < sources.channels; ++d, to += R)
        std::fill(std::copy_n(sources.features + d * sources.pixels + first, here, to), to + R, 0.0f);
}

DISPATCH(run_pack_sources, pack_sources, (const Map &sources, std::size_t panel, float *to), (sources, panel, to))

template <class S>
FORCE_INLINE void count_rows(std::size_t &rows) {
    rows = S::gradient_rows;
}

DISPATCH(run_count_rows, count_rows, (std::size_t &rows), (rows))

// A unit of queries against all sources.
struct Search {
    const float *packed;  // the sources
    const float *halves;  // h, and infinity for the panels' padding
    const float *queries;
    std::size_t dimensions, sources, stride, width;  // of `queries`, rows are `stride` apart
    float *scratch;                                  // D x block
    float *scores;                                   // the best so far, (block)
    std::int32_t *indices;                           // of the best so far, (block)
};

// Where the score is better than the best, it takes the best's place.
template <class S>
FORCE_INLINE void keep_better(const typename S::vector &score, std::int32_t index, typename S::vector &best,
                              typename Vector<S::lanes>::integers &found) {
    using integers = typename Vector<S::lanes>::integers;
#if defined(__GNUC__)
    const auto better = score > best;
    best = better ? score : best;
    found = better ? integers{} + index : found;
#else
    for (int l = 0; l < S::lanes; ++l) {
        if (!(score.lane[l] > best.lane[l])) continue;
        best.lane[l] = score.lane[l];
        found.lane[l] = index;
    }
#endif
}

template <class S>
FORCE_INLINE void search(const Search of) {
    constexpr std::size_t R = S::gradient_rows, V = S::gradient_vectors, L = S::lanes, strip = V * L;
    static_assert(block % strip == 0, "a block is made of whole strips");
    using integers = typename Vector<S::lanes>::integers;
    for (std::size_t s = 0; s < of.width; s += strip) {
        for (std::size_t d = 0; d < of.dimensions; ++d) {
            float *to = of.scratch + s * of.dimensions + d * strip;
            const float *from = of.queries + d * of.stride + s;
            const std::size_t here = std::min(strip, of.width - s);
            std::fill(std::copy_n(from, here, to), to + strip, 0.0f);
        }
    }
    const std::size_t step = std::max(cached / of.dimensions / R, std::size_t{1}) * R;
    for (std::size_t first = 0; first < of.sources; first += step) {
        const std::size_t last = std::min(first + step, of.sources);
        for (std::size_t s = 0; s < of.width; s += strip) {
            typename S::vector best[V];
            integers found[V];
            UNROLL
            for (std::size_t v = 0; v < V; ++v) {
                S::load(best[v], of.scores + s + v * L);
                std::memcpy(&found[v], of.indices + s + v * L, sizeof found[v]);
            }
            for (std::size_t i = first; i < last; i += R) {
                typename S::vector sums[R][V] = {};
                S::multiply(of.packed + i * of.dimensions, of.scratch + s * of.dimensions, strip, of.dimensions, sums);
                UNROLL
                for (std::size_t r = 0; r < R; ++r) {
                    const typename S::vector half = typename S::vector{} + of.halves[i + r];
                    UNROLL
                    for (std::size_t v = 0; v < V; ++v)
                        keep_better<S>(sums[r][v] - half, static_cast<std::int32_t>(i + r), best[v], found[v]);
                }
            }
            UNROLL
            for (std::size_t v = 0; v < V; ++v) {
                S::store(of.scores + s + v * L, best[v]);
                std::memcpy(of.indices + s + v * L, &found[v], sizeof found[v]);
            }
        }
    }
}

DISPATCH(run_search, search, (const Search &part), (part))

}  // namespace

void nearest(const Map &queries, const Map &sources, const float *cost, std::int32_t *indices, float *distances,
             int threads) {
    const std::size_t dimensions = sources.channels, count = sources.pixels;
    std::size_t rows = 1;
    run_count_rows(rows);
    const std::size_t panels = (count + rows - 1) / rows;
    Buffer<float> packed((count + padding) * dimensions), halves(count + padding);
    parallel_for(panels, useful_threads(panels, threads), [&](std::size_t panel, int) {
        run_pack_sources(sources, panel, packed.data());
        for (std::size_t s = panel * rows; s < (panel + 1) * rows; ++s) {
            double sum = s < count && cost ? cost[s] : 0.0;
            for (std::size_t d = 0; s < count && d < dimensions; ++d) {
                const double entry = sources.features[d * count + s];
                sum += entry * entry;
            }
            halves.data()[s] = s < count ? static_cast<float>(sum / 2) : infinity;
        }
    });

    const std::size_t units = (queries.pixels + block - 1) / block;
    threads = useful_threads(units, threads);
    std::vector<Buffer<float>> scratch;
    for (int t = 0; t < threads; ++t) scratch.emplace_back(dimensions * block);
    parallel_for(units, threads, [&](std::size_t unit, int thread) {
        const std::size_t begin = unit * block, width = std::min(block, queries.pixels - begin);
        float scores[block];
        std::int32_t found[block] = {};
        std::fill_n(scores, block, -infinity);
        run_search({
            .packed = packed.data(),
            .halves = halves.data(),
            .queries = queries.features + begin,
            .dimensions = dimensions,
            .sources = count,
            .stride = queries.pixels,
            .width = width,
            .scratch = scratch[thread].data(),
            .scores = scores,
            .indices = found,
        });
        for (std::size_t q = 0; q < width; ++q) {
            const std::size_t s = static_cast<std::size_t>(found[q]);
            double sum = cost ? cost[s] : 0.0;  // by the differences: the score has lost digits where both are large
            for (std::size_t d = 0; d < dimensions; ++d) {
                const double difference = static_cast<double>(queries.features[d * queries.pixels + begin + q]) -
                                          sources.features[d * count + s];
                sum += difference * difference;
            }
            indices[begin + q] = found[q];
            distances[begin + q] = static_cast<float>(sum);
        }
    });
}

}  // namespace pyengine
