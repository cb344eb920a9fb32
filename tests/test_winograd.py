"""Our operator for ONNX Runtime, a 3x3 convolution, against sums of products in float64."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import reference
from conftest import PADDINGS, ZEROS

from pyengine import _core
from pyengine.network.graphs import WRAPPED, Graph, Padding, mask_size
from pyengine.network.sessions import Provider, Session

SIZES = [(1, 1), (1, 7), (5, 1), (4, 4), (13, 66), (70, 9), (33, 197)]


def session(filters, biases, border: Padding | None = WRAPPED, *, threads: int = 1, **options) -> Session:
    graph = Graph()
    graph.convolve_winograd("x", "y", filters, biases, border, **options)
    masks = [options["mask"]] if options.get("mask") else []
    shapes = {name: (1, f"{name}.channels", f"{name}.rows", f"{name}.columns") for name in ("x", "y", *masks)}
    model = graph.model("convolution", {"x": shapes.pop("x")}, shapes, masks=tuple(masks))
    return Session(model, Provider(), threads)


def convolve(x, filters, biases, border: Padding | None = WRAPPED, *, relu: bool = False, **options) -> np.ndarray:
    edge = 2 if border is None else 0
    size = x.shape[1] - edge, x.shape[2] - edge
    window = 2 if options.get("pooling") else 1
    y = np.full((1, len(filters), *(-(-side // window) for side in size)), np.nan, np.float32)
    arrays = {"x": np.ascontiguousarray(x[None]), "y": y}
    if options.get("mask"):
        arrays[options["mask"]] = np.full((1, len(filters), *mask_size(size)), 0xA5A5, np.uint16)
    session(filters, biases, border, relu=relu, **options).bind(arrays)()
    return (y[0], arrays[options["mask"]][0]) if options.get("mask") else y[0]


def unpack(mask, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose bits are set."""
    bits = mask[..., None] >> np.arange(16, dtype=np.uint16) & 1
    rows, columns = mask.shape[1:]
    pixels = bits.reshape(len(mask), rows, columns, 4, 4).swapaxes(2, 3).reshape(len(mask), 4 * rows, 4 * columns)
    return pixels[:, : size[0], : size[1]].astype(bool)


def windows(x) -> np.ndarray:
    """2x2 windows (C, ceil(H / 2), ceil(W / 2), 4), with NaN for pixels that are not there."""
    padded = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2)), constant_values=np.nan)
    channels, height, width = padded.shape
    split = padded.reshape(channels, height // 2, 2, width // 2, 2).swapaxes(2, 3)
    return split.reshape(channels, height // 2, width // 2, 4)


def expected(x, filters, biases, border: Padding | None = WRAPPED) -> np.ndarray:
    x, filters = x.astype(np.float64), filters.astype(np.float64)
    if border is not None:
        x = reference.pad(x, border)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, filters) + biases[:, None, None]


def rounding(found, x, filters, biases, border: Padding | None = WRAPPED) -> float:
    """The error relative to the root of the sum of squared products: these may cancel in the sums, by chance."""
    error = found - expected(x, filters, biases, border)
    return float(np.linalg.norm(error) / np.sqrt(expected(x**2, filters**2, biases**2, border).sum()))


def random(rng, inputs: int, outputs: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shapes = (inputs, *size), (outputs, inputs, 3, 3), (outputs,)
    x, filters, biases = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return x, filters, biases


@pytest.mark.parametrize("border", [None, *PADDINGS])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 64), (5, 7), (50, 3)])
def test_against_sums_of_products(rng, border, size, inputs, outputs):
    edge = 2 if border is None else 0
    x, filters, biases = random(rng, inputs, outputs, (size[0] + edge, size[1] + edge))
    found = convolve(x, filters, biases, border, threads=2)
    assert rounding(found, x, filters, biases, border) < 2e-6


def test_many_channels_and_several_units_of_work(rng):
    x, filters, biases = random(rng, 96, 130, (41, 333))
    assert rounding(convolve(x, filters, biases, threads=2), x, filters, biases) < 2e-6


