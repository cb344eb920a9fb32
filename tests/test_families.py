"""A network that is no VGG goes the whole way: out of somebody's file, forward and back, whole and in tiles."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import reference
from command_line import FAST, invoke
from conftest import PADDINGS, REFLECTED, ZEROS, border_options, cut_budget, relative_error, sessions_of
from onnx import TensorProto, helper, numpy_helper
from test_network import Rounded, backward

import pyengine
from pyengine import PyengineError
from pyengine.images.reading import load as load_picture
from pyengine.images.reading import read_metadata
from pyengine.images.writing import save, to_uint8
from pyengine.network.graphs import WRAPPED, Padding, adjoint_graph, forward_graph
from pyengine.network.model import Model
from pyengine.network.modelfile import load
from pyengine.network.network import Network
from pyengine.network.tiles import TiledNetwork, margins, receptive_radius


@dataclass(frozen=True)
class Part:
    """A layer of a network: its name, the side of its kernel, its channels, and whether a pool stands before it."""

    name: str
    kernel: int
    channels: int
    pooled: bool = False


FAMILY = [
    Part("edges", 5, 6),
    Part("mixed", 1, 5),
    Part("corners", 3, 8, pooled=True),
    Part("blobs", 3, 7),
    Part("parts", 7, 6, pooled=True),
    Part("things", 1, 5, pooled=True),
    Part("scene", 5, 4, pooled=True),
]
NAMES = tuple(part.name for part in FAMILY)


def write(path: Path, parts: list[Part] = FAMILY, *, channels_last: bool = False, classifier: bool = True) -> Path:
    """A network as an exporter writes it: pools of all kinds, automatic padding, constants in nodes."""
    rng = np.random.default_rng(0)
    nodes, constants, x, inputs = [], [], "pixels", 3
    if channels_last:
        nodes.append(helper.make_node("Transpose", [x], ["planes"], perm=[0, 3, 1, 2]))
        x = "planes"
    for k, part in enumerate(parts):
        shape = part.channels, inputs, part.kernel, part.kernel
        filters = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        bias = rng.normal(0, 0.1, part.channels).astype(np.float32)
        if part.pooled:
            op, ceil = (("MaxPool", 1), ("AveragePool", 0))[k % 2]
            nodes.append(helper.make_node(op, [x], [f"{x}/pool"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=ceil))
            x = f"{x}/pool"
        names = [f"theirs/{k}/{array}" for array in ("kernel", "bias")]
        for name, array in zip(names, (filters, bias), strict=True):
            tensor = numpy_helper.from_array(array, name)
            if k % 2:
                nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            else:
                constants.append(tensor)
        padding = {"auto_pad": "SAME_UPPER"} if k % 2 else {"pads": [part.kernel // 2] * 4}
        nodes.append(helper.make_node("Conv", [x, *names], [f"theirs/{k}"], f"conv {k}", **padding))
        nodes.append(helper.make_node("Relu", [f"theirs/{k}"], [part.name]))
        x, inputs = part.name, part.channels
    if classifier:
        nodes.append(helper.make_node("Shape", [x], ["shape"]))
        nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"]))
        nodes.append(helper.make_node("Flatten", ["mean"], ["logits"]))
        x = "logits"
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the user's for models."""
    monkeypatch.setenv("PYENGINE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The imported model."""
    folder = tmp_path_factory.mktemp("family")
    theirs = write(folder / "theirs.onnx")
    return pyengine.import_model(theirs, preprocessing="torchvision", output=folder / "family.onnx").path


@pytest.fixture(scope="module")
def family(path: Path) -> Model:
    return load(path)


@pytest.fixture(scope="module")
def expected(path: Path) -> reference.Network:
    return reference.load(path)


# ---------------------------------------------------------------- importing


def test_what_is_imported(family: Model, expected: reference.Network) -> None:
    """Names, sizes and pools are the file's own, and so are the numbers."""
    assert family.architecture.names == NAMES
    assert family.architecture.name == "theirs"
    assert family.architecture.blocks == ("edges", "corners", "parts", "things", "scene")
    assert [layer.kernel for layer in family.architecture.layers] == [5, 1, 3, 3, 7, 1, 5]
    rng = np.random.default_rng(0)
    for part, convolution, other in zip(FAMILY, family.convolutions, expected.layers, strict=True):
        shape = convolution.filters.shape
        filters = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        bias = rng.normal(0, 0.1, part.channels).astype(np.float32)
        np.testing.assert_array_equal(convolution.filters, filters)
        np.testing.assert_array_equal(convolution.bias, bias)
        np.testing.assert_array_equal(other.weight, filters)
        assert (other.name, other.pooled) == (part.name, part.pooled)


def test_the_model_file_runs_as_it_is(path: Path, expected: reference.Network) -> None:
    """By ONNX Runtime alone: with zero padding and average pools, to the deepest map."""
    from pyengine.network.sessions import runtime

    onnx.checker.check_model(onnx.load(path), full_check=True)
    image = np.random.default_rng(0).random((33, 47, 3), np.float32)
    (found,) = runtime().InferenceSession(path).run(None, {"image": image[None]})
    maps = reference.forward(expected, image, ("zeros", "zeros"), "average")
    assert relative_error(found[0], maps["scene"]) < 1e-5


def test_other_networks_need_a_word_about_their_preprocessing(tmp_path: Path, models: Path) -> None:
    theirs = write(tmp_path / "theirs.onnx")
    message = r"theirs.onnx: not a VGG-16 or VGG-19: .*; if it is another chain .*, say --preprocessing caffe or torch"
    with pytest.raises(PyengineError, match=message):
        pyengine.import_model(theirs, "family")
    with pytest.raises(PyengineError, match=r"preprocessing 'keras': give caffe or torchvision"):
        pyengine.import_model(theirs, "family", preprocessing="keras")
    assert not models.exists()


def test_channels_last_and_no_classifier(tmp_path: Path, family: Model) -> None:
    theirs = write(tmp_path / "theirs.onnx", channels_last=True, classifier=False)
    info = pyengine.import_model(theirs, preprocessing="caffe", output=tmp_path / "out.onnx", deepest="blobs")
    assert info.layers == NAMES[:4]
    assert load(info.path).architecture == family.architecture.up_to("blobs")


@pytest.mark.parametrize("bad", ["/features/Relu_output_0", "12", "image", "two words", "a,b", "é"])
def test_names_that_cannot_be_used_are_made_anew(tmp_path: Path, bad: str) -> None:
    parts = [Part("good", 3, 4), Part(bad, 3, 4), Part("also", 3, 4, pooled=True)]
    theirs = write(tmp_path / "theirs.onnx", parts)
    info = pyengine.import_model(theirs, preprocessing="caffe", output=tmp_path / "out.onnx")
    assert info.layers == ("relu1_1", "relu1_2", "relu2_1")


def altered(path: Path, kind: str) -> None:
    """Spoil a file so that it is no plain chain any more."""
    model = onnx.load(path)
    nodes = {node.output[0]: node for node in model.graph.node}
    convolution, relu = nodes["theirs/2"], nodes["corners"]
    pool = nodes[convolution.input[0]]

    def attribute(node: onnx.NodeProto, key: str, value: object) -> None:
        kept = [attribute for attribute in node.attribute if attribute.name != key]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(key, value)])

    match kind:
        case "stride":
            attribute(convolution, "strides", [2, 2])
        case "pads":
            attribute(convolution, "pads", [0, 0, 0, 0])
        case "large pool":
            attribute(pool, "kernel_shape", [3, 3])
        case "overlapping pool":
            attribute(pool, "strides", [1, 1])
        case "sigmoid":
            relu.op_type = "Sigmoid"
        case "branch":
            model.graph.node.append(helper.make_node("Relu", ["theirs/2"], ["also"]))
        case "two ways":
            model.graph.node.append(helper.make_node("Conv", ["corners", "theirs/2/kernel", "theirs/2/bias"], ["also"]))
        case "scaled":
            at = list(model.graph.node).index(nodes["theirs/0"])
            model.graph.node.insert(at, helper.make_node("Mul", ["pixels", "pixels"], ["scaled/pixels"]))
            nodes["theirs/0"].input[0] = "scaled/pixels"
        case "sum":
            model.graph.node.remove(relu)
            model.graph.node.insert(
                list(model.graph.node).index(convolution) + 1,
                helper.make_node("Add", ["theirs/2", "theirs/2"], ["corners"]),
            )
        case "even kernel" | "oblong kernel" | "half a kernel":
            shape = {"even kernel": (8, 5, 4, 4), "oblong kernel": (8, 5, 3, 1), "half a kernel": (8, 5, 3)}[kind]
            (tensor,) = (t for t in model.graph.initializer if t.name == "theirs/2/kernel")
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(shape, np.float32), tensor.name))
        case "other channels":
            (tensor,) = (t for t in model.graph.initializer if t.name == "theirs/2/kernel")
            tensor.CopyFrom(numpy_helper.from_array(np.zeros((8, 6, 3, 3), np.float32), tensor.name))
        case "pool of the image":
            pool.input[0] = "pixels"
            convolution_0 = nodes["theirs/0"]
            convolution_0.input[0], convolution.input[0] = pool.output[0], "mixed"
        case "two inputs":
            model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("stride", "convolution 'conv 2' has strides [2, 2], not [1, 1]"),
        ("pads", "convolution 'conv 2' has pads [0, 0, 0, 0], not [1, 1, 1, 1]"),
        ("large pool", "has kernel_shape [3, 3], not [2, 2]"),
        ("overlapping pool", "has strides [1, 1], not [2, 2]"),
        ("sigmoid", "no Relu follows the convolution 'theirs/2'"),
        ("branch", "'theirs/2' goes to 2 nodes, and a chain has no branches"),
        ("two ways", "'corners' goes to 2 nodes, and a chain has no branches"),
        ("scaled", "Mul 'scaled/pixels' is none of Conv, Relu and a pool"),
        ("sum", "no Relu follows the convolution 'theirs/2'"),
        ("even kernel", "'conv 2' has filters of shape (8, 5, 4, 4), not square with an odd side"),
        ("oblong kernel", "'conv 2' has filters of shape (8, 5, 3, 1), not square with an odd side"),
        ("half a kernel", "'conv 2' has filters of shape (8, 5, 3), not square with an odd side"),
        ("other channels", "takes 6 channels, where 5 come in"),
        ("pool of the image", "the pool 'mixed/pool' does not stand behind a Relu"),
        ("two inputs", "it has 2 inputs"),
    ],
)
def test_what_is_no_plain_chain(tmp_path: Path, models: Path, kind: str, expected: str) -> None:
    theirs = write(tmp_path / "theirs.onnx")
    altered(theirs, kind)
    with pytest.raises(PyengineError, match="nor a plain chain of convolutions, ReLUs and pools: ") as error:
        pyengine.import_model(theirs, "family", preprocessing="caffe")
    message = str(error.value)
    assert message.startswith(f"{theirs}: not a VGG-16 or VGG-19: ")
    assert expected in message
    assert "\n" not in message
    assert not models.exists()


