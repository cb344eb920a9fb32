// Checks of what Python passes: each refuses what does not fit with an error that names the argument. Nothing is ever
// converted: a copy of a large array should be the caller's decision.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "map.hpp"
#include "variation.hpp"
#include "vectors.hpp"

namespace pyengine {

namespace py = pybind11;

// --------------------------------------------------------------------------------------------------------- arrays

inline std::string describe(const py::array &array) {
    return py::str(array.dtype()).cast<std::string>() + " of shape " + py::str(array.attr("shape")).cast<std::string>();
}

inline py::array as_array(py::handle object, const char *name, const char *shape) {
    if (!py::isinstance<py::array>(object)) {
        throw py::type_error(std::string(name) + ": expected a numpy array of shape " + shape + ", got " +
                             py::str(py::type::of(object).attr("__name__")).cast<std::string>());
    }
    return py::reinterpret_borrow<py::array>(object);
}

inline py::array float_array(py::handle object, const char *name, const char *shape, bool doubles = false) {
    py::array array = as_array(object, name, shape);
    if (!py::isinstance<py::array_t<float>>(array) && !(doubles && py::isinstance<py::array_t<double>>(array))) {
        throw py::type_error(std::string(name) + ": expected " + (doubles ? "float32 or float64" : "float32") +
                             ", got " + describe(array));
    }
    return array;
}

// The entries have to follow on one another, and to lie where the processor expects them.
inline void check_layout(const py::array &array, const char *name) {
    if (!(array.flags() & py::array::c_style))
        throw py::value_error(std::string(name) + ": expected a C-contiguous array, got strides " +
                              py::str(array.attr("strides")).cast<std::string>() + " for " + describe(array));
    const auto size = static_cast<std::uintptr_t>(array.itemsize());
    if (reinterpret_cast<std::uintptr_t>(array.data()) % size != 0)
        throw py::value_error(std::string(name) + ": expected memory aligned to " + std::to_string(size) +
                              " bytes, as that of a copy is, got unaligned " + describe(array));
}

inline void check_shape(const py::array &array, const char *name, const std::vector<std::size_t> &shape) {
    bool equal = static_cast<std::size_t>(array.ndim()) == shape.size();
    for (std::size_t d = 0; equal && d < shape.size(); ++d)
        equal = static_cast<std::size_t>(array.shape(static_cast<py::ssize_t>(d))) == shape[d];
    if (equal) return;
    py::tuple expected(shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) expected[d] = shape[d];
    throw py::value_error(std::string(name) + ": expected shape " + py::str(expected).cast<std::string>() + ", got " +
                          describe(array));
}

inline void check_threads(int threads) {
    if (threads < 1) throw py::value_error("threads: expected at least 1, got " + std::to_string(threads));
}

// --------------------------------------------------------------------------------------------------------- inputs

// The entries of an array of a known shape.
inline const float *as_input(py::handle object, const char *name, const char *form,
                             const std::vector<std::size_t> &shape) {
    const py::array array = float_array(object, name, form);
    check_shape(array, name, shape);
    check_layout(array, name);
    return static_cast<const float *>(array.data());
}

inline Map as_map(py::handle features, py::handle coverage, const std::optional<double> &mass = {}) {
    const py::array array = float_array(features, "features", "(C, N)");
    if (array.ndim() != 2) throw py::value_error("features: expected shape (C, N), got " + describe(array));
    check_layout(array, "features");
    Map map{
        .features = static_cast<const float *>(array.data()),
        .coverage = nullptr,
        .channels = static_cast<std::size_t>(array.shape(0)),
        .pixels = static_cast<std::size_t>(array.shape(1)),
        .total = static_cast<double>(array.shape(1)),
    };
    if (map.channels == 0 || map.pixels == 0 || map.pixels > 0xffffffffu) {
        throw py::value_error("features: expected at least 1 channel and 1 to 2**32 - 1 pixels, got " +
                              describe(array));
    }
    if (!coverage.is_none()) {
        map.coverage = as_input(coverage, "coverage", "(N,)", {map.pixels});
        map.total = 0;
        for (std::size_t i = 0; i < map.pixels; ++i) {
            if (!(map.coverage[i] >= 0) || std::isinf(map.coverage[i])) {
                throw py::value_error("coverage: expected finite values >= 0, got " + std::to_string(map.coverage[i]) +
                                      " at pixel " + std::to_string(i));
            }
            map.total += map.coverage[i];
        }
    }
    if (mass) {
        if (!(*mass >= 0) || std::isinf(*mass))
            throw py::value_error("mass: expected a finite number >= 0, got " + std::to_string(*mass));
        map.total = *mass;
    }
    return map;
}

// A second map of the same shape.
inline const float *as_other(py::handle object, const char *name, const Map &map) {
    return as_input(object, name, "(C, N)", {map.channels, map.pixels});
}

// Vectors (D, N), dimensions times how many there are.
inline Map as_vectors(py::handle object, const char *name, const char *form) {
    const py::array array = float_array(object, name, form);
    if (array.ndim() != 2 || array.size() == 0 || array.shape(1) > 0x7fffffff - 16)
        throw py::value_error(std::string(name) + ": expected shape " + form + " with 1 to 2**31 - 17 vectors, got " +
                              describe(array));
    check_layout(array, name);
    return {
        .features = static_cast<const float *>(array.data()),
        .coverage = nullptr,
        .channels = static_cast<std::size_t>(array.shape(0)),
        .pixels = static_cast<std::size_t>(array.shape(1)),
        .total = static_cast<double>(array.shape(1)),
    };
}

inline Image as_image(py::handle object) {
    const py::array array = float_array(object, "image", "(H, W, C)");
    if (array.ndim() != 3) throw py::value_error("image: expected shape (H, W, C), got " + describe(array));
    check_layout(array, "image");
    if (array.size() == 0)
        throw py::value_error("image: expected at least 1 pixel and 1 channel, got " + describe(array));
    return {
        .pixels = static_cast<const float *>(array.data()),
        .height = static_cast<std::size_t>(array.shape(0)),
        .width = static_cast<std::size_t>(array.shape(1)),
        .channels = static_cast<std::size_t>(array.shape(2)),
    };
}

inline Rows as_rows(py::handle object) {
    const py::array array = float_array(object, "rows", "(R, N)");
    if (array.ndim() != 2 || array.size() == 0)
        throw py::value_error("rows: expected shape (R, N) with at least 1 entry, got " + describe(array));
    check_layout(array, "rows");
    return {
        .entries = static_cast<const float *>(array.data()),
        .count = static_cast<std::size_t>(array.shape(0)),
        .length = static_cast<std::size_t>(array.shape(1)),
    };
}

// -------------------------------------------------------------------------------------------------------- outputs

// What an output must not overlap.
struct Input {
    const char *name;
    const void *data;
    std::size_t bytes;

    template <class T>
    Input(const char *name, const T *data, std::size_t size) : name(name), data(data), bytes(size * sizeof(T)) {}
};

inline float *as_output(py::handle object, const char *name, const char *form, const std::vector<std::size_t> &shape,
                        std::initializer_list<Input> inputs) {
    py::array array = float_array(object, name, form);
    check_shape(array, name, shape);
    check_layout(array, name);
    if (!array.writeable())
        throw py::value_error(std::string(name) + ": expected a writeable array, got a read-only one");
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

// An array for a gradient with respect to a map.
inline float *as_output(py::handle object, const char *name, const Map &map, const float *target = nullptr) {
    return as_output(object, name, "(C, N)", {map.channels, map.pixels},
                     {{"features", map.features, map.size()},
                      {"target", target, map.size()},
                      {"coverage", map.coverage, map.pixels}});
}

}  // namespace pyengine
