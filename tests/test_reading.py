"""What is accepted, what is refused and how, and what becomes of it; every file is made on the fly."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import ORIENTED, needs_permissions, noise, refused, rename_tag, smooth, srgb_profile, write
from PIL import Image, ImageCms

from pyengine.errors import PyengineError
from pyengine.images import formats, labels, reading, writing

# ----------------------------------------------------------------- arrays


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1), (4, 3, 3), (4, 3, 4)])
def test_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape)
    scale = {"uint8": 255, "uint16": 65535, ">u2": 65535}.get(dtype, 1)
    source = np.array(values * scale, dtype)
    if shape[-1] == 4:
        source[..., 3] = scale
    image = reading.load(source)
    assert image.dtype == np.float32
    assert image.shape == (4, 3, 3)
    assert image.flags.c_contiguous
    expected = source.reshape(4, 3, -1)[:, :, :3].astype(np.float64) / scale
    np.testing.assert_allclose(image, np.broadcast_to(expected, (4, 3, 3)), atol=1e-7)


def test_lists_of_rows() -> None:
    pixels = noise()
    for source, expected in [
        (pixels.tolist(), pixels),
        (tuple(map(tuple, pixels[:, :, 0].tolist())), pixels[:, :, 0]),
        ((pixels / 255).tolist(), pixels / 255),
        ([[0, 1], [1, 0]], np.eye(2)[::-1]),
        ([[False, True], [True, False]], np.eye(2)[::-1]),
        ([*pixels], pixels),
    ]:
        np.testing.assert_array_equal(reading.load(source), reading.load(expected))
    assert labels.load_indices([[0, 300], [2, 1]], "layout").indices.tolist() == [[0, 300], [2, 1]]
    assert labels.load_flags([[0, 255], [True, 1]], "fill", 0.5).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ([[0, 1], [1]], "a list of rows of different lengths, 2 and 1: make them one length"),
        ([[[1, 2, 3], [1, 2]]], "a list of pixels of different lengths: make them one length"),
        (["a.png", "b.png"], "a list with a str, 'a.png': give numbers, row by row"),
        ([[0, None]], "a list with a NoneType, None: give numbers"),
        ([], "shape (0,) is not an image's"),
        ([[0, 256]], "values of type int64"),
        ([[-1, 5]], "values of type int64"),
        ([[0.5, 2.5]], "values from 0.5 to 2.5 are not in [0, 1]"),
        ({1: 2}, "pass a path, a PIL image, an array, bytes or a list, not dict"),
    ],
)
def test_refused_lists(source: Any, expected: str) -> None:
    refused(source, expected)


def test_bytes_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, ".png", noise())
    for source in (path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        np.testing.assert_array_equal(reading.load(source), reading.load(path))
    refused(b"GIF87", "not an image in a format that is read here")
    refused(b"", "not an image in a format that is read here")


def test_the_result_is_a_copy() -> None:
    source = np.zeros((2, 2, 3), np.float32)
    reading.load(source)[:] = 1
    assert not source.any()


def test_rounding_beyond_the_range_is_clipped() -> None:
    image = reading.load(np.array([[-1e-7, 1 + 1e-7]]))
    assert image.min() == 0
    assert image.max() == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (np.ones((4, 4, 3), bool), ["bool", "uint8"]),
        (np.ones((4, 4, 3), np.int64), ["int64", "uint8"]),
        (np.ones((4, 4, 3), np.int8), ["int8", "uint8"]),
        (np.ones((4, 4, 3), np.uint32), ["uint32", "uint8"]),
        (np.ones((4, 4, 3), complex), ["complex128", "uint8"]),
        (np.array([[None]]), ["object"]),
        (np.ones(4), ["(4,)", "(H, W, 3)"]),
        (np.ones((1, 4, 4, 3)), ["(1, 4, 4, 3)", "(H, W, 3)"]),
        (np.ones((4, 4, 2)), ["(4, 4, 2)", "(H, W, 3)"]),
        (np.ones((3, 4, 5)), ["(3, 4, 5)", "moveaxis(image, 0, -1)"]),
        (np.ones((0, 4, 3)), ["(0, 4, 3)", "no pixels"]),
        (np.ones((4, 0), np.uint8), ["(4, 0)", "no pixels"]),
        (np.full((4, 4), 200.0), ["200", "divide by 255"]),
        (np.full((4, 4), 1.5), ["1.5", "[0, 1]", "rescale"]),
        (np.full((4, 4), -0.5), ["-0.5", "[0, 1]", "rescale"]),
        (np.full((4, 4), 40000.0), ["40000", "rescale"]),
        (np.array([[0.5, np.nan]]), ["1 values are NaN or infinite"]),
        (np.array([[-np.inf, np.inf, 1]]), ["2 values are NaN or infinite"]),
        (Image.new("RGB", (0, 4)), ["no pixels"]),
        (Image.new("I", (4, 0)), ["no pixels"]),
        ({0.5}, ["set"]),
        (b"image.png", ["not an image in a format"]),
        (None, ["NoneType"]),
    ],
)
def test_refused_sources(source: Any, expected: list[str]) -> None:
    refused(source, *expected)


def test_alpha_takes_the_mean_opaque_colour() -> None:
    pixels = np.zeros((1, 4, 4))
    pixels[0, :, :3] = [[0.2, 0, 1], [0.6, 0, 1], [1, 1, 1], [1, 1, 0]]
    pixels[0, :, 3] = [1, 1, 0, 0]
    expected = [[0.2, 0, 1], [0.6, 0, 1], [0.4, 0, 1], [0.4, 0, 1]]
    np.testing.assert_allclose(reading.load(pixels)[0], expected, atol=1e-6)


def test_what_is_more_opaque_than_not_keeps_its_colour() -> None:
    pixels = np.array([[[1, 0, 0, 1], [0, 1, 0, 0.6], [0, 0, 1, 0]]])
    np.testing.assert_allclose(reading.load(pixels)[0, :2], pixels[0, :2, :3], atol=1e-6)


def test_half_opacity_counts_half() -> None:
    pixels = np.array([[[1, 0, 0, 1], [0, 1, 0, 0.5]]])
    mean = np.array([2, 1, 0]) / 3
    expected = [[1, 0, 0], (np.array([0, 1, 0]) + mean) / 2]
    np.testing.assert_allclose(reading.load(pixels)[0], expected, atol=1e-6)


def test_composited_white_stays_in_range() -> None:
    pixels = np.ones((1, 256, 4), np.float32)
    pixels[0, :, 3] = np.linspace(0, 1, 256)
    image = reading.load(pixels)
    assert image.max() <= 1
    np.testing.assert_allclose(image, 1, atol=1e-6)


def test_fully_transparent_is_refused(tmp_path: Path) -> None:
    pixels = noise(channels=4)
    pixels[:, :, 3] = 0
    refused(pixels, "fully transparent")
    refused(write(tmp_path, ".png", pixels), "fully transparent")


# ------------------------------------------------------------------ alpha


def test_load_with_alpha(tmp_path: Path) -> None:
    pixels = noise(channels=4)
    path = write(tmp_path, ".png", pixels)
    for source in (pixels, Image.fromarray(pixels), path, str(path)):
        image, alpha = reading.load_with_alpha(source)
        np.testing.assert_array_equal(image, reading.load(source))
        assert alpha is not None
        assert alpha.dtype == np.float32
        assert alpha.flags.c_contiguous
        np.testing.assert_array_equal(writing.to_uint8(alpha), pixels[:, :, 3])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_no_alpha_where_all_is_opaque(channels: int) -> None:
    pixels = noise(channels=channels)
    pixels[:, :, 3:] = 255
    image, alpha = reading.load_with_alpha(pixels)
    assert alpha is None
    np.testing.assert_array_equal(image, reading.load(pixels))


def test_alpha_of_grey_and_palettes(tmp_path: Path) -> None:
    levels = np.array([[0, 128, 255]], np.uint8)
    grey = Image.merge("LA", [Image.fromarray(255 - levels), Image.fromarray(levels)])
    np.testing.assert_array_equal(reading.load_with_alpha(grey)[1], levels / np.float32(255))
    palette = Image.frombytes("P", (3, 1), bytes([0, 1, 1]))
    palette.putpalette([10, 20, 30, 255, 255, 255])
    palette.save(tmp_path / "p.png", transparency=1)
    image, alpha = reading.load_with_alpha(tmp_path / "p.png")
    np.testing.assert_array_equal(alpha, [[1, 0, 0]])
    assert (writing.to_uint8(image) == [10, 20, 30]).all()


def test_alpha_turns_with_the_image(tmp_path: Path) -> None:
    pixels = noise(4, 7, channels=4)
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = reading.load_with_alpha(write(tmp_path, ".png", pixels, exif=exif))[1]
    np.testing.assert_array_equal(writing.to_uint8(alpha), ORIENTED[6](pixels[:, :, 3]))


def test_load_with_alpha_refuses_as_load_does(tmp_path: Path) -> None:
    clear = noise(channels=4)
    clear[:, :, 3] = 0
    for source, expected in [(clear, "fully transparent"), (tmp_path / "none.png", "no such file"), ({1}, "set")]:
        refused(source, expected, load=reading.load_with_alpha)
        refused(source, expected)


# ------------------------------------------------------------- good files


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".ppm", ".tga"])
def test_files(tmp_path: Path, suffix: str) -> None:
    pixels = noise()
    path = write(tmp_path, suffix, pixels)
    with Image.open(path) as opened:
        for source in (path, str(path), opened, Image.fromarray(pixels)):
            np.testing.assert_array_equal(writing.to_uint8(reading.load(source)), pixels)


@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    pixels = noise(4, 7)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, ".png", pixels, exif=exif)
    np.testing.assert_array_equal(writing.to_uint8(reading.load(path)), ORIENTED[orientation](pixels))


@pytest.mark.parametrize("mode", ["1", "L", "P", "HSV", "YCbCr", "CMYK", "RGBX"])
def test_modes_as_pillow_converts_them(mode: str) -> None:
    image = Image.fromarray(smooth()).convert(mode)
    np.testing.assert_array_equal(writing.to_uint8(reading.load(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA", "RGBa"])
def test_opaque_modes(mode: str) -> None:
    image = Image.fromarray(smooth()[:, :, 0]).convert("RGB" if mode.startswith("RGB") else "L")
    if mode == "RGBa":
        image = image.convert("RGBA")
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(writing.to_uint8(reading.load(image.convert(mode))), expected)


def test_lab(tmp_path: Path) -> None:
    pixels = np.full((3, 3, 3), (200, 80, 60), np.uint8)
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(pixels), srgb, lab, outputMode="LAB")
    image.save(tmp_path / "lab.tif")
    with Image.open(tmp_path / "lab.tif") as opened:
        assert opened.mode == "LAB"
    for source in (image, tmp_path / "lab.tif"):
        np.testing.assert_allclose(reading.load(source) * 255, pixels, atol=3)


def test_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 255, 255, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=1)
    assert (writing.to_uint8(reading.load(tmp_path / "p.png")) == [10, 20, 30]).all()


def test_a_transparent_colour(tmp_path: Path) -> None:
    """PNG can name one colour of an RGB or grey image as transparent."""
    pixels = np.full((1, 3, 3), (10, 20, 30), np.uint8)
    pixels[0, 2] = 255
    path = write(tmp_path, ".png", pixels, transparency=(255, 255, 255))
    assert (writing.to_uint8(reading.load(path)) == [10, 20, 30]).all()
    path = write(tmp_path, ".png", pixels[:, :, 0], transparency=255)
    assert (writing.to_uint8(reading.load(path)) == 10).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 1, 257], [30000, 40000, 65535]], np.uint16)
    image = reading.load(write(tmp_path, suffix, levels))
    np.testing.assert_allclose(image[:, :, 1], levels / 65535, atol=1e-7)


def test_16_bit_grey_in_mode_i(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 257], [30000, 40000, 65535]], ">u2")
    path = tmp_path / "grey.pgm"
    path.write_bytes(b"P5 3 2 65535\n" + levels.tobytes())
    np.testing.assert_allclose(reading.load(path)[:, :, 1], levels / 65535, atol=1e-7)


def test_16_bit_grey_big_endian(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 257], [30000, 40000, 65535]], ">u2")
    image = Image.frombytes("I;16B", (3, 2), levels.tobytes())
    image.save(tmp_path / "big.tif")
    for source in (image, tmp_path / "big.tif"):
        np.testing.assert_allclose(reading.load(source)[:, :, 1], levels / 65535, atol=1e-7)


def test_32_bit_grey() -> None:
    levels = np.array([[0, 1, 65535]], np.int32)
    np.testing.assert_allclose(reading.load(Image.fromarray(levels))[0, :, 2], [0, 1 / 65535, 1])
    refused(Image.fromarray(levels + 1), "32-bit levels such as 65536")
    refused(Image.fromarray(levels - 1), "32-bit levels such as -1:")


def test_float_grey(tmp_path: Path) -> None:
    values = np.array([[0, 0.1, 1]], np.float32)
    np.testing.assert_array_equal(reading.load(write(tmp_path, ".tif", values))[:, :, 0], values)
    np.testing.assert_allclose(reading.load(write(tmp_path, ".tif", values * 200))[:, :, 0], values)
    refused(values * 200, "0 to 200", "divide by 255")
    refused(write(tmp_path, ".tif", values * np.float32(np.nan)), "NaN")


def test_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    """A profile whose red and blue primaries are exchanged: sRGB has them the other way round."""
    profile = srgb_profile()
    rename_tag(profile, b"rXYZ", b"????")
    rename_tag(profile, b"bXYZ", b"rXYZ")
    rename_tag(profile, b"????", b"bXYZ")
    pixels = noise()
    path = write(tmp_path, ".png", pixels, icc_profile=bytes(profile))
    np.testing.assert_allclose(reading.load(path) * 255, pixels[:, :, ::-1], atol=2)
    pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    path = write(tmp_path, ".png", pixels, icc_profile=bytes(profile))
    np.testing.assert_allclose(reading.load(path) * 255, pixels[:, :, 2::-1], atol=2)


def test_grey_profile(tmp_path: Path) -> None:
    """A profile of linear grey: half the light is level 188 in sRGB."""
    profile = srgb_profile()
    profile[16:20] = b"GRAY"
    start = rename_tag(profile, b"rTRC", b"kTRC")
    profile[start : start + 12] = b"curv" + bytes(8)
    levels = np.full((2, 2), 128, np.uint8)
    for pixels in (levels, np.dstack([levels, np.full_like(levels, 255)])):
        path = write(tmp_path, ".png", pixels, icc_profile=bytes(profile))
        np.testing.assert_allclose(reading.load(path) * 255, 188, atol=1)


@pytest.mark.parametrize("kind", ["srgb", "damaged", "another colour space"])
def test_profiles_that_change_nothing(tmp_path: Path, kind: str) -> None:
    profile = srgb_profile()
    if kind == "damaged":
        profile = bytearray(b"not a profile")
    if kind == "another colour space":
        profile[16:20] = b"CMYK"
    pixels = noise()
    path = write(tmp_path, ".png", pixels, icc_profile=bytes(profile))
    np.testing.assert_array_equal(writing.to_uint8(reading.load(path)), pixels)


def test_the_first_picture_of_a_phone(tmp_path: Path) -> None:
    """MPO, a JPEG with a second picture (depth, brightness gain) behind the first, is not an animation."""
    picture, other = Image.fromarray(smooth()), Image.fromarray(255 - smooth())
    picture.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[other])
    with Image.open(tmp_path / "phone.jpg") as opened:
        assert opened.n_frames == 2
    assert abs(reading.load(tmp_path / "phone.jpg") * 255 - smooth()).mean() < 3


def test_pillow_images_are_left_alone() -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise()).convert("P").save(buffer, "PNG")
    image = Image.open(buffer)
    reading.load(image)
    assert image.mode == "P"
    np.testing.assert_array_equal(reading.load(image), reading.load(image))


def test_a_file_that_was_read_once(tmp_path: Path) -> None:
    """Its path is not looked at again."""
    pixels = noise(channels=4)
    path = write(tmp_path, ".png", pixels)
    file = reading.ImageFile.read(path, "content")
    expected = reading.load_with_alpha(path)
    path.unlink()
    for found, array in zip(reading.load_with_alpha(file), expected, strict=True):
        np.testing.assert_array_equal(found, array)
    assert (file.path, file.sha256) == (path, hashlib.sha256(file.content).hexdigest())
    grey = write(tmp_path, ".png", pixels[:, :, 0] // 8)
    file = reading.ImageFile.read(str(grey), "mask")
    np.testing.assert_array_equal(labels.load_mask(file, "mask"), labels.load_mask(grey, "mask"))
    np.testing.assert_array_equal(labels.load_indices(file, "mask").indices, labels.load_indices(grey, "mask").indices)
    with pytest.raises(PyengineError, match=re.escape(f"content {path}: not an image in a format")):
        reading.load(reading.ImageFile(path, b"no picture"), "content")


# -------------------------------------------------------------- bad files


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no such file")
    refused(str(tmp_path / "none.png"), "no such file")
    refused(tmp_path / ("n" * 300), "check the path")
    refused("nul\0l.png", "check the path")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


def test_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "image.png", "check the path")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty")


def test_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    refused(tmp_path / "text.png", "not an image", "convert it to PNG")


@needs_permissions
def test_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path, ".png", noise())
    path.chmod(0)
    refused(path, "no permission")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".ppm"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix, noise(64, 64))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(path, "truncated", "again")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "suffix",
    [
        ".bmp",
        ".dds",
        ".gif",
        ".ico",
        ".im",
        ".jp2",
        ".jpg",
        ".pcx",
        ".png",
        ".ppm",
        ".sgi",
        ".tga",
        ".tif",
        ".webp",
    ],
)
def test_damage_is_never_another_error(tmp_path: Path, suffix: str) -> None:
    """Cut anywhere or with bytes overwritten, a file loads or is refused."""
    content = write(tmp_path, suffix, noise(16, 16)).read_bytes()
    rng = np.random.default_rng(0)
    damaged = [content[:cut] for cut in np.linspace(1, len(content) - 1, 25, dtype=int)]
    for _ in range(40):
        data = bytearray(content)
        for at in rng.integers(0, min(len(data), 200), 3):
            data[at] = rng.integers(256)
        damaged.append(bytes(data))
    path = tmp_path / "damaged"
    messages = []
    for data in damaged:
        path.write_bytes(data)
        try:
            reading.load(path)
        except PyengineError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_several_frames(tmp_path: Path, suffix: str) -> None:
    others = [Image.fromarray(noise(seed=seed)) for seed in (1, 2)]
    path = write(tmp_path, suffix, noise(), save_all=True, append_images=others)
    refused(path, "3 frames", "extract one")
    with Image.open(path) as opened:
        refused(opened, "3 frames", "extract one")
        opened.seek(1)
        reading.load(opened.copy())


def test_closed_image(tmp_path: Path) -> None:
    with Image.open(write(tmp_path, ".png", noise())) as opened:
        pass
    refused(opened, "cannot be decoded")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(6, 4), (30, 30)])  # Pillow warns of the first and raises at the second
def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    path = write(tmp_path, ".png", noise(*size))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    refused(path, "more pixels than Pillow trusts", "scale it down")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert reading.load(path).shape == (*size, 3)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_with_warnings_as_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, ".png", noise(6, 4))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    refused(path, "more pixels than Pillow trusts")


# ------------------------------------------- formats that are not read


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["EPS", "PCX", "SGI", "ICO", "DDS"])
def test_only_what_the_table_names_is_tried(kind: str, tmp_path: Path) -> None:
    """Whatever a file is called."""
    path = tmp_path / "photo.png"
    path.write_bytes(POSTSCRIPT if kind == "EPS" else encoded(noise(16, 16), kind))
    refused(path, "not an image in a format that is read here: convert it to PNG or JPEG")


def test_ghostscript_is_never_called(tmp_path: Path) -> None:
    called = tmp_path / "called"
    for name in ("gs", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho $0 >>{called}\n")
        (tmp_path / name).chmod(0o755)
    path = tmp_path / "photo.png"
    path.write_bytes(POSTSCRIPT)
    code = """if True:
        import pyengine, sys
        try:
            pyengine.compare(sys.argv[1], sys.argv[1])
        except pyengine.PyengineError:
            print("refused")
    """
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.stdout, done.stderr, called.exists()) == ("refused\n", "", False)


@pytest.mark.parametrize("kind", [row for row in formats.readable() if row not in ("PSD", "AVIF")])
def test_every_format_of_the_table_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(encoded(smooth(), kind))
    assert reading.load(path).shape == (*smooth().shape[:2], 3)


def test_frames_are_counted_before_any_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, ".gif", noise(), save_all=True, append_images=[Image.fromarray(noise(seed=1))])

    def decoded(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Image.Image, "load", decoded)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    refused(path, "2 frames")


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of memory is Linux's")
def test_memory_of_a_large_picture(tmp_path: Path) -> None:
    """A GIF of 35 bytes has as many pixels as any: they are there once in float32, and once as they are decoded."""
    screen = struct.pack("<HHBBB", 4000, 4000, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"
    (tmp_path / "large.gif").write_bytes(b"GIF89a" + screen + frame)
    code = """if True:
        import resource, sys
        from pyengine.images.reading import load
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        load(sys.argv[1])
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 4000**2)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "large.gif")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) < 12 + 4 + 1  # bytes a pixel


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_libraries_say_nothing(compression: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(file, "TIFF", compression=compression)
    content = bytearray(file.getvalue())
    content[1000:1200] = b"\xff" * 200
    (tmp_path / "damaged.tif").write_bytes(content)
    with suppress(PyengineError):
        reading.load(tmp_path / "damaged.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="devices are POSIX's")
def test_a_file_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyengine.files.MOST_BYTES", 10_000_000)
    refused("/dev/zero", "cannot be read (more than 10000000 bytes)")


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX's")
def test_a_picture_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=pipe.write_bytes, args=(encoded(noise(), "PNG"),))
    thread.start()
    np.testing.assert_array_equal(writing.to_uint8(reading.load(pipe)), noise())
    thread.join()
