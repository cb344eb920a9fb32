"""What a synthesis reports while it runs, and what it gives back."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pyengine.arrays import Float32
from pyengine.checks import check_choice
from pyengine.document import to_document
from pyengine.images.encoding import Depth
from pyengine.images.formats import format_of
from pyengine.images.writing import encode, save, to_uint8
from pyengine.palette import check_format
from pyengine.recipe import Recipe
from pyengine.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Iteration:
    """One iteration of the optimiser.

    Attributes
    ----------
    level : int
        The level of the pyramid; 0 is the coarsest.
    iteration : int
        The number of the iteration within the level, from 1.
    value : float
        The objective's value. Levels have objectives of their own: compare values within a level.
    terms : dict of str to float
        The weighted terms by name; they add up to `value`.
    weights : dict of str to float
        The terms' weights by name, by which their losses were multiplied.
    """

    level: int
    iteration: int
    value: float
    terms: dict[str, float]
    weights: dict[str, float]


@dataclass(eq=False)
class Progress:
    """What a callback is given after each iteration.

    Attributes
    ----------
    state : Iteration
        The iteration that has just ended.
    recipe : Recipe
        What is made; its `sizes` and `iterations` say how much is to come.
    pixels : float32 (H, W, C)
        The image so far, of 3 channels or those of all maps, at the size of its level; of a hole that is a small part
        of a picture, with its surroundings.
    finish : callable
        What `result` calls with this object.
    stopped : bool
        Whether `stop` was called. Default: False.
    """

    state: Iteration
    recipe: Recipe
    pixels: Float32 = field(repr=False)
    finish: Callable[[Progress], Result] = field(repr=False)
    stopped: bool = False

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The image so far, or its first map, uint8 (H, W, 3)."""
        return to_uint8(self.recipe.level.maps[0].of(self.pixels))

    def stop(self) -> None:
        """End the run after this iteration; the image so far, enlarged to the full size, is the result.

        Raising StopIteration in the callback does the same.
        """
        self.stopped = True

    def result(self) -> Result:
        """What the run gives if it is stopped now, for a look at the picture at its full size, or to save it.

        Examples
        --------
        >>> import pyengine
        >>> def callback(progress):
        ...     print(progress.image.shape, progress.result().image.shape)
        >>> pyengine.synthesize(np.eye(32), start="noise", levels=2, iterations=[1, 0], callback=callback).stopped
        (16, 16, 3) (32, 32, 3)
        False
        """
        return self.finish(self)


