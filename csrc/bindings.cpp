// The module pyengine._core: checks arguments and calls the kernels with the interpreter's lock released.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "content.hpp"
#include "dispatch.hpp"
#include "gram.hpp"
#include "histogram.hpp"
#include "parallel.hpp"
#include "relu.hpp"
#include "variation.hpp"
#include "vectors.hpp"

namespace py = pybind11;
using namespace pyengine;

namespace {

std::string describe(const py::array &array) {
    return py::str(array.dtype()).cast<std::string>() + " of shape " + py::str(array.attr("shape")).cast<std::string>();
}

// Never converts: a copy of a large array should be the caller's decision.
py::array as_array(py::handle object, const char *name, const char *shape) {
    if (!py::isinstance<py::array>(object)) {
        throw py::type_error(std::string(name) + ": expected a numpy array of shape " + shape + ", got " +
                             py::str(py::type::of(object).attr("__name__")).cast<std::string>());
    }
    return py::reinterpret_borrow<py::array>(object);
}

py::array float_array(py::handle object, const char *name, const char *shape, bool doubles = false) {
    py::array array = as_array(object, name, shape);
    if (!py::isinstance<py::array_t<float>>(array) && !(doubles && py::isinstance<py::array_t<double>>(array))) {
        throw py::type_error(std::string(name) + ": expected " + (doubles ? "float32 or float64" : "float32") + ", got " +
                             describe(array));
    }
    return array;
}

void check_contiguous(const py::array &array, const char *name) {
    if (!(array.flags() & py::array::c_style))
        throw py::value_error(std::string(name) + ": expected a C-contiguous array, got strides " +
                              py::str(array.attr("strides")).cast<std::string>() + " for " + describe(array));
}

void check_shape(const py::array &array, const char *name, const std::vector<std::size_t> &shape) {
    bool equal = static_cast<std::size_t>(array.ndim()) == shape.size();
    for (std::size_t d = 0; equal && d < shape.size(); ++d)
        equal = static_cast<std::size_t>(array.shape(static_cast<py::ssize_t>(d))) == shape[d];
    if (equal) return;
    py::tuple expected(shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) expected[d] = shape[d];
    throw py::value_error(std::string(name) + ": expected shape " + py::str(expected).cast<std::string>() + ", got " +
                          describe(array));
}

void check_threads(int threads) {
    if (threads < 1) throw py::value_error("threads: expected at least 1, got " + std::to_string(threads));
}

Map as_map(py::handle features, py::handle weights, const std::optional<double> &mass = {}) {
    const py::array array = float_array(features, "features", "(C, N)");
    if (array.ndim() != 2) throw py::value_error("features: expected shape (C, N), got " + describe(array));
    check_contiguous(array, "features");
    Map map{static_cast<const float *>(array.data()), nullptr, 0, static_cast<std::size_t>(array.shape(0)),
            static_cast<std::size_t>(array.shape(1))};
    if (map.channels == 0 || map.pixels == 0 || map.pixels > 0xffffffffu) {
        throw py::value_error("features: expected at least 1 channel and 1 to 2**32 - 1 pixels, got " + describe(array));
    }
    map.total = static_cast<double>(map.pixels);
    if (!weights.is_none()) {
        const py::array one = float_array(weights, "weights", "(N,)");
        check_shape(one, "weights", {map.pixels});
        check_contiguous(one, "weights");
        map.weights = static_cast<const float *>(one.data());
        map.total = 0;
        for (std::size_t i = 0; i < map.pixels; ++i) {
            if (!(map.weights[i] >= 0) || std::isinf(map.weights[i])) {
                throw py::value_error("weights: expected finite values >= 0, got " + std::to_string(map.weights[i]) +
                                      " at pixel " + std::to_string(i));
            }
            map.total += map.weights[i];
        }
    }
    if (mass) {
        if (!(*mass >= 0) || std::isinf(*mass))
            throw py::value_error("mass: expected a finite number >= 0, got " + std::to_string(*mass));
        map.total = *mass;
    }
    return map;
}

// The entries of an array of a known shape.
const float *as_input(py::handle object, const char *name, const char *form, const std::vector<std::size_t> &shape) {
    const py::array array = float_array(object, name, form);
    check_shape(array, name, shape);
    check_contiguous(array, name);
    return static_cast<const float *>(array.data());
}

// A second map of the same shape.
const float *as_other(py::handle object, const char *name, const Map &map) {
    return as_input(object, name, "(C, N)", {map.channels, map.pixels});
}

// What an output must not overlap.
struct Input {
    const char *name;
    const void *data;
    std::size_t bytes;