# --------------------------------------------------------- forward and back


@pytest.mark.parametrize("size", [(16, 16), (16, 19), (33, 48), (40, 23)])
@pytest.mark.parametrize("padding", PADDINGS, ids="-".join)
@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("winograd", [False, True])
def test_both_ways_agree_with_the_reference(family, expected, size, padding, pooling, winograd):
    """Down to maps that are smaller than their borders: one pixel, after four pools, for a kernel of 5x5."""
    rng = np.random.default_rng(2)  # with no deepest map that is nothing but rounding
    network = Network(sessions_of(family), size, NAMES, padding=padding, pooling=pooling, winograd=winograd)
    image = rng.random((*size, 3), np.float32)
    network.forward(image)
    maps = reference.forward(expected, image, padding=padding, pooling=pooling)
    assert maps["scene"].shape[1:] == tuple(-(-side // 16) for side in size)
    for layer in NAMES:
        assert relative_error(network.features[layer], maps[layer]) < 1e-5, layer
    for layer in NAMES:
        gradient = rng.standard_normal(maps[layer].shape, np.float32)
        slope = reference.backward(expected, image, {layer: gradient}, padding=padding, pooling=pooling)
        assert relative_error(backward(network, {layer: gradient}), slope) < 1e-5, layer


@pytest.mark.parametrize("layers", [("scene",), ("corners", "parts"), ("mixed", "things")])
@pytest.mark.parametrize("winograd", [False, True])
def test_layers_that_nobody_asks_for_are_masks(family, expected, layers, winograd):
    """Winograd's convolutions give bits, the others the maps themselves."""
    rng = np.random.default_rng(2)
    network = Network(sessions_of(family), (36, 41), layers, winograd=winograd)
    image = rng.random((36, 41, 3), np.float32)
    network.forward(image)
    maps = reference.forward(expected, image)
    gradients = {layer: rng.standard_normal(maps[layer].shape, np.float32) for layer in layers}
    assert relative_error(backward(network, gradients), reference.backward(expected, image, gradients)) < 1e-5


@pytest.mark.parametrize("size", [(16, 16), (32, 40), (33, 48)])  # down to one pixel; to as many as the border has
def test_reflection(family, expected, size):
    image = np.random.default_rng(3).random((*size, 3), np.float32)
    network = Network(sessions_of(family), size, NAMES, padding=REFLECTED, gradient=False)
    network.forward(image)
    maps = reference.forward(expected, image, padding=("reflect", "reflect"))
    for layer in NAMES:
        assert relative_error(network.features[layer], maps[layer]) < 1e-5, layer


def test_one_forward_graph_serves_all_sizes_that_are_large_enough(family, monkeypatch):
    made = []

    def session(model, *_, **__):
        made.append([d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim])

    monkeypatch.setattr("pyengine.network.network.Session", session)
    sessions = sessions_of(family)
    for size in ((64, 64), (80, 96), (16, 64)):  # the last has maps of one pixel and a border of two
        sessions.forward(size, NAMES, (), WRAPPED, "average", winograd=False)
    assert made == [[1, "height", "width", 3], [1, 16, 64, 3]]


def test_a_convolution_of_one_pixel_has_no_border(family):
    for padding, each in ((WRAPPED, 1), (REFLECTED, 1), (Padding("reflect", "wrap"), 2), (Padding("zeros", "wrap"), 1)):
        graph = forward_graph(family, NAMES, padding).graph
        assert [node.op_type for node in graph.node].count("Pad") == 5 * each
    (gradient,) = adjoint_graph(family, "mixed", size=(9, 8)).graph.output
    (padded,) = adjoint_graph(family, "mixed", size=(9, 8)).graph.input
    sides = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in (padded, gradient)]
    assert sides == [[1, 5, 9, 8], [1, 6, 9, 8]]


def test_float16(family, expected):
    """As a GPU computes: rounded in all layers but the first."""
    rng = np.random.default_rng(4)
    network = Network(Rounded(family), (32, 37), NAMES)
    image = rng.random((32, 37, 3), np.float32)
    network.forward(image)
    maps = reference.forward(expected, image)
    errors = [relative_error(network.features[layer], maps[layer]) for layer in NAMES]
    assert errors[0] < 1e-5
    assert all(1e-5 < error < 5e-3 for error in errors[1:])
    gradients = {layer: rng.standard_normal(maps[layer].shape, np.float32) for layer in NAMES}
    assert relative_error(backward(network, gradients), reference.backward(expected, image, gradients)) < 5e-2


@pytest.mark.parametrize("make", [sessions_of, Rounded])
@pytest.mark.parametrize("padding", PADDINGS, ids="-".join)
def test_any_name_will_do_that_is_not_reserved(tmp_path, make, padding):
    """In no graph is it the name of something else."""
    names = [
        "weight",
        "gradient",
        "least",
        "half",
        "unit",
        "adjoint",
        "bias",
        "sum",
        "map",
        "height",
        "X-1_y",
        "border",
    ]
    theirs = write(tmp_path / "theirs.onnx", [Part(name, 3, 4, pooled=k == 3) for k, name in enumerate(names)])
    info = pyengine.import_model(theirs, preprocessing="caffe", output=tmp_path / "out.onnx")
    assert info.layers == tuple(names)
    onnx.checker.check_model(onnx.load(info.path), full_check=True)
    network = Network(make(load(info.path)), (16, 18), ("half", "X-1_y"), padding=padding)
    image = np.random.default_rng(9).random((16, 18, 3), np.float32)
    network.forward(image)
    maps = reference.forward(reference.load(info.path), image, padding)
    gradients = {layer: np.ones_like(maps[layer], np.float32) for layer in network.layers}
    expected = reference.backward(reference.load(info.path), image, gradients, padding)
    assert relative_error(backward(network, gradients), expected) < (1e-5 if make is sessions_of else 0.2)


# ------------------------------------------------------------------- tiles


@pytest.mark.parametrize("layer", NAMES)
@pytest.mark.parametrize("winograd", [False, True])
def test_the_receptive_radius(family, layer, winograd):
    """By what changes, to the last bit, where a row of the image does."""
    alignment = 4 if winograd else 1
    architecture = family.architecture
    radius, exact = (receptive_radius(architecture, layer, alignment=a) for a in (alignment, 1))
    network = Network(sessions_of(family), (224, 64), (layer,), padding=ZEROS, gradient=False, winograd=winograd)
    image = np.random.default_rng(5).random((224, 64, 3), np.float32)
    network.forward(image)
    before = network.features[layer].copy()
    at = 128 // 2 ** architecture.pools(layer)
    for beyond, changes in ((exact, True), (radius + 1, False)):
        changed = image.copy()
        changed[128 - beyond] += 100
        network.forward(changed)
        assert np.array_equal(network.features[layer][:, at], before[:, at]) != changes


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize(
    ("size", "padding", "layers"),
    [
        ((96, 128), WRAPPED, NAMES[:4]),
        ((93, 115), ZEROS, NAMES[:4]),
        ((192, 128), WRAPPED, NAMES[:4]),  # with Winograd's convolutions
        ((201, 143), ZEROS, NAMES[:5]),
        ((384, 48), WRAPPED, NAMES),
        ((201, 143), REFLECTED, NAMES[:5]),
        ((201, 144), Padding("reflect", "wrap"), NAMES[:5]),
        ((192, 143), Padding("wrap", "zeros"), NAMES[:4]),
        ((384, 48), WRAPPED, ("parts",)),
    ],
)
def test_tiles(family, size, padding, layers, pooling):
    """Maps and the gradient are those of the whole image."""
    rng = np.random.default_rng(6)
    sessions = sessions_of(family)
    image = rng.random((*size, 3), np.float32)
    whole = Network(sessions, size, layers, padding=padding, pooling=pooling)
    whole.forward(image)
    gradients = {layer: rng.standard_normal(f.shape, np.float32) for layer, f in whole.features.items()}
    expected = backward(whole, gradients)
    tiled = TiledNetwork(sessions, size, 32, dict.fromkeys(layers, 0), padding=padding, pooling=pooling)
    assert len(tiled.tiling.tiles) > 1
    assert tiled.tiling.region[0] < size[0]
    for layer, found in tiled.maps(image).items():
        assert relative_error(found, whole.features[layer]) < 1e-6, layer
    found = np.zeros_like(image)
    for tile in tiled.tiling.tiles:
        tiled.forward(image, tile)
        tiled.zero_gradients()
        for layer in tiled.layers:
            tiled.take(gradients[layer], layer, tile)
            tiled.backward(layer)
        tiled.add_image_gradient(tile, found)
    assert relative_error(found, expected) < 1e-5


def test_channel_groups_of_the_first_map(family):
    image = np.random.default_rng(7).random((64, 80, 3), np.float32)
    whole = Network(sessions_of(family), (64, 80), ("edges",))
    whole.forward(image)
    tiled = TiledNetwork(sessions_of(family), (64, 80), 32, {"edges": 0}, channels=4)
    groups = [(first, group.maps(image)["edges"]) for first, group in tiled.channel_groups()]
    assert [(first, len(maps)) for first, maps in groups] == [(0, 4), (4, 2)]
    assert relative_error(np.concatenate([maps for _, maps in groups]), whole.features["edges"]) < 1e-6


def test_margins_hold_the_widest_reach(family):
    """By hand: at the second map, 2 for the first kernel; at the fourth, (1 + 1) * 2 + 2 more."""
    architecture = family.architecture
    assert margins(architecture, {"mixed": 0}, 1) == (1, 2)
    assert margins(architecture, {"blobs": 0}, 1) == (2, 6)
    assert margins(architecture, {"blobs": 0, "edges": 9}, 1) == (2, 12)
    assert margins(architecture, {"blobs": 0}, 4) == (8, 16)  # (1 up to 4, and 1) * 2 + 2, up to whole units


# ------------------------------------------------------------- the engine


@pytest.fixture(scope="module")
def engine(path: Path) -> Iterator[pyengine.Engine]:
    with pyengine.Engine("cpu", path, threads=1) as engine:
        yield engine


LOSSES = {"gram_layers": ("edges", "corners", "parts"), "histogram_layers": ("edges", "blobs")}


def test_synthesis(engine, natural):
    result = engine.synthesize(natural, start="noise", size=(48, 40), levels=2, iterations=4, seed=1, **LOSSES)
    assert result.image.shape == (40, 48, 3)
    values = [state.value for state in result.history if state.level == 1]
    assert values == sorted(values, reverse=True)
    assert set(result.history[-1].terms) == {
        *(f"gram/{layer}" for layer in LOSSES["gram_layers"]),
        *(f"histogram/{layer}" for layer in LOSSES["histogram_layers"]),
    }


@pytest.mark.parametrize("size", [(40, 56), (144, 128)])  # the latter with Winograd's convolutions
def test_the_objective_against_the_reference(engine, expected, other, size):
    image = np.random.default_rng(8).random((*size, 3), np.float32)
    value, gradient = engine.objective(other, **LOSSES)(image)
    expected_value, expected_gradient, _ = reference.objective(expected, image, other, **LOSSES)
    assert value == pytest.approx(expected_value, rel=1e-5)
    assert relative_error(gradient, expected_gradient) < 1e-4


def test_a_synthesis_in_tiles(engine, path, natural):
    """In memory that does not hold the image whole."""
    options = {"start": "noise", "size": (1024, 768), "levels": 1, "iterations": 1, "seed": 1, **LOSSES}
    expected = engine.synthesize(natural, **options)
    with pyengine.Engine("cpu", path, threads=1, memory_limit=800_000_000) as tight:
        found = tight.synthesize(natural, **options)
        assert tight.plans(found.recipe)[-1].side is not None
    assert np.abs(found.image.astype(int) - expected.image.astype(int)).max() <= 1
    assert found.history[-1].value == pytest.approx(expected.history[-1].value, rel=1e-4)


def test_default_layers(path, natural):
    """By their place in the chain: the first of each block, where a VGG has relu1_1, relu2_1 and so on."""
    result = pyengine.synthesize(natural, size=(32, 24), iterations=3, seed=1, device="cpu", model=path, threads=1)
    assert result.image.shape == (24, 32, 3)
    assert list(result.history[0].terms) == [
        *("histogram/edges", "histogram/things"),
        *("gram/edges", "gram/corners", "gram/parts", "gram/things"),
        "correlation/corners",
    ]
    values = [state.value for state in result.history]
    assert values == sorted(values, reverse=True)
    assert result.made_with["model"] == "family"


EVERYTHING = {"structure": True, "weights": {"variation": 2.0}}


def test_structure_content_and_variation(engine, natural, other):
    recipe = pyengine.Recipe.create(
        other, content=natural[:56, :64], init="noise", levels=2, iterations=[2, 3], seed=1, **EVERYTHING
    )
    first, second = (engine.run(recipe) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert first.image.shape == (56, 64, 3)
    more = {"structure/parts", "content/things", "variation"}
    assert more < first.history[0].terms.keys()
    assert all(first.history[-1].terms[name] > 0 for name in more)
    values = [state.value for state in first.history if state.level == 1]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ((96, 64), WRAPPED),
        ((61, 83), ZEROS),
        ((61, 83), REFLECTED),
        ((61, 80), Padding("reflect", "wrap")),
        ((192, 128), WRAPPED),
    ],
)  # the last with Winograd's convolutions
def test_whole_and_tiled_agree(engine, monkeypatch, natural, size, padding):
    rng = np.random.default_rng(9)
    image, content = (rng.random((*size, 3), np.float32) for _ in range(2))
    arguments = {"exemplar": natural, "content": content, **border_options(padding), **EVERYTHING}
    objective = engine.objective(**arguments)
    (value, gradient), terms = objective(image), objective.terms(image)
    assert {"structure/parts", "content/things", "variation", "histogram/edges"} < terms.keys()
    monkeypatch.setattr(engine, "budget", cut_budget(engine, 32, channels=4))
    tiled = engine.objective(**arguments)
    found, found_gradient = tiled(image)
    assert isinstance(engine.pool.idle[-1], TiledNetwork)
    assert len(engine.pool.idle[-1].tiling.tiles) > 1
    assert found == pytest.approx(value, rel=1e-6)
    assert relative_error(found_gradient, gradient) < 1e-5
    assert tiled.terms(image) == pytest.approx(terms, rel=1e-5)