@dataclass(frozen=True, eq=False)
class Result:
    """A synthesised image and how it came about.

    Attributes
    ----------
    maps : dict of str to float32 array
        The maps of a material by name, in [0, 1]: colours, normals and what is packed (H, W, 3), all else (H, W); of a
        picture alone, it under no name.
    history : list of Iteration
        Every iteration of every level.
    timings : dict of str to float
        Seconds: "start" (the patches, if it starts from them), "measure" (exemplars and content), "forward", "losses"
        and "backward" (of the evaluations, if there were any), "optimizer" (the rest of the optimisation), "checkpoint"
        (if there is one), and "total"; of a run that goes on from a checkpoint, since then.
    recipe : Recipe
        What was made.
    stopped : bool
        Whether a callback ended the run early.
    made_with : dict of str to str
        The engine's "model", the hash of its file as "sha256", the "device" and the "precision". Default: none.
    """

    maps: Mapping[str, Float32] = field(repr=False)
    history: list[Iteration] = field(repr=False)
    timings: dict[str, float]
    recipe: Recipe
    stopped: bool
    made_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def pixels(self) -> Float32:
        """The picture, or the first map: float32 (H, W, 3), RGB in [0, 1], or (H, W, 4) if it is not opaque altogether.

        It is grey, to the last bit, if all that it is made from is.
        """
        first = next(iter(self.maps.values()))
        return first if first.ndim == 3 else np.repeat(first[:, :, None], 3, axis=2)

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        file = io.BytesIO()
        self.pil.save(file, "PNG")
        return file.getvalue()

    @property
    def pil(self) -> Image.Image:
        """The picture in 8 bits as a PIL image; one channel, if there is no colour."""
        channels = to_uint8(self._channels(next(iter(self.maps))))
        return Image.fromarray(channels.squeeze(2) if channels.shape[2] == 1 else channels)

    def plot(self) -> Figure:
        """Draw the objective's terms, weighted, over the iterations of each level; it needs the extra `[plot]`.

        Returns
        -------
        matplotlib.figure.Figure
            It shows itself in a notebook; `savefig` writes it to a file.

        Raises
        ------
        PyengineError
            There is no matplotlib, or there was no iteration.
        """
        from pyengine.figures import plot_terms

        return plot_terms(self.history, self.recipe.sizes)

    @cached_property
    def image(self) -> npt.NDArray[np.uint8]:
        """The picture in 8 bits: uint8 of the pixels' shape."""
        return to_uint8(self.pixels)

    def report(self) -> dict[str, Any]:
        """What `pyengine synthesize --json` prints: how the picture came about, and the recipe to make it again.

        Files are named, with the hash of their contents, but not the folders they are in.

        Examples
        --------
        >>> import pyengine
        >>> pyengine.synthesize(np.eye(20), iterations=1).report()["recipe"]["exemplar"]
        {'in_memory': 'an array of float64, (20, 20)'}
        """
        levels = []
        for level, size in enumerate(self.recipe.sizes):
            states = [state for state in self.history if state.level == level]
            levels.append(
                {
                    "size": size,
                    "iterations": len(states),
                    "value": states[-1].value if states else None,
                    "terms": states[-1].terms if states else {},
                    "weights": states[-1].weights if states else {},
                }
            )
        return {
            **self._provenance(),
            "size": self.recipe.size,
            "seed": self.recipe.seed,
            "levels": levels,
            "stopped": self.stopped,
            "timings": self.timings,
            "versions": versions(),
        }

    def _provenance(self) -> dict[str, Any]:
        document = {**to_document(self.recipe.arguments, for_result=True), "engine": dict(self.made_with)}
        return {**document, "stopped": True} if self.stopped else document

    def _channels(self, name: str) -> Float32:
        """What a file gets of a map: one channel, if there is no colour and it is opaque."""
        values = self.maps[name]
        if values.ndim == 2:
            return values[:, :, None]
        is_grey = self.recipe.grey or self.recipe.map(name).count == 1
        return values[:, :, :1] if is_grey and values.shape[2] == 3 else values

    def files(self, path: str | os.PathLike[str]) -> dict[str, Path]:
        """Where `save` writes each map: the first to the path, the others beside it, each in the format it was read in.

        Examples
        --------
        >>> import pyengine
        >>> result = pyengine.synthesize({"albedo": np.eye(20), "height": np.eye(20)}, iterations=1)
        >>> [str(path) for path in result.files("rock_albedo.png").values()]
        ['rock_albedo.png', 'rock_height.png']
        """
        return self.recipe.places(path)

    def _check_format(self, path: str | os.PathLike[str]) -> None:
        form = format_of(path)
        if self.recipe.palette is not None:
            check_format(form.name, str(path))

    def save(self, path: str | os.PathLike[str], depth: Depth | None = None) -> None:
        """Write the picture; the suffix says the format, one of `images.formats.FORMATS`. A grey one has one channel.

        It is written as deep as what it is made from was: as the content, the picture with a hole, or the deepest
        exemplar; if the format does not hold that, as deep as it does, with a warning. Resolution and colour profile
        are written as well. A palette's colours that were kept are the same in a file, but for formats that change them
        a little, such as JPEG, of which a warning tells. Of a material, all maps are written: `files` says where.

        A file is complete or not there: an existing one is replaced in one step. A PNG carries its recipe, from which
        `Recipe.from_json` and `pyengine synthesize --recipe` make it again.

        Parameters
        ----------
        path : str or path
        depth : {8, 16, "half", "float"}, optional
            The depth, if it is to be another: an integer of so many bits, or a floating-point number of 16 or 32 bits.

        Raises
        ------
        PyengineError
            The suffix is unknown, its format does not hold the depth, or the folder is missing or can't be written to.
        """
        self._check_format(path)
        metadata = json.dumps(self._provenance())
        for (name, place), encoding in zip(self.files(path).items(), self.recipe.encodings, strict=False):
            save(self._channels(name), place, encoding, depth=depth, metadata=metadata)

    def encode(self, suffix: str = ".png", depth: Depth | None = None, map: str | None = None) -> bytes:
        """What `save` would write to a file with this suffix, for what is no file, such as a web server's answer.

        Parameters
        ----------
        suffix : str
            Of `save`. Default: ".png".
        depth : {8, 16, "half", "float"}, optional
            Of `save`.
        map : str, optional
            The map of a material. Default: None, the first.

        Examples
        --------
        >>> import pyengine
        >>> pyengine.synthesize(np.eye(20), iterations=1).encode(".jpg")[:2].hex()
        'ffd8'
        """
        self._check_format(f"result{suffix}")
        metadata = json.dumps(self._provenance())
        names = list(self.maps)
        name = names[0] if map is None else map
        check_choice("map", name, names)
        encoding = self.recipe.encodings[names.index(name)]
        return bytes(encode(self._channels(name), f"result{suffix}", encoding, depth=depth, metadata=metadata))
