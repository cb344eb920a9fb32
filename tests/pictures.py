"""Pictures made on the fly, in memory and in files."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from pyengine.errors import PyengineError, printable
from pyengine.images import reading

needs_permissions = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read and write everything"
)


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}
"""What each orientation of EXIF does to an array to show it."""


def refused(source: Any, *expected: str, load: Callable[..., Any] = reading.load) -> None:
    """The error is one line that begins with the input's name and contains what is expected."""
    with pytest.raises(PyengineError) as caught:
        load(source, "content")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("content")
    if isinstance(source, (str, os.PathLike)):
        assert printable(os.fspath(source)) in message
    for text in expected:
        assert text in message


def srgb_profile() -> bytearray:
    return bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def rename_tag(profile: bytearray, old: bytes, new: bytes) -> int:
    """Rename an entry of the profile's table of tags; returns where its data begin."""
    (count,) = struct.unpack_from(">I", profile, 128)
    for entry in range(132, 132 + 12 * count, 12):
        if profile[entry : entry + 4] == old:
            profile[entry : entry + 4] = new
            return int(struct.unpack_from(">I", profile, entry + 4)[0])
    raise AssertionError(old)


def noise(height: int = 6, width: int = 5, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height: int = 40, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.dstack([y * 255 // height, x * 255 // width, (x + y) * 255 // (height + width)]).astype(np.uint8)


def write(folder: Path, suffix: str, pixels: np.ndarray, **options: Any) -> Path:
    path = folder / f"image{suffix}"
    Image.fromarray(pixels).save(path, **options)
    return path


def picture(width: int, height: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def torn(width: int, height: int) -> np.ndarray:
    """A picture with a transparent corner."""
    image = picture(width, height, 7, 4)
    image[:, :, 3] = 255
    image[: height // 2, : width // 2, 3] = 0
    return image


def mask(width: int, height: int) -> np.ndarray:
    """White in a rectangle of a fourth of the pixels."""
    white = np.zeros((height, width), bool)
    white[height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = True
    return white


def halves(width: int, height: int, left: int = 1, right: int = 2) -> np.ndarray:
    return np.where(np.arange(width) < width // 2, left, right)[None].repeat(height, axis=0)


EXEMPLAR = picture(64, 48)
CONTENT = {"content": picture(40, 32, 1)}
REGIONS = {"exemplar_regions": halves(64, 48), "output_regions": halves(64, 48)}
TWO = {"exemplar": None, "exemplars": [EXEMPLAR, picture(20, 30)]}
SOFT = [np.full((48, 64), 0.5), np.full((48, 64), 0.25)]
RED = np.zeros((48, 64, 3), np.uint8) + np.uint8([200, 0, 0])
