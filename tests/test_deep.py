"""Pictures of more than 8 bits a value: every depth there and back, and what is refused."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest
from deep_pictures import BRIGHT, HEIGHTS, LEVELS, RANDOM, WIDE, profile, profile_attribute, raw, stored
from PIL import Image, PngImagePlugin, TiffImagePlugin

from pyengine.errors import PyengineError
from pyengine.images import formats, reading, writing
from pyengine.images.deep import PNG
from pyengine.images.encoding import Curve, Data, Depth, Display, Encoding, Linear, Log
from pyengine.images.reading import load_with_encoding
from pyengine.machine import reading_within


def refused(path: Path, *expected: str) -> None:
    with pytest.raises(PyengineError) as caught:
        reading.load(path, "content")
    message = str(caught.value)
    assert message.startswith(f"content {path}: ")
    assert "\n" not in message
    for text in expected:
        assert text in message


# ------------------------------------------------------------ there and back


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    levels = LEVELS[:, :, :channels]
    image, alpha, encoding = load_with_encoding(stored(tmp_path / f"in{suffix}", levels))
    assert (encoding.depth, encoding.grey, encoding.curve) == (16, channels == 1, Display())
    np.testing.assert_array_equal(np.round(image * 65535), levels[:, :, [0, 0, 0] if channels == 1 else [0, 1, 2]])
    pixels = image if alpha is None else np.dstack([image, alpha])
    writing.save(pixels[:, :, :1] if channels == 1 else pixels, tmp_path / f"out{suffix}", encoding)
    np.testing.assert_array_equal(raw(tmp_path / f"out{suffix}"), levels)
    assert raw(tmp_path / f"out{suffix}").dtype == np.uint16


def test_16_bits_by_hand(tmp_path: Path) -> None:
    """A PNG that no library made."""
    content = PNG
    rows = b"".join(b"\0" + row.tobytes() for row in LEVELS[:, :, :3].astype(">u2"))
    header = struct.pack(">IIBBBBB", 40, 70, 16, 2, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    (tmp_path / "hand.png").write_bytes(content)
    np.testing.assert_array_equal(np.round(reading.load(tmp_path / "hand.png") * 65535), LEVELS[:, :, :3])


def test_16_bits_of_grey_and_opacity(tmp_path: Path) -> None:
    image, alpha, encoding = load_with_encoding(stored(tmp_path / "in.png", LEVELS[:, :, 2:]))
    assert (encoding.depth, encoding.grey) == (16, True)
    assert alpha is not None
    np.testing.assert_array_equal(np.round(image * 65535), LEVELS[:, :, [2, 2, 2]])
    np.testing.assert_array_equal(np.round(alpha * 65535), LEVELS[:, :, 3])


def test_a_transparent_colour_of_16_bits(tmp_path: Path) -> None:
    content = stored(tmp_path / "in.png", LEVELS[:, :, :3]).read_bytes()
    added = io.BytesIO()
    PngImagePlugin.putchunk(added, b"tRNS", LEVELS[5, 6, :3].astype(">u2").tobytes())
    (tmp_path / "in.png").write_bytes(content[:33] + added.getvalue() + content[33:])
    alpha = reading.load_with_alpha(tmp_path / "in.png")[1]
    assert alpha is not None
    assert np.argwhere(alpha == 0).tolist() == [[5, 6]]


def test_interlaced_16_bits(tmp_path: Path) -> None:
    """Adam7, a file that OpenImageIO does not write: its passes, by hand."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    levels = LEVELS[:, :, :3].astype(">u2")
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in passes for row in levels[top::down, left::right]
    )
    content = PNG
    header = struct.pack(">IIBBBBB", 40, 70, 16, 2, 0, 0, 1)
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    (tmp_path / "hand.png").write_bytes(content)
    np.testing.assert_array_equal(np.round(reading.load(tmp_path / "hand.png") * 65535), LEVELS[:, :, :3])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_float_tiff(tmp_path: Path, channels: int) -> None:
    values = LEVELS[:, :, :channels].astype(np.float32) / 65535
    image, alpha, encoding = load_with_encoding(stored(tmp_path / "in.tif", values))
    assert (encoding.depth, encoding.grey) == ("float", channels == 1)
    assert encoding.curve == (Data() if channels == 1 else Display())
    pixels = image if alpha is None else np.dstack([image, alpha])
    writing.save(pixels[:, :, :1] if channels == 1 else pixels, tmp_path / "out.tif", encoding)
    np.testing.assert_array_equal(raw(tmp_path / "out.tif"), values)


