#include "histogram.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "parallel.hpp"

namespace pyengine {
namespace {

// ----------------------------------------------------------------------------------------------------------- sorting
// A sample is 64 bits: the value as an integer of the same order, then the pixel.

using Sample = std::uint64_t;
constexpr std::uint32_t zero_key = 0x80000000u;
constexpr std::size_t no_step = static_cast<std::size_t>(-1);

std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

std::uint32_t key(Sample sample) { return static_cast<std::uint32_t>(sample >> 32); }
std::uint32_t pixel(Sample sample) { return static_cast<std::uint32_t>(sample); }

float value(Sample sample) {
    const std::uint32_t k = key(sample), bits = k ^ (k >> 31 ? zero_key : 0xffffffffu);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

constexpr int digit_bits = 11, digits = 3;  // three passes: faster than four of 8 bits, and few enough counts for the cache
constexpr std::size_t few = 512;            // samples that are sorted sooner than the counts are cleared
constexpr std::size_t many = 1 << 16;       // samples that are too many for the cache

// The memory one thread sorts in.
struct Workspace {
    explicit Workspace(std::size_t pixels) : samples(pixels), spare(pixels) {}
    Buffer<Sample> samples, spare;
    std::uint32_t counts[digits][1 << digit_bits];
};

std::uint32_t digit(Sample sample, int d) { return key(sample) >> (d * digit_bits) & ((1u << digit_bits) - 1); }

// Radix sort by the lowest `count` digits of the value, the least significant first. Returns where the sorted samples
// are: in `from` or in `to`.
Sample *sort_digits(Sample *from, Sample *to, std::size_t size, int count, Workspace &work) {
    for (int d = 0; d < count; ++d) std::memset(work.counts[d], 0, sizeof work.counts[d]);
    for (std::size_t k = 0; k < size; ++k)
        for (int d = 0; d < count; ++d) ++work.counts[d][digit(from[k], d)];
    for (int d = 0; d < count; ++d) {
        std::uint32_t place = 0, *places = work.counts[d];
        if (places[digit(from[0], d)] == size) continue;
        for (std::uint32_t &entry : work.counts[d]) place += std::exchange(entry, place);
        for (std::size_t k = 0; k < size; ++k) to[places[digit(from[k], d)]++] = from[k];
        std::swap(from, to);
    }
    return from;
}

// Sorts by the value. Many samples are first parted by their highest digit, of which few occur, so that what is left to
// do for each part is done in the cache. Returns where the sorted samples are.
const Sample *sort_samples(Workspace &work, std::size_t size) {
    Sample *from = work.samples.data(), *to = work.spare.data();
    if (size < few) {
        std::sort(from, from + size);
        return from;
    }
    if (size < many) return sort_digits(from, to, size, digits, work);
    std::uint32_t ends[1 << digit_bits] = {}, begin = 0;
    for (std::size_t k = 0; k < size; ++k) ++ends[digit(from[k], digits - 1)];
    for (std::uint32_t &end : ends) begin += std::exchange(end, begin);
    for (std::size_t k = 0; k < size; ++k) to[ends[digit(from[k], digits - 1)]++] = from[k];
    begin = 0;
    for (const std::uint32_t end : ends) {
        const std::size_t count = end - begin;
        Sample *part = to + begin, *spare = from + begin;
        begin = end;
        if (count < few) {
            std::sort(part, part + count);
        } else if (sort_digits(part, spare, count, digits - 1, work) != part) {
            std::copy_n(spare, count, part);
        }
    }
    return to;
}

// The samples of a channel that are neither 0 nor of no weight, in rising order, and how the others are counted.
struct Sorted {
    const Sample *samples;
    std::size_t size, negatives;
    std::size_t zeros;  // samples that are 0 and of some weight ...
    double zero_mass;   // ... and their weight
};

Sorted sort_channel(const float *row, const float *weights, std::size_t pixels, Workspace &work) {
    Sample *samples = work.samples.data();
    Sorted sorted{};
    // A branch on what is 0 would be guessed wrong too often: every sample is written, and kept by counting it.
    const auto append = [&](std::size_t i, std::uint32_t bits, bool kept) {
        samples[sorted.size] = static_cast<Sample>(bits ^ (bits >> 31 ? 0xffffffffu : zero_key)) << 32 | i;
        sorted.size += kept;
    };
    if (weights) {
        for (std::size_t i = 0; i < pixels; ++i) {
            const std::uint32_t bits = bits_of(row[i]);
            const bool zero = bits << 1 == 0, weighs = weights[i] != 0;
            append(i, bits, !zero & weighs);
            sorted.zeros += zero & weighs;
            sorted.zero_mass += weights[i] * static_cast<float>(zero);
        }
    } else {
        for (std::size_t i = 0; i < pixels; ++i) {
            const std::uint32_t bits = bits_of(row[i]);
            append(i, bits, bits << 1 != 0);
        }
        sorted.zeros = pixels - sorted.size;
        sorted.zero_mass = static_cast<double>(sorted.zeros);
    }
    sorted.samples = sort_samples(work, sorted.size);
    const Sample *end = sorted.samples + sorted.size;
    sorted.negatives = std::lower_bound(sorted.samples, end, static_cast<Sample>(zero_key) << 32) - sorted.samples;
    return sorted;
}

// ---------------------------------------------------------------------------------------------------------- matching

// Goes once up the quantile function Q_S and returns its means over intervals that follow on one another. Mass is an
// integer where there are no weights: with N_o, the output's pixels, for a sample of the exemplar and N_s for one of
// the output, both sides reach N_s N_o, and every comparison is exact.
template <class Mass>
class Climb {
public:
    Climb(const Histogram::Quantiles &quantiles, Mass sample)
        : values_(quantiles.values.data()), edges_(quantiles.edges.empty() ? nullptr : quantiles.edges.data()),
          last_(quantiles.values.size() - 1), zero_step_(quantiles.zero_step), sample_(sample),
          zeros_(static_cast<Mass>(quantiles.zeros) * sample) {
        advance(0);
    }

    double mean(Mass end) {
        while (edge_ <= position_ && step_ < last_) advance(step_ + 1);
        const Mass begin = std::exchange(position_, end);
        if (end <= edge_ || step_ == last_) return values_[step_];
        double integral = static_cast<double>(edge_ - begin) * values_[step_];
        for (;;) {
            const Mass from = edge_;
            advance(step_ + 1);
            const bool done = end <= edge_ || step_ == last_;
            const Mass to = done ? end : edge_;
            if (to > from) integral += static_cast<double>(to - from) * values_[step_];
            if (done) return integral / static_cast<double>(end - begin);
        }
    }

private:
    void advance(std::size_t step) {
        step_ = step;
        if (std::is_same_v<Mass, double> && edges_) {
            edge_ = static_cast<Mass>(edges_[step]);
        } else {
            edge_ += step == zero_step_ ? zeros_ : sample_;
        }
    }

    const float *values_;
    const double *edges_;
    std::size_t last_, zero_step_, step_ = 0;
    Mass sample_, zeros_, position_ = 0, edge_ = 0;
};

// Calls emit(sample, R) for the sorted samples and returns R of those that are 0. Samples of one value are one atom:
// they go to the mean of the quantiles that they cover together. mass_of(pixel) is a sample's mass, `zero_mass` that of
// all zeros.
template <class Mass, class MassOf, class Emit>
double match_atoms(Climb<Mass> climb, const Sorted &sorted, Mass zero_mass, const MassOf &mass_of, const Emit &emit) {
    Mass end = 0;
    const auto match_range = [&](const Sample *next, const Sample *stop) {
        while (next < stop) {
            const Sample *first = next;
            const std::uint32_t atom = key(*first);
            do end += mass_of(pixel(*next));
            while (++next < stop && key(*next) == atom);
            const double matched = climb.mean(end);
            do emit(*first, matched);
            while (++first < next);
        }
    };
    const Sample *samples = sorted.samples, *positive = samples + sorted.negatives;
    match_range(samples, positive);
    const double zero = sorted.zeros ? climb.mean(end += zero_mass) : 0.0;
    match_range(positive, samples + sorted.size);
    return zero;
}

template <class Emit>
double match_channel(const Histogram::Quantiles &quantiles, std::size_t pixels, double total, const Map &map,
                     const Sorted &sorted, const Emit &emit) {
    if (!map.weights && quantiles.edges.empty()) {
        const std::uint64_t unit = pixels;
        return match_atoms(Climb<std::uint64_t>(quantiles, map.pixels), sorted, sorted.zeros * unit,
                           [=](std::uint32_t) { return unit; }, emit);
    }
    const double unit = total / map.total;
    const auto mass_of = [&](std::uint32_t i) { return map.weights ? map.weights[i] * unit : unit; };
    return match_atoms(Climb<double>(quantiles, 1.0), sorted, sorted.zero_mass * unit, mass_of, emit);
}

std::vector<std::unique_ptr<Workspace>> workspaces(std::size_t pixels, int threads) {
    std::vector<std::unique_ptr<Workspace>> all;
    for (int t = 0; t < threads; ++t) all.push_back(std::make_unique<Workspace>(pixels));
    return all;
}

}  // namespace

Histogram::Histogram(const Map &exemplar, int threads)
    : quantiles_(exemplar.channels), pixels_(exemplar.pixels), total_(exemplar.total) {
    if (total_ == 0) return;
    threads = useful_threads(exemplar.channels, threads);
    const auto work = workspaces(exemplar.pixels, threads);
    parallel_for(exemplar.channels, threads, [&](std::size_t channel, int thread) {
        const float *weights = exemplar.weights;
        const Sorted sorted =
            sort_channel(exemplar.features + channel * exemplar.pixels, weights, exemplar.pixels, *work[thread]);
        Quantiles &quantiles = quantiles_[channel];
        quantiles.zero_step = sorted.zeros ? sorted.negatives : no_step;
        quantiles.zeros = sorted.zeros;
        quantiles.values.reserve(sorted.size + 1);
        quantiles.edges.reserve(weights ? sorted.size + 1 : 0);
        double mass = 0;
        const auto add = [&](float value, double step) {
            quantiles.values.push_back(value);
            if (weights) quantiles.edges.push_back(mass += step);
        };
        for (std::size_t k = 0; k <= sorted.size; ++k) {
            if (k == quantiles.zero_step) add(0.0f, sorted.zero_mass);
            if (k < sorted.size) add(value(sorted.samples[k]), weights ? weights[pixel(sorted.samples[k])] : 1.0);
        }
    });
}

std::size_t Histogram::nbytes() const {
    std::size_t bytes = 0;
    for (const Quantiles &q : quantiles_) bytes += q.values.size() * sizeof(float) + q.edges.size() * sizeof(double);
    return bytes;
}

void Histogram::match(const Map &map, float *out, int threads) const {
    if (total_ == 0 || map.total == 0) {
        std::copy_n(map.features, map.channels * map.pixels, out);
        return;
    }
    threads = useful_threads(map.channels, threads);
    const auto work = workspaces(map.pixels, threads);
    parallel_for(map.channels, threads, [&](std::size_t channel, int thread) {
        const float *row = map.features + channel * map.pixels;
        float *to = out + channel * map.pixels;
        const Sorted sorted = sort_channel(row, map.weights, map.pixels, *work[thread]);
        const double zero =
            match_channel(quantiles_[channel], pixels_, total_, map, sorted,
                          [=](Sample sample, double matched) { to[pixel(sample)] = static_cast<float>(matched); });
        const float matched_zero = static_cast<float>(zero);
        for (std::size_t i = 0; i < map.pixels; ++i) {
            to[i] = row[i] == 0 ? matched_zero : to[i];
            if (map.weights) to[i] = map.weights[i] == 0 ? row[i] : to[i];
        }
    });
}

double Histogram::loss(const Map &map, std::size_t first, float *gradient, double scale, bool accumulate,
                       int threads) const {
    if (total_ == 0 || map.total == 0) {
        if (gradient && !accumulate) std::fill_n(gradient, map.channels * map.pixels, 0.0f);
        return 0.0;
    }
    threads = useful_threads(map.channels, threads);
    const auto work = workspaces(map.pixels, threads);
    const double norm = 1.0 / (static_cast<double>(map.channels) * map.total), factor = 2 * scale * norm;
    std::vector<double> sums(map.channels);
    parallel_for(map.channels, threads, [&](std::size_t channel, int thread) {
        const float *row = map.features + channel * map.pixels, *weights = map.weights;
        const Sorted sorted = sort_channel(row, weights, map.pixels, *work[thread]);
        float *to = gradient ? gradient + channel * map.pixels : nullptr;
        if (to && !accumulate) std::fill_n(to, map.pixels, 0.0f);
        double sum = 0;
        const double zero =
            match_channel(quantiles_[first + channel], pixels_, total_, map, sorted, [&](Sample sample, double matched) {
                const std::uint32_t i = pixel(sample);
                const double distance = value(sample) - matched, pull = weights ? weights[i] * distance : distance;
                sum += pull * distance;
                if (to) to[i] += static_cast<float>(factor * pull);
            });
        sums[channel] = sum + sorted.zero_mass * zero * zero;
        if (!to) return;
        const float slope = static_cast<float>(-factor * zero);
        if (weights) {
            for (std::size_t i = 0; i < map.pixels; ++i) {
                const float here = weights[i] != 0 ? slope : 0;
                to[i] += (row[i] == 0 ? here : 0) * weights[i];
            }
        } else {
            for (std::size_t i = 0; i < map.pixels; ++i) to[i] += row[i] == 0 ? slope : 0;
        }
    });
    double sum = 0;
    for (const double s : sums) sum += s;
    return sum * norm;
}

}  // namespace pyengine
