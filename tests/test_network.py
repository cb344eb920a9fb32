"""The network against the float64 reference: its graphs, and what goes on between them."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import reference
from conftest import PADDINGS, relative_error, sessions_of
from onnx.reference import ReferenceEvaluator

from pyengine import PyengineError
from pyengine.kernels.cpu import CpuKernels
from pyengine.network.architecture import Architecture, Layer
from pyengine.network.graphs import Padding, adjoint_graph, forward_graph
from pyengine.network.model import Convolution, Model, Preprocessing
from pyengine.network.modelfile import load
from pyengine.network.network import ModelSessions, Network
from pyengine.network.sessions import Provider

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


@pytest.fixture(scope="module")
def vgg() -> Model:
    return load("vgg16")


def backward(network, gradients) -> np.ndarray:
    """Gradient with respect to the image, from those with respect to some of its feature maps."""
    network.zero_gradients()
    for layer in network.layers:
        if layer in gradients:
            network.gradients[layer] += gradients[layer]
        network.backward(layer)
    return network.image_gradient.copy()


@pytest.mark.parametrize("size", [(47, 61), (64, 64), (16, 17)])
@pytest.mark.parametrize("padding", PADDINGS, ids="-".join)
@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("winograd", [False, True])
def test_both_graphs_agree_with_the_reference(vgg, expected_vgg, size, padding, pooling, winograd):
    rng = np.random.default_rng(5)  # with no activation so near 0 that its sign is a matter of rounding
    network = Network(sessions_of(vgg), size, LAYERS, padding=padding, pooling=pooling, winograd=winograd)
    image = rng.random((*size, 3)).astype(np.float32)
    network.forward(image)
    maps = reference.forward(expected_vgg, image, padding=padding, pooling=pooling, upto="relu4_1")
    for layer in LAYERS:
        assert relative_error(network.features[layer], maps[layer]) < 1e-5, layer
    for layer in LAYERS:  # each alone: the gradients of shallow layers are larger than those of deep ones
        gradient = rng.standard_normal(maps[layer].shape).astype(np.float32)
        expected = reference.backward(expected_vgg, image, {layer: gradient}, padding=padding, pooling=pooling)
        assert relative_error(backward(network, {layer: gradient}), expected) < 1e-5, layer


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("winograd", [False, True])
def test_maps_before_a_pool(vgg, expected_vgg, pooling, winograd):
    """Whose gradient comes back smaller than the map."""
    rng = np.random.default_rng(1)  # with no activation so near 0 that its sign is a matter of rounding
    layers = ("relu1_2", "relu2_2", "relu1_1", "relu3_2")
    network = Network(sessions_of(vgg), (21, 34), layers, pooling=pooling, winograd=winograd)
    assert network.layers == ("relu3_2", "relu2_2", "relu1_2", "relu1_1")
    image = rng.random((21, 34, 3), np.float32)
    network.forward(image)
    maps = reference.forward(expected_vgg, image, pooling=pooling, upto="relu3_2")
    gradients = {layer: rng.standard_normal(maps[layer].shape, np.float32) for layer in layers}
    for some in (gradients, {"relu1_2": gradients["relu1_2"]}, {"relu3_2": gradients["relu3_2"]}):
        expected = reference.backward(expected_vgg, image, some, pooling=pooling)
        assert relative_error(backward(network, some), expected) < 1e-5


def test_which_convolutions_are_winograds(vgg):
    """Those of images that are large enough, in float32 on a CPU; the others are ONNX's own."""
    assert sessions_of(vgg).winograd((128, 128))
    assert not sessions_of(vgg).winograd((127, 128))
    assert not sessions_of(vgg, half=True).winograd((512, 512))
    small = random_model(np.random.default_rng(0), ("a", 5), ("b", 4))
    models = [
        model
        for winograd in (True, False)
        for model in (
            forward_graph(small, ("b",), winograd=winograd),
            adjoint_graph(small, "b", winograd=winograd),
        )
    ]
    ops = [[node.op_type for node in model.graph.node if "Conv" in node.op_type] for model in models]
    assert ops == [["Convolution", "Convolution"], ["Convolution"], ["Conv", "Conv"], ["Conv"]]


