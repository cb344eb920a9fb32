// The nearest of many vectors, for many others: where a patch of the output finds its like in the exemplar.
#pragma once

#include <cstdint>

#include "map.hpp"

namespace pyengine {

// For each vector q of `queries` (D, Q) the vector s of `sources` (D, S) of the smallest ||q - s||^2 + cost[s], by its
// number, and that sum. `cost` (S) may be null, which is 0 for every source. Of sources that are equally near the first is
// taken, whatever the threads; one that is not finite, or whose cost is infinite, only where there is no other.
void nearest(const Map &queries, const Map &sources, const float *cost, std::int32_t *indices, float *distances,
             int threads);

}  // namespace pyengine
