"""The methods: what each sets where the caller says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pyengine.losses.base import Weight
from pyengine.network.graphs import Padding
from pyengine.pyramid import Start

Method = Literal["histogram", "gatys"]


@dataclass(frozen=True)
class Preset:
    """What a method sets.

    Attributes
    ----------
    weights : dict of str to float
        Weights of the terms that are not automatic. Default: none.
    start : {"noise", "patches"}
        What a texture starts from. Default: "patches".
    padding : {"wrap", "reflect", "zeros"}
        What the network sees beyond the border of a texture. Default: "wrap".
    levels, iterations : int, optional
        How many levels the pyramid has, and how many iterations each gets. Default: None, as `pyengine.synthesize`
        says.
    """

    weights: Mapping[str, Weight] = field(default_factory=dict)
    start: Start = "patches"
    padding: Padding = "wrap"
    levels: int | None = None
    iterations: int | None = None


PRESETS: dict[Method, Preset] = {
    "histogram": Preset(),
    "gatys": Preset({"gram": 1.0, "histogram": 0.0}, start="noise", padding="zeros", levels=1, iterations=500),
}