def random_model(rng: np.random.Generator, *channels: tuple[str, int]) -> Model:
    """A model of 3x3 convolutions by the names and channels of its layers; a pool stands before a capital."""
    convolutions, into = [], 3
    for name, out in channels:
        filters = rng.standard_normal((out, into, 3, 3)) / np.sqrt(9 * into)
        layer = Layer(name, f"{name}.convolution", into, out, 3, pooled=name.isupper())
        bias = rng.standard_normal(out).astype(np.float32) / 10
        convolutions.append(Convolution(layer, filters.astype(np.float32), bias))
        into = out
    return model_of(convolutions)


def model_of(convolutions: list[Convolution]) -> Model:
    architecture = Architecture("random", tuple(convolution.layer for convolution in convolutions))
    preprocessing = Preprocessing("BGR", 4.0, (0.5, 1.0, 1.5), (1.0, 0.5, 2.0))
    return Model("random", architecture, preprocessing, tuple(convolutions), "a test")


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_pixels_that_share_a_maximum_or_an_odd_edge_get_the_gradient_of_what_is_computed(rng, pooling):
    """By finite differences in the direction (1, ..., 1), which keeps a constant image constant: all pixels tie."""
    network = Network(sessions_of(random_model(rng, ("a", 5), ("B", 4))), (17, 19), ("B",), pooling=pooling)
    values = []
    for shade in (0.4, 0.4 + 1e-2):
        network.forward(np.full((17, 19, 3), shade, np.float32))
        values.append(float(network.features["B"].sum(dtype=np.float64)))
    slope = float(backward(network, {"B": np.float32(1)}).sum(dtype=np.float64))
    assert slope == pytest.approx((values[1] - values[0]) / 1e-2, rel=1e-3)
    assert slope != 0


def test_under_wrap_padding_a_shifted_image_has_shifted_features(vgg, rng):
    network = Network(sessions_of(vgg), (32, 48), ("relu3_1",))
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
    for own in ("wrap", "reflect"):
        network = Network(sessions_of(vgg), (32, 32), ("relu1_1",), padding=Padding("wrap", own), gradient=False)
        network.forward(ramp)
        maps = network.features["relu1_1"].reshape(64, 32, 32)
        steps[own] = np.abs(maps[:, :, 0] - maps[:, :, 1]).max()
    assert steps["reflect"] < steps["wrap"] / 5


def test_one_pixel_is_reflected_in_itself(rng):
    model = random_model(rng, *((name, 4) for name in "aBCDE"))
    image = rng.random((16, 32, 3)).astype(np.float32)
    maps = {}
    for own in ("reflect", "wrap"):
        network = Network(sessions_of(model), (16, 32), ("E",), padding=Padding(own, own), gradient=False)
        network.forward(image)
        maps[own] = network.features["E"]
    assert maps["reflect"].shape == maps["wrap"].shape == (4, 1, 2)