@pytest.mark.parametrize(("name", "depth", "most"), [("out.exr", "half", 0), ("out.exr", "float", 2e-6)])
def test_linear_exr(tmp_path: Path, name: str, depth: Depth, most: float) -> None:
    """From 0 to 50: there and back to all the digits that half has, and all but the last of float's."""
    values = BRIGHT.astype(np.float16 if depth == "half" else np.float32)
    values[0, 0] = 0, 0.5, 50
    image, alpha, encoding = load_with_encoding(stored(tmp_path / "in.exr", values))
    assert alpha is None
    assert (encoding.depth, encoding.grey) == (depth, False)
    assert isinstance(encoding.curve, Log)
    assert (image.min(), image.max()) == (0, 1)
    writing.save(image, tmp_path / name, encoding)
    found = raw(tmp_path / name)
    assert found.dtype == values.dtype
    np.testing.assert_allclose(found.astype(float), values.astype(float), rtol=most, atol=most)


def test_linear_exr_within_unit(tmp_path: Path) -> None:
    """It is shown as sRGB, and is light again in an EXR."""
    values = LEVELS[:, :, :3].astype(np.float32) / 65535
    image, _, encoding = load_with_encoding(stored(tmp_path / "in.exr", values))
    assert encoding.curve == Linear()
    np.testing.assert_allclose(image, Linear().encode(values), atol=1e-6)
    writing.save(image, tmp_path / "out.exr", encoding)
    np.testing.assert_allclose(raw(tmp_path / "out.exr"), values, rtol=1e-6, atol=1e-8)
    writing.save(image, tmp_path / "out.png", encoding, depth=16)
    np.testing.assert_allclose(raw(tmp_path / "out.png") / 65535, image, atol=1e-5)


def test_light_from_a_photograph(tmp_path: Path) -> None:
    writing.save(np.full((4, 4, 3), 0.5, np.float32), tmp_path / "out.exr")
    assert raw(tmp_path / "out.exr").dtype == np.float16
    np.testing.assert_allclose(raw(tmp_path / "out.exr"), 0.2140, atol=1e-4)


def test_hdr(tmp_path: Path) -> None:
    values = BRIGHT.copy()
    values[0, 0], values[0, 1] = 0, (0.9999, 0.5, 0.0001)  # black, and what is rounded to the next exponent
    image, _, encoding = load_with_encoding(stored(tmp_path / "in.exr", values))
    writing.save(image, tmp_path / "in.hdr", encoding)
    image, _, encoding = load_with_encoding(tmp_path / "in.hdr")
    assert encoding.depth == "float"
    writing.save(image, tmp_path / "out.hdr", encoding)
    np.testing.assert_array_equal(raw(tmp_path / "out.hdr"), raw(tmp_path / "in.hdr"))
    assert (np.abs(raw(tmp_path / "out.hdr") - values) <= values.max(axis=2, keepdims=True) / 255).all()
    writing.save(image[:, :, :1], tmp_path / "grey.hdr", encoding)
    np.testing.assert_array_equal(raw(tmp_path / "grey.hdr")[:, :, 2], raw(tmp_path / "grey.hdr")[:, :, 0])


@pytest.mark.parametrize("suffix", [".exr", ".tif"])
def test_heights_of_any_range(tmp_path: Path, suffix: str) -> None:
    image, _, encoding = load_with_encoding(stored(tmp_path / f"in{suffix}", HEIGHTS))
    assert encoding.curve == Data(float(HEIGHTS.min()), float(HEIGHTS.max()))
    assert encoding.grey
    writing.save(image[:, :, :1], tmp_path / f"out{suffix}", encoding)
    np.testing.assert_allclose(raw(tmp_path / f"out{suffix}"), HEIGHTS, atol=2e-6)
    with pytest.warns(UserWarning, match=r"in 16 bits has values from 0 to 1: those from .* as in proportion"):
        writing.save(image[:, :, :1], tmp_path / "out.png", encoding, depth=16)
    np.testing.assert_allclose(raw(tmp_path / "out.png")[:, :, 0] / 65535, image[:, :, 0], atol=1e-5)


