"""Pictures made on the fly, in memory and in files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

needs_permissions = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read and write everything"
)


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
