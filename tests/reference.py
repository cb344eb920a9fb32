"""The network and the losses in float64 numpy, written from the formulas and from nothing in pyengine.

It is the other opinion that pyengine's tests compare with, so it is clear rather than fast; test_reference.py
checks its gradients by finite differences. Maps are (C, H, W), images (H, W, 3) RGB in [0, 1].
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Wrap = tuple[bool, bool]  # whether rows wrap round, and whether columns do
Edge = Literal["wrap", "reflect", "zeros"]
Padding = tuple[Edge, Edge]  # beyond rows and columns
Pooling = Literal["average", "max"]
Term = tuple[float, Array]
Shift = tuple[int, int]
Size = tuple[int, int]

WRAPS: list[Wrap] = [(True, True), (False, False), (False, True), (True, False)]
PADDINGS: list[Padding] = [
    ("wrap", "wrap"), ("reflect", "reflect"), ("zeros", "zeros"),
    ("reflect", "wrap"), ("wrap", "reflect"), ("zeros", "wrap"), ("wrap", "zeros"),
]  # fmt: skip
"""All that there are, but for zeros and reflections together."""

WINDOW = [(0, 0), (0, 1), (1, 0), (1, 1)]


@dataclass(frozen=True)
class Preprocessing:
    """x = (image in the order of `channels` * scale - mean) / std, channels first."""

    channels: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, image: ArrayLike) -> Array:
        x: Array = np.asarray(image, np.float64)[:, :, ["RGB".index(c) for c in self.channels]]
        x = (x * self.scale - np.array(self.mean)) / np.array(self.std)
        return x.transpose(2, 0, 1)

    def backward(self, gradient: Array) -> Array:
        g: Array = gradient.transpose(1, 2, 0) * self.scale / np.array(self.std)
        return g[:, :, [self.channels.index(c) for c in "RGB"]]


@dataclass(frozen=True)
class Layer:
    """A convolution and the ReLU after it, under the name of its map.

    `weight` is (out, in, K, K) with an odd K, `bias` (out,); `pooled` says whether a pool stands before it.
    """

    name: str
    weight: Array
    bias: Array
    pooled: bool = False


@dataclass(frozen=True)
class Network:
    preprocessing: Preprocessing
    layers: list[Layer]

    @classmethod
    def random(cls, blocks: Sequence[Sequence[int]] = ((4, 4), (6,)), seed: int = 0) -> Network:
        """A small network with `blocks[i][j]` channels at layer relu(i+1)_(j+1), and a pool between two blocks."""
        rng = np.random.default_rng(seed)
        layers, inputs = [], 3
        for i, block in enumerate(blocks, 1):
            for j, outputs in enumerate(block, 1):
                weight = rng.normal(0, np.sqrt(2 / (9 * inputs)), (outputs, inputs, 3, 3))
                layers.append(Layer(f"relu{i}_{j}", weight, rng.normal(0, 0.1, outputs), i > 1 and j == 1))
                inputs = outputs
        return cls(Preprocessing("BGR", 4.0, (1.8, 2.0, 2.2), (0.8, 1.0, 1.25)), layers)

    def upto(self, names: Iterable[str]) -> str:
        """The deepest of the named maps."""
        names = set(names)
        return [layer.name for layer in self.layers if layer.name in names][-1]


def load(path: str | os.PathLike[str]) -> Network:
    """Read an engine model: layers in the order of its nodes, the preprocessing from its metadata."""
    model = onnx.load(path)
    metadata = {p.key: p.value for p in model.metadata_props}
    p = json.loads(metadata["preprocessing"])
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    layers: list[Layer] = []
    pooled, parameters = False, []
    for node in model.graph.node:
        if node.op_type == "AveragePool":
            pooled = True
        elif node.op_type == "Conv":
            parameters = [tensors[name.removesuffix(".float32")].astype(np.float64) for name in node.input[1:]]
        elif node.op_type == "Relu":
            layers.append(Layer(node.output[0], *parameters, pooled=pooled))
            pooled = False
    preprocessing = Preprocessing(p["channels"], float(p["scale"]), tuple(p["mean"]), tuple(p["std"]))
    return Network(preprocessing, layers)


# ------------------------------------------------------------------ network


def pad(x: Array, padding: Padding, border: int = 1) -> Array:
    modes: dict[Edge, Literal["wrap", "constant", "reflect"]] = {
        "wrap": "wrap",
        "zeros": "constant",
        "reflect": "reflect",
    }
    x = np.pad(x, ((0, 0), (border, border), (0, 0)), mode=modes[padding[0]])
    return np.pad(x, ((0, 0), (0, 0), (border, border)), mode=modes[padding[1]])


def pad_backward(g: Array, padding: Padding, border: int = 1) -> Array:
    """Bring what arrived in the border home: to where it wraps round to or is reflected from, or nowhere."""
    for axis, edge in zip((1, 2), padding, strict=True):
        g = np.moveaxis(g, axis, 0)
        side = len(g) - 2 * border
        inner = np.zeros((side, *g.shape[1:]))
        for i, row in enumerate(g):
            at = i - border
            if edge == "wrap":
                at %= side
            elif edge == "reflect":  # to and fro, with a period of twice the side, less the two at the ends
                at %= max(2 * side - 2, 1)
                at = min(at, 2 * side - 2 - at)
            if 0 <= at < side:
                inner[at] += row
        g = np.moveaxis(inner, 0, axis)
    return g


def convolve(x: Array, weight: Array, bias: Array, padding: Padding) -> Array:
    height, width = x.shape[1:]
    kernel = weight.shape[-1]
    padded = pad(x, padding, kernel // 2)
    out = np.zeros((len(weight), height, width)) + bias[:, None, None]
    for dy, dx in np.ndindex(kernel, kernel):
        out += np.tensordot(weight[:, :, dy, dx], padded[:, dy : dy + height, dx : dx + width], 1)
    return out


def convolve_backward(g: Array, weight: Array, padding: Padding) -> Array:
    height, width = g.shape[1:]
    kernel = weight.shape[-1]
    padded = np.zeros((weight.shape[1], height + kernel - 1, width + kernel - 1))
    for dy, dx in np.ndindex(kernel, kernel):
        padded[:, dy : dy + height, dx : dx + width] += np.tensordot(weight[:, :, dy, dx].T, g, 1)
    return pad_backward(padded, padding, kernel // 2)


def windows(x: Array) -> Array:
    """The four members of every 2x2 window, (4, C, H/2, W/2); an odd side repeats its last row or column."""
    even = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2)), mode="edge")
    return np.stack([even[:, y::2, x_::2] for y, x_ in WINDOW])


def windows_backward(g: Array, height: int, width: int) -> Array:
    even = np.zeros((g.shape[1], 2 * g.shape[2], 2 * g.shape[3]))
    for member, (y, x) in zip(g, WINDOW, strict=True):
        even[:, y::2, x::2] = member
    if height % 2:
        even[:, height - 1] += even[:, height]
    if width % 2:
        even[:, :, width - 1] += even[:, :, width]
    return even[:, :height, :width]


def pool(x: Array, pooling: Pooling) -> Array:
    reduce = np.mean if pooling == "average" else np.max
    return np.asarray(reduce(windows(x), axis=0))


def pool_backward(g: Array, x: Array, pooling: Pooling) -> Array:
    """Gradient at the pool's input `x`; a maximum's goes to the first of its equals, in row-major order."""
    if pooling == "average":
        share = np.full((4, *g.shape), 0.25)
    else:
        share = np.arange(4)[:, None, None, None] == windows(x).argmax(0)
    return windows_backward(share * g, x.shape[1], x.shape[2])


def forward(
    network: Network,
    image: ArrayLike,
    padding: Padding = ("wrap", "wrap"),
    pooling: Pooling = "average",
    upto: str | None = None,
) -> dict[str, Array]:
    """Every map "relu1_1", ... as (C, H, W), as far as `upto` (all, if None)."""
    assert upto is None or any(layer.name == upto for layer in network.layers), upto
    maps: dict[str, Array] = {}
    x = network.preprocessing.apply(image)
    for layer in network.layers:
        if layer.pooled:
            x = pool(x, pooling)
        x = maps[layer.name] = np.maximum(convolve(x, layer.weight, layer.bias, padding), 0)
        if layer.name == upto:
            break
    return maps


def backward(
    network: Network,
    image: ArrayLike,
    gradients: Mapping[str, ArrayLike],
    padding: Padding = ("wrap", "wrap"),
    pooling: Pooling = "average",
) -> Array:
    """Gradient with respect to the image (H, W, 3), given those with respect to some of the maps."""
    maps = forward(network, image, padding, pooling, network.upto(gradients))
    names = list(maps)
    assert set(gradients) <= set(names), set(gradients) - set(names)
    g = np.zeros_like(maps[names[-1]])
    for i in reversed(range(len(names))):
        layer, x = network.layers[i], maps[names[i]]
        if layer.name in gradients:
            g = g + np.asarray(gradients[layer.name], np.float64).reshape(x.shape)
        g = convolve_backward(g * (x > 0), layer.weight, padding)
        if layer.pooled:
            g = pool_backward(g, maps[names[i - 1]], pooling)
    return network.preprocessing.backward(g)


def distances(queries: ArrayLike, sources: ArrayLike, cost: ArrayLike | None = None) -> Array:
    """``||q - s||^2 + cost[s]`` of vectors (D, Q) and (D, S): (Q, S)."""
    q, s = np.asarray(queries, np.float64), np.asarray(sources, np.float64)
    squares: Array = ((q[:, :, None] - s[:, None, :]) ** 2).sum(0)
    return squares if cost is None else squares + np.asarray(cost, np.float64)


def relu_gradient(
    features: ArrayLike,
    above: ArrayLike,
    loss: ArrayLike | None,
    pooling: Literal["none", "average", "max"],
    wrap: Wrap,
    border: int = 1,
) -> Array:
    """Gradient before the ReLU that gave F (C, H, W), with a border (C, H + 2 border, W + 2 border).

    `loss` is with respect to F, `above` to F or its pool; equals of a maximum share its gradient.
    """
    F = np.asarray(features, np.float64)
    total = np.asarray(above, np.float64)
    if pooling != "none":
        total = shared_pool_backward(total, F, pooling)
    if loss is not None:
        total = total + np.asarray(loss, np.float64)
    return pad(np.where(F > 0, total, 0), ("wrap" if wrap[0] else "zeros", "wrap" if wrap[1] else "zeros"), border)


def shared_pool_backward(g: Array, x: Array, pooling: Literal["average", "max"]) -> Array:
    """Gradient at the pool's input `x`, one window after the other; equals share it."""
    out = np.zeros_like(x)
    for channel, row, column in np.ndindex(g.shape):
        window = np.s_[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        shares = np.ones(x[window].shape, bool) if pooling == "average" else x[window] == x[window].max()
        out[window][shares] = g[channel, row, column] / max(shares.sum(), 1)
    return out


# ------------------------------------------------------------------- losses


def weights(w: ArrayLike | None, samples: int) -> Array:
    return np.ones(samples) if w is None else np.asarray(w, np.float64).reshape(samples)


def gram(features: ArrayLike, w: ArrayLike | None = None) -> Array:
    """F diag(w) F^T / sum(w) of F (C, N); zeros if there is no mass."""
    F = np.asarray(features, np.float64)
    w = weights(w, F.shape[1])
    return (F * w) @ F.T / (w.sum() or 1.0)


gram_of = gram  # `objective` has an argument of that name


def cross_gram(features: ArrayLike, other: ArrayLike, w: ArrayLike | None = None) -> Array:
    """A diag(w) B^T / sum(w) of A and B (C, N); zeros if there is no mass."""
    A, B = np.asarray(features, np.float64), np.asarray(other, np.float64)
    w = weights(w, A.shape[1])
    return (A * w) @ B.T / (w.sum() or 1.0)


def gram_loss(features: ArrayLike, target: ArrayLike, w: ArrayLike | None = None) -> Term:
    """||G(F) - target||^2 / C^2 and its gradient (C, N); both zero if there is no mass."""
    F = np.asarray(features, np.float64)
    w = weights(w, F.shape[1])
    if w.sum() == 0:
        return 0.0, np.zeros_like(F)
    difference = gram(F, w) - np.asarray(target, np.float64)
    elements = len(F) ** 2
    return float((difference**2).sum() / elements), 4 * difference @ (F * w) / (elements * w.sum())


def match(features: ArrayLike, exemplar: ArrayLike, w: ArrayLike | None = None, w_s: ArrayLike | None = None) -> Array:
    """R(F): every channel of F (C, N) remapped to the distribution of the same channel of S (C, N_s).

    Samples of equal value are one atom: it covers an interval of mass and maps to the mean of the exemplar's
    quantiles over that interval. Samples without weight stay; all do if either side has no mass.
    """
    F, S = np.asarray(features, np.float64), np.asarray(exemplar, np.float64)
    w, w_s = weights(w, F.shape[1]), weights(w_s, S.shape[1])
    R = F.copy()
    used, used_s = w > 0, w_s > 0
    if used.any() and used_s.any():
        for channel in range(len(F)):
            R[channel, used] = match_channel(F[channel, used], S[channel, used_s], w[used], w_s[used_s])
    return R


def match_channel(f: Array, s: Array, w: Array, w_s: Array) -> Array:
    atoms, member = np.unique(f, return_inverse=True)
    ends = np.cumsum(np.bincount(member, w))
    ends = ends / ends[-1]
    order = np.argsort(s, kind="stable")
    steps = np.cumsum(w_s[order])
    steps = steps / steps[-1]

    def quantile(mass: Array) -> Array:
        return s[order][np.minimum(np.searchsorted(steps, mass, "right"), len(s) - 1)]

    # Between two neighbouring breaks both the atom and the exemplar's quantile are constant.
    breaks = np.union1d(np.union1d(ends, steps), 0.0)
    length, middle = np.diff(breaks), (breaks[1:] + breaks[:-1]) / 2
    atom = np.minimum(np.searchsorted(ends, middle, "right"), len(atoms) - 1)
    mass = np.bincount(atom, length, len(atoms))
    total = np.bincount(atom, length * quantile(middle), len(atoms))
    # A weight below the rounding of the sum leaves an interval of no length: the quantile at that point.
    return np.where(mass > 0, total / np.where(mass > 0, mass, 1), quantile(ends))[member]


def histogram_loss(
    features: ArrayLike, exemplar: ArrayLike, w: ArrayLike | None = None, w_s: ArrayLike | None = None
) -> Term:
    """Sum of w (F - R(F))^2 / (C sum(w)) and its gradient (C, N); both zero if there is no mass."""
    F = np.asarray(features, np.float64)
    difference = F - match(F, exemplar, w, w_s)
    w = weights(w, F.shape[1])
    elements = len(F) * (w.sum() or 1.0)
    return float((w * difference**2).sum() / elements), 2 * w * difference / elements


def content_loss(features: ArrayLike, target: ArrayLike, w: ArrayLike | None = None) -> Term:
    """Sum of w (F - target)^2 / (C sum(w)) and its gradient (C, N); both zero if there is no mass."""
    F = np.asarray(features, np.float64)
    difference = F - np.asarray(target, np.float64)
    w = weights(w, F.shape[1])
    elements = len(F) * (w.sum() or 1.0)
    return float((w * difference**2).sum() / elements), 2 * w * difference / elements


def pair_weights(height: int, width: int, shift: Shift, w: ArrayLike | None, wrap: Wrap) -> Array:
    """Weight (H, W) of the pair that each pixel makes with the one `shift` further on: the product of theirs."""
    dy, dx = shift
    grid = weights(w, height * width).reshape(height, width)
    pairs = grid * np.roll(grid, (-dy, -dx), (0, 1))
    y, x = np.mgrid[:height, :width]
    above, beside = (y + dy >= 0) & (y + dy < height), (x + dx >= 0) & (x + dx < width)
    return pairs * (above | wrap[0]) * (beside | wrap[1])


def translated_gram(features: ArrayLike, shift: Shift, w: ArrayLike | None = None, wrap: Wrap = (True, True)) -> Array:
    """X_s = sum_p w(p) w(p+s) F(p) F(p+s)^T / sum_p w(p) w(p+s) of F (C, H, W); zeros if there is no mass.

    p+s wraps round by `wrap`; else only the pairs whose both pixels lie inside are used.
    """
    F = np.asarray(features, np.float64)
    dy, dx = shift
    return cross_gram(
        flat(F), flat(np.roll(F, (-dy, -dx), (1, 2))), pair_weights(F.shape[1], F.shape[2], shift, w, wrap)
    )


def structure_loss(
    features: ArrayLike, target: Mapping[Shift, ArrayLike], w: ArrayLike | None = None, wrap: Wrap = (True, True)
) -> Term:
    """Mean over the shifts of ||X_s(F) - target[s]||^2 / C^2 and its gradient (C, H, W).

    A shift without mass adds nothing to either.
    """
    F = np.asarray(features, np.float64)
    channels, height, width = F.shape
    value, gradient = 0.0, np.zeros_like(F)
    for (dy, dx), expected in target.items():
        pairs = pair_weights(height, width, (dy, dx), w, wrap)
        if pairs.sum() == 0:
            continue
        difference = translated_gram(F, (dy, dx), w, wrap) - np.asarray(expected, np.float64)
        elements = channels**2 * len(target)
        value += float((difference**2).sum() / elements)
        # Every pixel is the first of one pair and the second of another.
        first = np.tensordot(difference, pairs * np.roll(F, (-dy, -dx), (1, 2)), 1)
        second = np.roll(np.tensordot(difference.T, pairs * F, 1), (dy, dx), (1, 2))
        gradient += 2 * (first + second) / (elements * pairs.sum())
    return value, gradient


def sums_of_pairs(
    maps: ArrayLike, reach: Size, w: ArrayLike | None = None, wrap: Wrap = (True, True)
) -> tuple[Array, Array]:
    """sum_p w(p) w(p+t) u(p) u(p+t) of maps u (K, H, W), and sum_p w(p) w(p+t).

    For t from -Y to Y and from -X to X: (K, 2 Y + 1, 2 X + 1) and (2 Y + 1, 2 X + 1). p+t wraps round by `wrap`;
    else only the pairs whose both pixels lie inside are used.
    """
    u = np.asarray(maps, np.float64)
    height, width = u.shape[1:]
    grid = weights(w, height * width).reshape(1, height, width)
    counted = np.concatenate([grid * u, grid])
    around = counted
    for axis, wraps in enumerate(wrap):
        edges = [(reach[axis], reach[axis]) if k == axis + 1 else (0, 0) for k in range(3)]
        around = np.pad(around, edges, mode="wrap" if wraps else "constant")
    sums = np.zeros((len(counted), 2 * reach[0] + 1, 2 * reach[1] + 1))
    for y, x in np.ndindex(sums.shape[1:]):
        sums[:, y, x] = np.einsum("khw,khw->k", counted, around[:, y : y + height, x : x + width])
    return sums[:-1], sums[-1]


def autocorrelation(sums: Array, masses: Array) -> tuple[Array, Array]:
    """A(t), the mean over the pairs, and their masses; a lag with at most an eighth of lag 0's pairs has none: 0."""
    enough = masses > masses[masses.shape[0] // 2, masses.shape[1] // 2] / 8
    return np.where(enough, sums / np.where(enough, masses, 1), 0), masses * enough


def lag_weights(target: Array, size: Size) -> Array:
    """How much each lag counts, for autocorrelations (K, 2 Y + 1, 2 X + 1) of an exemplar of a (height, width).

    From none at a fifth of the variance to all at two fifths; none within an eighth of the shorter side.
    """
    reach = target.shape[1] // 2, target.shape[2] // 2
    y, x = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    strength = abs(target.sum(0)) / (target[:, reach[0], reach[1]].sum() or 1.0)
    near = np.sqrt(y**2 + x**2) < min(size) / 8
    return np.where(near, 0, np.clip(5 * strength - 1, 0, 1))


def correlation_loss(
    features: ArrayLike,
    axes: ArrayLike,
    origin: ArrayLike,
    target: ArrayLike,
    counts: ArrayLike,
    w: ArrayLike | None = None,
    wrap: Wrap = (True, True),
) -> Term:
    """Mean over lags t and maps of c(t) (A(t) - target(t))^2, and its gradient (C, H, W).

    A is the autocorrelation of the maps P F - m, with P = `axes` (K, C) and m = `origin` (K,); c(t) is `counts`. Lags
    are those of the target that are less than half of a side. One without enough pairs adds nothing to either.
    """
    F, P = np.asarray(features, np.float64), np.asarray(axes, np.float64)
    T, c = np.asarray(target, np.float64), np.asarray(counts, np.float64)
    sides = F.shape[1:]
    full = T.shape[1] // 2, T.shape[2] // 2
    reach = min(full[0], (sides[0] - 1) // 2), min(full[1], (sides[1] - 1) // 2)
    u = np.tensordot(P, F, 1) - np.asarray(origin, np.float64).reshape(-1, 1, 1)
    A, masses = autocorrelation(*sums_of_pairs(u, reach, w, wrap))
    value, gradient = 0.0, np.zeros_like(u)
    for at in np.ndindex(masses.shape):
        dy, dx = shift = at[0] - reach[0], at[1] - reach[1]
        y, x = full[0] + dy, full[1] + dx
        if not masses[at] * c[y, x]:
            continue
        difference = A[:, at[0], at[1]] - T[:, y, x]
        value += float(c[y, x] * (difference**2).sum()) / A.size
        # Every pixel is the first of one pair and the second of another.
        pairs = pair_weights(sides[0], sides[1], shift, w, wrap)
        both = pairs * np.roll(u, (-dy, -dx), (1, 2)) + np.roll(pairs * u, (dy, dx), (1, 2))
        gradient += 2 * c[y, x] / (A.size * masses[at]) * difference[:, None, None] * both
    return value, np.tensordot(P.T, gradient, 1)


def variation(image: ArrayLike, wrap: Wrap = (True, True)) -> Term:
    """Mean squared difference of neighbouring pixels (H, W, C) and its gradient; zero if there are none.

    By `wrap`, the last row and the last column neighbour the first; else only the pairs inside are used.
    """
    x = np.asarray(image, np.float64)
    extended = np.concatenate([x, x[:1]]), np.concatenate([x, x[:, :1]], axis=1)
    differences = [np.diff(extended[axis] if wrap[axis] else x, axis=axis) for axis in (0, 1)]
    elements = sum(d.size for d in differences) or 1
    gradient = np.zeros_like(x)
    for axis, d in enumerate(differences):
        g, d = np.moveaxis(gradient, axis, 0), np.moveaxis(d, axis, 0)
        for i in range(len(d)):
            g[i] -= 2 * d[i] / elements
            g[(i + 1) % len(g)] += 2 * d[i] / elements
    return float(sum((d**2).sum() for d in differences) / elements), gradient


def slopes(side: int, wrap: bool) -> Array:
    """A matrix: half the difference of both neighbours, where a pixel at an end that does not wrap is its own."""
    following, before = np.roll(np.eye(side), 1, axis=1), np.roll(np.eye(side), -1, axis=1)
    if not wrap:
        following[-1], before[0] = np.eye(side)[-1], np.eye(side)[0]
    return (following - before) / 2


def values_and_slopes(image: ArrayLike, wrap: Wrap = (False, False)) -> Array:
    """Values of an image (H, W, C), and their slopes to the right and down: (3 C, H W)."""
    x = np.asarray(image, np.float64).transpose(2, 0, 1)
    down, across = (slopes(side, wraps) for side, wraps in zip(x.shape[1:], wrap, strict=True))
    return flat(np.concatenate([x, x @ across.T, down @ x]))


def joint_units(values: ArrayLike, w: ArrayLike | None = None) -> tuple[Array, Array]:
    """The mean of each row of (K, N), and its deviation."""
    x = np.asarray(values, np.float64)
    w = weights(w, x.shape[1])
    mean = x @ w / w.sum()
    return mean, np.sqrt((x - mean[:, None]) ** 2 @ w / w.sum())


def joint_loss(
    image: ArrayLike,
    mean: Array,
    scale: Array,
    target: ArrayLike,
    w: ArrayLike | None = None,
    wrap: Wrap = (False, False),
) -> Term:
    """||G - target||^2 / |G| with the Gram matrix of (values and slopes - mean) * scale, and its gradient (H, W, C)."""
    x = np.asarray(image, np.float64)
    units = (values_and_slopes(x, wrap) - mean[:, None]) * scale[:, None]
    value, g = gram_loss(units, target, w)
    own, right, below = (g * scale[:, None]).reshape(3, x.shape[2], *x.shape[:2])
    down, across = (slopes(side, wraps) for side, wraps in zip(x.shape[:2], wrap, strict=True))
    return value, (own + right @ across + down.T @ below).transpose(1, 2, 0)


# ------------------------------------------------------------------- L-BFGS


def two_loop(gradient: ArrayLike, steps: Sequence[ArrayLike], changes: Sequence[ArrayLike]) -> Array:
    """The inverse Hessian times a vector (Nocedal & Wright, algorithm 7.4); steps and changes are oldest first."""
    q = np.array(gradient, np.float64)
    s, y = np.array(steps, np.float64), np.array(changes, np.float64)
    factors = np.zeros(len(s))
    for i in reversed(range(len(s))):
        factors[i] = s[i] @ q / (y[i] @ s[i])
        q -= factors[i] * y[i]
    r = q * (s[-1] @ y[-1] / (y[-1] @ y[-1])) if len(s) else q
    for i in range(len(s)):
        r += s[i] * (factors[i] - y[i] @ r / (y[i] @ s[i]))
    return r


# ---------------------------------------------------------------- objective


def objective(
    network: Network,
    image: ArrayLike,
    exemplar: ArrayLike,
    gram: float = 1.0,
    histogram: float = 1.0,
    gram_layers: Sequence[str] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1"),
    histogram_layers: Sequence[str] = ("relu1_1", "relu4_1"),
    padding: Padding = ("wrap", "wrap"),
    pooling: Pooling = "average",
    *,
    masks: Mapping[str, Array] | None = None,
    exemplar_masks: Mapping[str, Array] | None = None,
    content: ArrayLike | None = None,
    content_weight: float = 1.0,
    content_layers: Sequence[str] = ("relu4_1",),
) -> tuple[float, Array, dict[str, Term]]:
    """Weighted sum of the losses, its gradient (H, W, 3), and the terms.

    A term, "gram/relu1_1", is the loss and its gradient with respect to the map (C, H, W), neither multiplied
    by the weight `gram`, `histogram` or `content_weight`.

    `masks` are weights (N,) of the output's pixels at some of the layers, `exemplar_masks` of the exemplar's; the
    distance to the image `content` is measured everywhere.
    """
    if content is None:
        content_layers = ()
    masks, exemplar_masks = masks or {}, exemplar_masks or {}
    used = [*gram_layers, *histogram_layers, *content_layers]
    deepest = network.upto(used)
    maps = forward(network, image, padding, pooling, deepest)
    targets = forward(network, exemplar, padding, pooling, deepest)
    contents = {} if content is None else forward(network, content, padding, pooling, deepest)

    value, terms = 0.0, dict[str, Term]()
    gradients = {name: np.zeros_like(maps[name]) for name in used}
    for kind, weight, layers in (
        ("gram", gram, gram_layers),
        ("histogram", histogram, histogram_layers),
        ("content", content_weight, content_layers),
    ):
        for name in layers:
            F, S = flat(maps[name]), flat(targets[name])
            w, w_s = masks.get(name), exemplar_masks.get(name)
            if kind == "gram":
                loss, gradient = gram_loss(F, gram_of(S, w_s), w)
            elif kind == "histogram":
                loss, gradient = histogram_loss(F, S, w, w_s)
            else:
                loss, gradient = content_loss(F, flat(contents[name]))
            terms[f"{kind}/{name}"] = loss, gradient.reshape(maps[name].shape)
            value += weight * loss
            gradients[name] += weight * gradient.reshape(maps[name].shape)
    return value, backward(network, image, gradients, padding, pooling), terms


def flat(x: Array) -> Array:
    return x.reshape(len(x), -1)
