"""How good a texture is, by figures that the engine does not optimise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np

from pyengine.checks import check_choice, names_checked
from pyengine.errors import PyengineError
from pyengine.images.labels import load_mask
from pyengine.images.reading import Source, load, load_alike
from pyengine.images.resampling import resize
from pyengine.inputs import seamless_band, style_sizes
from pyengine.quality.copies import copied
from pyengine.quality.distributions import drift, patch_distance
from pyengine.quality.features import self_similarity_distance, style_distance
from pyengine.quality.layouts import layout_similarity
from pyengine.quality.order import order
from pyengine.quality.patches import realism
from pyengine.quality.seams import edge_ratio, seam_ratio
from pyengine.wrap import Axes

FORMATS = {
    "patch_distance": ".3f",
    "brightness_drift": ".1f",
    "contrast_drift": ".1f",
    "realism": ".1f",
    "left_out": ".1f",
    "order": ".2f",
    "copied": ".1%",
    "copied_layout": ".1%",
    "seam_ratio_x": ".2f",
    "seam_ratio_y": ".2f",
    "edge_ratio": ".2f",
    "style_distance": ".3f",
    "layout_similarity": ".2f",
    "self_similarity_distance": ".3f",
}
"""The figures, and how they are shown."""

TRANSFERS = ("style_distance", "layout_similarity", "self_similarity_distance")
"""The figures that only transfers have."""

LAYOUT = 4
"""How many times smaller the pictures are in which only the layout is left."""


@dataclass(frozen=True)
class Comparison:
    """How much an image looks like an exemplar. See `compare`.

    Attributes
    ----------
    patch_distance : float
        0 for the same patches, some 0.5 for noise. See `patch_distance`.
    brightness_drift, contrast_drift : float
        In levels of 255. See `drift`.
    realism, left_out : float
        How far the image's patches are from the exemplar's nearest, and the exemplar's from the image's, in levels of
        255: 0 for a copy. See `realism`.
    order : float or None
        1 for all of the exemplar's long-range order, 0 for none; None where it has none. See `order`.
    copied, copied_layout : float or None
        The share that stands in the exemplar as it is, and that at a quarter of the size; None where a side has less
        than 24 pixels, or 96. See `copied`.
    seam_ratio_x, seam_ratio_y : float
        The image's alone: above 1, there is a seam where left and right meet, or top and bottom. See `seam_ratio`.
    edge_ratio : float or None
        The same of a mask's edge; None without a mask. See `edge_ratio`.
    style_distance : float or None
        How far its features are from the style's, on layers that are not matched: 0 for the same. Default: None, as
        without a content. See `style_distance`.
    layout_similarity : float or None
        How much of the content's outlines is left: 1 for all, 0 for none. Default: None, as without a content. See
        `layout_similarity`.
    self_similarity_distance : float or None
        How much of what is alike in the content is not so in the image: 0 for the content itself. Default: None, as
        without a content. See `self_similarity_distance`.
    """

    patch_distance: float
    brightness_drift: float
    contrast_drift: float
    realism: float
    left_out: float
    order: float | None
    copied: float | None
    copied_layout: float | None
    seam_ratio_x: float
    seam_ratio_y: float
    edge_ratio: float | None
    style_distance: float | None = None
    layout_similarity: float | None = None
    self_similarity_distance: float | None = None

    def shown(self) -> dict[str, str]:
        """The figures by their names for the eye; "-" is one that there is not.

        Examples
        --------
        >>> Comparison(0.1, 2.0, 3.0, 4.0, 5.0, None, 0.0625, 0.5, 0.75, 1.0, None).shown()
        {'patch distance': '0.100', ..., 'order': '-', 'copied': '6.2%', ..., 'seam ratio x': '0.75', ...}
        """
        figures = asdict(self)
        return {
            name.replace("_", " "): "-" if figures[name] is None else format(figures[name], form)
            for name, form in FORMATS.items()
        }


@names_checked
def compare(
    exemplar: Source,
    image: Source,
    *,
    mask: Source | None = None,
    seamless: Axes | None = None,
    content: Source | None = None,
) -> Comparison:
    """Measure how much an image looks like an exemplar, by figures that the synthesis does not optimise.

    - The patch distance is the sliced Wasserstein distance (Rabin et al. 2012) of all 7x7 patches over a pyramid, after
      Karras et al. 2018 (arXiv 1710.10196, sec. 5): 0 for the same patches.
    - Brightness and contrast drift are the Wasserstein-1 distances, in levels of 255, of the mean luminances (ITU-R
      BT.601) of blocks of 32x32 pixels, and of their deviations: they put in numbers the instability that Risser et al.
      2017 (arXiv 1701.08893, sec. 4.2) show in pictures. A figure of our own.
    - Realism is the mean distance, in levels of 255, from the image's 15x15 patches to the exemplar's nearest, over
      three scales: what is deformed, blurred or blended has none near. What is left out is the same from the exemplar's
      patches to the image's. They are the coherence and completeness of Simakov et al. 2008.
    - Order is how much recurs at the exemplar's distances: the peaks of its autocorrelation that are found again in the
      image's, from 0 to 1. A figure of our own.
    - Copied is the share of the image, in pieces of 24x24 pixels and more, that stands in the exemplar as it is, within
      4 levels; copied_layout is the same of both at a quarter of the size. Figures of our own.
    - The seam ratios are the mean step across the border to the sharpest inside: above 1, the image does not tile, side
      by side (x) or one above the other (y). The edge ratio is the same of the edge of a mask: above 1, what was made
      again shows there. Figures of our own.
    - Of a transfer, the style distance is the sliced Wasserstein distance of features on layers of the network that the
      losses do not match: 0 for the same. The layout similarity is the correlation of the content's and the image's
      edges at a quarter of the size: 1 for all of the content's outlines. A figure of our own. The self-similarity
      distance is the content loss of Kolkin et al. 2019 (arXiv 1904.12785): 0 where what is alike in the content
      is alike in the image, and what differs differs as much.

    It takes some seconds at 256x256 pixels, and longer as the product of the two areas grows.

    Parameters
    ----------
    exemplar, image : path, PIL image, or array
        Anything that `pyengine.synthesize` takes; of any sizes from 16x16 pixels, but of one scale.
    mask : mask, optional
        Where the image was made again, as by `fill`: what is white on a grey image of its size. Default: None, no edge
        is measured.
    seamless : {"x", "y", "xy"}, optional
        Take for a mask the band that this argument of `pyengine.synthesize` makes again. Default: None, there is none.
    content : path, PIL image, or array, optional
        The picture that the image shows in the exemplar's style; it is scaled to the image's size. An exemplar of more
        pixels than the image is reduced to as many first, as in a transfer. Default: None, the image is a texture.

    Returns
    -------
    Comparison

    Raises
    ------
    PyengineError
        An image that can't be read, or with a side shorter than 16 pixels; a mask of another size, or without an edge.

    Examples
    --------
    >>> grey = np.full((64, 64, 3), 100, np.uint8)
    >>> compare(grey, grey + np.uint8(10))
    Comparison(patch_distance=..., brightness_drift=10.0, contrast_drift=0.0, realism=10.0, left_out=10.0, order=None,
        copied=0.0, copied_layout=None, seam_ratio_x=0.0, seam_ratio_y=0.0, edge_ratio=None, ...)
    """
    if seamless is not None:
        check_choice("seamless", seamless, get_args(Axes))
        if mask is not None:
            raise PyengineError("mask and seamless: give one of them, an edge is measured of one")
    expected, found = load_alike((exemplar, "exemplar"), (image, "image"))
    transfer = {}
    if content is not None:
        shown = load(content, "content")
        (seen,) = style_sizes([expected.shape[1::-1]], 1.0, found.shape[1::-1], transfer=True)
        expected = resize(expected, seen)
        transfer = {
            "style_distance": style_distance(expected, found),
            "layout_similarity": layout_similarity(shown, found),
            "self_similarity_distance": self_similarity_distance(shown, found),
        }
    edge = None
    if seamless is not None:
        edge = edge_ratio(found, seamless_band(found.shape[:2], seamless).astype(np.float32))
    elif mask is not None:
        edge = edge_ratio(found, load_mask(mask, "mask"))
    brightness, contrast = drift(expected, found)
    layouts = [resize(x, (max(x.shape[1] // LAYOUT, 1), max(x.shape[0] // LAYOUT, 1))) for x in (expected, found)]
    return Comparison(
        patch_distance(expected, found),
        brightness,
        contrast,
        realism(expected, found),
        realism(found, expected),
        order(expected, found),
        copied(expected, found),
        copied(*layouts),
        seam_ratio(found, "x"),
        seam_ratio(found, "y"),
        edge,
        **transfer,
    )
