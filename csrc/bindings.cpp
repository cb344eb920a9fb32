// The module pyengine._core: each function checks its arguments and calls a kernel with the interpreter's lock released.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "content.hpp"
#include "dispatch.hpp"
#include "gram.hpp"
#include "histogram.hpp"
#include "nearest.hpp"
#include "parallel.hpp"
#include "relu.hpp"
#include "variation.hpp"
#include "vectors.hpp"

namespace py = pybind11;
using namespace pyengine;

namespace {

py::array_t<double> gram_of(const Map &map, const float *other, int threads) {
    check_threads(threads);
    py::array_t<double> result({map.channels, map.channels});
    double *out = result.mutable_data();
    py::gil_scoped_release release;
    gram(map, other, out, threads);
    return result;
}

py::array_t<double> call_gram(py::handle features, py::handle coverage, int threads,
                              const std::optional<double> &mass) {
    const Map map = as_map(features, coverage, mass);
    return gram_of(map, map.features, threads);
}

py::array_t<double> call_cross_gram(py::handle features, py::handle other, py::handle coverage, int threads,
                                    const std::optional<double> &mass) {
    const Map map = as_map(features, coverage, mass);
    return gram_of(map, as_other(other, "other", map), threads);
}

void call_mix(py::handle features, py::handle matrix, double scale, py::handle out, py::handle coverage,
              bool accumulate, int threads) {
    const Map map = as_map(features, coverage);
    const py::array mixing = float_array(matrix, "matrix", "(R, C)", true);
    if (mixing.ndim() != 2) throw py::value_error("matrix: expected shape (R, C), got " + describe(mixing));
    const auto rows = static_cast<std::size_t>(mixing.shape(0));
    check_shape(mixing, "matrix", {rows, map.channels});
    check_layout(mixing, "matrix");
    const bool single = py::isinstance<py::array_t<float>>(mixing);
    const Gradient to{.out = as_output(out, "out", "(R, N)", {rows, map.pixels},
                                       {{"features", map.features, map.size()}, {"coverage", map.coverage, map.pixels}}),
                      .scale = scale,
                      .accumulate = accumulate};
    check_threads(threads);
    py::gil_scoped_release release;
    if (single) {
        mix(map, static_cast<const float *>(mixing.data()), rows, to, threads);
    } else {
        mix(map, static_cast<const double *>(mixing.data()), rows, to, threads);
    }
}

Histogram make_histogram(py::handle features, py::handle coverage, int threads) {
    const Map map = as_map(features, coverage);
    check_threads(threads);
    py::gil_scoped_release release;
    return Histogram(map, threads);
}

double call_loss(const Histogram &histogram, py::handle features, py::handle gradient, double scale,
                 py::handle coverage, bool accumulate, int threads, std::size_t first) {
    const Map map = as_map(features, coverage);
    if (first >= histogram.channels() || map.channels > histogram.channels() - first) {
        throw py::value_error("features: expected channels from " + std::to_string(first) + " on of " +
                              std::to_string(histogram.channels()) + ", got " + std::to_string(map.channels));
    }
    float *out = gradient.is_none() ? nullptr : as_output(gradient, "gradient", map);
    check_threads(threads);
    py::gil_scoped_release release;
    return histogram.loss(map, first, {.out = out, .scale = scale, .accumulate = accumulate}, threads);
}

double call_content_loss(py::handle features, py::handle target, py::handle gradient, double scale,
                         py::handle coverage, bool accumulate, int threads, const std::optional<double> &mass) {
    const Map map = as_map(features, coverage, mass);
    const float *other = as_other(target, "target", map);
    float *out = gradient.is_none() ? nullptr : as_output(gradient, "gradient", map, other);
    check_threads(threads);
    py::gil_scoped_release release;
    return content_loss(map, other, {.out = out, .scale = scale, .accumulate = accumulate}, threads);
}

// Whether the rows wrap round, and whether the columns do.
using Axes = std::pair<bool, bool>;

double call_variation(py::handle image, py::handle gradient, double scale, const Axes &wrap, bool accumulate,
                      int threads) {
    const Image of = as_image(image);
    float *out = gradient.is_none() ? nullptr
                                    : as_output(gradient, "gradient", "(H, W, C)", {of.height, of.width, of.channels},
                                                {{"image", of.pixels, of.size()}});
    check_threads(threads);
    py::gil_scoped_release release;
    return variation(of, {wrap.first, wrap.second}, {.out = out, .scale = scale, .accumulate = accumulate}, threads);
}

// Pixels of a border: no convolution's filters are so large, and sizes stay far from overflowing.
constexpr std::size_t most_border = 1024;

float call_relu_gradient(py::handle features, py::handle out, py::handle above, py::handle loss,
                         const std::string &pooling, const Axes &wrap, bool measure, int threads, std::size_t border) {
    const bool packed = py::isinstance<py::array_t<Mask>>(features);
    const py::array map = packed ? py::cast<py::array>(features) : float_array(features, "features", "(C, H, W)");
    if (map.ndim() != 3 || map.size() == 0)
        throw py::value_error("features: expected shape (C, H, W) with at least 1 pixel, got " + describe(map));
    check_layout(map, "features");
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
    const Wrap axes{wrap.first, wrap.second};
    return ReluGradient{maps, mask, from, own, c, h, w, pool, axes, border}.run(to, measure, threads);
}

py::array_t<double> call_inner_products(py::handle rows, const std::vector<std::size_t> &picks, int threads) {
    const Rows matrix = as_rows(rows);
    for (const std::size_t pick : picks)
        if (pick >= matrix.count)
            throw py::value_error("picks: expected less than " + std::to_string(matrix.count) + ", got " +
                                  std::to_string(pick));
    check_threads(threads);
    py::array_t<double> result({picks.size(), matrix.count});
    double *out = result.mutable_data();
    py::gil_scoped_release release;
    inner_products(matrix, picks, out, threads);
    return result;
}

void call_combine(py::handle rows, py::handle coefficients, py::handle out, int threads) {
    const Rows matrix = as_rows(rows);
    const float *factors = as_input(coefficients, "coefficients", "(R,)", {matrix.count});
    float *to = as_output(out, "out", "(N,)", {matrix.length},
                          {{"rows", matrix.entries, matrix.count * matrix.length},
                           {"coefficients", factors, matrix.count}});
    check_threads(threads);
    py::gil_scoped_release release;
    combine(matrix, factors, to, threads);
}

py::tuple call_nearest(py::handle queries, py::handle sources, py::handle cost, int threads) {
    const Map from = as_vectors(queries, "queries", "(D, Q)"), to = as_vectors(sources, "sources", "(D, S)");
    if (from.channels != to.channels)
        throw py::value_error("sources: expected the queries' " + std::to_string(from.channels) +
                              " dimensions, got " + std::to_string(to.channels));
    const float *costs = cost.is_none() ? nullptr : as_input(cost, "cost", "(S,)", {to.pixels});
    check_threads(threads);
    py::array_t<std::int32_t> indices(from.pixels);
    py::array_t<float> distances(from.pixels);
    std::int32_t *index = indices.mutable_data();
    float *distance = distances.mutable_data();
    {
        py::gil_scoped_release release;
        nearest(from, to, costs, index, distance, threads);
    }
    return py::make_tuple(indices, distances);
}

py::tuple names_of_supported() {
    const std::vector<Isa> sets = supported();
    py::tuple names(sets.size());
    for (std::size_t k = 0; k < sets.size(); ++k) names[k] = name_of(sets[k]);
    return names;
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled kernels of pyengine.";
    module.attr("simd") = name_of(isa());  // or an ImportError with what is wrong with PYENGINE_SIMD
    module.attr("simd_supported") = names_of_supported();

    module.def("release_scratch", &release_scratch, "Give the memory that kernels keep for their next call back.");
    module.def("gram", &call_gram, "The Gram matrix of a feature map.", py::arg("features"),
               py::arg("coverage") = py::none(), py::arg("threads") = 1, py::arg("mass") = py::none());
    module.def("cross_gram", &call_cross_gram, "The Gram matrix of one feature map with another.", py::arg("features"),
               py::arg("other"), py::arg("coverage") = py::none(), py::arg("threads") = 1, py::arg("mass") = py::none());
    module.def("mix", &call_mix, "scale * (matrix @ features) * coverage, written to out.",
               py::arg("features"), py::arg("matrix"), py::arg("scale"), py::arg("out"),
               py::arg("coverage") = py::none(), py::arg("accumulate") = false, py::arg("threads") = 1);
    py::class_<Histogram>(module, "Histogram", "The distribution of every channel of an exemplar.")
        .def(py::init(&make_histogram), py::arg("features"), py::arg("coverage") = py::none(), py::arg("threads") = 1)
        .def_property_readonly("channels", &Histogram::channels, "Number of channels.")
        .def("loss", &call_loss, "The distance of a feature map from its rank match; writes the gradient.",
             py::arg("features"), py::arg("gradient") = py::none(), py::arg("scale") = 1.0,
             py::arg("coverage") = py::none(), py::arg("accumulate") = false, py::arg("threads") = 1,
             py::arg("first") = 0);
    module.def("content_loss", &call_content_loss, "The distance of a feature map from another; writes the gradient.",
               py::arg("features"), py::arg("target"), py::arg("gradient") = py::none(), py::arg("scale") = 1.0,
               py::arg("coverage") = py::none(), py::arg("accumulate") = false, py::arg("threads") = 1,
               py::arg("mass") = py::none());
    module.def("variation", &call_variation, "How much neighbouring pixels differ; writes the gradient.",
               py::arg("image"), py::arg("gradient") = py::none(), py::arg("scale") = 1.0,
               py::arg("wrap") = Axes{true, true}, py::arg("accumulate") = false, py::arg("threads") = 1);
    module.def("relu_gradient", &call_relu_gradient, "The gradient before a ReLU, from that after it, with a border.",
               py::arg("features"), py::arg("out"), py::arg("above"), py::arg("loss") = py::none(),
               py::arg("pooling") = "none", py::arg("wrap") = Axes{true, true}, py::arg("measure") = false,
               py::arg("threads") = 1, py::arg("border") = 1);
    module.def("nearest", &call_nearest, "The nearest of many vectors, for many others.", py::arg("queries"),
               py::arg("sources"), py::arg("cost") = py::none(), py::arg("threads") = 1);
    module.def("inner_products", &call_inner_products, "Inner products of some rows of a matrix with all of them.",
               py::arg("rows"), py::arg("picks"), py::arg("threads") = 1);
    module.def("combine", &call_combine, "The sum of a matrix's rows, each times its coefficient.", py::arg("rows"),
               py::arg("coefficients"), py::arg("out"), py::arg("threads") = 1);
}
