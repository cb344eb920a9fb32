"""Colour profiles, held against LittleCMS and the definitions of colour spaces."""

from __future__ import annotations

import io

import numpy as np
import pytest
from deep_pictures import ADOBE, GAMMA, P3, SRGB, WIDE, parametric, profile, table
from pictures import smooth
from PIL import Image, ImageCms

from pyengine.images.profiles import Profile, srgb_profile


@pytest.mark.parametrize(
    ("matrix", "curve"),
    [
        (ADOBE, GAMMA),
        (P3, SRGB),
        (ADOBE, table(np.linspace(0, 1, 1024) ** 1.8)),
        (P3, parametric(0, 2.2)),
        (P3, parametric(1, 2.0, 1.0, 0.0)),
        (P3, parametric(2, 2.0, 0.9, 0.1, 0.0)),
        (P3, parametric(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0)),
        (P3, b"curv" + bytes(8)),
    ],
)
def test_colours_as_littlecms_has_them(matrix: list[list[float]], curve: bytes) -> None:
    """To the 8 bits of it."""
    content = profile(matrix, curve)
    found = Profile.read(content)
    assert found is not None
    assert not found.is_srgb
    colors = (0.25 + smooth().astype(np.float32) / 510).astype(np.float32)  # few of them outside sRGB
    pixels = np.round(colors * 255).astype(np.uint8)
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(content)), ImageCms.createProfile("sRGB")
    expected = np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels), source, srgb, 1))
    converted = pixels.astype(np.float32) / 255
    found.to_srgb(converted)
    np.testing.assert_allclose(converted * 255, expected, atol=1)


def test_numbers_of_display_p3() -> None:
    """Half grey stays so, and the most saturated colours of sRGB have known places in it."""
    found = Profile.read(profile(P3, SRGB))
    assert found is not None
    colors = np.float32([[[0.5, 0.5, 0.5], [0.9175, 0.2003, 0.1387], [0.4584, 0.9853, 0.2983], [0, 0, 0.9597]]])
    assert found.to_srgb(colors) == 0
    np.testing.assert_allclose(colors[0], [[0.5] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=4e-3)


def test_what_is_outside_is_counted() -> None:
    found = Profile.read(WIDE)
    assert found is not None
    colors = np.float32([[[0, 1, 0], [0.5, 0.5, 0.5], [1, 1, 1], [0.2, 0.3, 0.25]]])
    assert found.to_srgb(colors) == 0.25
    assert (colors.min(), colors.max()) == (0, 1)


def test_grey() -> None:
    found = Profile.read(profile(P3, b"curv" + bytes(8), b"GRAY"))
    assert found is not None
    assert (found.space, found.is_srgb) == ("L", False)
    levels = np.full((2, 2, 1), 0.2140, np.float32)
    assert found.to_srgb(levels) == 0
    np.testing.assert_allclose(levels, 0.5, atol=1e-3)


def test_many_profiles_are_srgb() -> None:
    hp = [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
    steps = np.linspace(0, 1, 1024)
    curve = table(np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4))
    for content in (srgb_profile(), profile(hp, SRGB), profile(hp, curve)):
        found = Profile.read(content)
        assert found is not None
        assert found.is_srgb


def test_profiles_of_tables_are_known_as_such() -> None:
    content = profile(P3, SRGB).replace(b"rTRC", b"A2B0")
    found = Profile.read(content)
    assert found is not None
    assert found.curves is None
    assert not found.is_srgb


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no profile",
        WIDE[:100],
        WIDE[:132],
        WIDE[:300],
        WIDE.replace(b"curv", b"list"),
        WIDE.replace(b"RGB ", b"CMYK"),
    ],
)
def test_damaged_profiles(content: bytes) -> None:
    assert Profile.read(content) is None


def test_srgb_is_the_same_bytes_always() -> None:
    assert srgb_profile()[24:36] == bytes(12)
    assert ImageCms.getProfileName(ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))).startswith("sRGB")