def test_the_relu_after_it(rng):
    x, filters, biases = random(rng, 4, 6, (9, 21))
    plain = convolve(x, filters, biases)
    assert (plain < 0).any()
    assert np.array_equal(convolve(x, filters, biases, relu=True), np.maximum(plain, 0))


@pytest.mark.parametrize("pooling", [None, "average", "max"])
@pytest.mark.parametrize("size", [*SIZES, (12, 64), (8, 200), (41, 333)])
def test_pools_and_masks(rng, pooling, size):
    x, filters, biases = random(rng, 3, 5, size)
    x = np.round(x)  # with some equal neighbours
    filters[0] = 0  # a channel of one value
    biases[:2] = 0.5, -0.5
    plain = convolve(x, filters, biases, relu=True)
    pooled, mask = convolve(x, filters, biases, relu=True, pooling=pooling, mask="mask", threads=2)
    passes = plain > 0
    if pooling is None:
        assert np.array_equal(pooled, plain)
    elif pooling == "average":
        assert np.allclose(pooled, np.nanmean(windows(plain.astype(np.float64)), axis=3), rtol=1e-6, atol=0)
    else:
        most = np.nanmax(windows(plain), axis=3)
        assert np.array_equal(pooled, most)
        passes &= plain == most.repeat(2, axis=1).repeat(2, axis=2)[:, : size[0], : size[1]]
    assert np.array_equal(unpack(mask, size), passes)
    if pooling == "max":  # whose windows' pixels are counted
        beyond = unpack(mask, (size[0] + size[0] % 2, size[1] + size[1] % 2))
        assert beyond.sum() == passes.sum()
    assert np.array_equal(convolve(x, filters, biases, relu=True, pooling=pooling), pooled)


def test_zeros_and_nan(rng):
    x, filters, biases = random(rng, 3, 5, (12, 24))
    assert np.array_equal(convolve(0 * x, filters, biases)[:, 3, 3], biases)
    x[1, 5, 9] = np.nan
    for relu in (False, True):  # which must not hide it
        found = np.isnan(convolve(x, filters, biases, relu=relu)).all(axis=0)
        assert found[4:7, 8:11].all()
        outside = np.ones_like(found)
        outside[4:8, 8:12] = outside[0:4, 8:12] = False  # the tiles that see it
        assert not (found & outside).any()
    pooled, mask = convolve(x, filters, biases, relu=True, pooling="average", mask="mask")
    assert np.array_equal(np.isnan(pooled).all(axis=0)[2:4, 4:6], [[True, True], [True, True]])
    assert not unpack(mask, (12, 24))[:, 4:7, 8:11].any()


def test_rounding_depends_on_the_place_in_a_tile_only(rng):
    """Not on the map's size, the number of filters, nor the threads: an image is the same in tiles and whole."""
    x, filters, biases = random(rng, 64, 24, (64, 480))
    whole = convolve(x, filters, biases, ZEROS, threads=2)
    assert np.array_equal(convolve(x, filters, biases, ZEROS), whole)
    assert np.array_equal(convolve(x, filters[5:9], biases[5:9], ZEROS), whole[5:9])
    for top, left, height, width in [(4, 8, 16, 32), (16, 100, 48, 380), (0, 44, 12, 72)]:
        part = convolve(x[:, top : top + height, left : left + width], filters, biases, ZEROS)
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
    graph.convolve_winograd("x", "y", np.zeros((2, 3, 3, 3), np.float32), np.zeros(2, np.float32), None)
    del graph.constants["y.weight"]
    inputs = {"x": (1, 3, 8, 8), "y.weight": (2, 3, 3, 3)}
    with pytest.raises(Exception, match="have to be constants"):
        Session(graph.model("convolution", inputs, {"y": (1, 2, 6, 6)}), Provider(), threads=1)


