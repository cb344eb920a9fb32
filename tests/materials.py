"""Materials made on the fly: maps that go together as those of a surface do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

STEEP = 4.0
"""How steep the surface is, whose height is 0 to 1."""


def heights(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Bumps (H, W) of a few pixels, 0 to 1."""
    noise = np.random.default_rng(seed).normal(size=(height + 16, width + 16))
    bumps = gaussian_filter(noise, 2.0)[8:-8, 8:-8]  # no edge effects at the borders
    return ((bumps - bumps.min()) / np.ptp(bumps)).astype(np.float32)


def normals(surface: np.ndarray, *, down: bool = False) -> np.ndarray:
    """Those of heights (H, W), as OpenGL has them or, with the second part down, as DirectX: (H, W, 3), 0 for -1."""
    below, right = np.gradient(surface.astype(np.float64) * STEEP)
    vectors = np.dstack([-right, -below if down else below, np.ones(surface.shape)])
    return (vectors / np.linalg.norm(vectors, axis=2, keepdims=True) / 2 + 0.5).astype(np.float32)


def material(width: int = 64, height: int = 48, seed: int = 0, *, down: bool = False) -> dict[str, np.ndarray]:
    """What is high is bright and smooth."""
    surface = heights(width, height, seed)
    noise = np.random.default_rng(seed + 1).random((height, width, 1), np.float32)
    albedo = (0.2 + 0.5 * surface[:, :, None] + 0.1 * noise) * np.float32([1, 0.8, 0.5])
    return {
        "albedo": albedo.astype(np.float32),
        "normal": normals(surface, down=down),
        "height": surface,
        "roughness": (0.9 - 0.6 * surface).astype(np.float32),
    }


def lean(made: dict[str, np.ndarray], *, down: bool = False) -> tuple[float, float]:
    """How well normals go with the heights' slopes, to the right and down: 1 if they are the heights' own."""
    own = normals(made["height"], down=down)
    return tuple(
        float(np.corrcoef(own[2:-2, 2:-2, k].ravel(), made["normal"][2:-2, 2:-2, k].ravel())[0, 1]) for k in (0, 1)
    )


def as_files(folder: Path, maps: dict[str, np.ndarray], stem: str = "rock", suffix: str = ".png") -> dict[str, Path]:
    """The maps, written by name in 8 bits."""
    paths = {name: folder / f"{stem}_{name}{suffix}" for name in maps}
    for name, path in paths.items():
        Image.fromarray((255 * maps[name]).round().astype(np.uint8)).save(path)
    return paths