def sides(value: onnx.ValueInfoProto) -> list[int | str]:
    """Sides of a graph's input or output; a name where one is left open."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_only_what_is_needed_is_computed(vgg):
    forward = forward_graph(vgg, ("relu2_1",), size=(32, 32))
    assert [node.op_type for node in forward.graph.node].count("Conv") == 3
    assert [sides(value) for value in forward.graph.output] == [[1, 128, 16, 16]]
    onnx.checker.check_model(forward, full_check=True)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("padding", PADDINGS, ids="-".join)
def test_one_forward_graph_serves_all_sizes(vgg, padding, half):
    forward = forward_graph(vgg, ("relu1_1", "relu3_1"), padding, "max", half=half, masks=("relu1_2", "relu2_1"))
    onnx.checker.check_model(forward, full_check=True)
    assert sides(forward.graph.input[0]) == [1, "height", "width", 3]
    shapes = {value.name: sides(value) for value in forward.graph.output}
    assert list(shapes) == ["relu1_1", "relu1_2", "relu2_1", "relu3_1"]
    assert all(isinstance(side, str) for shape in shapes.values() for side in shape[2:])
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in forward.graph.output)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("size", [None, (9, 16)])
@pytest.mark.parametrize("name", ["relu1_1", "relu1_2", "relu4_1"])
def test_an_adjoint_graph_is_valid_and_has_no_transposed_convolution(vgg, name, size, half):
    adjoint = adjoint_graph(vgg, name, size=size, half=half)
    onnx.checker.check_model(adjoint, full_check=True)
    operators = [node.op_type for node in adjoint.graph.node]
    assert operators.count("Conv") == 1
    assert "ConvTranspose" not in operators
    assert ("Cast" in operators) == (half and name != "relu1_1")
    shapes = {value.name: sides(value) for value in (*adjoint.graph.input, *adjoint.graph.output)}
    assert ("peak" in shapes) == (half and name != "relu1_1")
    padded, inner = (["rows", "columns"], ["height", "width"]) if size is None else ([11, 18], [9, 16])
    into, out = {"relu1_1": (3, 64), "relu1_2": (64, 64), "relu4_1": (256, 512)}[name]
    assert shapes["padded"] == [1, out, *padded]
    assert shapes["gradient"] == ([1, *inner, 3] if name == "relu1_1" else [1, into, *inner])


@pytest.mark.parametrize("size", [(16, 15), (8, 64)])
def test_an_image_too_small_is_refused(vgg, size):
    with pytest.raises(PyengineError, match=r"both sides must be at least 16"):
        Network(sessions_of(vgg), size, ("relu1_1",))


@pytest.mark.parametrize("padding", PADDINGS, ids="-".join)
def test_a_network_may_be_used_again(vgg, rng, padding):
    """Its buffers hold what the last image left there."""
    network = Network(sessions_of(vgg), (17, 20), LAYERS, padding=padding)
    results = []
    for image in (rng.random((17, 20, 3), np.float32), np.zeros((17, 20, 3), np.float32)) * 2:
        network.forward(image)
        results.append(backward(network, dict.fromkeys(LAYERS, np.float32(1))))
    assert np.array_equal(results[0], results[2])
    assert np.array_equal(results[1], results[3])
    assert not np.array_equal(results[0], results[1])


def test_without_a_gradient_only_what_is_asked_for_is_kept(vgg):
    network = Network(sessions_of(vgg), (16, 16), ("relu1_1", "relu3_1"), gradient=False)
    assert network.nbytes == 4 * (16 * 16 * 3 + 64 * 16 * 16 + 256 * 4 * 4)
    assert not network.gradients


def test_layers_between_those_that_are_asked_for_count_as_well(vgg, expected_vgg, rng):
    """Their maps are kept for the sign only; here no layer before the deepest is asked for."""
    network = Network(sessions_of(vgg), (20, 17), ("relu3_1",))
    image = rng.random((20, 17, 3), np.float32)
    network.forward(image)
    gradient = rng.standard_normal((256, 5, 5), np.float32)
    expected = reference.backward(expected_vgg, image, {"relu3_1": gradient})
    assert relative_error(backward(network, {"relu3_1": gradient}), expected) < 1e-5


def test_nan_in_a_gradient_comes_out_as_nan_where_the_map_is_positive(vgg, rng):
    network = Network(sessions_of(vgg), (16, 16), ("relu1_1",))
    network.forward(rng.random((16, 16, 3), np.float32))
    for positive in (True, False):
        at = np.argwhere((network.features["relu1_1"] > 0) == positive)[100]
        gradient = np.ones_like(network.features["relu1_1"])
        gradient[tuple(at)] = np.nan
        assert np.isnan(backward(network, {"relu1_1": gradient})).any() == positive


# ------------------------------------------------------------------- float16


class _Evaluator:
    """A graph, run node by node as the standard says."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._evaluator = ReferenceEvaluator(model)

    def bind(self, buffers: dict[str, np.ndarray]) -> Callable[[], None]:
        def run() -> None:
            outputs = self._evaluator.run(None, {name: buffers[name] for name in self._evaluator.input_names})
            for name, output in zip(self._evaluator.output_names, outputs, strict=True):
                assert output.dtype == np.float32
                buffers[name][...] = output

        return run


class Rounded(ModelSessions):
    """The graphs in float16 as a GPU computes them; of ONNX Runtime's, on a CPU, it leaves the rounding out.

    With `exact_forward`, only the adjoints are: a small number on one side of zero in float16 and on the other in
    float64 makes a difference to a gradient that is as large as the gradient.
    """

    def __init__(self, model: Model, *, exact_forward: bool = False) -> None:
        super().__init__(model, CpuKernels(threads=1), Provider(), threads=1, half=True)
        self._exact_forward = exact_forward

    def forward(self, size, layers, masks, padding, pooling, *, winograd):
        assert not winograd
        half = not self._exact_forward
        return _Evaluator(forward_graph(self.model, layers, padding, pooling, half=half, masks=masks))

    def adjoint(self, layer, size, *, winograd):
        return _Evaluator(adjoint_graph(self.model, layer, half=True))


