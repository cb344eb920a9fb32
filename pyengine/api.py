"""One call from an exemplar to a texture."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pyengine.engine import Engine
from pyengine.images import Source
from pyengine.network.graphs import Padding, Pooling
from pyengine.result import Progress, Result
from pyengine.tuning import GRAM_LAYERS, HISTOGRAM_LAYERS, Weight


def synthesize(
    exemplar: Source,
    *,
    size: tuple[int, int] | int | None = None,
    seed: int = 0,
    levels: int | None = None,
    iterations: int | Sequence[int] | None = None,
    gram: Weight = "auto",
    histogram: Weight = "auto",
    gram_layers: Sequence[str] = GRAM_LAYERS,
    histogram_layers: Sequence[str] = HISTOGRAM_LAYERS,
    padding: Padding = "wrap",
    pooling: Pooling = "average",
    device: str = "auto",
    model: str | os.PathLike[str] = "vgg16",
    threads: int | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Result:
    """Synthesise a texture that looks like the exemplar, of any size, and that tiles with itself.

    The method is that of Risser, Wilmot and Barnes 2017 (arXiv 1701.08893): the pixels of an image are optimised, from
    coarse to fine, until the image's features in a VGG network have the Gram matrices and the histograms of the
    exemplar's.

    Parameters
    ----------
    exemplar : path, PIL image, or array
        Of at least 16x16 pixels. Arrays are (H, W), (H, W, 3) or (H, W, 4), uint8, uint16, or floats in [0, 1]. What is
        transparent is filled with the mean colour of the rest.
    size : (width, height) or int, optional
        Of the result, in pixels, both 16 to 16383; by default the exemplar's own.
    seed : int
        Of the noise that it starts from. The same seed on the same machine gives the same image, bit for bit.
    levels : int, optional
        Of the pyramid, each half as large as the next; by default as many as keep the coarsest at 32 pixels or more.
    iterations : int or sequence of int, optional
        Of the optimiser at each level, or at each, coarsest first.
    gram, histogram : float or "auto"
        Weight of each kind of loss, at every layer; 0 leaves it out. "auto" needs no tuning: it puts every layer's loss
        in units of the exemplar's own feature map.
    gram_layers, histogram_layers : sequence of str
        Feature maps of the network, such as "relu3_1".
    padding : {"wrap", "zeros"}
        What the network sees beyond the border. Only with "wrap" does the result tile.
    pooling : {"average", "max"}
    device : {"auto", "cpu"}
    model : str or path
    threads : int, optional
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
    with Engine(device, model, threads) as engine:
        return engine.synthesize(
            exemplar,
            size=size,
            seed=seed,
            levels=levels,
            iterations=iterations,
            gram=gram,
            histogram=histogram,
            gram_layers=gram_layers,
            histogram_layers=histogram_layers,
            padding=padding,
            pooling=pooling,
            callback=callback,
        )
