"""Our operator for ONNX Runtime, a 3x3 convolution, against sums of products in float64."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import relative_error

from pyengine.network.graphs import BORDERS, DOMAIN, Graph
from pyengine.network.sessions import Provider, Session

SIZES = [(1, 1), (1, 7), (5, 1), (4, 4), (13, 66), (70, 9), (33, 197)]


def session(filters, biases, border: str = "wrap", relu: int = 0, threads: int = 1) -> Session:
    graph = Graph()
    inputs = ["x", graph.constant("filters", filters), graph.constant("biases", biases)]
    graph.add("Convolution", inputs, "y", domain=DOMAIN, border=BORDERS[border], relu=relu)
    shapes = [(1, channels, *(f"{name}{axis}" for axis in "hw")) for name, channels in (("x", "i"), ("y", "o"))]
    return Session(graph.model("convolution", {"x": shapes[0]}, {"y": shapes[1]}), Provider(), threads)


def convolve(x, filters, biases, border: str = "wrap", **options: int) -> np.ndarray:
    edge = 2 if border == "given" else 0
    y = np.full((1, len(filters), x.shape[1] - edge, x.shape[2] - edge), np.nan, np.float32)
    session(filters, biases, border, **options).bind({"x": np.ascontiguousarray(x[None]), "y": y})()
    return y[0]


def expected(x, filters, biases, border: str = "wrap") -> np.ndarray:
    x, filters = x.astype(np.float64), filters.astype(np.float64)
    if border != "given":
        x = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="wrap" if border == "wrap" else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, filters) + biases[:, None, None]


def random(rng, inputs: int, outputs: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shapes = (inputs, *size), (outputs, inputs, 3, 3), (outputs,)
    x, filters, biases = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return x, filters, biases


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 64), (5, 7), (50, 3)])
def test_against_sums_of_products(rng, border, size, inputs, outputs):
    edge = 2 if border == "given" else 0
    x, filters, biases = random(rng, inputs, outputs, (size[0] + edge, size[1] + edge))
    found = convolve(x, filters, biases, border, threads=2)
    assert relative_error(found, expected(x, filters, biases, border)) < 2e-6


def test_many_channels_and_several_units_of_work(rng):
    x, filters, biases = random(rng, 96, 130, (41, 333))
    assert relative_error(convolve(x, filters, biases, threads=2), expected(x, filters, biases)) < 2e-6


def test_the_relu_after_it(rng):
    x, filters, biases = random(rng, 4, 6, (9, 21))
    plain = convolve(x, filters, biases)
    assert (plain < 0).any()
    assert np.array_equal(convolve(x, filters, biases, relu=1), np.maximum(plain, 0))


def test_zeros_and_nan(rng):
    x, filters, biases = random(rng, 3, 5, (12, 24))
    assert np.array_equal(convolve(0 * x, filters, biases)[:, 3, 3], biases)
    x[1, 5, 9] = np.nan
    for relu in (0, 1):  # which must not hide it
        found = np.isnan(convolve(x, filters, biases, relu=relu)).all(axis=0)
        assert found[4:7, 8:11].all()
        outside = np.ones_like(found)
        outside[4:8, 8:12] = outside[0:4, 8:12] = False  # the tiles that see it
        assert not (found & outside).any()


def test_rounding_depends_on_the_place_in_a_tile_only(rng):
    """Not on the map's size, the number of filters, nor the threads: an image is the same in tiles and whole."""
    x, filters, biases = random(rng, 64, 24, (64, 480))
    whole = convolve(x, filters, biases, "zeros", threads=2)
    assert np.array_equal(convolve(x, filters, biases, "zeros"), whole)
    assert np.array_equal(convolve(x, filters[5:9], biases[5:9], "zeros"), whole[5:9])
    for top, left, height, width in [(4, 8, 16, 32), (16, 100, 48, 380), (0, 44, 12, 72)]:
        part = convolve(x[:, top : top + height, left : left + width], filters, biases, "zeros")
        inner = (slice(None), slice(4, height - 4), slice(4, width - 4))  # the other tiles see zeros
        there = (slice(None), slice(top + 4, top + height - 4), slice(left + 4, left + width - 4))
        assert np.array_equal(part[inner], whole[there])


@pytest.mark.parametrize(
    ("filters", "biases", "x", "message"),
    [
        ((2, 3, 5, 5), (2,), (3, 8, 8), r"filters have to be \(O, I, 3, 3\)"),
        ((2, 3, 3, 3), (3,), (3, 8, 8), r"biases \(O,\)"),
        ((2, 3, 3), (2,), (3, 8, 8), "3 dimensions"),
        ((2, 3, 3, 3), (2,), (4, 8, 8), r"x has to be \(1, I, H, W\)"),
    ],
)
def test_what_does_not_fit(filters, biases, x, message):
    zeros = [np.zeros(shape, np.float32) for shape in (x, filters, biases)]
    with pytest.raises(Exception, match=message):  # ONNX Runtime's own classes
        convolve(*zeros)


def test_filters_have_to_be_constants():
    graph = Graph()
    biases = graph.constant("biases", np.zeros(2, np.float32))
    graph.add("Convolution", ["x", "filters", biases], "y", domain=DOMAIN, border=0, relu=0)
    model = graph.model("convolution", {"x": (1, 3, 8, 8), "filters": (2, 3, 3, 3)}, {"y": (1, 2, 6, 6)})
    with pytest.raises(Exception, match="have to be constants"):
        Session(model, Provider(), threads=1)