def checks(height: int, width: int) -> np.ndarray:
    """Black and white, which activates a VGG more than anything in nature."""
    y, x = np.mgrid[:height, :width] // 8
    return np.repeat(((y + x) % 2).astype(np.float32)[:, :, None], 3, axis=2)


def pictures(rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    return [rng.random((height, width, 3), np.float32), checks(height, width), np.ones((height, width, 3), np.float32)]


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("padding", PADDINGS, ids="-".join)
def test_features_in_float16(vgg, expected_vgg, rng, padding, pooling):
    """They are off by 1e-3, and the image sees the first layer in float32."""
    network = Network(Rounded(vgg), (17, 20), LAYERS, padding=padding, pooling=pooling)
    for image in pictures(rng, 17, 20):
        network.forward(image)
        maps = reference.forward(expected_vgg, image, padding, pooling, "relu4_1")
        errors = [relative_error(network.features[layer], maps[layer]) for layer in LAYERS]
        assert errors[0] < 1e-5
        assert all(1e-5 < error < 2e-3 for error in errors[1:])  # if none, nothing was rounded


@pytest.mark.parametrize("size", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_in_float16(vgg, expected_vgg, rng, layer, size):
    """Whatever their size: it is far beyond float16's, 6e-8 to 65504."""
    network = Network(Rounded(vgg, exact_forward=True), (17, 20), LAYERS)
    image = rng.random((17, 20, 3), np.float32)
    network.forward(image)
    gradient = rng.standard_normal(network.features[layer].shape, np.float32)
    expected = size * reference.backward(expected_vgg, image, {layer: gradient})
    error = relative_error(backward(network, {layer: np.float32(size) * gradient}).astype(np.float64), expected)
    assert error < 1e-5 if layer == "relu1_1" else 1e-5 < error < 1e-3


def test_gradients_of_all_layers_in_float16(vgg, expected_vgg, rng):
    """Each activation as it is in float16, too."""
    network = Network(Rounded(vgg), (17, 20), LAYERS)
    for image in pictures(rng, 17, 20)[:2]:
        network.forward(image)
        gradients = {k: rng.standard_normal(v.shape, np.float32) for k, v in network.features.items()}
        assert relative_error(backward(network, gradients), reference.backward(expected_vgg, image, gradients)) < 5e-2


@pytest.mark.parametrize("make", [Rounded, lambda model: sessions_of(model, half=True)])
def test_no_gradient_in_float16_is_none(vgg, rng, make):
    network = Network(make(vgg), (16, 16), ("relu3_1",))
    network.forward(rng.random((16, 16, 3), np.float32))
    assert np.array_equal(backward(network, {}), np.zeros((16, 16, 3), np.float32))


def test_activations_beyond_float16(rng):
    """Up to 128 times its largest number."""
    small = random_model(rng, ("a", 6), ("b", 5), ("C", 4))
    large = model_of([Convolution(c.layer, 90 * c.filters, 90 * c.bias) for c in small.convolutions])
    image = rng.random((16, 18, 3), np.float32)
    exact, rounded = (Network(make(large), (16, 18), ("b", "C")) for make in (sessions_of, Rounded))
    for network in (exact, rounded):
        network.forward(image)
    assert exact.features["C"].max() > 65504 * 2
    for layer, features in exact.features.items():
        assert relative_error(rounded.features[layer], features) < 2e-3, layer


@pytest.mark.parametrize("padding", PADDINGS, ids="-".join)
def test_float16_where_the_cpu_computes_it(vgg, rng, padding):
    """Features and gradients are those of float32, but for rounding; it may be left out."""
    image = rng.random((33, 32, 3), np.float32)
    results = {}
    for half in (False, True):
        network = Network(sessions_of(vgg, half=half), (33, 32), LAYERS, padding=padding)
        network.forward(image)
        gradients = {layer: np.float32(1e-9) * features for layer, features in network.features.items()}
        results[half] = [*network.features.values(), backward(network, gradients)]
    for found, expected in zip(results[True], results[False], strict=True):
        assert relative_error(found, expected) < 2e-2