    template <class T>
    Input(const char *name, const T *data, std::size_t size) : name(name), data(data), bytes(size * sizeof(T)) {}
};

float *as_output(py::handle object, const char *name, const char *form, const std::vector<std::size_t> &shape,
                 std::initializer_list<Input> inputs) {
    py::array array = float_array(object, name, form);
    check_shape(array, name, shape);
    check_contiguous(array, name);
    if (!array.writeable()) throw py::value_error(std::string(name) + ": expected a writeable array, got a read-only one");
    float *out = static_cast<float *>(array.mutable_data());
    const auto address = [](const void *at) { return reinterpret_cast<std::uintptr_t>(at); };
    for (const Input &input : inputs) {
        if (input.data && address(out) < address(input.data) + input.bytes &&
            address(input.data) < address(out + array.size()))
            throw py::value_error(std::string(name) + ": expected memory of its own, got memory shared with " +
                                  input.name);
    }
    return out;
}

float *as_output(py::handle object, const char *name, const Map &map, const float *target = nullptr) {
    const std::size_t n = map.pixels, size = map.channels * n;
    return as_output(object, name, "(C, N)", {map.channels, n},
                     {{"features", map.features, size}, {"target", target, size}, {"weights", map.weights, n}});
}

py::array_t<double> gram_of(const Map &map, const float *other, int threads) {
    check_threads(threads);
    py::array_t<double> result({map.channels, map.channels});
    double *out = result.mutable_data();
    py::gil_scoped_release release;
    if (map.total == 0) {
        std::fill_n(out, map.channels * map.channels, 0.0);
    } else {
        gram(map.features, other, map.weights, map.total, map.channels, map.pixels, out, threads);
    }
    return result;
}

py::array_t<double> call_gram(py::handle features, py::handle weights, int threads, const std::optional<double> &mass) {
    const Map map = as_map(features, weights, mass);
    return gram_of(map, map.features, threads);
}

py::array_t<double> call_cross_gram(py::handle features, py::handle other, py::handle weights, int threads,
                                    const std::optional<double> &mass) {
    const Map map = as_map(features, weights, mass);
    return gram_of(map, as_other(other, "other", map), threads);
}

void call_gram_gradient(py::handle features, py::handle difference, double scale, py::handle out, py::handle weights,
                        bool accumulate, int threads) {
    const Map map = as_map(features, weights);
    const py::array given = float_array(difference, "difference", "(C, C)", true);
    check_shape(given, "difference", {map.channels, map.channels});
    check_contiguous(given, "difference");
    float *target = as_output(out, "out", map);
    check_threads(threads);
    std::vector<float> matrix(map.channels * map.channels);
    const auto convert = [&](const auto *from) {
        for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<float>(scale * from[i]);
    };
    if (py::isinstance<py::array_t<float>>(given)) {
        convert(static_cast<const float *>(given.data()));
    } else {
        convert(static_cast<const double *>(given.data()));
    }
    py::gil_scoped_release release;
    gram_gradient(map.features, matrix.data(), map.weights, map.channels, map.pixels, target, accumulate, threads);
}

Histogram make_histogram(py::handle features, py::handle weights, int threads) {
    const Map map = as_map(features, weights);
    check_threads(threads);
    py::gil_scoped_release release;
    return Histogram(map, threads);
}

Map as_map_of(const Histogram &histogram, py::handle features, py::handle weights) {
    const Map map = as_map(features, weights);
    if (map.channels != histogram.channels()) {
        throw py::value_error("features: expected " + std::to_string(histogram.channels()) +
                              " channels as in the exemplar, got " + std::to_string(map.channels));
    }
    return map;
}

py::array_t<float> call_match(const Histogram &histogram, py::handle features, py::handle weights, int threads) {
    const Map map = as_map_of(histogram, features, weights);
    check_threads(threads);
    py::array_t<float> result({map.channels, map.pixels});
    float *out = result.mutable_data();
    py::gil_scoped_release release;
    histogram.match(map, out, threads);
    return result;
}

double call_loss(const Histogram &histogram, py::handle features, py::handle gradient, double scale, py::handle weights,
                 bool accumulate, int threads, std::size_t first) {
    const Map map = as_map(features, weights);
    if (first >= histogram.channels() || map.channels > histogram.channels() - first) {
        throw py::value_error("features: expected channels from " + std::to_string(first) + " on of " +
                              std::to_string(histogram.channels()) + ", got " + std::to_string(map.channels));
    }
    float *out = gradient.is_none() ? nullptr : as_output(gradient, "gradient", map);
    check_threads(threads);
    py::gil_scoped_release release;
    return histogram.loss(map, first, out, scale, accumulate, threads);
}

double call_content_loss(py::handle features, py::handle target, py::handle gradient, double scale, py::handle weights,
                         bool accumulate, int threads, const std::optional<double> &mass) {
    const Map map = as_map(features, weights, mass);
    const float *other = as_other(target, "target", map);
    float *out = gradient.is_none() ? nullptr : as_output(gradient, "gradient", map, other);
    check_threads(threads);
    py::gil_scoped_release release;
    if (map.total == 0) {
        if (out && !accumulate) std::fill_n(out, map.channels * map.pixels, 0.0f);
        return 0.0;
    }
    return content_loss(map.features, other, map.weights, map.total, map.channels, map.pixels, out, scale, accumulate,
                        threads);
}

double call_variation(py::handle image, py::handle gradient, double scale, bool wrap, bool accumulate, int threads) {
    const py::array array = float_array(image, "image", "(H, W, C)");
    if (array.ndim() != 3) throw py::value_error("image: expected shape (H, W, C), got " + describe(array));
    check_contiguous(array, "image");
    if (array.size() == 0)
        throw py::value_error("image: expected at least 1 pixel and 1 channel, got " + describe(array));
    const float *pixels = static_cast<const float *>(array.data());
    const std::vector<std::size_t> shape(array.shape(), array.shape() + 3);
    const std::size_t size = static_cast<std::size_t>(array.size());
    float *out = gradient.is_none() ? nullptr
                                    : as_output(gradient, "gradient", "(H, W, C)", shape, {{"image", pixels, size}});
    check_threads(threads);
    py::gil_scoped_release release;
    return variation(pixels, shape[0], shape[1], shape[2], wrap, out, scale, accumulate, threads);
}

// Pixels of a border: no convolution's filters are so large, and sizes stay far from overflowing.
constexpr std::size_t most_border = 1024;

float call_relu_gradient(py::handle features, py::handle out, py::handle above, py::handle loss,
                         const std::string &pooling, bool wrap, bool measure, int threads, std::size_t border) {
    const bool packed = py::isinstance<py::array_t<Mask>>(features);
    const py::array map = packed ? py::cast<py::array>(features) : float_array(features, "features", "(C, H, W)");
    if (map.ndim() != 3 || map.size() == 0)
        throw py::value_error("features: expected shape (C, H, W) with at least 1 pixel, got " + describe(map));
    check_contiguous(map, "features");
    if (border > most_border)
        throw py::value_error("border: expected at most " + std::to_string(most_border) + ", got " +
                              std::to_string(border));
    const std::string edge = border == 0 ? "" : " + " + std::to_string(2 * border);
    const std::string form = "(C, H" + edge + ", W" + edge + ")";
    std::vector<std::size_t> shape(map.shape(), map.shape() + 3);
    if (packed) {  // of what size is in the array for the result
        // Under a maximum pool, a gradient of the map itself would pass in other places than one of its pool.
        if (!loss.is_none()) throw py::value_error("loss: expected None for a mask");
        const py::array given = float_array(out, "out", form.c_str());
        std::size_t sides[2] = {};
        for (py::ssize_t d = 1; d < 3; ++d) {
            const std::size_t side = given.ndim() == 3 ? static_cast<std::size_t>(given.shape(d)) : 0;
            if (side <= 2 * border || masks(side - 2 * border) != shape[static_cast<std::size_t>(d)])
                throw py::value_error("out: expected shape " + form + " for a mask (C, ceil(H / 4), ceil(W / 4)) " +
                                      describe(map) + ", got " + describe(given));
            sides[d - 1] = side - 2 * border;
        }
        shape = {shape[0], sides[0], sides[1]};
    }
    const std::size_t c = shape[0], h = shape[1], w = shape[2];
    const Pooling pool = pooling == "average" ? Pooling::average : pooling == "max" ? Pooling::max : Pooling::none;
    if (pool == Pooling::none && pooling != "none")
        throw py::value_error("pooling: expected none, average or max, got " + pooling);
    const std::vector<std::size_t> pooled{c, (h + 1) / 2, (w + 1) / 2};
    const std::vector<std::size_t> &above_shape = pool == Pooling::none ? shape : pooled;
    const float *maps = packed ? nullptr : static_cast<const float *>(map.data());
    const Mask *mask = packed ? static_cast<const Mask *>(map.data()) : nullptr;
    const float *from = as_input(above, "above", "(C, H, W)", above_shape);
    const float *own = loss.is_none() ? nullptr : as_input(loss, "loss", "(C, H, W)", shape);
    const std::size_t size = c * h * w, above_size = above_shape[0] * above_shape[1] * above_shape[2];
    float *to = as_output(out, "out", form.c_str(), {c, h + 2 * border, w + 2 * border},
                          {{"features", maps, size},
                           {"features", mask, static_cast<std::size_t>(map.size())},
                           {"above", from, above_size},
                           {"loss", own, size}});
    check_threads(threads);
    py::gil_scoped_release release;
    return ReluGradient{maps, mask, from, own, c, h, w, pool, wrap, border}.run(to, measure, threads);
}

py::array as_rows(py::handle object) {
    const py::array array = float_array(object, "rows", "(R, N)");
    if (array.ndim() != 2 || array.size() == 0)
        throw py::value_error("rows: expected shape (R, N) with at least 1 entry, got " + describe(array));
    check_contiguous(array, "rows");
    return array;
}

py::array_t<double> call_inner_products(py::handle rows, const std::vector<std::size_t> &picks, int threads) {
    const py::array array = as_rows(rows);
    const std::size_t count = static_cast<std::size_t>(array.shape(0)), n = static_cast<std::size_t>(array.shape(1));
    for (const std::size_t pick : picks)
        if (pick >= count) throw py::value_error("picks: expected less than " + std::to_string(count) + ", got " +
                                                 std::to_string(pick));
    check_threads(threads);
    py::array_t<double> result({picks.size(), count});
    double *out = result.mutable_data();
    const float *matrix = static_cast<const float *>(array.data());
    py::gil_scoped_release release;
    inner_products(matrix, count, n, picks.data(), picks.size(), out, threads);
    return result;
}

void call_combine(py::handle rows, py::handle coefficients, py::handle out, int threads) {
    const py::array array = as_rows(rows);
    const std::size_t count = static_cast<std::size_t>(array.shape(0)), n = static_cast<std::size_t>(array.shape(1));
    const float *row_factors = as_input(coefficients, "coefficients", "(R,)", {count});
    const float *matrix = static_cast<const float *>(array.data());
    float *to = as_output(out, "out", "(N,)", {n}, {{"rows", matrix, count * n}, {"coefficients", row_factors, count}});
    check_threads(threads);
    py::gil_scoped_release release;
    combine(matrix, count, n, row_factors, to, threads);
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled kernels of pyengine.";
    module.attr("simd") = isa() == Isa::avx512 ? "avx512" : isa() == Isa::avx2 ? "avx2" : "baseline";

    module.def("release_scratch", &release_scratch, "Give the memory that kernels keep for their next call back.");
    module.def("gram", &call_gram, "The Gram matrix of a feature map.", py::arg("features"),
               py::arg("weights") = py::none(), py::arg("threads") = 1, py::arg("mass") = py::none());
    module.def("cross_gram", &call_cross_gram, "The Gram matrix of one feature map with another.", py::arg("features"),
               py::arg("other"), py::arg("weights") = py::none(), py::arg("threads") = 1, py::arg("mass") = py::none());
    module.def("gram_gradient", &call_gram_gradient, "scale * (difference @ features) * weights, written to out.",
               py::arg("features"), py::arg("difference"), py::arg("scale"), py::arg("out"),
               py::arg("weights") = py::none(), py::arg("accumulate") = false, py::arg("threads") = 1);
    py::class_<Histogram>(module, "Histogram", "The distribution of every channel of an exemplar.")
        .def(py::init(&make_histogram), py::arg("features"), py::arg("weights") = py::none(), py::arg("threads") = 1)
        .def_property_readonly("channels", &Histogram::channels, "Number of channels.")
        .def_property_readonly("nbytes", &Histogram::nbytes, "Bytes of memory that the sorted values take.")
        .def("match", &call_match, "A feature map with its channels' values replaced by rank.", py::arg("features"),
             py::arg("weights") = py::none(), py::arg("threads") = 1)
        .def("loss", &call_loss, "The distance of a feature map from its match; writes the gradient.",
             py::arg("features"), py::arg("gradient") = py::none(), py::arg("scale") = 1.0,
             py::arg("weights") = py::none(), py::arg("accumulate") = false, py::arg("threads") = 1,
             py::arg("first") = 0);
    module.def("content_loss", &call_content_loss, "The distance of a feature map from another; writes the gradient.",
               py::arg("features"), py::arg("target"), py::arg("gradient") = py::none(), py::arg("scale") = 1.0,
               py::arg("weights") = py::none(), py::arg("accumulate") = false, py::arg("threads") = 1,
               py::arg("mass") = py::none());
    module.def("variation", &call_variation, "How much neighbouring pixels differ; writes the gradient.",
               py::arg("image"), py::arg("gradient") = py::none(), py::arg("scale") = 1.0, py::arg("wrap") = true,
               py::arg("accumulate") = false, py::arg("threads") = 1);
    module.def("relu_gradient", &call_relu_gradient, "The gradient before a ReLU, from that after it, with a border.",
               py::arg("features"), py::arg("out"), py::arg("above"), py::arg("loss") = py::none(),
               py::arg("pooling") = "none", py::arg("wrap") = true, py::arg("measure") = false, py::arg("threads") = 1,
               py::arg("border") = 1);
    module.def("inner_products", &call_inner_products, "Inner products of some rows of a matrix with all of them.",
               py::arg("rows"), py::arg("picks"), py::arg("threads") = 1);
    module.def("combine", &call_combine, "The sum of a matrix's rows, each times its coefficient.", py::arg("rows"),
               py::arg("coefficients"), py::arg("out"), py::arg("threads") = 1);
}
