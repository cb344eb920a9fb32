"""One call from an exemplar to an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pyengine.checks import names_checked
from pyengine.devices import Precision
from pyengine.engine import Engine
from pyengine.images.reading import ProfileUse, Source
from pyengine.images.regions import RegionSource
from pyengine.inputs import Fit
from pyengine.losses.options import Weights
from pyengine.methods import Method
from pyengine.network.graphs import Beyond, Pooling
from pyengine.palette import Keep
from pyengine.pictures import PictureSource
from pyengine.pyramid import Start
from pyengine.recipe import Alpha, Augmentation, PreserveColor
from pyengine.result import Progress, Result
from pyengine.wrap import Axes, AxesIfAny


@names_checked
def synthesize(
    exemplar: PictureSource | None = None,
    *,
    exemplars: Sequence[PictureSource] | None = None,
    exemplar_weights: Sequence[float] | None = None,
    augment: Sequence[Augmentation] | None = None,
    flatten_light: bool = False,
    alpha: Alpha | None = None,
    size: tuple[int, int] | int | None = None,
    fit: Fit | None = None,
    content: Source | None = None,
    content_strength: float = 1.0,
    init: PictureSource | None = None,
    start: Start | None = None,
    style_scale: float = 1.0,
    preserve_color: PreserveColor | None = None,
    palette: Keep | None = None,
    profile: ProfileUse = "srgb",
    exemplar_regions: RegionSource | Sequence[RegionSource] | None = None,
    output_regions: RegionSource | None = None,
    regions: int | None = None,
    keep: Source | None = None,
    fill: Source | None = None,
    sample_mask: Source | Sequence[Source] | None = None,
    mask_threshold: float | None = None,
    seamless: Axes | None = None,
    method: Method = "histogram",
    weights: Weights | None = None,
    structure: bool = False,
    gram_layers: Sequence[str] | None = None,
    histogram_layers: Sequence[str] | None = None,
    content_layers: Sequence[str] | None = None,
    wrap: AxesIfAny | None = None,
    padding: Beyond | None = None,
    pooling: Pooling | None = None,
    seed: int = 0,
    levels: int | None = None,
    iterations: int | Sequence[int] | None = None,
    device: str = "auto",
    model: str | os.PathLike[str] = "vgg16",
    threads: int | None = None,
    precision: Precision | None = None,
    memory_limit: int | None = None,
    callback: Callable[[Progress], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float | None = None,
) -> Result:
    """Synthesise an image that looks like the exemplar: a texture, a picture in its style, a layout, a filled hole.

    The method is that of Risser, Wilmot and Barnes 2017 (arXiv 1701.08893): the pixels of an image are optimised, from
    coarse to fine, until the image's features in a VGG network have the Gram matrices and the histograms of the
    exemplar's. By default the result is a texture of the exemplar's size, and tiles with itself.

    Wherever an image is asked for, give a path, a PIL image, or an array: (H, W), (H, W, 3) or (H, W, 4), uint8,
    uint16, or floats in [0, 1]; or the bytes of a file, or a list of rows of numbers, whole ones from 0 to 255. Files
    may have 16 bits or floating-point numbers of any size. Masks are grey images. How a mask or an index image was read
    is told in a warning, if it is not black and white, or of few values, as it is.

    Parameters
    ----------
    exemplar : image
        The picture that the result looks like, of at least 16x16 pixels; or the maps of a material, a dictionary of
        images of one size by name: "albedo", "normal", "height", "roughness", "metalness", "occlusion", "orm" and so on
        (`pyengine.maps.NAMES`). They are made together, aligned to the pixel. Default: None, where `exemplars` are
        given.
    exemplars : list of images, optional
        Several pictures instead of one, or several materials of the same maps; their statistics are pooled, every pixel
        counting alike. Default: None.
    exemplar_weights : list of float, optional
        The weights by which the exemplars' statistics are interpolated instead, none of them negative. Default: None,
        they are pooled.
    augment : list of "flips" and "turns", optional
        Take the exemplars' mirror images (left to right, top to bottom, and both), or their quarter turns, or with both
        all eight of each, as further exemplars that share its weight; normals are turned to where they point then.
        Default: None, they are taken as they are.
    flatten_light : bool
        Take what varies slowly in the exemplars' brightness out of them first, and out of the picture that is kept: a
        photograph that is brighter on one side, or dark in the corners, does not tile, and its parts do not fit to one
        another. `inspect` says how much that is. Default: False.
    alpha : {"synthesize", "mask"}, optional
        What an exemplar's opacity is: made with the colours, as that of leaves or decals, or what says what counts:
        what is less than half opaque is not measured then, and the result is opaque. Default: None, made in textures,
        and a mask with `content`, `init`, a hole or a layout.
    size : (width, height) or int, optional
        The result's size in pixels, both sides 16 to 16383. Default: None, that of the content, of the picture to fill,
        of `output_regions`, of `init`, or of the exemplar, the first of these that there is. A content of another shape
        is stretched.
    fit : {"size", "scale"}, optional
        What to change so that a whole number of the exemplar's periods fits into the result, which can't tile with
        itself otherwise: "size" takes the nearest size that does, "scale" keeps the size and scales the exemplar in
        width and in height, by a tenth at most, or is refused. With several exemplars, the first counts that has a
        period; where none has, nothing changes. `inspect` tells what there is. Default: None, nothing is changed.
    content : image, optional
        Style transfer: the result shows this picture in the exemplar's style. Default: None.
    content_strength : float
        A number above 0. Above 1, more of the content shows; below, more of the style. Default: 1.
    init : image, "noise" or "content", optional
        What to start from; with `keep`, `fill` or `seamless` it is the picture that is kept, if that is not the
        exemplar. Of a material, it has the same maps. Default: None, the content if there is one, else as `start` says.
    start : {"patches", "noise"}, optional
        What there is to start from without `content` or `init`. "patches" lays the result out first, at half its size,
        from patches of the exemplar that fit to one another, all parts of it alike (Kwatra et al. 2005, Kaspar et al.
        2015): objects are whole, courses and lattices go on, also into a hole, and the statistics have only to make it
        the exemplar's in every detail; they include the exemplar's autocorrelation, where it is regular. "noise" is the
        paper's way. Default: None, "patches", but "noise" for `method="gatys"`.
    style_scale : float
        The size of the exemplar's features in the result, against their own; with `content`, against those of the
        exemplar reduced to the result's area. 0 < style_scale <= 8. Default: 1.
    preserve_color : {"luminance", "match"}, optional
        Keep the content's colours: by transferring luminance only, or by giving the exemplar the content's mean and
        covariance of colours first, and each area of the result the content's hue last. Default: None, the colours are
        the exemplar's.
    profile : {"srgb", "keep"}
        What becomes of the pictures' colours: by their profiles they are converted to sRGB, where those outside it are
        lost; or they are worked on as they are, and the result has their profile, which all must have in common.
        Default: "srgb".
    palette : {"keep"}, optional
        For pixel art: end on the exemplars' own colours, of which there may be 256, and on no others, so that pixels
        agree with those around as they do in the exemplars. With patches, all is laid out at full size. Default: None,
        colours are free.
    exemplar_regions, output_regions : index image, or list of masks, optional
        Painting by numbers: each region of the output is matched to the exemplar's region of the same number. An index
        image has whole numbers, of which 0 is no region, or flat colours, of which black is none; a list has one soft
        mask for each of regions 1, 2, ... With several exemplars, `exemplar_regions` is a list of one such for each.
        Where it is left out, all of the k-th exemplar is region k. With `content`, what is in no region is left as the
        content. Where nothing else says what 0 or black is to be, but exemplars have it too, it is a region.
        Default: None, there are no regions.
    regions : int, optional
        How many main values an index image has at most, to which all others are snapped: what antialiasing and JPEG
        make of flat colours. Default: None, as many as there clearly are.
    keep, fill : mask, optional
        With `keep`, what is white is kept of a picture and the rest is filled; with `fill` it is the other way round.
        `fill="alpha"` fills what is less than half opaque. The picture is `init`, or else the exemplar, which is then
        not measured in the hole. What is kept stays the same to the last bit. Default: None, all of the result is made.
    sample_mask : mask, or list of masks, optional
        Measure only what is white of the exemplar; with several, a list has one mask for each. Default: None, all of it
        is measured.
    mask_threshold : float, optional
        The level, from 0 to 1, above which `keep`, `fill` and `sample_mask` are white. Default: None, the middle
        between a mask's dark and its light, where these clearly are two.
    seamless : {"x", "y", "xy"}, optional
        Make a band at the picture's borders again, an eighth of the shorter side wide, so that it tiles: "x" is on
        the left and right, "y" at top and bottom, "xy" all around. With `start="patches"`, it is half to one and a half
        times as wide, as the picture's contours have it. Default: None, no border is made again.
    method : {"histogram", "gatys"}
        "gatys" is the baseline: Gram losses only, on one scale under zero padding, 500 iterations (Gatys et al. 2015).
        Default: "histogram".
    weights : "auto", "thresholds" or dict, optional
        "auto" needs no tuning; "thresholds" is the paper's own scheme, which limits each term's gradient (Risser et
        al., sec. 6). A dict has numbers by kind of term ("gram", "histogram", "correlation", "structure", "content",
        "variation") or by kind and layer ("gram/relu1_1"): factors of the losses as defined in the paper, or "auto" as
        for those not named; 0 leaves a term out. The total variation is left out unless it is named, and so are
        correlations, which keep what recurs in its place, unless `start` is "patches". Default: None, those of the
        method, which are "auto" for "histogram".
    structure : bool
        Match Gram matrices of translated feature maps as well, for regular patterns (Berger and Memisevic 2016).
        Default: False.
    gram_layers, histogram_layers, content_layers : sequence of str, optional
        Feature maps of the network, such as "relu3_1". Default: None, the first of each of the network's first four
        blocks for Gram matrices (relu1_1, relu2_1, relu3_1 and relu4_1 of a VGG), of these the first and the last for
        histograms, and the last for the content.
    wrap : {"x", "y", "xy", "none"}, optional
        Where the result tiles with itself: side by side, one above the other, both, or not at all. Default: None: as
        `seamless` says; "none" with `content`, a hole or painted regions, which need not tile, and with "gatys"; "xy"
        for all other textures.
    padding : {"reflect", "zeros"}, optional
        What the network sees beyond a border that does not wrap round, as an exemplar's never does: the reflection of
        what is inside, or what its training images had there. Default: None, "reflect", but "zeros" for "gatys".
    pooling : {"average", "max"}, optional
        How the network reduces feature maps to half their size. Default: None: "max" for style transfers, where
        averages let a fine pattern grow in flat areas, but "average" with "gatys" and for everything else.
    seed : int
        The seed of the noise, 0 or more. The same seed on the same machine gives the same image, bit for bit.
        Default: 0.
    levels : int, optional
        Levels of the pyramid, each half as large as the next. Default: None: with patches, of which the coarsest level
        is laid out, 2 for results of up to 2048 pixels, one more for each doubling; else as many as keep the coarsest
        at 32 pixels or more.
    iterations : int or sequence of int, optional
        How many iterations the optimiser gets at each level, but for the one that is laid out, or at each in turn,
        coarsest first. Default: None, 40 after patches, and 25 at finer levels; else 60 at the finest level and 100 at
        each other.
    device : {"auto", "cpu", "cuda", "cuda:1", "tensorrt", "tensorrt:1"}
        Where to compute; see `Engine`. Default: "auto", a GPU if one works.
    model : str or path
        The network whose features are matched; see `Engine`. Default: "vgg16".
    threads : int, optional
        Threads on a CPU, 1 to 1024; see `Engine`. Default: None, one for every core.
    precision : {"float32", "tf32", "float16"}, optional
        What the network computes in; see `Engine`. Default: None, float32 on a CPU and TF32 on a GPU.
    memory_limit : int, optional
        Bytes to take at most; see `Engine`. Default: None, most of what there is.
    callback : callable, optional
        Called with a `Progress` after each iteration; `Progress.stop` ends the run and keeps the image. Default: None.
    checkpoint : str or path, optional
        A file in which the run is kept from time to time, to go on from if the process is killed; see `Engine.run`.
        Default: None.
    checkpoint_every : float, optional
        Seconds from one checkpoint to the next; see `Engine.run`. Default: None, 60.

    Returns
    -------
    Result
        The image, or all maps of a material, how it came about, and the recipe to make it again.

    Raises
    ------
    PyengineError
        Input that can't be used; the message names it and the remedy.

    See Also
    --------
    Engine : the same for many images, with the network made once.
    inspect : what there is to know of an exemplar before.
    Recipe : the arguments, checked, to keep or to run later.

    Examples
    --------
    >>> import numpy as np
    >>> stripes = np.tile(np.array([[0], [0], [255], [255]], np.uint8), (8, 32))
    >>> result = synthesize(stripes, size=48, iterations=3)
    >>> result.image.shape, len(result.history)
    ((48, 48, 3), 3)
    """
    with Engine(device, model, threads, precision, memory_limit) as engine:
        return engine.synthesize(
            exemplar,
            callback=callback,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            exemplars=exemplars,
            exemplar_weights=exemplar_weights,
            augment=augment,
            flatten_light=flatten_light,
            alpha=alpha,
            size=size,
            fit=fit,
            content=content,
            content_strength=content_strength,
            init=init,
            start=start,
            style_scale=style_scale,
            preserve_color=preserve_color,
            palette=palette,
            profile=profile,
            exemplar_regions=exemplar_regions,
            output_regions=output_regions,
            regions=regions,
            keep=keep,
            fill=fill,
            sample_mask=sample_mask,
            mask_threshold=mask_threshold,
            seamless=seamless,
            method=method,
            weights=weights,
            structure=structure,
            gram_layers=gram_layers,
            histogram_layers=histogram_layers,
            content_layers=content_layers,
            wrap=wrap,
            padding=padding,
            pooling=pooling,
            seed=seed,
            levels=levels,
            iterations=iterations,
        )
