"""Masks and index images at the files' edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import ORIENTED, noise, refused, rename_tag, srgb_profile, write
from PIL import Image

from pyengine.images import labels, reading, writing

# ------------------------------------------------------------------ masks


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", ">u2", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1), (4, 3, 3), (4, 3, 4), (1, 1)])
def test_masks_of_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    scale = {"uint8": 255, "uint16": 65535, ">u2": 65535}.get(dtype, 1)
    levels = np.array(np.random.default_rng(0).random(shape[:2]) * scale, dtype)
    source = levels
    if len(shape) == 3:
        source = np.repeat(levels[:, :, None], shape[2], axis=2)
    if shape[-1] == 4:
        source[:, :, 3] = scale
    mask = labels.load_mask(source, "mask")
    assert mask.dtype == np.float32
    assert mask.flags.c_contiguous
    assert not np.shares_memory(mask, source)
    np.testing.assert_allclose(mask, levels.astype(np.float64) / scale, atol=1e-7)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_masks_of_files(tmp_path: Path, suffix: str) -> None:
    levels = noise(channels=1)[:, :, 0]
    for pixels in (levels, np.dstack([levels] * 3)):
        path = write(tmp_path, suffix, pixels)
        for source in (path, str(path), Image.fromarray(pixels)):
            np.testing.assert_array_equal(labels.load_mask(source, "mask"), levels / np.float32(255))


@pytest.mark.parametrize("mode", ["1", "LA", "RGB", "RGBA", "P", "PA"])
def test_masks_of_pillow_modes(mode: str) -> None:
    levels = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
    image = Image.fromarray(levels).convert(mode)
    np.testing.assert_array_equal(labels.load_mask(image, "mask"), levels // 255)


def test_a_mask_of_16_bits(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 65535]], np.uint16)
    mask = labels.load_mask(write(tmp_path, ".png", levels), "mask")
    np.testing.assert_allclose(mask, levels / 65535, atol=1e-7)


def test_a_mask_in_a_palette_is_its_colours() -> None:
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([255, 255, 255, 51, 51, 51, 0, 0, 0])
    np.testing.assert_allclose(labels.load_mask(image, "mask"), [[1, 0.2, 0]])
    image.putpalette([255, 255, 255, 51, 51, 52, 0, 0, 0])
    refused(image, "a mask is grey", load=labels.load_mask)


def test_a_profile_does_not_apply_to_a_mask(tmp_path: Path) -> None:
    profile = srgb_profile()
    profile[16:20] = b"GRAY"
    start = rename_tag(profile, b"rTRC", b"kTRC")
    profile[start : start + 12] = b"curv" + bytes(8)
    path = write(tmp_path, ".png", np.full((2, 2), 128, np.uint8), icc_profile=bytes(profile))
    assert reading.load(path).min() > 0.7  # the profile is one of linear grey
    np.testing.assert_array_equal(labels.load_mask(path, "mask"), np.float32(128 / 255))


def test_a_mask_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    levels = noise(4, 7, channels=1)[:, :, 0]
    mask = labels.load_mask(write(tmp_path, ".png", levels, exif=exif), "mask")
    np.testing.assert_array_equal(writing.to_uint8(mask), ORIENTED[6](levels))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (noise(), ["content: a mask is grey, this is in colour: convert it"]),
        (Image.fromarray(noise()), ["a mask is grey"]),
        (np.ones((2, 2, 3)) * [1, 1, 0.5], ["a mask is grey"]),
        (np.dstack([np.ones((2, 2, 3)), np.full((2, 2), 0.5)]), ["transparent", "remove its alpha channel"]),
        (np.zeros((2, 2, 4), np.uint8), ["transparent"]),
        (Image.new("LA", (2, 2), (255, 254)), ["transparent"]),
        (np.ones((2, 2), np.int64), ["int64", "uint8"]),
        (np.full((2, 2), 255.0), ["255", "divide by 255"]),
        (np.array([[0.5, np.nan]]), ["NaN"]),
        (np.ones((2, 2, 2), bool), ["(2, 2, 2)"]),
        (np.ones((0, 2), bool), ["no pixels"]),
        (np.ones(4, bool), ["(4,)"]),
        ([[True]], ["list"]),
    ],
)
def test_refused_masks(source: Any, expected: list[str]) -> None:
    refused(source, *expected, load=labels.load_mask)


def test_refused_files_of_masks(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no such file", load=labels.load_mask)
    refused(write(tmp_path, ".png", noise()), "a mask is grey", load=labels.load_mask)
    refused(write(tmp_path, ".png", noise(channels=4)), "transparent", load=labels.load_mask)


# ---------------------------------------------------------------- indices


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "u2", ">i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1), (1, 1)])
def test_indices_of_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    source = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    indices = labels.load_indices(source, "layout")
    assert indices.dtype == np.uint32
    assert not np.shares_memory(indices, source)
    np.testing.assert_array_equal(indices, source.reshape(shape[:2]).astype(int))


def test_the_largest_index() -> None:
    for dtype in ("u4", "i8", "f8"):
        source = np.array([[0, 2**32 - 1]], dtype)
        assert labels.load_indices(source, "layout").tolist() == [[0, 2**32 - 1]]


def test_indices_of_modes(tmp_path: Path) -> None:
    """Numbers as they are stored, from a file as from memory."""
    numbers = np.array([[0, 1, 1], [1, 0, 3]], np.uint8)
    palette = Image.frombytes("P", (3, 2), numbers.tobytes())
    palette.putpalette([0, 0, 0, 200, 10, 10, 0, 0, 0, 200, 10, 10])  # 1 and 3 look the same
    deep = numbers.astype(np.uint16) * 20000
    for image, expected in [
        (Image.fromarray(numbers), numbers),
        (palette, numbers),
        (Image.fromarray(deep), deep),
        (Image.fromarray(numbers > 0), numbers > 0),
    ]:
        image.save(tmp_path / "layout.png")
        for source in (image, tmp_path / "layout.png", str(tmp_path / "layout.png")):
            np.testing.assert_array_equal(labels.load_indices(source, "layout"), expected)
    palette.save(tmp_path / "layout.png", transparency=1)  # says how to show it, not what it is
    np.testing.assert_array_equal(labels.load_indices(tmp_path / "layout.png", "layout"), numbers)
    levels = Image.fromarray(numbers.astype(np.int32))
    np.testing.assert_array_equal(labels.load_indices(levels, "layout"), numbers)


def test_indices_of_colours(tmp_path: Path) -> None:
    colors = np.array([[[255, 0, 0], [0, 0, 255], [7, 7, 7]], [[7, 7, 8], [0, 0, 0], [255] * 3]], np.uint8)
    expected = [[0x1FF0000, 0x10000FF, 7], [0x1070708, 0, 255]]
    opaque = np.dstack([colors, np.full((2, 3), 255, np.uint8)])
    for pixels in (colors, opaque):
        path = write(tmp_path, ".png", pixels)
        for source in (pixels, Image.fromarray(pixels), path):
            np.testing.assert_array_equal(labels.load_indices(source, "layout"), expected)


def test_a_grey_layout_is_the_same_in_any_mode() -> None:
    numbers = np.array([[0, 10, 255]], np.uint8)
    for mode in ("L", "RGB", "RGBA", "LA"):
        image = Image.fromarray(numbers).convert(mode)
        np.testing.assert_array_equal(labels.load_indices(image, "layout"), numbers)


def test_indices_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    numbers = noise(4, 7, channels=1)[:, :, 0] // 8
    path = write(tmp_path, ".png", numbers, exif=exif)
    np.testing.assert_array_equal(labels.load_indices(path, "layout"), ORIENTED[6](numbers))


def test_a_profile_does_not_apply_to_indices(tmp_path: Path) -> None:
    profile = srgb_profile()
    rename_tag(profile, b"rXYZ", b"????")
    rename_tag(profile, b"bXYZ", b"rXYZ")
    rename_tag(profile, b"????", b"bXYZ")
    path = write(tmp_path, ".png", np.full((1, 1, 3), (255, 0, 0), np.uint8), icc_profile=bytes(profile))
    assert reading.load(path)[0, 0, 2] > 0.9  # the profile exchanges red and blue
    assert labels.load_indices(path, "layout").tolist() == [[0x1FF0000]]


def test_how_many_indices() -> None:
    numbers = np.arange(labels.MOST_INDICES).reshape(8, 8)
    assert labels.load_indices(numbers, "layout").max() == 63
    refused(np.arange(65)[None], "content: 65 distinct values: paint regions in flat colours", load=labels.load_indices)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (np.array([[0, 0.5]]), ["content: index images hold whole numbers", "not 0.5:"]),
        (np.array([[0, np.nan]]), ["whole numbers", "not nan:"]),
        (np.array([[0, np.inf]]), ["whole numbers", "not inf:"]),
        (np.array([[0, -1.0]]), ["whole numbers", "not -1.0:"]),
        (np.array([[0, -1]]), ["whole numbers", "not -1:"]),
        (np.array([[0, -1]], np.int8), ["whole numbers", "not -1:"]),
        (np.array([[0, 2**32]]), ["whole numbers", "not 4294967296:"]),
        (np.array([[0, 2**63]], np.uint64), ["whole numbers", "not 9223372036854775808:"]),
        (np.array([[0, 1j]]), ["complex128", "integers"]),
        (np.array([[None]]), ["object"]),
        (np.zeros((2, 2, 3), np.int64), ["int64", "uint8"]),
        (np.zeros((2, 2, 3)), ["float64", "uint8"]),
        (np.zeros((2, 2, 4), np.uint8), ["transparent"]),
        (Image.new("RGBA", (2, 2), (1, 2, 3, 254)), ["transparent"]),
        (np.zeros((2, 2, 2), np.uint8), ["(2, 2, 2)"]),
        (np.zeros((3, 8, 8), np.uint8), ["moveaxis"]),
        (np.zeros((2, 0), np.uint8), ["no pixels"]),
        (np.zeros(4, np.uint8), ["(4,)"]),
        (Image.fromarray(np.array([[-1]], np.int32)), ["32-bit levels such as -1"]),
        (Image.fromarray(noise(40, 40)), ["1600 distinct values", "PNG, not JPEG"]),
        ([[0]], ["list"]),
    ],
)
def test_refused_indices(source: Any, expected: list[str]) -> None:
    refused(source, *expected, load=labels.load_indices)


def test_refused_files_of_indices(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no such file", load=labels.load_indices)
    flat = np.zeros((32, 32, 3), np.uint8)
    flat[:, 13:] = (200, 30, 120)
    flat[np.tri(32, dtype=bool)] = (20, 230, 12)
    refused(write(tmp_path, ".jpg", flat), "distinct values", load=labels.load_indices)
    assert len(np.unique(labels.load_indices(write(tmp_path, ".png", flat), "layout"))) == 3
