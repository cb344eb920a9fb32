"""The same losses as a user of PyTorch would write them: channels-last convolutions, autograd, `torch.sort`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from pyengine.arrays import Float32
from pyengine.losses import GramLoss, HistogramLoss
from pyengine.network.architecture import Layer
from pyengine.network.model import Model
from pyengine.pyramid import white_noise
from pyengine.recipe import Recipe


def evaluation(
    exemplar: Float32,
    image: Float32,
    model: Model,
    threads: int,
    *,
    device: str = "cpu",
    half: bool = False,
    compiled: bool = False,
) -> Callable[[], tuple[float, torch.Tensor]]:
    """Make a function that returns value and gradient at `image`, as `Engine.objective(exemplar)` does.

    Both images are float32 (H, W, 3) of one size: histograms are matched value by value, in sorted order. The gradient
    (3, H, W) stays on the device. With `half`, convolutions are in float16, by autocasting; `compiled` is
    `torch.compile` over features and losses.
    """
    torch.set_num_threads(threads)
    features = _network(model, device, "circular")
    gram_layers = GramLoss.default_layers(model.architecture)
    histogram_layers = HistogramLoss.default_layers(model.architecture)

    def histogram_loss(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        order = x.detach().sort(dim=1).indices
        matched = torch.empty_like(x).scatter_(1, order, target)
        return ((x - matched) ** 2).mean()

    with torch.no_grad():
        maps = features(_tensor_of(exemplar, device))
        grams = {layer: _gram(maps[layer]) for layer in gram_layers}
        sorted_values = {layer: maps[layer].sort(dim=1).values for layer in histogram_layers}
    pixels = _tensor_of(image, device).requires_grad_()

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.float16, enabled=half):
            maps = {layer: x.float() for layer, x in features(x).items()}
        terms = [((_gram(maps[layer]) - grams[layer]) ** 2).mean() for layer in gram_layers]
        terms += [histogram_loss(maps[layer], sorted_values[layer]) for layer in histogram_layers]
        return torch.stack(terms).sum()

    value_of = torch.compile(loss_of) if compiled else loss_of

    def evaluate() -> tuple[float, torch.Tensor]:
        pixels.grad = None
        loss = value_of(pixels)
        torch.autograd.backward(loss)
        assert pixels.grad is not None
        return float(loss.detach()), pixels.grad[0]

    return evaluate


def texture(recipe: Recipe, model: Model, threads: int) -> tuple[Float32, int]:
    """Make a texture by the method of Gatys et al. 2015, plainly: Gram losses, one scale, from noise, PyTorch's L-BFGS.

    Size, seed and the most iterations are the recipe's. Returns the image (H, W, 3) in [0, 1], and the iterations.
    """
    torch.set_num_threads(threads)
    features = _network(model, "cpu", "constant")
    gram_layers = GramLoss.default_layers(model.architecture)
    with torch.no_grad():
        exemplar = _tensor_of(recipe.level.exemplars[0].image, "cpu")
        grams = {layer: _gram(x) for layer, x in features(exemplar).items()}
    noise = white_noise(recipe.level, np.random.default_rng(recipe.seed))
    pixels = _tensor_of(noise, "cpu").contiguous().requires_grad_()  # its L-BFGS wants them contiguous
    (iterations,) = recipe.iterations
    optimizer = torch.optim.LBFGS([pixels], max_iter=iterations, tolerance_grad=0, tolerance_change=0)

    def closure() -> torch.Tensor:
        with torch.no_grad():
            pixels.clamp_(0, 1)  # PyTorch's own tutorial of style transfer keeps pixels in range so
        optimizer.zero_grad()
        maps = features(pixels)
        loss = torch.stack([((_gram(maps[layer]) - grams[layer]) ** 2).mean() for layer in gram_layers]).sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)
    image: Float32 = pixels.detach()[0].clamp(0, 1).permute(1, 2, 0).contiguous().numpy()
    return image, int(optimizer.state[pixels]["n_iter"])


def _network(model: Model, device: str, padding: str) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """Make a function from an image (1, 3, H, W) to its feature maps (C, N) by layer."""
    gram_layers = GramLoss.default_layers(model.architecture)
    layers: list[tuple[Layer, torch.Tensor, torch.Tensor]] = []
    for c in model.up_to(model.architecture.deepest(gram_layers)).convolutions:
        filters, bias = c.filters, c.bias
        if not layers:
            filters, bias = model.preprocessing.fold(filters, bias, mean=True)
        packed = torch.from_numpy(filters.copy()).contiguous(memory_format=torch.channels_last)
        layers.append((c.layer, packed.to(device), torch.from_numpy(bias.copy()).to(device)))

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = {}
        for layer, filters, bias in layers:
            if layer.pooled:
                x = F.avg_pool2d(x, 2)
            x = F.relu(F.conv2d(F.pad(x, (layer.border,) * 4, mode=padding), filters, bias))
            maps[layer.name] = x
        return {layer: maps[layer].flatten(2)[0] for layer in gram_layers}

    return features


def _gram(x: torch.Tensor) -> torch.Tensor:
    return x @ x.T / x.shape[1]


def _tensor_of(array: Float32, device: str) -> torch.Tensor:
    planes = torch.from_numpy(array.transpose(2, 0, 1)[None].copy())
    return planes.contiguous(memory_format=torch.channels_last).to(device)
