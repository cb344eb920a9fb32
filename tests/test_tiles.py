"""How an image is cut into tiles, and the maps that a network gives of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from conftest import LAYERS, VGG16, WRAPS, ZEROS

from pyengine.network.network import Network
from pyengine.network.tiles import TiledNetwork, Tiling, margins, receptive_radius

DEEP = {"relu4_1": 0}


@pytest.mark.parametrize("alignment", [1, 4])
def test_tiles_partition_the_image(alignment):
    for size, side, wrap in product([(64, 96), (61, 101), (200, 17)], [16, 40, 128], WRAPS):
        if any(wraps and length % 8 for length, wraps in zip(size, wrap, strict=True)):
            continue
        unit = 8 * alignment
        tiling = Tiling(size, side, VGG16, DEEP, wrap=wrap, alignment=alignment)
        covered, whole = np.zeros(size, int), np.zeros((*size, 1), np.float32)
        for tile in tiling.tiles:
            (top, bottom), (left, right) = tile.core
            covered[top:bottom, left:right] += 1
            assert top % unit == left % unit == 0
            assert max(bottom - top, right - left) <= max(side, unit)
            assert all(start % unit == 0 for start in tile.start)
            tiling.add(np.ones((*tiling.region, 1), np.float32), tile, whole)
            cut = np.empty((*tiling.region, 1), np.float32)
            y, x = np.indices(size)
            tiling.cut((y * 1000.0 + x)[..., None], tile, cut)
            window = tiling.window(tile, "relu1_1")
            (a, b), (c, d) = window.here
            assert np.array_equal(cut[a:b, c:d, 0], (y * 1000.0 + x)[top:bottom, left:right])
        assert (covered == 1).all()
        assert whole.sum() == len(tiling.tiles) * tiling.region[0] * tiling.region[1]


@pytest.mark.parametrize("winograd", [False, True])
def test_the_receptive_radius_is_the_networks(sessions, winograd):
    """By what changes, to the last bit, where a pixel of the image does."""
    network = Network(sessions, (160, 160), ("relu3_1",), padding=ZEROS, gradient=False, winograd=winograd)
    image = np.random.default_rng(0).random((160, 160, 3), np.float32)
    alignment = 4 if winograd else 1
    unit, halo = margins(VGG16, {"relu3_1": 0}, alignment)
    exact, radius = (receptive_radius(VGG16, "relu3_1", alignment=a) for a in (1, alignment))
    network.forward(image)
    before = network.features["relu3_1"].copy()
    reached = exact if alignment == 1 else exact + 2  # by rounding alone
    for beyond, changes in ((reached, True), (radius + 1, False), (halo + 1, False)):
        changed = image.copy()
        changed[unit * (80 // unit) - beyond] += 10  # a row above the one where the map's pixels are looked at
        network.forward(changed)
        row = unit * (80 // unit) // 4
        assert np.array_equal(network.features["relu3_1"][:, row], before[:, row]) != changes, beyond


def test_maps_in_tiles_are_the_same_bits(sessions):
    size, layers = (416, 224), LAYERS[:8]
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    whole = Network(sessions, size, layers, gradient=False)
    whole.forward(image)
    tiled = TiledNetwork(sessions, size, 64, dict.fromkeys(layers, 0), gradient=False, channels=24)
    assert tiled.tiling.region[0] < size[0]
    for layer, found in tiled.maps(image).items():
        assert np.array_equal(found, whole.features[layer]), layer
    for first, group in tiled.channel_groups():
        assert np.array_equal(group.maps(image)["relu1_1"], whole.features["relu1_1"][first : first + 24])
