#include "histogram.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "parallel.hpp"

namespace pyengine {
namespace {

// ----------------------------------------------------------------------------------------------------------- sorting
// A key is a value as an integer of the same order. A channel's keys are first parted by their highest bits, in the
// order of the pixels; a key's place there is its slot. Then each part is sorted by itself, in the cache, as samples: the
// key, and its slot. What is found out for a sample is kept by slot, so that going through the pixels once more, with
// a finger on every part, meets it in order: nothing is read or written here and there in memory.

using Sample = std::uint64_t;
constexpr std::uint32_t zero_key = 0x80000000u;
constexpr std::size_t no_step = static_cast<std::size_t>(-1);

std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

std::uint32_t key_of(std::uint32_t bits) { return bits ^ (bits >> 31 ? 0xffffffffu : zero_key); }
std::uint32_t key(Sample sample) { return static_cast<std::uint32_t>(sample >> 32); }
std::uint32_t slot(Sample sample) { return static_cast<std::uint32_t>(sample); }

float value(Sample sample) {
    const std::uint32_t k = key(sample), bits = k ^ (k >> 31 ? zero_key : 0xffffffffu);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

constexpr std::size_t many = 1 << 17;  // samples that are too many for the cache
constexpr std::size_t most = 1 << 21;  // samples of which parts by 11 bits are too many
constexpr std::size_t few = 64;        // samples that are sorted sooner than the counts are cleared

// A channel's samples, and the memory to sort them in.
class Sorter {
public:
    Sorter(std::size_t pixels, bool covered)
        : pixels_(pixels), shift_(pixels < many ? 32 : pixels < most ? 21 : 18), parts_((std::size_t{1} << 32) >> shift_),
          ends_(parts_ + rest), fingers_(parts_ + rest), numbers_(parts_ > 1 ? pixels : 0), slots_(pixels),
          masses_(covered ? pixels : 0) {}

    // Takes in a channel. Pixels that are 0, or whose coverage is, are no samples, and are counted.
    void part(const float *row, const float *coverage) {
        row_ = row, coverage_ = coverage, zeros_ = 0, zero_mass_ = 0;
        std::fill(ends_.begin(), ends_.end(), 0u);
        if (parts_ > 1) {
            for (std::size_t i = 0; i < pixels_; ++i) numbers_.data()[i] = part_of(static_cast<std::uint32_t>(i));
            for (std::size_t i = 0; i < pixels_; ++i) ++ends_[numbers_.data()[i]];
        }
        std::uint32_t begin = 0;
        for (std::uint32_t &end : ends_) begin += std::exchange(end, begin);
        std::copy(ends_.begin(), ends_.end(), fingers_.begin());
        go(ends_, [&](std::size_t i, std::size_t at) {
            slots_.data()[at] = key_of(bits_of(row[i]));
            if (coverage) masses_.data()[at] = coverage[i];
        });
        size_ = ends_[parts_ - 1];
        zeros_ = pixels_ - size_;
        zero_mass_ = static_cast<double>(zeros_);
        if (!coverage) return;
        zeros_ = 0, zero_mass_ = 0;
        for (std::size_t i = 0; i < pixels_; ++i) {
            const bool zero = row[i] == 0;
            zeros_ += zero & (coverage[i] != 0);
            zero_mass_ += coverage[i] * static_cast<float>(zero);
        }
    }

    std::size_t size() const { return size_; }
    std::size_t zeros() const { return zeros_; }     // pixels that are 0 and count
    double zero_mass() const { return zero_mass_; }  // what they count together
    float mass(Sample sample) const { return masses_.data()[slot(sample)]; }

    // Calls range(first, last) for stretches of the samples in rising order, no value in two, and between the negative
    // and the positive ones zero().
    template <class Range, class Zero>
    void ascend(const Range &range, const Zero &zero) {
        bool passed = false;
        for (std::size_t p = 0, begin = 0; p < parts_; begin = ends_[p++]) {
            const std::size_t count = ends_[p] - begin;
            if (!count) continue;
            if (samples_.size() < count) samples_.resize(count), spare_.resize(count);
            for (std::size_t k = 0; k < count; ++k)
                samples_[k] = static_cast<Sample>(slots_.data()[begin + k]) << 32 | (begin + k);
            const Sample *first = sort(count), *last = first + count;
            const Sample *positive = std::lower_bound(first, last, static_cast<Sample>(zero_key) << 32);
            if (first < positive) range(first, positive);
            if (positive < last && !std::exchange(passed, true)) zero();
            if (positive < last) range(positive, last);
        }
        if (!passed) zero();
    }

    // Keeps a number for a sample that `ascend` gave out, in the place of its key.
    void keep(Sample sample, float number) { slots_.data()[slot(sample)] = bits_of(number); }

    // Calls each(i, number) for every pixel with what was kept for it, or with `other`, if it is no sample.
    template <class Each>
    void pixels(float other, const Each &each) {
        std::fill(slots_.data() + size_, slots_.data() + pixels_, bits_of(other));
        go(fingers_, [&](std::size_t i, std::size_t at) {
            float number;
            std::memcpy(&number, slots_.data() + at, sizeof number);
            each(i, number);
        });
    }

private:
    // Parts for what is no sample, after the others: several, since an access to a finger has to wait for the last.
    static constexpr std::uint32_t rest = 4;

    // In these loops a branch on what is a sample would be guessed wrong too often.
    std::uint32_t is_sample(std::size_t i) const {
        return (bits_of(row_[i]) << 1 != 0) & (!coverage_ || coverage_[i] != 0);
    }

    std::uint16_t part_of(std::uint32_t i) const {
        const std::uint32_t mask = 0 - is_sample(i), part = key_of(bits_of(row_[i])) >> shift_;
        return static_cast<std::uint16_t>((part & mask) | ((static_cast<std::uint32_t>(parts_) + i % rest) & ~mask));
    }

    // Calls each(i, slot) for every pixel, and moves the fingers.
    template <class Each>
    void go(std::vector<std::uint32_t> &fingers, const Each &each) {
        if (parts_ > 1) {
            for (std::size_t i = 0; i < pixels_; ++i) each(i, fingers[numbers_.data()[i]]++);
            return;
        }
        std::size_t finger = fingers[0];
        for (std::size_t i = 0; i < pixels_; ++i) {
            const std::size_t sample = is_sample(i), mask = 0 - sample;
            each(i, (finger & mask) | ((pixels_ - 1) & ~mask));  // no sample is the last, if there is any that is none
            finger += sample;
        }
        fingers[0] = static_cast<std::uint32_t>(finger);
    }

    const Sample *sort(std::size_t size) {
        if (size < few) {
            std::sort(samples_.data(), samples_.data() + size);
            return samples_.data();
        }
        return shift_ == 32 ? sort_digits<11, 3>(size) : shift_ == 21 ? sort_digits<7, 3>(size) : sort_digits<9, 2>(size);
    }

    // Radix sort by the key's lowest digits, the least significant first. Returns where the sorted samples are.
    template <int Bits, int Digits>
    const Sample *sort_digits(std::size_t size) {
        constexpr std::size_t width = std::size_t{1} << Bits;
        static_assert(Digits * width <= sizeof counts_ / sizeof *counts_, "there are as many counts");
        const auto digit = [](Sample sample, int d) { return key(sample) >> (d * Bits) & (width - 1); };
        Sample *from = samples_.data(), *to = spare_.data();
        std::fill_n(counts_, Digits * width, 0u);
        for (std::size_t k = 0; k < size; ++k)
            for (int d = 0; d < Digits; ++d) ++counts_[d * width + digit(from[k], d)];
        for (int d = 0; d < Digits; ++d) {
            std::uint32_t place = 0, *places = counts_ + d * width;
            if (places[digit(from[0], d)] == size) continue;
            for (std::size_t k = 0; k < width; ++k) place += std::exchange(places[k], place);
            for (std::size_t k = 0; k < size; ++k) to[places[digit(from[k], d)]++] = from[k];
            std::swap(from, to);
        }
        return from;
    }

    std::size_t pixels_;
    int shift_;
    std::size_t parts_;
    const float *row_ = nullptr, *coverage_ = nullptr;
    std::size_t size_ = 0, zeros_ = 0;
    double zero_mass_ = 0;
    std::vector<std::uint32_t> ends_, fingers_;
    Buffer<std::uint16_t> numbers_;  // each pixel's part
    Buffer<std::uint32_t> slots_;
    Buffer<float> masses_;
    std::vector<Sample> samples_, spare_;  // one part's
    std::uint32_t counts_[3 << 11];
};

// ---------------------------------------------------------------------------------------------------------- matching

// Goes once up the quantile function Q_S and returns its means over intervals that follow on one another. Mass is an
// integer where there is no coverage: with N_o, the output's pixels, for a sample of the exemplar and N_s for one of
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

// Calls emit(sample, R) for the samples and returns R of those that are 0. Samples of one value are one atom: they go to
// the mean of the quantiles that they cover together. mass_of(sample) is a sample's mass, `zero_mass` that of all zeros.
template <class Mass, class MassOf, class Emit>
double match_atoms(Climb<Mass> climb, Sorter &sorter, Mass zero_mass, const MassOf &mass_of, const Emit &emit) {
    Mass end = 0;
    double zero = 0;
    sorter.ascend(
        [&](const Sample *next, const Sample *stop) {
            while (next < stop) {
                const Sample *first = next;
                const std::uint32_t atom = key(*first);
                do end += mass_of(*next);
                while (++next < stop && key(*next) == atom);
                const double matched = climb.mean(end);
                do emit(*first, matched);
                while (++first < next);
            }
        },
        [&] {
            if (sorter.zeros()) zero = climb.mean(end += zero_mass);
        });
    return zero;
}

template <class Emit>
double match_channel(const Histogram::Quantiles &quantiles, std::size_t pixels, double total, const Map &map,
                     Sorter &sorter, const Emit &emit) {
    if (!map.coverage && quantiles.edges.empty()) {
        const std::uint64_t unit = pixels;
        return match_atoms(Climb<std::uint64_t>(quantiles, map.pixels), sorter, sorter.zeros() * unit,
                           [=](Sample) { return unit; }, emit);
    }
    const double unit = total / map.total;
    const auto mass_of = [&](Sample sample) { return map.coverage ? sorter.mass(sample) * unit : unit; };
    return match_atoms(Climb<double>(quantiles, 1.0), sorter, sorter.zero_mass() * unit, mass_of, emit);
}

std::vector<std::unique_ptr<Sorter>> sorters(const Map &map, int threads) {
    std::vector<std::unique_ptr<Sorter>> all;
    for (int t = 0; t < threads; ++t) all.push_back(std::make_unique<Sorter>(map.pixels, map.coverage != nullptr));
    return all;
}

}  // namespace

Histogram::Histogram(const Map &exemplar, int threads)
    : quantiles_(exemplar.channels), pixels_(exemplar.pixels), total_(exemplar.total) {
    if (total_ == 0) return;
    threads = useful_threads(exemplar.channels, threads);
    const auto work = sorters(exemplar, threads);
    parallel_for(exemplar.channels, threads, [&](std::size_t channel, int thread) {
        Sorter &sorter = *work[thread];
        const bool covered = exemplar.coverage != nullptr;
        sorter.part(exemplar.features + channel * exemplar.pixels, exemplar.coverage);
        Quantiles &quantiles = quantiles_[channel];
        quantiles.zero_step = no_step;
        quantiles.zeros = sorter.zeros();
        quantiles.values.reserve(sorter.size() + 1);
        quantiles.edges.reserve(covered ? sorter.size() + 1 : 0);
        double mass = 0;
        const auto add = [&](float value, double step) {
            quantiles.values.push_back(value);
            if (covered) quantiles.edges.push_back(mass += step);
        };
        sorter.ascend(
            [&](const Sample *sample, const Sample *stop) {
                for (; sample < stop; ++sample) add(value(*sample), covered ? sorter.mass(*sample) : 1.0);
            },
            [&] {
                if (!sorter.zeros()) return;
                quantiles.zero_step = quantiles.values.size();
                add(0.0f, sorter.zero_mass());
            });
    });
}

double Histogram::loss(const Map &map, std::size_t first, const Gradient &gradient, int threads) const {
    if (total_ == 0 || map.total == 0) {
        gradient.vanish(map.size());
        return 0.0;
    }
    threads = useful_threads(map.channels, threads);
    const auto work = sorters(map, threads);
    const double norm = 1.0 / (static_cast<double>(map.channels) * map.total), factor = 2 * gradient.scale * norm;
    const bool accumulate = gradient.accumulate;
    std::vector<double> sums(map.channels);
    parallel_for(map.channels, threads, [&](std::size_t channel, int thread) {
        const float *row = map.features + channel * map.pixels, *coverage = map.coverage;
        Sorter &sorter = *work[thread];
        sorter.part(row, coverage);
        double sum = 0;
        const double zero = match_channel(quantiles_[first + channel], pixels_, total_, map, sorter,
                                          [&](Sample sample, double matched) {
                                              const double distance = value(sample) - matched;
                                              const double pull = coverage ? sorter.mass(sample) * distance : distance;
                                              sum += pull * distance;
                                              sorter.keep(sample, static_cast<float>(factor * distance));
                                          });
        sums[channel] = sum + sorter.zero_mass() * zero * zero;
        if (!gradient.out) return;
        float *to = gradient.out + channel * map.pixels;
        sorter.pixels(static_cast<float>(-factor * zero), [&](std::size_t i, float slope) {
            const float pull = coverage ? slope * coverage[i] : slope;
            to[i] = accumulate ? to[i] + pull : pull;
        });
    });
    double sum = 0;
    for (const double s : sums) sum += s;
    return sum * norm;
}

}  // namespace pyengine
