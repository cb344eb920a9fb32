"""One call from an exemplar to an image."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyengine.devices import Precision
from pyengine.engine import Engine
from pyengine.images.reading import Source
from pyengine.recipe import Options
from pyengine.result import Progress, Result

if TYPE_CHECKING:
    from typing_extensions import Unpack


def synthesize(
    exemplar: Source | None = None,
    *,
    device: str = "auto",
    model: str | os.PathLike[str] = "vgg16",
    threads: int | None = None,
    precision: Precision | None = None,
    memory_limit: int | None = None,
    callback: Callable[[Progress], None] | None = None,
    **options: Unpack[Options],
) -> Result:
    """Synthesise an image that looks like the exemplar: a texture, a picture in its style, a layout, a filled hole.

    The method is that of Risser, Wilmot and Barnes 2017 (arXiv 1701.08893): the pixels of an image are optimised, from
    coarse to fine, until the image's features in a VGG network have the Gram matrices and the histograms of the
    exemplar's. By default the result is a texture of the exemplar's size, and tiles with itself.

    Wherever an image is asked for, give a path, a PIL image, or an array: (H, W), (H, W, 3) or (H, W, 4), uint8,
    uint16, or floats in [0, 1]. Masks are grey images.

    Parameters
    ----------
    exemplar : image
        Of at least 16x16 pixels. What is less than half opaque is not measured.
    exemplars : list of images, instead of `exemplar`
        Their statistics are pooled, every pixel counting alike.
    exemplar_weights : list of float, optional
        By which the exemplars' statistics are interpolated instead.
    size : (width, height) or int, optional
        Of the result, in pixels, both 16 to 16383; by default that of the content, of the picture to fill, of
        `output_regions`, of `init`, or of the exemplar, the first of these that there is. A content of another shape is
        stretched.
    content : image, optional
        Style transfer: the result shows this picture in the exemplar's style.
    content_strength : float
        Above 1, more of the content shows; below, more of the style.
    init : image, "noise" or "content", optional
        What to start from; by default the content if there is one, else noise. With `keep`, `fill` or `seamless`, the
        picture that is kept, if it is not the exemplar.
    style_scale : float
        Size of the exemplar's features in the result, against their own; with `content`, against those of the exemplar
        reduced to the result's area. 0 < style_scale <= 8.
    preserve_color : {"luminance", "match"}, optional
        Keep the content's colours: by transferring luminance only, or by giving the exemplar the content's mean and
        covariance of colours first.
    exemplar_regions, output_regions : index image, or list of masks, optional
        Painting by numbers: each region of the output is matched to the exemplar's region of the same number. An index
        image has whole numbers, of which 0 is no region, or flat colours, of which black is none; a list has one soft
        mask for each of regions 1, 2, ... With several exemplars, `exemplar_regions` is a list of one such for each.
        Left out, all of the k-th exemplar is region k. With `content`, what is in no region is left as the content.
    keep, fill : mask, optional
        White is what is kept of a picture, or what is filled in it; the rest is the other. `fill="alpha"` fills what is
        less than half opaque. The picture is `init`, or else the exemplar, which is then not measured in the hole. What
        is kept stays the same to the last bit.
    seamless : bool
        Make a band at the picture's borders again, an eighth of the shorter side wide, so that it tiles.
    method : {"histogram", "gatys"}
        "gatys" is the baseline: Gram losses only, on one scale under zero padding, 500 iterations (Gatys et al. 2015).
    weights : "auto", "thresholds" or dict
        "auto" needs no tuning; "thresholds" is the paper's own scheme, which limits each term's gradient (Risser et
        al., sec. 6). A dict has numbers by kind of term ("gram", "histogram", "structure", "content", "variation") or
        by kind and layer ("gram/relu1_1"): factors of the losses as defined in the paper, or "auto" as for those not
        named; 0 leaves a term out. The total variation is left out unless it is named.
    structure : bool
        Match Gram matrices of translated feature maps as well, for regular patterns (Berger and Memisevic 2016).
    gram_layers, histogram_layers, content_layers : sequence of str
        Feature maps of the network, such as "relu3_1".
    padding : {"wrap", "zeros"}
        What the network sees beyond the border. Only with "wrap" does the result tile.
    pooling : {"average", "max"}
    seed : int
        Of the noise. The same seed on the same machine gives the same image, bit for bit.
    levels : int, optional
        Of the pyramid, each half as large as the next; by default as many as keep the coarsest at 32 pixels or more.
    iterations : int or sequence of int, optional
        Of the optimiser at each level, or at each, coarsest first.
    device : {"auto", "cpu", "cuda", "cuda:1", "tensorrt", "tensorrt:1"}
    model : str or path
    threads : int, optional
    precision : {"float32", "tf32", "float16"}, optional
    memory_limit : int, optional
        See `Engine`.
    callback : callable, optional
        Called with a `Progress` after each iteration; `Progress.stop` ends the run and keeps the image.

    Returns
    -------
    Result

    Raises
    ------
    PyengineError
        Input that can't be used; the message names it and the remedy.

    See Also
    --------
    Engine : the same for many images, with the network made once.

    Examples
    --------
    >>> import numpy as np
    >>> stripes = np.tile(np.array([[0], [0], [255], [255]], np.uint8), (8, 32))
    >>> result = synthesize(stripes, size=48, iterations=3)
    >>> result.image.shape, len(result.history)
    ((48, 48, 3), 3)
    """
    with Engine(device, model, threads, precision, memory_limit) as engine:
        return engine.synthesize(exemplar, callback=callback, **options)
