"""Masks: halving as the pools do, widening, bands, filling in, and regions."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import WRAPS

from pyengine.images import masks
from pyengine.wrap import BOTH, NEITHER, Wrap

SHAPES = [(1, 1), (1, 7), (2, 2), (5, 4), (6, 8), (13, 9)]


def soft(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)).astype(np.float32)


# ----------------------------------------------------------------- reduce


def pooled(mask: np.ndarray) -> np.ndarray:
    """Average pooling of 2x2, stride 2, in ceil mode without counting what lies outside, written out."""
    rows, columns = range(0, mask.shape[0], 2), range(0, mask.shape[1], 2)
    return np.array([[mask[y : y + 2, x : x + 2].mean() for x in columns] for y in rows])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("times", [0, 1, 2, 5])
def test_reduce_is_average_pooling(shape: tuple[int, int], times: int) -> None:
    mask = soft(*shape)
    expected = mask
    for _ in range(times):
        expected = pooled(expected)
    reduced = masks.reduce(mask, times)
    assert reduced.dtype == np.float32
    assert reduced.shape == expected.shape
    np.testing.assert_allclose(reduced, expected, atol=1e-6)


def test_reduce_agrees_with_the_runtime() -> None:
    """With the pool of the network's graph."""
    import onnx
    import onnxruntime

    helper = onnx.helper
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    graph = helper.make_graph([node], "pool", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in SHAPES:
        (pool,) = session.run(None, {"x": soft(*shape)[None, None]})
        np.testing.assert_allclose(masks.reduce(soft(*shape), 1), pool[0, 0], atol=1e-6)


def test_reduce_conserves_mass_at_even_sides() -> None:
    mask = soft(16, 24)
    assert masks.reduce(mask, 3).sum() * 64 == pytest.approx(mask.sum(), rel=1e-6)


@pytest.mark.parametrize("value", [0, 0.3, 1])
def test_reduce_keeps_a_constant(value: float) -> None:
    reduced = masks.reduce(np.full((7, 5), value, np.float32), 2)
    np.testing.assert_array_equal(reduced, np.full((2, 2), value, np.float32))


def test_reduce_returns_a_copy() -> None:
    mask = soft(4, 4)
    assert not np.shares_memory(masks.reduce(mask, 0), mask)


# ----------------------------------------------------------------- dilate


def dilated(mask: np.ndarray, radius: int, wrap: Wrap) -> np.ndarray:
    padded = mask
    for widths, wraps in zip((((radius, radius), (0, 0)), ((0, 0), (radius, radius))), wrap, strict=True):
        padded = np.pad(padded, widths, mode="wrap" if wraps else "edge")
    side = 2 * radius + 1
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side)).max(axis=(2, 3))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0, 1, 3, 10])
@pytest.mark.parametrize("wrap", WRAPS)
def test_dilate(shape: tuple[int, int], radius: int, wrap: Wrap) -> None:
    widened = masks.dilate(soft(*shape), radius, wrap)
    assert widened.dtype == np.float32
    np.testing.assert_array_equal(widened, dilated(soft(*shape), radius, wrap))


def test_dilate_makes_a_square() -> None:
    mask = np.zeros((9, 9), np.float32)
    mask[4, 4] = 0.5
    expected = np.zeros((9, 9), np.float32)
    expected[2:7, 2:7] = 0.5
    np.testing.assert_array_equal(masks.dilate(mask, 2, wrap=NEITHER), expected)


def test_dilate_across_the_border() -> None:
    mask = np.zeros((6, 8), np.float32)
    mask[0, 0] = 1
    assert masks.dilate(mask, 1, wrap=NEITHER).sum() == 4
    wrapped = masks.dilate(mask, 1, wrap=BOTH)
    assert wrapped.sum() == 9
    assert wrapped[-1, -1] == 1
    beside = masks.dilate(mask, 1, wrap=Wrap.of("x"))
    assert beside.sum() == 6
    assert beside[1, -1] == 1


# ------------------------------------------------------------------- band


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [0, 1, 2, 3, 5, 8, 9, 20])
@pytest.mark.parametrize("axes", WRAPS)
def test_band(shape: tuple[int, int], width: int, axes: Wrap) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    borders = [*([y, shape[0] - 1 - y] if axes.y else []), *([x, shape[1] - 1 - x] if axes.x else [])]
    distance = np.minimum.reduce(borders) if borders else np.full(shape, 1000)
    marked = masks.band(shape, width, axes)
    assert marked.dtype == bool
    np.testing.assert_array_equal(marked, distance < width)


# ----------------------------------------------------- fill_by_reflection


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).random((height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (17, 23), (64, 64)])
def test_what_is_known_stays(shape: tuple[int, int]) -> None:
    image = picture(*shape)
    known = np.random.default_rng(1).random(shape) < 0.4
    known[0, 0] = True
    other = np.where(known[:, :, None], image, np.float32(0.123))  # what is unknown is of no account
    filled = masks.fill_by_reflection(image, known)
    assert filled.dtype == np.float32
    assert filled.shape == image.shape
    np.testing.assert_array_equal(filled[known], image[known])
    np.testing.assert_array_equal(filled, masks.fill_by_reflection(other, known))
    colours = {tuple(c) for c in image[known]}
    assert {tuple(c) for c in filled[~known]} <= colours  # no colour is new


def test_a_half_is_the_mirror_image_of_the_other() -> None:
    image = picture(8, 12)
    known = np.broadcast_to(np.arange(12) < 6, (8, 12))
    filled = masks.fill_by_reflection(image, known)
    np.testing.assert_array_equal(filled[:, 6:11], image[:, 4::-1])  # about the last known column
    np.testing.assert_array_equal(filled[:, 11], image[:, 0])  # beyond the border: the nearest known


def test_a_single_known_pixel_fills_all() -> None:
    image = picture(5, 7)
    known = np.zeros((5, 7), bool)
    known[2, 3] = True
    assert (masks.fill_by_reflection(image, known) == image[2, 3]).all()


# ---------------------------------------------------------------- one_hot


def test_one_hot() -> None:
    indices = np.array([[0, 3, 3], [0x1FF0000, 0, 7]], np.uint32)
    regions = masks.one_hot(indices, [3, 0x1FF0000, 5])
    assert regions.dtype == np.float32
    np.testing.assert_array_equal(regions, [[[0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 0, 0]], np.zeros((2, 3))])


def test_one_hot_of_all_numbers_is_a_partition() -> None:
    indices = np.random.default_rng(0).integers(0, 5, (7, 6)).astype(np.uint32)
    np.testing.assert_array_equal(masks.one_hot(indices, range(5)).sum(0), np.ones((7, 6)))
    assert masks.one_hot(indices, []).shape == (0, 7, 6)