def test_data(tmp_path: Path) -> None:
    """Normals from -1 to 1, as they are stored, whatever the file says of colours."""
    normals = RANDOM.uniform(-1, 1, (70, 40, 3)).astype(np.float32)
    image, _, encoding = load_with_encoding(stored(tmp_path / "n.exr", normals), data=True)
    np.testing.assert_allclose(encoding.curve.decode(image), normals, atol=1e-6)
    wide = stored(tmp_path / "n.png", LEVELS[:, :, :3], ICCProfile=profile_attribute(WIDE))
    image, _, encoding = load_with_encoding(wide, data=True)
    np.testing.assert_array_equal(np.round(image * 65535), LEVELS[:, :, :3])
    assert encoding == Encoding(16, curve=Data())
    writing.save(image, tmp_path / "out.exr", encoding)
    np.testing.assert_array_equal(raw(tmp_path / "out.exr"), image)


def test_constant_data(tmp_path: Path) -> None:
    values = np.full((4, 4, 1), 7, np.float32)
    image, _, encoding = load_with_encoding(stored(tmp_path / "in.exr", values))
    np.testing.assert_array_equal(encoding.curve.decode(image[:, :, :1]), values)


def test_transparent_exr(tmp_path: Path) -> None:
    """Its colours are multiplied by alpha in the file, and are not here."""
    alpha = RANDOM.uniform(0.6, 1, (70, 40, 1)).astype(np.float32)
    values = np.dstack([BRIGHT * alpha, alpha])
    image, found, encoding = load_with_encoding(stored(tmp_path / "in.exr", values))
    assert found is not None
    np.testing.assert_array_equal(found, alpha[:, :, 0])
    np.testing.assert_allclose(encoding.curve.decode(image), BRIGHT, rtol=3e-6)
    writing.save(np.dstack([image, found]), tmp_path / "out.exr", encoding)
    np.testing.assert_allclose(raw(tmp_path / "out.exr"), values, rtol=3e-6)


def test_what_is_not_seen_makes_no_range(tmp_path: Path) -> None:
    values = np.ones((4, 4, 4), np.float32)
    values[0, 0] = 1, 1, 1, 1e-6
    assert load_with_encoding(stored(tmp_path / "in.exr", values))[2].curve == Linear()


def test_associated_alpha_of_a_tiff(tmp_path: Path) -> None:
    values = np.full((4, 4, 4), 0.8, np.float32)
    spec = oiio.ImageSpec(4, 4, 4, "float")
    file = oiio.ImageOutput.create(str(tmp_path / "in.tif"))
    file.open(str(tmp_path / "in.tif"), spec)
    file.write_image(values * np.float32([0.5, 0.5, 0.5, 1]))
    file.close()
    np.testing.assert_allclose(reading.load(tmp_path / "in.tif"), 0.5, atol=1e-6)


@pytest.mark.parametrize("most", [1023, 65535])
def test_deep_ppm(tmp_path: Path, most: int) -> None:
    levels = RANDOM.integers(0, most + 1, (5, 4, 3))
    (tmp_path / "in.ppm").write_bytes(b"P6\n# deep\n4 5\n%d\n" % most + levels.astype(">u2").tobytes())
    np.testing.assert_allclose(reading.load(tmp_path / "in.ppm"), levels / most, atol=1e-4)


def test_deep_jpeg_2000(tmp_path: Path) -> None:
    smooth = np.linspace(0, 65535, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint16)
    image, _, encoding = load_with_encoding(stored(tmp_path / "in.jp2", smooth))
    assert encoding.depth == 16
    assert np.abs(image * 65535 - smooth).max() < 250


# --------------------------------------------------------------- depth


@pytest.mark.parametrize(
    ("natural", "suffix", "expected"),
    [
        (8, ".png", "uint8"), (8, ".tif", "uint8"), (8, ".exr", "float16"), (8, ".hdr", "float32"),
        (16, ".png", "uint16"), (16, ".tif", "uint16"), (16, ".exr", "float32"),
        ("half", ".tif", "float32"), ("half", ".exr", "float16"), ("float", ".exr", "float32"),
    ],
)  # fmt: skip
def test_as_deep_as_it_takes(tmp_path: Path, natural: Depth, suffix: str, expected: str) -> None:
    writing.save(np.full((4, 4, 3), 0.5, np.float32), tmp_path / f"out{suffix}", Encoding(natural))
    assert raw(tmp_path / f"out{suffix}").dtype == expected