def test_the_command_line(models, tmp_path, natural):
    """Imported by a name, and used by it: the picture is the one from Python, and says what it was made with."""
    theirs, exemplar, out = (tmp_path / name for name in ("theirs.onnx", "exemplar.png", "out.png"))
    write(theirs)
    save(to_uint8(natural[:48]), exemplar)
    result = invoke("models", "import", theirs, "--name", "family", "--preprocessing", "torchvision")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{models / 'family.onnx'}: theirs, edges ... scene\n"
    options = ("--model", "family", "--device", "cpu", *FAST, "--gram-layers", "mixed,corners")
    result = invoke("synthesize", exemplar, "-o", out, *options)
    assert result.exit_code == 0, result.output
    expected = pyengine.synthesize(
        exemplar, start="noise", model="family", device="cpu", threads=1, levels=1, iterations=2,
        gram_layers=("mixed", "corners"),
    )  # fmt: skip
    assert np.array_equal(to_uint8(load_picture(out)), expected.image)
    document = json.loads(read_metadata(out))
    assert document["engine"]["model"] == "family"
    assert document["recipe"]["gram_layers"] == ["mixed", "corners"]


def test_a_layer_of_a_vgg_is_none_of_it(engine, natural):
    with pytest.raises(PyengineError, match=r"^layer 'relu1_1': model 'family' has edges, mixed, corners, "):
        engine.synthesize(natural, gram_layers=("relu1_1",))


