"""VGG-16 and VGG-19 (Simonyan and Zisserman 2014, table 1, D and E), to know them by when they are imported."""

from __future__ import annotations

from pyengine.network.architecture import COLOURS, Architecture, Layer

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""How many convolutions each block has; a pool stands between two blocks."""

CHANNELS = (64, 128, 256, 512, 512)
"""Output channels of each block's convolutions."""


def vgg(name: str) -> Architecture:
    """The architecture of a VGG, with the paper's names: relu1_1, relu1_2, relu2_1, ... behind conv1_1, conv1_2, ...

    Examples
    --------
    >>> architecture = vgg("vgg16")
    >>> len(architecture.layers), architecture["relu2_1"]
    (13, Layer(name='relu2_1', convolution='conv2_1', inputs=64, channels=128, kernel=3, pooled=True))
    """
    layers = []
    inputs = COLOURS
    for block, (count, channels) in enumerate(zip(CONVOLUTIONS[name], CHANNELS, strict=True), 1):
        for k in range(1, count + 1):
            pooled = k == 1 and block > 1
            layers.append(Layer(f"relu{block}_{k}", f"conv{block}_{k}", inputs, channels, 3, pooled))
            inputs = channels
    return Architecture(name, tuple(layers))


VGGS = {name: vgg(name) for name in CONVOLUTIONS}
"""All of them, by name."""
