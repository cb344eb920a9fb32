"""Pictures: damaged ones of every format that is read, and headers that promise what is not there."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from pyengine.images.encoding import Encoding, Log
from pyengine.images.labels import load_flags, load_indices, load_mask
from pyengine.images.reading import load, load_with_alpha, read_metadata
from pyengine.images.writing import encode, save
from pyengine.machine import LOADED_BYTES, reading_within
from robustness.damage import Damaged, damaged
from robustness.oracle import Wrong, judged

LIMIT = LOADED_BYTES + 50 * 10**6
"""What reading may take: enough for a million pixels."""

SPARE = 30 * 10**6
"""Bytes that a decoder, its tables and the file itself may take besides."""


@cache
def whole() -> dict[str, bytes]:
    """Whole pictures: of every format and mode, with profiles, orientations and several frames."""
    colors = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    rgb = Image.fromarray(colors)
    grey = rgb.convert("L")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.profileToProfile(
        rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    rgba = Image.fromarray(np.dstack([colors, colors[:, :, 0]]))
    deep = Image.fromarray(colors[:, :, 0].astype(np.uint16) * 257)
    frames: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90)]}
    made: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (rgb, "PNG", {}), (rgba, "PNG", {}), (grey, "PNG", {}), (deep, "PNG", {}), (rgb.convert("1"), "PNG", {}),
        (grey.convert("LA"), "PNG", {}), (rgb.convert("P"), "PNG", {"transparency": 3}), (rgb, "PNG", {"exif": exif}),
        (rgb, "PNG", {"icc_profile": profile}), (rgb, "PNG", frames),
        (rgb, "JPEG", {}), (grey, "JPEG", {}), (rgb, "JPEG", {"progressive": True}), (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "JPEG", {"exif": exif, "icc_profile": profile}),
        (rgb, "TIFF", {}), (rgb, "TIFF", {"compression": "tiff_adobe_deflate"}), (rgba, "TIFF", {}),
        (rgb, "TIFF", {"compression": "jpeg"}), (rgb.convert("1"), "TIFF", {"compression": "group4"}),
        (rgb.convert("CMYK"), "TIFF", {"compression": "tiff_lzw"}), (lab, "TIFF", {}), (deep, "TIFF", {}),
        (Image.fromarray(colors[:, :, 0].astype(np.float32) / 255), "TIFF", {}),
        (Image.fromarray(colors[:, :, 0].astype(np.int32)), "TIFF", {}), (rgb, "TIFF", frames),
        (rgb, "WEBP", {}), (rgba, "WEBP", {"lossless": True}), (rgb, "WEBP", {"exif": exif}), (rgb, "WEBP", frames),
        (rgb, "GIF", {}), (rgb, "GIF", frames), (rgb, "BMP", {}), (rgb.convert("P"), "BMP", {}), (rgb, "PPM", {}),
        (grey, "PPM", {}), (rgb, "TGA", {}), (rgba, "TGA", {"compression": "tga_rle"}), (rgb, "MPO", frames),
    ]  # fmt: skip
    if features.check("jpg_2000"):
        made += [(rgb, "JPEG2000", {}), (rgba, "JPEG2000", {"irreversible": True})]
    if features.check("avif"):
        made += [(rgb, "AVIF", {}), (rgba, "AVIF", {})]
    files = {"PSD": psd(20, 24, 8) + bytes(12) + bytes(2) + bytes(24 * 20 * 3)}
    values = np.dstack([colors, colors[:, :, 0]]).astype(np.float32) / 255
    bright = Encoding("float", curve=Log(0, 50, 0.01), dpi=(72, 72))
    for name, depth in (("16.png", 16), ("16.tif", 16), ("f.tif", "float"), ("h.exr", "half"), ("f.exr", "float")):
        for channels in (1, 3, 4):
            written = encode(values[:, :, :channels], name, Encoding(profile=profile), depth=depth)
            files[f"{channels} channels in {name}"] = bytes(written)
    files["16.ppm"] = b"P6 20 24 65535\n" + (colors.astype(">u2") * 257).tobytes()
    files |= {name: bytes(encode(values[:, :, :3], name, bright)) for name in ("bright.hdr", "bright.exr")}
    for number, (image, form, options) in enumerate(made):
        file = io.BytesIO()
        image.save(file, form, **options)
        files[f"{number} {form} {image.mode} {' '.join(options)}"] = file.getvalue()
    return files


# ------------------------------------------------------------------ headers


def png(width: int, height: int, depth: int) -> bytes:
    chunks = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width % 2**32, height % 2**32, depth % 256, 2, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(3000))), (b"IEND", b"")):
        chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return chunks


def gif(width: int, height: int, depth: int) -> bytes:
    screen = struct.pack("<HHBBB", width % 2**16, height % 2**16, 0xF0 | depth % 8, 0, 0)
    frame = struct.pack("<HHHHB", 0, 0, width % 2**16, height % 2**16, 0)
    return b"GIF89a" + screen + bytes(3 * 2 ** (depth % 8 + 1)) + b"," + frame + b"\x02\x02D\x01\x00;"


def bmp(width: int, height: int, depth: int) -> bytes:
    info = struct.pack("<IIIHHIIIIII", 40, width % 2**32, height % 2**32, 1, depth % 2**16, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 300, 0, 0, 54) + info + bytes(300)


def ppm(width: int, height: int, depth: int) -> bytes:
    return b"P%d %d %d %d\n" % (depth % 8, width, height, 255) + bytes(300)


def tga(width: int, height: int, depth: int) -> bytes:
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, width % 2**16, height % 2**16, depth % 256, 0) + bytes(
        300
    )


def psd(width: int, height: int, depth: int) -> bytes:
    return struct.pack(">4sH6sHIIHH", b"8BPS", 1, bytes(6), 3, height % 2**32, width % 2**32, depth % 2**16, 3)


def jpeg(width: int, height: int, depth: int) -> bytes:
    size = struct.pack(">BHHB", depth % 256, height % 2**16, width % 2**16, 3) + b"\x01\x11\0\x02\x11\0\x03\x11\0"
    frame = b"\xff\xc0" + struct.pack(">H", len(size) + 2) + size
    return b"\xff\xd8" + frame + b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0" + bytes(300) + b"\xff\xd9"


def tiff(width: int, height: int, depth: int) -> bytes:
    long, short = 4, 3
    tags = [
        (256, long, width % 2**32), (257, long, height % 2**32), (258, short, depth % 2**16), (259, short, 1),
        (262, short, 1), (273, long, 200), (277, short, 1), (278, long, height % 2**32),
        (279, long, width * height % 2**32),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(200, b"\0") + bytes(300)


def webp(width: int, height: int, depth: int) -> bytes:
    size = struct.pack("<I", width % 2**24)[:3] + struct.pack("<I", height % 2**24)[:3]
    chunks = b"WEBPVP8X" + struct.pack("<IB3s", 10, depth % 256, bytes(3)) + size
    chunks += b"VP8L" + struct.pack("<IBI", 17, 0x2F, (width % 2**14) | (height % 2**14) << 14) + bytes(13)
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def jpeg2000(width: int, height: int, depth: int) -> bytes:
    width, height = width % 2**32, height % 2**32
    size = struct.pack(">HHIIIIIIIIH", 41, 0, width, height, 0, 0, width, height, 0, 0, 1) + bytes([depth % 256, 1, 1])
    return b"\xff\x4f\xff\x51" + size + bytes(300)


def exr(width: int, height: int, depth: int) -> bytes:
    def attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<I", len(value)) + value

    channels = b"".join(name + struct.pack("<IB3xII", depth % 4, 0, 1, 1) for name in (b"B\0", b"G\0", b"R\0"))
    window = struct.pack("<IIII", 0, 0, (width - 1) % 2**32, (height - 1) % 2**32)
    return (
        b"\x76\x2f\x31\x01\x02\0\0\0"
        + attribute(b"channels", b"chlist", channels + b"\0")
        + attribute(b"compression", b"compression", bytes([depth % 10]))
        + attribute(b"dataWindow", b"box2i", window)
        + attribute(b"displayWindow", b"box2i", window)
        + attribute(b"lineOrder", b"lineOrder", b"\0")
        + attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
        + attribute(b"screenWindowCenter", b"v2f", bytes(8))
        + attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1))
        + bytes(301)
    )


def hdr(width: int, height: int, depth: int) -> bytes:
    return b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (height, width) + bytes([2, 2, 0, depth]) * 75


HEADERS: tuple[Callable[[int, int, int], bytes], ...] = (
    png, gif, bmp, ppm, tga, psd, jpeg, tiff, webp, jpeg2000, exr, hdr
)  # fmt: skip


@dataclass(frozen=True)
class Claimed:
    """A header by itself, which claims a size and a depth."""

    name: str
    width: int
    height: int
    depth: int

    @property
    def content(self) -> bytes:
        header: Callable[[int, int, int], bytes] = globals()[self.name]
        return header(self.width, self.height, self.depth)


sides = st.sampled_from(
    [-1, 0, 1, 15, 16, 255, 1000, 5000, 9000, 16383, 32767, 65500, 65535, 10**6, 2**24 - 1, 2**31 - 1]
)
claimed = st.builds(
    Claimed, st.sampled_from([header.__name__ for header in HEADERS]), sides, sides, st.integers(0, 33) | st.just(255)
)

# ------------------------------------------------------------------ reading

READERS: dict[str, Callable[[Path], Any]] = {
    "load": load,
    "load_with_alpha": load_with_alpha,
    "load_mask": partial(load_mask, name="mask"),
    "load_flags": partial(load_flags, name="fill"),
    "load_indices": partial(load_indices, name="layout"),
    "read_metadata": read_metadata,
}

inputs = st.deferred(lambda: st.tuples(st.sampled_from([*READERS]), damaged(whole()) | damaged(whole()) | claimed))


def act(value: tuple[str, Damaged | Claimed], folder: Path) -> None:
    """Read a picture, and look at what was read."""
    reader, picture = value
    path = folder / "picture.png"  # by which nothing is to be told
    path.write_bytes(picture.content)
    with judged(LIMIT - LOADED_BYTES + SPARE, folder), reading_within(LIMIT):
        found = READERS[reader](path)
        if reader == "load":
            check_image(found)
            save((found[:64, :64] * 255).astype(np.uint8), folder / "again.png")
            (folder / "again.png").unlink()


def check_image(image: np.ndarray) -> None:
    """Raise `Wrong` for what is no image of the engine's kind."""
    right = image.dtype == np.float32 and image.ndim == 3 and image.shape[2] == 3 and image.size
    if not (right and image.min() >= 0 and image.max() <= 1):  # NaN is neither
        raise Wrong(f"no image: {image.dtype} {image.shape}")