# ------------------------------------------------------- models from Python


def test_installed_listed_and_removed(models: Path, tmp_path: Path) -> None:
    theirs = write(tmp_path / "theirs.onnx")
    info = pyengine.import_model(theirs, "family", preprocessing="caffe", half=True)
    assert info.path == models / "family.onnx"
    assert [model.name for model in pyengine.list_models()] == ["family", "vgg16"]
    assert pyengine.list_models()[0] == info
    assert (info.architecture, info.layers, info.shipped, info.error) == ("theirs", NAMES, False, None)
    assert info.bytes == info.path.stat().st_size
    assert info.origin.startswith("theirs.onnx sha256:")
    with pyengine.Engine("cpu", "family", threads=1) as engine:
        assert engine.model.architecture.names == NAMES

    with pytest.raises(PyengineError, match=r"family.onnx exists: choose another name, or give force"):
        pyengine.import_model(theirs, "family", preprocessing="caffe")
    before = info.path.read_bytes()
    pyengine.import_model(theirs, "family", preprocessing="caffe", force=True)
    assert info.path.read_bytes() != before
    assert [path.name for path in models.iterdir()] == ["family.onnx"]

    assert pyengine.remove_model("family") == info.path
    assert list(models.iterdir()) == []
    with pytest.raises(PyengineError, match=r"unknown model 'family': installed are vgg16$"):
        pyengine.remove_model("family")


