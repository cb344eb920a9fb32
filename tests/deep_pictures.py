"""Pictures of 16 bits and of floating-point numbers, and colour profiles, as others write them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio

from pyengine.images.profiles import srgb_profile

RANDOM = np.random.default_rng(0)
LEVELS = RANDOM.integers(0, 65536, (70, 40, 4), np.uint16)
LEVELS[:, :, 3] = np.maximum(LEVELS[:, :, 3], 40000)  # its colour counts
HEIGHTS = RANDOM.normal(3, 5, (70, 40, 1)).astype(np.float32)
BRIGHT = (10 ** RANDOM.uniform(-3, np.log10(50), (70, 40, 3))).astype(np.float32)


def stored(path: Path, values: np.ndarray, **attributes: Any) -> Path:
    """Write a file by OpenImageIO, as others do."""
    height, width, channels = values.shape
    spec = oiio.ImageSpec(width, height, channels, {"u2": "uint16", "f2": "half", "f4": "float"}[values.dtype.str[1:]])
    spec.attribute("oiio:UnassociatedAlpha", 1)
    for name, value in attributes.items():
        if isinstance(value, tuple):
            spec.attribute(name, *value)
        else:
            spec.attribute(name, value)
    file = oiio.ImageOutput.create(str(path))
    assert file.open(str(path), spec), file.geterror()
    assert file.write_image(np.ascontiguousarray(values)), file.geterror()
    assert file.close()
    return path


def raw(path: Path) -> np.ndarray:
    """What is in a file, as OpenImageIO has it."""
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)
    file = oiio.ImageInput.open(str(path), config)
    assert file, oiio.geterror()
    spec = file.spec()
    array = file.read_image(0, 0, 0, spec.nchannels, spec.format)
    file.close()
    return np.asarray(array).reshape(spec.height, spec.width, spec.nchannels)


def profile_attribute(content: bytes) -> tuple[Any, ...]:
    kind = oiio.TypeDesc(oiio.UINT8, oiio.SCALAR, oiio.NOSEMANTICS, len(content))
    return kind, np.frombuffer(content, np.uint8)


P3 = [[0.515102, 0.291965, 0.157153], [0.241182, 0.692236, 0.066582], [-0.001049, 0.041882, 0.784378]]
ADOBE = [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
"""Primaries of Display P3 and of Adobe RGB, adapted to D50: rows are X, Y and Z."""


def parametric(kind: int, *numbers: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + b"".join(number_of(n) for n in numbers)


def number_of(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def table(values: np.ndarray) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + np.round(values * 65535).astype(">u2").tobytes()


GAMMA = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.19921875 * 256))
SRGB = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(matrix: list[list[float]], curve: bytes, space: bytes = b"RGB ") -> bytes:
    tags = {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve} if space == b"RGB " else {b"kTRC": curve}
    tags[b"wtpt"] = b"XYZ " + bytes(4) + number_of(0.9642) + number_of(1) + number_of(0.8249)
    for column, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ")):
        tags[name] = b"XYZ " + bytes(4) + b"".join(number_of(row[column]) for row in matrix)
    content, entries = b"", b""
    for name, data in tags.items():
        entries += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(content), len(data))
        content += data.ljust(len(data) + -len(data) % 4, b"\0")
    header = bytearray(srgb_profile()[:128])
    header[8:12], header[16:20] = b"\x02\x40\0\0", space
    whole = bytes(header) + struct.pack(">I", len(tags)) + entries + content
    return struct.pack(">I", len(whole)) + whole[4:]


WIDE = profile(ADOBE, GAMMA)
