"""The bytes that a network takes, known before it is made."""

from __future__ import annotations

import pytest
from conftest import LAYERS, VGG16

from pyengine.network.footprint import network_bytes
from pyengine.network.network import Network


@pytest.mark.parametrize("winograd", [False, True])
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("layers", [("relu4_1",), ("relu1_1", "relu3_1"), ("relu2_2", "relu1_2", "relu2_1"), LAYERS])
def test_what_networks_take_of_memory_is_known_beforehand(sessions, layers, gradient, winograd):
    """But for the borders on the way back."""
    expected = 128 * 160 * network_bytes(VGG16, layers, winograd=winograd, gradient=gradient)
    network = Network(sessions, (128, 160), layers, gradient=gradient, winograd=winograd)
    assert expected <= network.nbytes <= (1.02 if gradient else 1) * expected + 4
