#include "winograd.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "dispatch.hpp"
#include "parallel.hpp"

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE __builtin_shufflevector
#endif
#if __has_builtin(__builtin_convertvector)
#define CONVERT __builtin_convertvector
#endif
#endif

namespace pyengine {
namespace {

// A tile of 6x6 pixels of the input makes one of 4x4 of the output. Both transforms are products of a matrix with the
// tile from both sides; between them, each of the 36 entries is a matrix product over the channels.
//
// The points of interpolation are 0, +-2/3, +-3/2 and infinity. Being reciprocal they make the matrices simple, and they
// lose less to rounding than the usual +-1, +-2: half as much over VGG's convolutions, where it is 4 times what direct
// summation loses.
constexpr std::size_t tile = mask_side, patch = 6, entries = patch * patch;
constexpr float a = 2.0f / 3, b = 3.0f / 2, a2 = a * a, b2 = b * b, a3 = a2 * a, b3 = b2 * b, s = a2 + b2;

constexpr std::size_t group = 16;       // tiles side by side that are transformed at once
constexpr std::size_t strip = 48;       // tiles that are multiplied at once: whole register blocks
constexpr std::size_t most_tiles = 96;  // in a unit of work: whole strips
constexpr std::size_t slab = 48;        // outputs whose products are kept until they are transformed: whole panels
constexpr std::size_t skew = 16;        // floats that keep strides from being powers of two

template <class T>
FORCE_INLINE void transform_in(const T *x, T *y) {  // B^T x
    const T even = x[4] - x[2] * b2, odd = x[3] * a - x[1] * b, even2 = x[4] - x[2] * a2, odd2 = x[3] * b - x[1] * a;
    y[0] = x[0] - x[2] * s + x[4];
    y[1] = even + odd;
    y[2] = even - odd;
    y[3] = even2 + odd2;
    y[4] = even2 - odd2;
    y[5] = x[1] - x[3] * s + x[5];
}

template <class T>
FORCE_INLINE void transform_out(const T *x, T *y) {  // A^T x
    const T sum = x[1] + x[2], difference = x[1] - x[2], sum2 = x[3] + x[4], difference2 = x[3] - x[4];
    y[0] = x[0] + sum + sum2;
    y[1] = difference * a + difference2 * b;
    y[2] = sum * a2 + sum2 * b2;
    y[3] = difference * a3 + difference2 * b3 + x[5];
}

using Matrix = std::array<std::array<double, 3>, patch>;

// G: a row of powers for each point, over the product of its distances from the others.
Matrix filter_transform() {
    const double points[] = {0, 2.0 / 3, -2.0 / 3, 1.5, -1.5};
    Matrix g{};
    for (std::size_t i = 0; i + 1 < patch; ++i) {
        double product = 1;
        for (std::size_t j = 0; j + 1 < patch; ++j)
            if (j != i) product *= points[i] - points[j];
        g[i] = {1 / product, points[i] / product, points[i] * points[i] / product};
    }
    g[patch - 1][2] = 1;
    return g;
}

// G f G^T of one filter, in float64.
std::array<double, entries> transform_filter(const Matrix &g, const float *filter) {
    double half[patch][3] = {};
    for (std::size_t i = 0; i < patch; ++i)
        for (std::size_t k = 0; k < 3; ++k)
            for (std::size_t l = 0; l < 3; ++l) half[i][l] += g[i][k] * static_cast<double>(filter[3 * k + l]);
    std::array<double, entries> result{};
    for (std::size_t i = 0; i < patch; ++i)
        for (std::size_t j = 0; j < patch; ++j)
            for (std::size_t l = 0; l < 3; ++l) result[i * patch + j] += half[i][l] * g[j][l];
    return result;
}

// A convolution of one map.
struct Task {
    Maps maps;
    Stage stage;
    std::size_t inputs, outputs;
    const float *filters, *biases;  // filters in the layout of the inner loop
};

// Tiles side by side, from tile (row, column) on.
struct Run {
    std::size_t row, column, tiles;
};

// Pixels of a line that whole groups read: whole vectors, too.
constexpr std::size_t line_length(std::size_t tiles) { return (tiles + group - 1) / group * group * tile + group; }

// Where the intermediate results of a unit of work lie in its scratch: the transformed input, the products, the rows of
// a run after the transform from above and below, and copies of rows of the input.
struct Layout {
    std::size_t strips, step, row, plane, stride;  // step and plane: from entry to entry; row: from output to output

