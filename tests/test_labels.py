"""Masks and index images at the files' edge."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import ORIENTED, noise, refused, rename_tag, smooth, srgb_profile, write
from PIL import Image
from scipy.ndimage import maximum_filter

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
    image.putpalette([255, 255, 255, 255, 51, 52, 0, 0, 0])
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
        ({1}, ["set"]),
    ],
)
def test_refused_masks(source: Any, expected: list[str]) -> None:
    refused(source, *expected, load=labels.load_mask)


def test_refused_files_of_masks(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no such file", load=labels.load_mask)
    refused(write(tmp_path, ".png", noise()), "a mask is grey", load=labels.load_mask)
    refused(write(tmp_path, ".png", noise(channels=4)), "transparent", load=labels.load_mask)


# ---------------------------------------------------------------- indices


def indices_of(source: Any, count: int | None = None) -> np.ndarray:
    return labels.load_indices(source, "layout", count).indices


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "u2", ">i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1), (1, 1)])
def test_indices_of_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    source = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    indices = indices_of(source)
    assert indices.dtype == np.uint32
    assert not np.shares_memory(indices, source)
    np.testing.assert_array_equal(indices, source.reshape(shape[:2]).astype(int))


def test_the_largest_index() -> None:
    for dtype in ("u4", "i8", "f8"):
        source = np.array([[0, 2**32 - 1]], dtype)
        assert indices_of(source).tolist() == [[0, 2**32 - 1]]


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
            np.testing.assert_array_equal(indices_of(source), expected)
    palette.save(tmp_path / "layout.png", transparency=1)  # says how to show it, not what it is
    np.testing.assert_array_equal(indices_of(tmp_path / "layout.png"), numbers)
    levels = Image.fromarray(numbers.astype(np.int32))
    np.testing.assert_array_equal(indices_of(levels), numbers)


def test_indices_of_colours(tmp_path: Path) -> None:
    colors = np.array([[[255, 0, 0], [0, 0, 255], [7, 7, 7]], [[7, 7, 8], [0, 0, 0], [255] * 3]], np.uint8)
    expected = [[0x1FF0000, 0x10000FF, 7], [0x1070708, 0, 255]]
    opaque = np.dstack([colors, np.full((2, 3), 255, np.uint8)])
    for pixels in (colors, opaque):
        path = write(tmp_path, ".png", pixels)
        for source in (pixels, Image.fromarray(pixels), path):
            np.testing.assert_array_equal(indices_of(source), expected)


def test_a_grey_layout_is_the_same_in_any_mode() -> None:
    numbers = np.array([[0, 10, 255]], np.uint8)
    for mode in ("L", "RGB", "RGBA", "LA"):
        image = Image.fromarray(numbers).convert(mode)
        np.testing.assert_array_equal(indices_of(image), numbers)


def test_indices_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    numbers = noise(4, 7, channels=1)[:, :, 0] // 8
    path = write(tmp_path, ".png", numbers, exif=exif)
    np.testing.assert_array_equal(indices_of(path), ORIENTED[6](numbers))


def test_a_profile_does_not_apply_to_indices(tmp_path: Path) -> None:
    profile = srgb_profile()
    rename_tag(profile, b"rXYZ", b"????")
    rename_tag(profile, b"bXYZ", b"rXYZ")
    rename_tag(profile, b"????", b"bXYZ")
    path = write(tmp_path, ".png", np.full((1, 1, 3), (255, 0, 0), np.uint8), icc_profile=bytes(profile))
    assert reading.load(path)[0, 0, 2] > 0.9  # the profile exchanges red and blue
    assert indices_of(path).tolist() == [[0x1FF0000]]


def test_how_many_indices() -> None:
    numbers = np.arange(labels.MOST_INDICES).reshape(8, 8)
    assert indices_of(numbers).max() == 63
    refused(np.arange(65)[None], "content: 65 distinct numbers: give 64 at most", load=labels.load_indices)


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
        (Image.fromarray(noise(40, 40)), ["1600 distinct values", "not clear which ones", "regions"]),
        ({1}, ["set"]),
    ],
)
def test_refused_indices(source: Any, expected: list[str]) -> None:
    refused(source, *expected, load=labels.load_indices)


def test_refused_files_of_indices(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no such file", load=labels.load_indices)
    refused(write(tmp_path, ".jpg", smooth()), "not clear which ones are meant", load=labels.load_indices)


# ------------------------------------------------- as people have them


def disc(radius: float = 30, soft: float = 1, side: int = 96) -> np.ndarray:
    """The levels, 0 to 1, of a white disc with an edge of so many pixels."""
    y, x = np.mgrid[:side, :side]
    return np.clip((radius - np.hypot(y - side / 2, x - side / 2)) / soft + 0.5, 0, 1)


def as_jpeg(pixels: np.ndarray, quality: int = 75) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return Image.open(file)


def grey(levels: np.ndarray) -> np.ndarray:
    return (levels * 255).round().astype(np.uint8)


MEANT = disc() > 0.5
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("source", "threshold"),
    [
        (grey(disc()), 0.5),
        (grey(disc(soft=12)), 0.5),
        (as_jpeg(grey(disc())), 0.5),
        (as_jpeg(np.dstack([grey(disc())] * 3), 30), 0.5),
        (as_jpeg(np.dstack([grey(disc()), grey(disc()) | 3, grey(disc())])), 0.5),
        (np.where(MEANT, RNG.integers(200, 255, MEANT.shape), RNG.integers(1, 60, MEANT.shape)).astype(np.uint8), 0.5),
        (grey(0.25 + 0.25 * disc()), 0.375),
        (disc(), 0.5),
    ],
    ids=["antialiased", "soft", "jpeg", "colour jpeg", "tinted", "noise", "greys", "floats"],
)
def test_black_and_white_as_people_have_it(source: Any, threshold: float) -> None:
    with pytest.warns(UserWarning, match=r"^fill: \d+ pixels are not black or white: what is above 0\.\d\d is") as told:
        flags = labels.load_flags(source, "fill")
    assert flags.dtype == bool
    assert np.mean(flags != MEANT) < 0.003
    assert float(str(told[0].message).split("above ")[1].split()[0]) == pytest.approx(threshold, abs=0.02)


def test_pure_black_and_white_needs_no_words() -> None:
    for source in (MEANT, grey(MEANT), Image.fromarray(MEANT), MEANT.astype(float), np.zeros((3, 3)), np.ones((3, 3))):
        assert np.array_equal(labels.load_flags(source, "fill"), np.asarray(source) > 0)


@pytest.mark.parametrize(
    "source", [smooth()[:, :, 0], noise(64, 64, 1)[:, :, 0], np.full((9, 9), 0.4), grey(disc() / 20)]
)
def test_what_a_threshold_would_be_a_guess_for(source: Any) -> None:
    refused(source, "not clearly of two kinds", "mask_threshold", load=labels.load_flags)
    assert np.array_equal(
        labels.load_flags(source, "fill", 0.03), source > 0.03 * (1 if source.dtype == float else 255)
    )


PAINTED = np.zeros((96, 128), int)
PAINTED[:, 50:] = 1
PAINTED[MEANT.nonzero()] = 2
PAINTED[20:23, 60:120] = 2  # a line

PALETTES = [
    ((255, 0, 0), (0, 0, 255), (128, 0, 128)),  # of which one is the blend of the others
    ((0, 0, 0), (255, 255, 255), (128, 128, 128)),
    ((200, 30, 120), (20, 230, 12), (240, 240, 60)),
]


def painted(palette: tuple[tuple[int, int, int], ...], blend: bool = True) -> np.ndarray:
    """The regions in flat colours, with antialiased edges."""
    large = np.array(palette, float)[np.kron(PAINTED, np.ones((3, 3), int))]
    if not blend:
        return np.array(palette, np.uint8)[PAINTED]
    shifted = np.roll(large, (1, 1), (0, 1))  # so that edges are not those of pixels
    shifted[0], shifted[:, 0] = large[0], large[:, 0]
    return shifted.reshape(96, 3, 128, 3, 3).mean((1, 3)).round().astype(np.uint8)


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("kind", ["antialiased", "jpeg", "coarse jpeg", "noise", "flat"])
def test_painted_regions_as_people_have_them(palette: Any, count: int | None, kind: str) -> None:
    pixels = painted(palette, blend=kind != "flat")
    source = {
        "antialiased": Image.fromarray(pixels),
        "jpeg": as_jpeg(pixels),
        "coarse jpeg": as_jpeg(pixels, 50),
        "noise": Image.fromarray((pixels + RNG.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)),
        "flat": Image.fromarray(pixels),
    }[kind]
    read = labels.load_indices(source, "layout", count)
    assert bool(read.others) == (kind != "flat")
    exact = labels.load_indices(painted(palette, blend=False), "layout")
    with warnings.catch_warnings(action="ignore"):
        _, read = labels.agreeing([exact, read])
    assert read.numbers == exact.numbers
    assert np.mean(read.indices != exact.indices) < 0.04  # JPEG halves the resolution of hues
    near = [maximum_filter(exact.indices == number, 7) for number in exact.numbers]
    for number, allowed in zip(exact.numbers, near, strict=True):
        assert np.mean((read.indices == number) & ~allowed) < 2e-4  # no third region along an edge


def test_no_third_region_along_an_edge() -> None:
    """Red to blue over three pixels, of which two are as purple as a region elsewhere."""
    pixels = np.zeros((24, 30, 3), np.uint8)
    pixels[:, :12, 0] = 255
    pixels[:, 12:, 2] = 255
    pixels[:, 11:13] = (128, 0, 128)
    pixels[:8, 20:28] = (128, 0, 128)
    pixels[20:, 0] = 255  # so that not all that there is are flat regions
    indices = indices_of(Image.fromarray(pixels), 3)
    assert np.array_equal(np.unique(indices[:, :18]), [0x10000FF, 0x1FF0000])
    assert (indices == 0x1800080).sum() == 64


def test_few_values_of_numbers_stay_as_they_are() -> None:
    """Arrays and palettes have no blends, and classes may be next to one another."""
    numbers = RNG.integers(1, 5, (40, 40))
    assert np.array_equal(indices_of(numbers), numbers)
    palette = Image.fromarray(numbers.astype(np.uint8))
    palette.putpalette(list(range(30)))
    assert np.array_equal(indices_of(palette), numbers)
    classes = Image.fromarray(np.kron(numbers, np.ones((4, 4))).astype(np.uint8))
    assert np.array_equal(indices_of(classes), np.asarray(classes))


def test_as_many_regions_as_are_asked_for() -> None:
    classes = np.kron(np.array([[1, 2, 2], [1, 9, 2]]), np.ones((8, 8), int))
    assert np.unique(indices_of(classes, 2)).tolist() == [1, 2]
    assert np.unique(indices_of(classes, 3)).tolist() == [1, 2, 9]
    assert np.unique(indices_of(classes, 7)).tolist() == [1, 2, 9]


def test_regions_are_as_many_at_most() -> None:
    """A layout need not have all of the exemplar's; what is thin counts if it is no blend."""
    pixels = painted(PALETTES[0])
    assert len(np.unique(indices_of(as_jpeg(pixels), 12))) == 3
    pixels[60:62, 5:90] = (255, 255, 0)
    assert len(np.unique(indices_of(as_jpeg(pixels, 95), 4))) == 4
    assert len(np.unique(indices_of(as_jpeg(pixels), 2))) == 2
    shades = np.array([[40] * 3, [60] * 3, [200, 0, 0]], np.uint8)[PAINTED]
    assert len(np.unique(indices_of(as_jpeg(shades), 12))) == 3
    rough = Image.fromarray(noise(64, 64))
    assert len(np.unique(indices_of(rough, 5))) == 5


def test_saved_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", MEANT)
    assert np.array_equal(labels.load_flags(tmp_path / "mask.npy", "fill"), MEANT)
    np.save(tmp_path / "mask.npy", disc())
    assert np.allclose(labels.load_mask(tmp_path / "mask.npy", "mask"), disc())
    np.save(tmp_path / "layout.npy", PAINTED)
    assert np.array_equal(indices_of(tmp_path / "layout.npy"), PAINTED)
    np.save(tmp_path / "picture.npy", smooth())
    assert np.array_equal(reading.load(tmp_path / "picture.npy"), reading.load(smooth()))


def test_refused_saved_arrays(tmp_path: Path) -> None:
    path = tmp_path / "image.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    refused(path, "cannot be read as .npy", "numpy.save")
    np.save(path, smooth())
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "cannot be read as .npy")
    np.save(path, np.zeros(5))
    refused(path, "shape (5,) is not an image's")