@pytest.mark.parametrize(("name", "value"), [("border_y", 4), ("border_x", -1), ("relu", 2), ("pool", 3), ("pool", -1)])
def test_attributes_out_of_range(name, value):
    graph = Graph()
    graph.convolve_winograd("x", "y", np.zeros((2, 3, 3, 3), np.float32), np.zeros(2, np.float32), None)
    next(attribute for attribute in graph.nodes[0].attribute if attribute.name == name).i = value
    with pytest.raises(Exception, match=f"{name} has to be 0 to"):
        Session(graph.model("convolution", {"x": (1, 3, 8, 8)}, {"y": (1, 2, 6, 6)}), Provider(), threads=1)


@pytest.mark.parametrize("name", ["border_y", "border_x"])
def test_a_border_is_given_in_both_axes_or_in_neither(name):
    graph = Graph()
    graph.convolve_winograd("x", "y", np.zeros((2, 3, 3, 3), np.float32), np.zeros(2, np.float32), None)
    next(attribute for attribute in graph.nodes[0].attribute if attribute.name == name).i = 1
    with pytest.raises(Exception, match="have to be both 0, or neither"):
        Session(graph.model("convolution", {"x": (1, 3, 8, 8)}, {"y": (1, 2, 6, 6)}), Provider(), threads=1)


# -------------------------------------------------------------- registration

VERSION = ctypes.CFUNCTYPE(ctypes.c_void_p)
GET = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)
CREATE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
OF_STATUS = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def address(thing) -> int:
    return ctypes.cast(thing, ctypes.c_void_p).value


def registration_error(version: str, versions: tuple[int, ...], **changes: int | None) -> str:
    """What our operator answers to an ONNX Runtime whose table of functions has these changes."""
    statuses = []

    def create(code, text):
        statuses.append(ctypes.create_string_buffer(text))
        return ctypes.addressof(statuses[-1])

    functions = {  # by the position in the table; a status is the address of its text
        "create": (0, CREATE(create)),
        "code": (1, OF_STATUS(lambda status: 1)),
        "message": (2, OF_STATUS(lambda status: status)),
        "release": (93, OF_STATUS(lambda status: None)),
        "last": (249, OF_STATUS(lambda status: None)),
    }
    table = (ctypes.c_void_p * 250)(*[address(functions["last"][1])] * 250)
    for name, (position, function) in functions.items():
        table[position] = changes.get(name, address(function))
    text = ctypes.create_string_buffer(version.encode())
    get, get_version = (
        GET(lambda number: address(table) if number in versions else None),
        VERSION(lambda: address(text)),
    )
    register = ctypes.CDLL(_core.__file__).RegisterCustomOps
    register.restype = ctypes.c_void_p
    status = register(None, (ctypes.c_void_p * 2)(address(get), address(get_version)))
    assert status == address(statuses[-1])
    return statuses[-1].value.decode()


@pytest.mark.parametrize("version", ["1.15.1", "0.99.0", "what?"])
def test_an_old_onnxruntime_is_refused(version):
    message = f"pyengine needs ONNX Runtime 1.16 or later, this is {version}"
    assert registration_error(version, (1,)) == message
    assert registration_error(version, (1, 16)) == message


def test_an_onnxruntime_without_the_table_is_refused():
    assert registration_error("1.99.0", (1,)) == "pyengine needs ONNX Runtime 1.16 or later, this is 1.99.0"


def test_a_table_with_gaps_is_refused():
    message = (
        "ONNX Runtime's C interface has no function at position 249, which pyengine needs: take another version of it"
    )
    assert registration_error("1.16.0", (1, 16), last=None) == message


@pytest.mark.parametrize("name", ["code", "message"])
def test_a_table_in_another_order_is_refused(name):
    """Seen by a status, which does not come back as it was made."""
    text = ctypes.create_string_buffer(b"something else")
    other = OF_STATUS(lambda status: address(text))
    message = "ONNX Runtime's C interface is not laid out as pyengine knows it: take another version of it"
    assert registration_error("1.16.0", (1, 16), **{name: address(other)}) == message