    Layout(std::size_t inputs, std::size_t tiles, std::size_t longest)
        : strips((tiles + strip - 1) / strip),
          step(strips * inputs * strip + skew),
          row(strips * strip),
          plane(slab * row + skew),
          stride(line_length(longest)) {}

    std::size_t floats() const { return entries * (step + plane) + 2 * patch * stride; }
};

// Rows of the input below a run of tiles.
struct Lines {
    const float *row[patch];
    std::size_t length;
};

bool repeats(Border border) { return border == Border::wrap || border == Border::reflect; }

// Where row or column `x` of a line of `length` is, from one before it to one after it. One pixel is its own reflection.
std::ptrdiff_t within(Border border, std::ptrdiff_t x, std::ptrdiff_t length) {
    if (border == Border::wrap) return (x + length) % length;
    if (x < 0) return length > 1 ? 1 : 0;
    if (x == length) return length > 1 ? length - 2 : 0;
    return x;
}

// The lines of one channel, from one pixel left of the run's first on: pointers into the map where they can be, else
// copies, one after the other.
Lines input_lines(const Task &task, const float *plane, const Run &run, float *copies) {
    const Stage &stage = task.stage;
    const bool given = stage.given();
    const std::size_t height = task.maps.height + (given ? 2 : 0), width = task.maps.width + (given ? 2 : 0);
    const std::size_t length = line_length(run.tiles);
    const std::ptrdiff_t shift = given ? 0 : 1, left = static_cast<std::ptrdiff_t>(run.column * tile) - shift;
    const bool inside = left >= 0 && static_cast<std::size_t>(left) + length <= width;
    const auto h = static_cast<std::ptrdiff_t>(height), w = static_cast<std::ptrdiff_t>(width);
    const std::ptrdiff_t end = left + static_cast<std::ptrdiff_t>(tile * run.tiles + 2);
    Lines lines;
    lines.length = length;
    for (std::size_t r = 0; r < patch; ++r) {
        std::ptrdiff_t y = static_cast<std::ptrdiff_t>(run.row * tile + r) - shift;
        float *copy = copies + r * length;
        lines.row[r] = copy;
        if (repeats(stage.y) && y <= h) y = within(stage.y, y, h);  // what is further down makes no pixel of the map
        if (y < 0 || y >= h) {
            std::fill_n(copy, length, 0.0f);
            continue;
        }
        const float *line = plane + y * w;
        if (inside) {
            lines.row[r] = line + left;
            continue;
        }
        std::fill_n(copy, length, 0.0f);
        const std::ptrdiff_t first = std::max<std::ptrdiff_t>(left, 0), last = std::min(end, w);
        if (first < last) std::copy(line + first, line + last, copy + (first - left));
        if (repeats(stage.x)) {
            if (left < 0) copy[0] = line[within(stage.x, -1, w)];
            if (end > w) copy[w - left] = line[within(stage.x, w, w)];
        }
    }
    return lines;
}

template <class V>
FORCE_INLINE void fill(V &v, float value) {
    float entries[sizeof(V) / sizeof(float)];
    for (float &entry : entries) entry = value;
    std::memcpy(&v, entries, sizeof v);
}

// NaN stays NaN.
template <class V>
FORCE_INLINE void rectify(V &v) {
#if defined(__GNUC__)
    v = v <= 0.0f ? V{} : v;
#else
    for (float &x : v.lane) x = x <= 0 ? 0 : x;
#endif
}

// Two vectors' even and odd entries, and back; what compilers make of the plain loops takes longer.
template <class V, std::size_t... I>
FORCE_INLINE void unzip(const V &low, const V &high, V &even, V &odd, std::index_sequence<I...>) {
#ifdef SHUFFLE
    even = SHUFFLE(low, high, (2 * I)...);
    odd = SHUFFLE(low, high, (2 * I + 1)...);
#else
    const V both[2] = {low, high};
    float from[2 * sizeof...(I)], to[2][sizeof...(I)];
    std::memcpy(from, both, sizeof from);
    ((to[0][I] = from[2 * I], to[1][I] = from[2 * I + 1]), ...);
    std::memcpy(&even, to[0], sizeof even);
    std::memcpy(&odd, to[1], sizeof odd);
#endif
}

template <class V, std::size_t... I>
FORCE_INLINE void zip(const V &even, const V &odd, V &low, V &high, std::index_sequence<I...>) {
    constexpr std::size_t n = sizeof...(I);
#ifdef SHUFFLE
    low = SHUFFLE(even, odd, (I % 2 * n + I / 2)...);
    high = SHUFFLE(even, odd, (I % 2 * n + (I + n) / 2)...);
#else
    float from[2][n], to[2 * n];
    std::memcpy(from[0], &even, sizeof even);
    std::memcpy(from[1], &odd, sizeof odd);
    ((to[2 * I] = from[0][I], to[2 * I + 1] = from[1][I]), ...);
    std::memcpy(&low, to, sizeof low);
    std::memcpy(&high, to + n, sizeof high);
#endif
}

// A vector without its first entry, and a further one at its end.
template <class V, std::size_t... I>
FORCE_INLINE void advance(const V &from, float last, V &to, std::index_sequence<I...>) {
#ifdef SHUFFLE
    V filled;
    fill(filled, last);
    to = SHUFFLE(from, filled, (I + 1)...);
#else
    float entries[sizeof...(I) + 1];
    std::memcpy(entries, &from, sizeof from);
    entries[sizeof...(I)] = last;
    std::memcpy(&to, entries + 1, sizeof to);
#endif
}

using Group = Vector<group>::type;
constexpr std::make_index_sequence<group> lanes{};

// Groups that follow on one another in memory. Each is copied by itself: all in one go would pass through the stack.
template <std::size_t Count>
FORCE_INLINE void load_groups(Group (&groups)[Count], const float *from) {
    UNROLL
    for (std::size_t k = 0; k < Count; ++k) std::memcpy(&groups[k], from + k * group, sizeof groups[k]);
}

template <std::size_t Count>
FORCE_INLINE void store_groups(const Group (&groups)[Count], float *to) {
    UNROLL
    for (std::size_t k = 0; k < Count; ++k) std::memcpy(to + k * group, &groups[k], sizeof groups[k]);
}

// The transform from the right, of a group of tiles.
FORCE_INLINE void split(const float *line, Group *y) {
    Group pixels[tile], even[2], odd[2], x[patch];
    load_groups(pixels, line);
    unzip(pixels[0], pixels[1], even[0], odd[0], lanes);
    unzip(pixels[2], pixels[3], even[1], odd[1], lanes);
    unzip(even[0], even[1], x[0], x[2], lanes);
    unzip(odd[0], odd[1], x[1], x[3], lanes);
    advance(x[0], line[tile * group], x[4], lanes);
    advance(x[1], line[tile * group + 1], x[5], lanes);
    transform_in(x, y);
}

// The strips of the transformed input: the tiles of a strip, channel by channel.
struct Strips {
    float *first;  // a channel's place in the first entry's first strip
    std::size_t inputs;
    std::size_t step;  // from entry to entry
};

// Transforms a channel's tiles of one run, which are those from `position` on of a unit's; `halves` takes its lines
// half-way.
template <class S>
FORCE_INLINE void transform_run(const Lines lines, std::size_t tiles, std::size_t position, float *halves,
                                const Strips to) {
    using vector = typename S::vector;
    const std::size_t length = lines.length, step = to.step, inputs = to.inputs;
    // From above and below first, pixel by pixel, since tiles side by side share two of their columns.
    for (std::size_t p = 0; p < length; p += S::lanes) {
        vector x[patch], y[patch];
        UNROLL
        for (std::size_t r = 0; r < patch; ++r) S::load(x[r], lines.row[r] + p);
        transform_in(x, y);
        UNROLL
        for (std::size_t r = 0; r < patch; ++r) S::store(halves + r * length + p, y[r]);
    }
    for (std::size_t t = 0, count; t < tiles; t += count) {
        const std::size_t place = position + t;
        count = std::min({group, tiles - t, strip - place % strip});
        float *target = to.first + place / strip * inputs * strip + place % strip;
        for (std::size_t i = 0; i < patch; ++i) {
            Group y[patch];
            split(halves + i * length + t * tile, y);
            float *entry = target + i * patch * step;
            UNROLL
            for (std::size_t j = 0; j < patch; ++j) {
                if (count == group) {
                    std::memcpy(entry + j * step, &y[j], sizeof y[j]);
                } else {
                    std::memcpy(entry + j * step, &y[j], count * sizeof(float));
                }
            }
        }
    }
}

// One panel of outputs for one strip of tiles: products (R, strip), rows `stride` apart.
template <class S>
FORCE_INLINE void multiply(const float *panel, const float *tiles, std::size_t inputs, float *products,
                           std::size_t stride) {
    constexpr std::size_t R = S::gradient_rows, V = S::gradient_vectors, L = S::lanes;
    static_assert(strip % (V * L) == 0, "a strip is made of whole register blocks");
    for (std::size_t t = 0; t < strip; t += V * L) {
        typename S::vector sums[R][V] = {};
        S::multiply(panel, tiles + t, strip, inputs, sums);
        UNROLL
        for (std::size_t r = 0; r < R; ++r)
            UNROLL
            for (std::size_t v = 0; v < V; ++v) S::store(products + r * stride + t + v * L, sums[r][v]);
    }
}

#if defined(__GNUC__)
typedef std::int32_t Words __attribute__((vector_size(4 * group)));
#else
struct Words {
    std::int32_t lane[group];
};
#endif

// Sets a bit of the words of those tiles whose value is positive.
FORCE_INLINE void mark(const Group &v, int bit, Words &words) {
#if defined(__GNUC__)
    words |= (v > 0.0f) & (1 << bit);
#else
    for (std::size_t l = 0; l < group; ++l) words.lane[l] |= (v.lane[l] > 0) << bit;
#endif
}

FORCE_INLINE void store(const Words &words, Mask *mask) {
#ifdef CONVERT
    typedef Mask Masks __attribute__((vector_size(sizeof(Mask) * group)));
    const Masks narrow = CONVERT(words, Masks);
    std::memcpy(mask, &narrow, sizeof narrow);
#else
    std::int32_t each[group];
    std::memcpy(each, &words, sizeof each);
    for (std::size_t l = 0; l < group; ++l) mask[l] = static_cast<Mask>(each[l]);
#endif
}

FORCE_INLINE void maximum(const Group &v, Group &most) {
#if defined(__GNUC__)
    most = v > most ? v : most;
#else
    for (std::size_t l = 0; l < group; ++l) most.lane[l] = std::max(most.lane[l], v.lane[l]);
#endif
}

// 0 where a value is not the greatest.
FORCE_INLINE void single_out(Group &v, const Group &most) {
#if defined(__GNUC__)
    v = v == most ? v : Group{};
#else
    for (std::size_t l = 0; l < group; ++l) v.lane[l] = v.lane[l] == most.lane[l] ? v.lane[l] : 0;
#endif
}

// An output's products for a group of tiles: one for each entry, `step` apart, and what is added to their sums.
struct Products {
    const float *first;
    std::size_t step;
    float bias;
};

// Where the pixels of a group of tiles go, rows `stride` apart, and the tiles' masks, or null.
struct Target {
    float *pixels;
    std::size_t stride;
    Mask *mask;
};

// Writes the pixels of a group of tiles, 4 rows, or 2 of their pool.
FORCE_INLINE void join(const Products products, bool relu, Pooling pooling, const Target to) {
    Group half[tile][patch], shift;
    fill(shift, products.bias);
    UNROLL
    for (std::size_t j = 0; j < patch; ++j) {
        Group x[patch], y[tile];
        UNROLL
        for (std::size_t i = 0; i < patch; ++i)
            std::memcpy(&x[i], products.first + (i * patch + j) * products.step, sizeof x[i]);
        transform_out(x, y);
        UNROLL
        for (std::size_t k = 0; k < tile; ++k) half[k][j] = y[k];
    }
    Words words{};
    UNROLL
    for (std::size_t k = 0; k < tile; k += 2) {
        Group y[2][tile];
        UNROLL
        for (std::size_t r = 0; r < 2; ++r) {
            transform_out(half[k + r], y[r]);
            UNROLL
            for (std::size_t l = 0; l < tile; ++l) {
                y[r][l] += shift;
                if (relu) rectify(y[r][l]);
            }
        }
        if (pooling == Pooling::none) {
            UNROLL
            for (std::size_t r = 0; r < 2; ++r) {
                Group even[2], odd[2], row[tile];
                zip(y[r][0], y[r][2], even[0], even[1], lanes);
                zip(y[r][1], y[r][3], odd[0], odd[1], lanes);
                zip(even[0], odd[0], row[0], row[1], lanes);
                zip(even[1], odd[1], row[2], row[3], lanes);
                store_groups(row, to.pixels + (k + r) * to.stride);
            }
        } else {
            Group pooled[2], row[2];
            UNROLL
            for (std::size_t l = 0; l < tile; l += 2) {
                Group &window = pooled[l / 2];
                if (pooling == Pooling::average) {
                    window = ((y[0][l] + y[0][l + 1]) + (y[1][l] + y[1][l + 1])) * 0.25f;
                } else {
                    window = y[0][l];
                    maximum(y[0][l + 1], window);
                    maximum(y[1][l], window);
                    maximum(y[1][l + 1], window);
                    for (std::size_t r = 0; to.mask && r < 2; ++r) {
                        single_out(y[r][l], window);
                        single_out(y[r][l + 1], window);
                    }
                }
            }
            zip(pooled[0], pooled[1], row[0], row[1], lanes);
            store_groups(row, to.pixels + k / 2 * to.stride);
        }
        if (to.mask) {
            UNROLL
            for (std::size_t r = 0; r < 2; ++r)
                UNROLL
                for (std::size_t l = 0; l < tile; ++l) mark(y[r][l], static_cast<int>((k + r) * tile + l), words);
        }
    }
    if (to.mask) store(words, to.mask);
}

// The pool of rows x columns pixels of a group of tiles where the map's border cuts windows.
void pool_cut(const float *pixels, std::size_t rows, std::size_t columns, Pooling pooling, float *pooled, Mask *mask) {
    constexpr std::size_t stride = tile * group;
    for (std::size_t y = 0; y < rows; y += 2) {
        for (std::size_t x = 0; x < columns; x += 2) {
            const std::size_t bottom = std::min(y + 1, rows - 1), right = std::min(x + 1, columns - 1);
            const float *above = pixels + y * stride, *below = pixels + bottom * stride;
            float &window = pooled[y / 2 * stride + x / 2];
            if (pooling == Pooling::average) {  // a pixel that is counted twice for one that is not there
                window = ((above[x] + above[right]) + (below[x] + below[right])) * 0.25f;
                continue;
            }
            window = std::max({above[x], above[right], below[x], below[right]});
            for (std::size_t r = y; mask && r < y + 2; ++r)
                for (std::size_t c = x; c < x + 2; ++c)
                    if (r > bottom || c > right || pixels[r * stride + c] != window)
                        mask[c / tile] = static_cast<Mask>(mask[c / tile] & ~(1 << (r * tile + c % tile)));
        }
    }
}

// Writes the map of one output, or its pool, and its mask, or null, at a group of tiles.
FORCE_INLINE void finish(const Task &task, const Products products, const Run &at, float *out, Mask *mask) {
    const std::size_t rows = std::min(tile, task.maps.height - at.row * tile);
    const std::size_t columns = std::min(tile * at.tiles, task.maps.width - at.column * tile);
    const bool relu = task.stage.relu;
    const Pooling pooling = task.stage.pooling;
    const std::size_t side = pooling == Pooling::none ? 1 : 2;  // a window's
    const std::size_t width = (task.maps.width + side - 1) / side;
    float *target = out + at.row * tile / side * width + at.column * tile / side;
    if (mask) mask += at.row * masks(task.maps.width) + at.column;
    if (rows == tile && columns == tile * group) return join(products, relu, pooling, {target, width, mask});

    constexpr std::size_t stride = tile * group;
    float pixels[tile * stride], pooled[tile * stride], *from = pixels;
    Mask words[group], *own = mask ? words : nullptr;
    const bool cut = rows % side || columns % side;
    join(products, relu, cut ? Pooling::none : pooling, {pixels, stride, own});
    if (cut) pool_cut(pixels, rows, columns, pooling, from = pooled, own);
    for (std::size_t y = 0; y * side < rows; ++y)
        std::memcpy(target + y * width, from + y * stride, (columns + side - 1) / side * sizeof(float));
    if (mask) std::memcpy(mask, words, at.tiles * sizeof(Mask));
}

// A unit of work: some runs of tiles, for all channels.
struct Unit {
    const Run *runs;
    std::size_t count;
    float *scratch;
};

template <class S>
FORCE_INLINE void convolve(const Task &task, const Unit &unit) {
    constexpr std::size_t R = S::gradient_rows;
    const Run *const runs = unit.runs;
    const std::size_t count = unit.count, inputs = task.inputs, outputs = task.outputs;
    const std::size_t height = task.maps.height, width = task.maps.width;
    std::size_t tiles = 0, longest = 0;
    for (std::size_t k = 0; k < count; ++k) {
        tiles += runs[k].tiles;
        longest = std::max(longest, runs[k].tiles);
    }
    const Layout layout(inputs, tiles, longest);
    float *transformed = unit.scratch, *products = transformed + entries * layout.step;
    float *halves = products + entries * layout.plane, *copies = halves + patch * layout.stride;

    const std::size_t border = task.stage.given() ? 2 : 0;
    const std::size_t in_plane = (height + border) * (width + border);
    for (std::size_t c = 0; c < inputs; ++c) {
        std::size_t position = 0;
        for (std::size_t k = 0; k < count; ++k) {
            const Lines lines = input_lines(task, task.maps.in + c * in_plane, runs[k], copies);
            transform_run<S>(lines, runs[k].tiles, position, halves, {transformed + c * strip, inputs, layout.step});
            position += runs[k].tiles;
        }
        // What fills the last strip is multiplied, too.
        for (std::size_t e = 0; position % strip && e < entries; ++e) {
            float *last = transformed + e * layout.step + (position / strip * inputs + c) * strip;
            std::fill(last + position % strip, last + strip, 0.0f);
        }
    }

    const float *const filters = task.filters;
    const std::size_t plane =
        task.stage.pooling == Pooling::none ? height * width : (height + 1) / 2 * ((width + 1) / 2);
    for (std::size_t first = 0; first < outputs; first += slab) {
        const std::size_t last = std::min(first + slab, outputs);
        for (std::size_t e = 0; e < entries; ++e)
            for (std::size_t n = 0; n < layout.strips; ++n)
                for (std::size_t o = first; o < last; o += R)
                    multiply<S>(filters + (o * entries + e * R) * inputs,
                                transformed + e * layout.step + n * inputs * strip, inputs,
                                products + e * layout.plane + (o - first) * layout.row + n * strip, layout.row);
        for (std::size_t o = first; o < last; ++o) {
            const float *own = products + (o - first) * layout.row;
            float *const out = task.maps.out + o * plane;
            Mask *const mask = task.maps.mask ? task.maps.mask + o * masks(height) * masks(width) : nullptr;
            for (std::size_t k = 0; k < count; own += runs[k++].tiles)
                for (std::size_t t = 0; t < runs[k].tiles; t += group)
                    finish(task, {own + t, layout.plane, task.biases[o]},
                           {runs[k].row, runs[k].column + t, std::min(group, runs[k].tiles - t)}, out, mask);
        }
    }
}

DISPATCH(run_convolve, convolve, (const Task &task, const Unit &unit), (task, unit))

std::size_t panel_rows() {
    switch (isa()) {
        case Isa::avx512: return Avx512::gradient_rows;
        case Isa::avx2: return Avx2::gradient_rows;
        default: return Baseline::gradient_rows;
    }
}

}  // namespace

Winograd::Winograd(const Filters &filters, const Stage &stage)
    : outputs_(filters.outputs), inputs_(filters.inputs), stage_(stage),
      biases_(filters.biases, filters.biases + filters.outputs) {
    const std::size_t rows = panel_rows(), panels = (outputs_ + rows - 1) / rows;
    const Matrix g = filter_transform();
    filters_.resize(panels * rows * inputs_ * entries);
    for (std::size_t o = 0; o < outputs_; ++o) {
        for (std::size_t i = 0; i < inputs_; ++i) {
            const auto filter = transform_filter(g, filters.values + (o * inputs_ + i) * 9);
            for (std::size_t e = 0; e < entries; ++e)
                filters_[((o / rows * entries + e) * inputs_ + i) * rows + o % rows] = static_cast<float>(filter[e]);
        }
    }
}

void Winograd::run(const Maps &maps, const Loop &loop) const {
    const Task task{
        .maps = maps,
        .stage = stage_,
        .inputs = inputs_,
        .outputs = outputs_,
        .filters = filters_.data(),
        .biases = biases_.data(),
    };
    const std::size_t tile_rows = (maps.height + tile - 1) / tile, tile_columns = (maps.width + tile - 1) / tile;
    // Small maps are cut finer, so that several threads have something to do.
    const std::size_t most = std::clamp(tile_rows * tile_columns / 8, strip, most_tiles) / strip * strip;
    std::vector<std::vector<Run>> units((tile_rows * tile_columns + most - 1) / most);
    for (std::size_t unit = 0; unit < units.size(); ++unit) {
        const std::size_t end = std::min((unit + 1) * most, tile_rows * tile_columns);
        for (std::size_t at = unit * most, length; at < end; at += length) {
            const std::size_t column = at % tile_columns;
            length = std::min(tile_columns - column, end - at);
            units[unit].push_back({at / tile_columns, column, length});
        }
    }
    const std::size_t floats = Layout(inputs_, most, std::min(tile_columns, most)).floats();
    loop(units.size(), [&](std::size_t unit) {
        Buffer<float> scratch(floats);
        run_convolve(task, {units[unit].data(), units[unit].size(), scratch.data()});
    });
}

}  // namespace pyengine
