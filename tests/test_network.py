"""The two graphs against the float64 reference."""

import numpy as np
import onnx
import pytest
import reference
from conftest import relative_error

from pyengine import PyengineError
from pyengine.network.graphs import backward_graph, forward_graph
from pyengine.network.sessions import Network
from pyengine.network.weights import Convolution, Preprocessing, Weights, load

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


@pytest.fixture(scope="module")
def vgg() -> Weights:
    return load("vgg16")


@pytest.fixture(scope="module")
def expected_vgg():
    from importlib.resources import files

    return reference.load(str(files("pyengine.models") / "vgg16.onnx"))


@pytest.mark.parametrize("size", [(47, 61), (64, 64), (16, 17)])
@pytest.mark.parametrize("padding", ["wrap", "zeros"])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_both_graphs_agree_with_the_reference(vgg, expected_vgg, rng, size, padding, pooling):
    network = Network(vgg, size, LAYERS, padding=padding, pooling=pooling, threads=1)
    image = rng.random((*size, 3)).astype(np.float32)
    network.forward(image)
    maps = reference.forward(expected_vgg, image, padding=padding, pooling=pooling, upto="relu4_1")
    for layer in LAYERS:
        assert relative_error(network.features[layer], maps[layer]) < 1e-5, layer
    for layer in LAYERS:  # each alone: the gradients of shallow layers are larger than those of deep ones
        gradient = rng.standard_normal(maps[layer].shape).astype(np.float32)
        for other in LAYERS:
            network.gradients[other][:] = 0
        network.gradients[layer][:] = gradient
        expected = reference.backward(expected_vgg, image, {layer: gradient}, padding=padding, pooling=pooling)
        assert relative_error(network.backward(), expected) < 1e-5, layer


def random_weights(rng: np.random.Generator, *channels: tuple[str, int]) -> Weights:
    convolutions, into = [], 3
    for name, out in channels:
        weight = rng.standard_normal((out, into, 3, 3)) / np.sqrt(9 * into)
        convolutions.append(
            Convolution(name, weight.astype(np.float32), rng.standard_normal(out).astype(np.float32) / 10)
        )
        into = out
    preprocessing = Preprocessing("BGR", 4.0, (0.5, 1.0, 1.5), (1.0, 0.5, 2.0))
    return Weights("random", "vgg16", preprocessing, tuple(convolutions), "a test")


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_pixels_that_share_a_maximum_or_an_odd_edge_get_the_gradient_of_what_is_computed(rng, pooling):
    """By finite differences in the direction (1, ..., 1), which keeps a constant image constant: all pixels tie."""
    weights = random_weights(rng, ("conv1_1", 5), ("conv2_1", 4))
    network = Network(weights, (17, 19), ("relu2_1",), pooling=pooling, threads=1)
    values = []
    for shade in (0.4, 0.4 + 1e-2):
        network.forward(np.full((17, 19, 3), shade, np.float32))
        values.append(float(network.features["relu2_1"].sum(dtype=np.float64)))
    network.gradients["relu2_1"][:] = 1
    slope = float(network.backward().sum(dtype=np.float64))
    assert slope == pytest.approx((values[1] - values[0]) / 1e-2, rel=1e-3)
    assert slope != 0


def test_under_wrap_padding_a_shifted_image_has_shifted_features(vgg, rng):
    network = Network(vgg, (32, 48), ("relu3_1",), threads=1)
    image = rng.random((32, 48, 3)).astype(np.float32)
    network.forward(image)
    before = network.features["relu3_1"].reshape(256, 8, 12).copy()
    network.forward(np.roll(image, (4, 8), (0, 1)))
    after = network.features["relu3_1"].reshape(256, 8, 12)
    assert relative_error(after, np.roll(before, (1, 2), (1, 2))) < 1e-5


def test_reflected_border_makes_no_edge(vgg):
    """A horizontal ramp wraps round to a step; reflected, the first feature map sees none."""
    ramp = np.repeat(np.linspace(0, 1, 32, dtype=np.float32)[None, :, None], 3, axis=2).repeat(32, axis=0)
    steps = {}
    for padding in ("wrap", "reflect"):
        network = Network(vgg, (32, 32), ("relu1_1",), padding=padding, threads=1, gradient=False)
        network.forward(ramp)
        maps = network.features["relu1_1"].reshape(64, 32, 32)
        steps[padding] = np.abs(maps[:, :, 0] - maps[:, :, 1]).max()
    assert steps["reflect"] < steps["wrap"] / 5


def test_one_pixel_is_reflected_in_itself(rng):
    weights = random_weights(rng, *((f"conv{block}_1", 4) for block in (1, 2, 3, 4, 5)))
    image = rng.random((16, 32, 3)).astype(np.float32)
    maps = {}
    for padding in ("reflect", "wrap"):
        network = Network(weights, (16, 32), ("relu5_1",), padding=padding, threads=1, gradient=False)
        network.forward(image)
        maps[padding] = network.features["relu5_1"]
    assert maps["reflect"].shape == maps["wrap"].shape == (4, 1, 2)


def test_there_is_no_gradient_under_reflection(vgg):
    with pytest.raises(ValueError, match="no backward graph"):
        Network(vgg, (32, 32), ("relu1_1",), padding="reflect", threads=1)


def test_only_what_is_needed_is_computed(vgg):
    forward = forward_graph(vgg, (32, 32), ("relu2_1",))
    assert [node.op_type for node in forward.graph.node].count("Conv") == 3
    onnx.checker.check_model(forward, full_check=True)


def test_the_backward_graph_is_valid_and_has_no_transposed_convolution(vgg):
    forward = forward_graph(vgg, (33, 32), tuple(vgg.layers[:8]), pooling="max")
    backward = backward_graph(forward, ("relu2_1", "relu4_1"))
    onnx.checker.check_model(backward, full_check=True)
    assert "ConvTranspose" not in {node.op_type for node in backward.graph.node}


@pytest.mark.parametrize("size", [(16, 15), (8, 64)])
def test_an_image_too_small_is_refused(vgg, size):
    with pytest.raises(PyengineError, match=r"both sides must be at least 16"):
        Network(vgg, size, ("relu1_1",), threads=1)


def test_nan_in_the_image_comes_out_as_nan(vgg):
    network = Network(vgg, (16, 16), ("relu1_1",), threads=1)
    image = np.zeros((16, 16, 3), np.float32)
    image[3, 4, 1] = np.nan
    network.forward(image)
    network.gradients["relu1_1"][:] = np.nan
    assert np.isnan(network.backward()).any()