def test_a_shipped_model_stays(models: Path, tmp_path: Path) -> None:
    (shipped,) = pyengine.list_models()
    assert (shipped.name, shipped.shipped) == ("vgg16", True)
    with pytest.raises(
        PyengineError, match=r"^model 'vgg16' ships with pyengine: only imported models can be removed$"
    ):
        pyengine.remove_model("vgg16")
    pyengine.import_model(write(tmp_path / "theirs.onnx"), "vgg16", preprocessing="caffe", force=True)
    assert [(model.name, model.shipped) for model in pyengine.list_models()] == [("vgg16", False)]
    pyengine.remove_model("vgg16")  # what hides it
    assert pyengine.list_models() == [shipped]
    assert shipped.path.exists()


def test_a_damaged_model_is_listed_and_can_be_removed(models: Path) -> None:
    models.mkdir()
    (models / "bad.onnx").write_bytes(b"nothing")
    bad, shipped = pyengine.list_models()
    assert (bad.name, bad.layers, bad.bytes) == ("bad", (), 7)
    assert bad.error is not None
    assert "cannot be read as ONNX" in bad.error
    pyengine.remove_model("bad")
    assert pyengine.list_models() == [shipped]


def test_a_model_that_cannot_be_removed(models: Path) -> None:
    (models / "bad.onnx").mkdir(parents=True)
    with pytest.raises(PyengineError, match=r"bad.onnx: cannot be removed \("):
        pyengine.remove_model("bad")


def test_neither_name_nor_output(models: Path, tmp_path: Path) -> None:
    with pytest.raises(PyengineError, match="a model needs a name, or a file to write: give name, or output"):
        pyengine.import_model(write(tmp_path / "theirs.onnx"), preprocessing="caffe")
    with pytest.raises(PyengineError, match=r"out\.npz: end the name in \.onnx"):
        pyengine.import_model(tmp_path / "theirs.onnx", preprocessing="caffe", output=tmp_path / "out.npz")
