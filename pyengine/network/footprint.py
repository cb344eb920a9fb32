"""What a network's arrays take of memory, known before they are made."""

from __future__ import annotations

from collections.abc import Collection

from pyengine.network.architecture import Architecture

IMAGE_BYTES = 12
"""Bytes of an image for each of its pixels: three channels of float32."""

MASK_BITS = 32
"""The numbers of a feature map whose masks take as much as one of them (see csrc/mask.hpp)."""


def map_bytes(architecture: Architecture, layer: str) -> float:
    """Bytes of a feature map, for each pixel of the image.

    Examples
    --------
    >>> from pyengine.network.modelfile import load
    >>> map_bytes(load("vgg16").architecture, "relu2_1")  # 128 channels, a quarter of the pixels
    128.0
    """
    return 4 * architecture[layer].channels / float(4 ** architecture.pools(layer))


def network_bytes(architecture: Architecture, wanted: Collection[str], *, winograd: bool, gradient: bool) -> float:
    """Bytes of a network's arrays, for each pixel of the image; see `Network`, whose `nbytes` it foretells.

    Parameters
    ----------
    architecture : Architecture
    wanted : collection of str
        The feature maps given out.
    winograd : bool
        Whether convolutions are Winograd's, which give out bits in the place of maps that are not wanted.
    gradient : bool
        Whether there is a way back.

    Examples
    --------
    >>> from pyengine.network.modelfile import load
    >>> vgg = load("vgg16").architecture
    >>> network_bytes(vgg, ["relu1_1", "relu2_1"], winograd=True, gradient=False)  # both maps, and the image
    396.0
    >>> network_bytes(vgg, ["relu1_1", "relu2_1"], winograd=True, gradient=True)  # bits of relu1_2, twice 64 channels
    928.0
    """
    if not gradient:
        return IMAGE_BYTES + sum(map_bytes(architecture, layer) for layer in wanted)
    used = architecture.up_to(architecture.deepest(wanted))
    # The image and its gradient; and what goes in and out of the convolutions on the way back.
    total = 2.0 * (IMAGE_BYTES + max(map_bytes(used, layer) for layer in used.names))
    for layer in used.layers:
        own = map_bytes(used, layer.name)
        if layer.name not in wanted:
            total += own / (MASK_BITS if winograd and layer.kernel == 3 else 1)
        elif used.pool_follows(layer.name):
            total += 2 * own  # a gradient of its own
        else:
            total += own
    return total
