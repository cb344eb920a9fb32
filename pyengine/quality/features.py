"""Whether a transfer looks like its style and shows its content to a network: the one that comes with pyengine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from pyengine.arrays import Float32
from pyengine.images.resampling import resize
from pyengine.quality.checks import SHORTEST_SIDE, check_size
from pyengine.quality.distributions import sliced_distance

if TYPE_CHECKING:
    from pyengine.network.network import ModelSessions

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2")
"""What styles are compared on: the scales that a synthesis matches by default, each one convolution behind the layer
that it matches there, so that what is only right on the layers that are matched is found out."""

SHAPES_LAYER = "relu4_2"
"""What contents are compared on: the deepest, which sees things rather than strokes."""

LONGEST = 512
"""Pixels on a side of what the network sees at a time: no more memory is taken for a larger picture."""

FEATURES = 2**14
"""Positions of a picture that are compared on a layer, at most: quantiles of so many are 1 % off."""

POSITIONS = 1024
"""Positions of a picture that are compared with each other, at most: as many as Kolkin et al. take."""

ALIKE = 1e-3
"""Added to cosine distances, which are 0.3 and more between things, so that rounding is nothing on a flat picture."""


def style_distance(style: Float32, image: Float32) -> float:
    """How far the features of an image are from those of a style, wherever they lie; 0 for the same picture.

    The sliced Wasserstein distance of the feature maps relu1_2, relu2_2, relu3_2 and relu4_2 of the model "vgg16", on
    an average: on random directions, by quantiles, in units of the style's deviation there, as `patch_distance` has
    it. What `pyengine.synthesize` matches by default is on other layers. Of a map, 16384 positions are compared, drawn
    at random.

    Parameters
    ----------
    style, image : float32 (H, W, 3) in [0, 1]
        They may have any sizes, but must have one scale.

    Raises
    ------
    PyengineError
        A side of an image is shorter than 16 pixels.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((64, 64, 3), np.float32)
    >>> style_distance(image, image)
    0.0
    >>> style_distance(image, 0.5 * image) > style_distance(image, image[::-1])
    True
    """
    check_size(style, "style")
    check_size(image, "image")
    expected, found = (_sampled(x) for x in (style, image))
    generator = np.random.default_rng(0)
    return float(np.mean([sliced_distance(expected[layer], found[layer], generator) for layer in STYLE_LAYERS]))


def self_similarity_distance(content: Float32, image: Float32) -> float:
    """How much of what is like what in a content is not so in an image; 0 for the content itself.

    The content loss of Kolkin et al. 2019 (arXiv 1904.12785), times the number of positions, so that it does not
    depend on it: the cosine distances between the features at all pairs of positions, each divided by the sum over its
    column, are compared by the mean of the sums of the columns' absolute differences. The features are relu4_2's of the
    model "vgg16", at 1024 positions at most, drawn at random, of pictures that are reduced to 512 pixels on the longer
    side where they have more.

    Parameters
    ----------
    content, image : float32 (H, W, 3) in [0, 1]
        The content is scaled to the image's size.

    Raises
    ------
    PyengineError
        A side of an image is shorter than 16 pixels.

    Examples
    --------
    >>> picture = np.kron(np.eye(8, dtype=np.float32), np.ones((8, 8), np.float32))[:, :, None].repeat(3, axis=2)
    >>> self_similarity_distance(picture, picture)
    0.0
    >>> self_similarity_distance(picture, 0.5 * picture) < self_similarity_distance(picture, picture[::-1])
    True
    """
    check_size(content, "content")
    check_size(image, "image")
    height, width = image.shape[:2]
    scale = min(1.0, max(LONGEST / max(height, width), SHORTEST_SIDE / min(height, width)))
    size = round(scale * width), round(scale * height)
    expected, found = (_features(resize(x, size), (SHAPES_LAYER,))[SHAPES_LAYER] for x in (content, image))
    chosen = np.random.default_rng(0).permutation(len(found))[:POSITIONS]
    return float(np.abs(_shares(expected[chosen]) - _shares(found[chosen])).sum(axis=0).mean())


def _shares(features: Float32) -> Float32:
    """Cosine distances between features (N, C), each as its share of the sum of its column: (N, N)."""
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    distances = np.maximum(1 - directions @ directions.T, 0) + np.float32(ALIKE)
    shares: Float32 = distances / distances.sum(axis=0)
    return shares


@cache
def _sessions() -> ModelSessions:
    from pyengine.kernels.cpu import CpuKernels
    from pyengine.machine import default_threads
    from pyengine.network.modelfile import load
    from pyengine.network.network import ModelSessions
    from pyengine.network.sessions import Provider

    threads = default_threads()
    return ModelSessions(load("vgg16"), CpuKernels(threads), Provider(), threads=threads)


def _features(image: Float32, layers: tuple[str, ...]) -> dict[str, Float32]:
    """The features at all positions of some layers, of an image's own reflection beyond its border: (N, C) each."""
    from pyengine.network.graphs import Padding
    from pyengine.network.network import Network

    network = Network(_sessions(), image.shape[:2], layers, padding=Padding("reflect", "reflect"), gradient=False)
    network.forward(np.ascontiguousarray(image))
    return {layer: network.features[layer].reshape(len(network.features[layer]), -1).T for layer in layers}


def _sampled(image: Float32) -> dict[str, Float32]:
    """Features at some positions of each of `STYLE_LAYERS`, of pieces that the network sees one after the other."""
    generator = np.random.default_rng(0)
    pieces = [piece for rows in _cut(image, 0) for piece in _cut(rows, 1)]
    samples: dict[str, list[Float32]] = {layer: [] for layer in STYLE_LAYERS}
    for piece in pieces:
        for layer, features in _features(piece, STYLE_LAYERS).items():
            samples[layer].append(features[generator.permutation(len(features))[: FEATURES // len(pieces)]])
    return {layer: np.concatenate(parts) for layer, parts in samples.items()}


def _cut(image: Float32, axis: int) -> Sequence[Float32]:
    return np.array_split(image, -(-image.shape[axis] // LONGEST), axis)