@pytest.mark.parametrize(
    ("natural", "suffix", "said"),
    [
        (16, ".jpg", "JPEG does not hold 16 bits, which the picture has: written in 8 bits"),
        ("float", ".png", "PNG does not hold float, which the picture has: written in 16 bits"),
        ("half", ".png", "PNG does not hold half, which the picture has: written in 16 bits"),
        ("half", ".webp", "WEBP does not hold half, which the picture has: written in 8 bits"),
    ],
)
def test_a_word_where_it_is_not_as_deep(tmp_path: Path, natural: Depth, suffix: str, said: str) -> None:
    with pytest.warns(UserWarning, match=said):
        writing.save(np.full((4, 4, 3), 0.5, np.float32), tmp_path / f"out{suffix}", Encoding(natural))


@pytest.mark.parametrize(
    ("name", "depth", "message"),
    [
        ("out.jpg", 16, "JPEG does not hold depth=16: give 8, or a file in .png, .tif, .tiff"),
        ("out.png", "float", "PNG does not hold depth=float: give 8 or 16, or a file in .tif, .tiff, .exr, .hdr"),
        ("out.exr", 8, "EXR does not hold depth=8: give half or float, or a file in .png, .jpg"),
        ("out.png", 12, "depth=12: choose 8, 16, 'half' or 'float'"),
        ("out.png", [16], "depth=[16]: choose 8"),
    ],
)
def test_depths_that_a_format_does_not_hold(tmp_path: Path, name: str, depth: Any, message: str) -> None:
    for refuses in (
        lambda: writing.check_output(tmp_path / name, depth),
        lambda: writing.save(np.zeros((4, 4, 3), np.float32), tmp_path / name, depth=depth),
    ):
        with pytest.raises(PyengineError) as caught:
            refuses()
        assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_8_bits_in_16(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    writing.save(levels, tmp_path / "out.png", depth=16)
    np.testing.assert_array_equal(raw(tmp_path / "out.png"), levels.astype(int) * 257)


def test_brightness_goes_into_no_half(tmp_path: Path) -> None:
    """What is more than it holds is the most that it holds."""
    writing.save(np.ones((4, 4, 3), np.float32), tmp_path / "out.exr", Encoding("half", curve=Log(0, 1e6, 0.1)))
    assert (raw(tmp_path / "out.exr") == 65504).all()


@pytest.mark.parametrize("row", formats.FORMATS, ids=lambda row: row.name)
def test_opacity(tmp_path: Path, row: formats.Format) -> None:
    pixels = np.full((16, 16, 4), 0.75, np.float32)
    path = tmp_path / f"out{row.suffixes[0]}"
    if row.carries_alpha:
        writing.save(pixels, path)
        assert np.abs(reading.load_with_alpha(path)[1] - 0.75).max() < 2e-3
    else:
        with pytest.warns(UserWarning, match=rf"{row.name} has no opacity: \.png keeps it"):
            writing.save(pixels, path)
        assert reading.load_with_alpha(path)[1] is None


# ---------------------------------------------------- what is said besides


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_of_deep_files(tmp_path: Path, suffix: str) -> None:
    for orientation in range(1, 9):
        path = stored(
            tmp_path / f"in{suffix}", LEVELS[:, :, :3], **({"Orientation": orientation} if suffix == ".tif" else {})
        )
        small = Image.fromarray((LEVELS[:, :, 0] >> 8).astype(np.uint8))
        exif = Image.Exif()
        exif[0x0112] = orientation
        if suffix == ".png":
            content, added = path.read_bytes(), io.BytesIO()
            PngImagePlugin.putchunk(added, b"eXIf", exif.tobytes()[6:])
            start = content.index(b"IDAT") - 4  # behind the one that OpenImageIO writes
            path.write_bytes(content[:start] + added.getvalue() + content[start:])
        small.save(tmp_path / "small.png", exif=exif)
        expected = reading.load(tmp_path / "small.png")[:, :, 0] * 255
        np.testing.assert_array_equal(np.floor(reading.load(path)[:, :, 0] * 65535 / 256 + 1e-3), np.round(expected))


@pytest.mark.parametrize("name", ["8.png", "16.png", "8.tif", "16.tif", "8.jpg", "half.exr"])
def test_resolution_is_kept(tmp_path: Path, name: str) -> None:
    depth: Any = name.partition(".")[0]
    writing.save(
        np.zeros((4, 4, 3), np.float32),
        tmp_path / name,
        Encoding(dpi=(300, 300)),
        depth=int(depth) if depth != "half" else depth,
    )
    dpi = load_with_encoding(tmp_path / name)[2].dpi
    assert dpi is not None
    np.testing.assert_allclose(dpi, 300, rtol=1e-4)


def test_resolution_that_makes_no_sense(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "in.png", dpi=(0, 0))
    assert load_with_encoding(tmp_path / "in.png")[2].dpi is None
    assert load_with_encoding(stored(tmp_path / "in.exr", BRIGHT))[2].dpi is None


@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.jpg", "out.webp", "out.avif", "16.png", "16.tif"])
def test_srgb_is_said(tmp_path: Path, name: str) -> None:
    depth: Depth = 16 if name.startswith("16") else 8
    writing.save(LEVELS[:, :, :3] / np.float32(65535), tmp_path / name, depth=depth)
    with Image.open(tmp_path / name) as image:
        assert image.info["icc_profile"] == writing.srgb_profile()
    writing.save(LEVELS[:, :, :1] / np.float32(65535), tmp_path / name, depth=depth)
    with Image.open(tmp_path / name) as image:
        assert "icc_profile" not in image.info or name == "out.avif" or image.mode == "RGB"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_wide_profile_is_converted_or_kept(tmp_path: Path, suffix: str) -> None:
    path = stored(tmp_path / f"in{suffix}", LEVELS[:, :, :3], ICCProfile=profile_attribute(WIDE))
    image, _, encoding = load_with_encoding(path)
    assert encoding.profile is None
    assert 0.2 < encoding.clipped < 0.9
    assert np.abs(image - LEVELS[:, :, :3] / 65535).max() > 0.1
    image, _, encoding = load_with_encoding(path, profile="keep")
    assert (encoding.profile, encoding.clipped) == (WIDE, 0)
    writing.save(image, tmp_path / f"out{suffix}", encoding)
    np.testing.assert_array_equal(raw(tmp_path / f"out{suffix}"), LEVELS[:, :, :3])
    assert load_with_encoding(tmp_path / f"out{suffix}", profile="keep")[2].profile == WIDE
    np.testing.assert_array_equal(reading.load(tmp_path / f"out{suffix}"), reading.load(path))


def test_grey_in_a_profile_of_colours_stays_in_it(tmp_path: Path) -> None:
    writing.save(LEVELS[:, :, :1] / np.float32(65535), tmp_path / "out.png", Encoding(profile=WIDE))
    with Image.open(tmp_path / "out.png") as image:
        assert (image.mode, image.info["icc_profile"]) == ("RGB", WIDE)
    grey = profile([[0.0] * 3] * 3, b"curv" + bytes(8), b"GRAY")
    writing.save(LEVELS[:, :, :1] / np.float32(65535), tmp_path / "out.png", Encoding(profile=grey))
    with Image.open(tmp_path / "out.png") as image:
        assert (image.mode, image.info["icc_profile"]) == ("L", grey)
    writing.save(LEVELS[:, :, :3] / np.float32(65535), tmp_path / "out.png", Encoding(profile=grey))
    with Image.open(tmp_path / "out.png") as image:
        assert (image.mode, image.info["icc_profile"]) == ("RGB", writing.srgb_profile())


def test_a_recipe_in_16_bits(tmp_path: Path) -> None:
    text = '{"exemplar": "Gräser 草.png"}' * 10
    writing.save(LEVELS / np.float32(65535), tmp_path / "out.png", depth=16, metadata=text)
    assert reading.read_metadata(tmp_path / "out.png") == text
    np.testing.assert_array_equal(raw(tmp_path / "out.png"), LEVELS)


@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.exr", "out.hdr"])
def test_the_same_picture_is_the_same_file(name: str) -> None:
    """There is no date in it."""
    encoding = Encoding("float" if name.endswith(("r", "f")) else 16, curve=Linear(), dpi=(72, 72))
    code = f"""if True:
        import sys, time
        import numpy as np
        from pyengine.images.encoding import Encoding, Linear
        from pyengine.images.writing import encode
        pixels = np.linspace(0, 1, 300, dtype=np.float32).reshape(10, 10, 3)
        first = bytes(encode(pixels, "{name}", Encoding({encoding.depth!r}, curve=Linear(), dpi=(72, 72))))
        time.sleep(1.1)
        assert first == bytes(encode(pixels, "{name}", Encoding({encoding.depth!r}, curve=Linear(), dpi=(72, 72))))
        assert b"20" + b"26" not in first
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# -------------------------------------------------------------- bad files


def test_not_finite(tmp_path: Path) -> None:
    for value in (np.nan, np.inf):
        values = BRIGHT.copy()
        values[3, 4, 1] = value
        refused(stored(tmp_path / "in.exr", values), "1 values are NaN or infinite")
        refused(stored(tmp_path / "in.tif", values), "1 values are NaN or infinite")


@pytest.mark.parametrize("name", ["in.png", "in.tif", "in.exr", "in.hdr"])
def test_damaged_deep_files(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    smooth = np.linspace(0, 65535, 300 * 30 * 3).reshape(300, 30, 3)
    path = stored(tmp_path / name, smooth.astype(np.uint16 if name in ("in.png", "in.tif") else np.float32))
    content = path.read_bytes()
    for cut in (len(content) // 2, 60, 12):
        path.write_bytes(content[:cut])
        refused(path)
    if name != "in.hdr":
        path.write_bytes(content[:1500] + bytes(500) + content[2000:])
        refused(path, "cannot be decoded (", "perhaps damaged or truncated: export it again")
    assert capfd.readouterr() == ("", "")


def test_several_parts(tmp_path: Path) -> None:
    path = str(tmp_path / "in.exr")
    file = oiio.ImageOutput.create(path)
    specs = [oiio.ImageSpec(8, 8, 3, "half"), oiio.ImageSpec(8, 8, 3, "half")]
    for number, spec in enumerate(specs):
        spec.attribute("oiio:subimagename", f"part {number}")
    assert file.open(path, specs)
    file.write_image(np.zeros((8, 8, 3), np.float32))
    assert file.open(path, specs[1], "AppendSubimage")
    file.write_image(np.zeros((8, 8, 3), np.float32))
    file.close()
    refused(Path(path), "several frames, pages or parts: extract one")


def test_several_pages(tmp_path: Path) -> None:
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "in.tif"), True) as appending:
        for name in ("a.tif", "b.tif"):
            stored(tmp_path / name, LEVELS[:, :, :3], compression="none")
            appending.write((tmp_path / name).read_bytes())
            appending.newFrame()
    refused(tmp_path / "in.tif", "several frames, pages or parts")


def test_an_animation_of_16_bits(tmp_path: Path) -> None:
    content = stored(tmp_path / "in.png", LEVELS[:, :, :3]).read_bytes()
    added = io.BytesIO()
    PngImagePlugin.putchunk(added, b"acTL", struct.pack(">II", 2, 0))
    (tmp_path / "in.png").write_bytes(content[:33] + added.getvalue() + content[33:])
    refused(tmp_path / "in.png", "frames or pages: extract one")


def test_layers_of_a_renderer(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(8, 8, 4, "half")
    spec.channelnames = ("A", "X", "Y", "Z")
    file = oiio.ImageOutput.create(str(tmp_path / "in.exr"))
    assert file.open(str(tmp_path / "in.exr"), spec)
    file.write_image(np.zeros((8, 8, 4), np.float32))
    file.close()
    refused(tmp_path / "in.exr", "it has the channels", "save one layer, with R, G and B, or one channel")


def test_colours_besides_other_channels(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(8, 8, 5, "half")
    spec.channelnames = ("R", "G", "B", "A", "Z")
    file = oiio.ImageOutput.create(str(tmp_path / "in.exr"))
    assert file.open(str(tmp_path / "in.exr"), spec)
    file.write_image(np.zeros((8, 8, 5), np.float32) + np.float32([0.1, 0.2, 0.3, 1, 900]))
    file.close()
    image, alpha, encoding = load_with_encoding(tmp_path / "in.exr")
    assert alpha is None
    np.testing.assert_allclose(encoding.curve.decode(image)[0, 0], [0.1, 0.2, 0.3], rtol=1e-3)


def test_a_deep_image(tmp_path: Path) -> None:
    """Of several samples a pixel."""
    path = str(tmp_path / "in.exr")
    spec = oiio.ImageSpec(2, 2, 5, "float")
    spec.channelnames, spec.deep = ("R", "G", "B", "A", "Z"), True
    data = oiio.DeepData()
    data.init(4, 5, ("float",) * 5, spec.channelnames)
    file = oiio.ImageOutput.create(path)
    assert file.open(path, spec), file.geterror()
    assert file.write_deep_image(data), file.geterror()
    file.close()
    refused(Path(path), "a deep image, of several values a pixel: flatten it")


def test_primaries_of_others(tmp_path: Path) -> None:
    kind = oiio.TypeDesc(oiio.FLOAT, oiio.SCALAR, oiio.NOSEMANTICS, 8)
    others = (0.7347, 0.2653, 0, 1, 0.0001, -0.077, 0.32168, 0.33767)
    path = stored(tmp_path / "in.exr", BRIGHT, chromaticities=(kind, np.float32(others)))
    refused(path, "its primaries are not those of sRGB (Rec. 709): convert it to linear sRGB")
    load_with_encoding(path, data=True)
    srgb = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
    reading.load(stored(tmp_path / "in.exr", BRIGHT, chromaticities=(kind, np.float32(srgb))))


def test_tables_of_16_bits(tmp_path: Path) -> None:
    tables = WIDE.replace(b"rTRC", b"A2B0")
    path = stored(tmp_path / "in.png", LEVELS[:, :, :3], ICCProfile=profile_attribute(tables))
    refused(path, "its colour profile is one of tables", "profile='keep'")
    assert load_with_encoding(path, profile="keep")[2].profile == tables


def test_memory_is_asked_for_before_it_is_taken(tmp_path: Path) -> None:
    path = stored(tmp_path / "in.exr", np.zeros((2000, 2000, 3), np.float16))
    with (
        reading_within(300e6),
        pytest.raises(PyengineError, match=r"in\.exr of 2000x2000 pixels: reading it alone takes about 0\.4 GB"),
    ):
        reading.load(path)


def test_more_pixels_than_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    refused(stored(tmp_path / "in.exr", BRIGHT), "40x70 is more pixels than Pillow trusts")


def test_without_the_library(tmp_path: Path) -> None:
    stored(tmp_path / "in.exr", BRIGHT)
    (tmp_path / "OpenImageIO.py").write_text("raise ImportError('libOpenImageIO.so: no such file')")
    code = """if True:
        import sys
        import numpy as np
        from pyengine import PyengineError
        from pyengine.images.reading import load
        from pyengine.images.writing import check_output, save
        for act in (lambda: load("in.exr"), lambda: check_output("out.png", 16), lambda: check_output("out.exr")):
            try:
                act()
            except PyengineError as error:
                print(error)
        save(np.zeros((4, 4, 3), np.uint8), "out.png")
        load("out.png")
    """
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment
    )
    why = "needs OpenImageIO, which can't be imported (libOpenImageIO.so: no such file): pip install openimageio"
    assert (done.stdout.splitlines(), done.stderr) == (
        [f"exemplar in.exr: {why}", f"out.png: {why}", f"out.exr: {why}"],
        "",
    )


def test_it_is_imported_where_it_is_needed(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "in.png")
    stored(tmp_path / "grey.png", LEVELS[:, :, :1])
    stored(tmp_path / "colours.png", LEVELS[:, :, :3])
    code = """if True:
        import sys
        import pyengine
        pyengine.synthesize("in.png", iterations=0).save("out.png")
        pyengine.synthesize("grey.png", iterations=0)
        pyengine.synthesize("colours.png", iterations=0)
        assert "OpenImageIO" not in sys.modules
        pyengine.synthesize("in.png", iterations=0).save("out.exr")
        assert "OpenImageIO" in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path / "in.exr", BRIGHT)
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    reading.load(path)
    writing.encode(BRIGHT / 50, "out.exr")
    assert not list(place.iterdir())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    refused(path, "a temporary file can't be written (No such file or directory): set TMPDIR")


def test_curves_are_all_there_are() -> None:
    for curve in Curve.__args__:
        assert hasattr(curve, "encode")
        assert hasattr(curve, "decode")
