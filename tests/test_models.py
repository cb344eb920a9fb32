"""Other people's files become models: the same weights, the right preprocessing, or a reason why not."""

from __future__ import annotations

import importlib.resources
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import reference
from click.testing import CliRunner
from conftest import PADDINGS, sessions_of
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

import pyengine
from pyengine.cli import main
from pyengine.errors import PyengineError
from pyengine.network.importing import read_foreign
from pyengine.network.model import PREPROCESSINGS, Model
from pyengine.network.modelfile import load, model_file
from pyengine.network.network import Network
from pyengine.network.vgg import vgg

Array = NDArray[np.floating]
Parameters = dict[str, tuple[Array, Array]]

VGG = vgg("vgg16")

# A prefix is enough of a VGG, and quick.
SHAPES = {"conv1_1": (64, 3), "conv1_2": (64, 64), "conv2_1": (128, 64)}
# conv3_4 is what tells a VGG-19 from a VGG-16.
SHAPES_19 = {
    **SHAPES,
    "conv2_2": (128, 128),
    "conv3_1": (256, 128),
    **dict.fromkeys(("conv3_2", "conv3_3"), (256, 256)),
}
TORCHVISION = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12, "conv3_3": 14, "conv3_4": 16,
}  # fmt: skip

# Written out once more, so that a slip in pyengine's own figures shows.
CAFFE = reference.Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
IMAGENET = reference.Preprocessing("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def random_parameters(shapes: dict[str, tuple[int, int]] = SHAPES) -> Parameters:
    rng = np.random.default_rng(0)
    return {
        name: (
            rng.normal(0, np.sqrt(2 / (9 * i)), (o, i, 3, 3)).astype(np.float32),
            rng.normal(0, 0.1, o).astype(np.float32),
        )
        for name, (o, i) in shapes.items()
    }


# ------------------------------------------------------------- the files


def torchvision_safetensors(path: Path, parameters: Parameters) -> Path:
    arrays = {"classifier.0.weight": np.zeros((4, 4), np.float32)}
    for name, (kernel, bias) in parameters.items():
        arrays |= {f"features.{TORCHVISION[name]}.weight": kernel, f"features.{TORCHVISION[name]}.bias": bias}
    save_file(arrays, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def npz(path: Path, parameters: Parameters, name: str, kernel_key: str, bias_key: str, hwio: bool) -> Path:
    arrays = {"fc6_W": np.zeros((4, 4), np.float32)}
    for convolution, (kernel, bias) in parameters.items():
        layer = name.format(*convolution.removeprefix("conv").split("_"))
        arrays[layer + kernel_key] = kernel.transpose(2, 3, 1, 0) if hwio else kernel
        arrays[layer + bias_key] = bias
    np.savez(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def keras_npz(path: Path, parameters: Parameters) -> Path:
    return npz(path, parameters, "block{}_conv{}", "/kernel:0", "/bias:0", hwio=True)


def caffe_npz(path: Path, parameters: Parameters) -> Path:
    return npz(path, parameters, "conv{}_{}", "_W", "_b", hwio=False)


def dotted_caffe_npz(path: Path, parameters: Parameters) -> Path:
    return npz(path, parameters, "conv{}_{}", ".weight", ".bias", hwio=False)


def onnx_graph(
    path: Path,
    parameters: Parameters,
    weight: Callable[[str], str],
    node: Callable[[str], str] = lambda name: "",
    *,
    channels_last: bool = False,
    normalised: bool = False,
    constants: bool = False,
) -> Path:
    """A VGG as an exporter writes it: `weight` and `node` name initialisers and nodes."""
    nodes, initializers, x = [], [], "input"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [x], ["transposed"], perm=[0, 3, 1, 2]))
        x = "transposed"
    for name, (kernel, bias) in parameters.items():
        inputs = [x]
        for part, array in (("weight", kernel), ("bias", bias)):
            tensor = numpy_helper.from_array(array, f"{weight(name)}.{part}")
            inputs.append(tensor.name)
            if constants:
                nodes.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
            else:
                initializers.append(tensor)
        if name.endswith("_1") and name != "conv1_1":
            nodes.append(helper.make_node("MaxPool", [x], [f"{name}_in"], kernel_shape=[2, 2], strides=[2, 2]))
            inputs[0] = f"{name}_in"
        x = f"{node(name)}_output_{name[4:]}"
        nodes.append(helper.make_node("Conv", inputs, [x], node(name), kernel_shape=[3, 3], pads=[1] * 4))
        if normalised:
            nodes.append(helper.make_node("BatchNormalization", [x, *[inputs[2]] * 4], [f"{x}_bn"]))
            x = f"{x}_bn"
        nodes.append(helper.make_node("Relu", [x], [f"{x}_relu"]))
        x = f"{x}_relu"
    shape = [1, 32, 32, 3] if channels_last else [1, 3, 32, 32]
    graph = helper.make_graph(
        nodes,
        "exported",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path.with_suffix(".onnx"))
    return path.with_suffix(".onnx")


def torch_onnx(path: Path, parameters: Parameters) -> Path:
    return onnx_graph(path, parameters, lambda name: f"features.{TORCHVISION[name]}")


def folded_torch_onnx(path: Path, parameters: Parameters) -> Path:
    """After constant folding torch numbers the weights; the nodes keep their modules' names."""
    return onnx_graph(
        path,
        parameters,
        lambda name: f"onnx::Conv_{100 + TORCHVISION[name]}",
        lambda name: f"/features/features.{TORCHVISION[name]}/Conv",
    )


def anonymous_onnx(path: Path, parameters: Parameters) -> Path:
    return onnx_graph(path, parameters, lambda name: f"onnx::Conv_{100 + TORCHVISION[name]}", lambda name: "Conv")


def keras_onnx(path: Path, parameters: Parameters) -> Path:
    """As tf2onnx writes it: NHWC outside, kernels (O, I, 3, 3) all the same."""
    return onnx_graph(
        path,
        parameters,
        lambda name: f"vgg16/block{name[4]}_conv{name[6]}/ReadVariableOp",
        lambda name: f"vgg16/block{name[4]}_conv{name[6]}/Conv2D",
        channels_last=True,
    )


def conv_attributes(path: Path, parameters: Parameters, **attributes: int | list[int] | str) -> Path:
    """`torch_onnx`, with other attributes on its second convolution; pads only if given."""
    file = torch_onnx(path, parameters)
    model = onnx.load(file)
    node = [node for node in model.graph.node if node.op_type == "Conv"][1]
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    onnx.save(model, file)
    return file


def constants_onnx(path: Path, parameters: Parameters) -> Path:
    return onnx_graph(path, parameters, lambda name: name, constants=True)


Writer = Callable[[Path, Parameters], Path]
WRITERS: dict[Writer, str] = {
    torchvision_safetensors: "torchvision",
    keras_npz: "caffe",
    caffe_npz: "caffe",
    dotted_caffe_npz: "caffe",
    torch_onnx: "torchvision",
    folded_torch_onnx: "torchvision",
    keras_onnx: "caffe",
    constants_onnx: "caffe",
}


def same_parameters(model: Model, parameters: Parameters) -> None:
    assert [c.layer.convolution for c in model.convolutions] == list(parameters)
    assert model.architecture.layers == tuple(c.layer for c in model.convolutions)
    for convolution in model.convolutions:
        kernel, bias = parameters[convolution.layer.convolution]
        assert convolution.filters.dtype == convolution.bias.dtype == np.float32
        np.testing.assert_array_equal(convolution.filters, kernel)
        np.testing.assert_array_equal(convolution.bias, bias)


# ------------------------------------------------------------- good files


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_layouts(writer: Writer, tmp_path: Path) -> None:
    parameters = random_parameters()
    path = writer(tmp_path / "theirs", parameters)
    model = read_foreign(path, "mine")
    same_parameters(model, parameters)
    assert model.architecture == VGG.up_to("relu2_1")
    assert model.preprocessing == PREPROCESSINGS[WRITERS[writer]]
    assert model.origin.startswith(f"{path.name} sha256:")


def test_names_that_tell_nothing_need_a_word(tmp_path: Path) -> None:
    parameters = random_parameters()
    path = anonymous_onnx(tmp_path / "theirs", parameters)
    with pytest.raises(PyengineError, match="--preprocessing caffe or torchvision"):
        read_foreign(path, "mine")
    model = read_foreign(path, "mine", preprocessing="torchvision")
    same_parameters(model, parameters)
    assert model.preprocessing == PREPROCESSINGS["torchvision"]


def test_a_word_overrides_names(tmp_path: Path) -> None:
    path = caffe_npz(tmp_path / "theirs", random_parameters())
    assert read_foreign(path, "mine", preprocessing="torchvision").preprocessing == PREPROCESSINGS["torchvision"]


@pytest.mark.parametrize("writer", [torchvision_safetensors, keras_npz])
def test_vgg19(writer: Writer, tmp_path: Path) -> None:
    shallow = random_parameters(SHAPES_19)
    deep = {**shallow, "conv3_4": shallow["conv3_3"]}
    assert read_foreign(writer(tmp_path / "shallow", shallow), "a").architecture.name == "vgg16"
    model = read_foreign(writer(tmp_path / "deep", deep), "b")
    assert model.architecture.name == "vgg19"
    same_parameters(model, deep)


@pytest.mark.parametrize("half", [False, True])
def test_own_file(half: bool, tmp_path: Path) -> None:
    parameters = random_parameters()
    model = read_foreign(torchvision_safetensors(tmp_path / "theirs", parameters), "first")
    path = tmp_path / "first.onnx"
    onnx.save(model_file(model, half=half), path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    if half:
        parameters = {
            name: (kernel.astype(np.float16), bias.astype(np.float16)) for name, (kernel, bias) in parameters.items()
        }
    again = read_foreign(path, "again")
    for copy in (again, load(path)):
        same_parameters(copy, parameters)
        assert copy.preprocessing == model.preprocessing
        assert copy.origin == model.origin
    assert (again.name, load(path).name) == ("again", "first")


def test_deepest(tmp_path: Path) -> None:
    path = caffe_npz(tmp_path / "theirs", random_parameters())
    assert read_foreign(path, "mine", deepest="relu1_2").architecture.names == ("relu1_1", "relu1_2")
    with pytest.raises(PyengineError, match="layer 'relu9_1': model 'mine' has relu1_1, relu1_2, relu2_1"):
        read_foreign(path, "mine", deepest="relu9_1")


@pytest.mark.parametrize(("writer", "preprocessing"), [(keras_npz, CAFFE), (torchvision_safetensors, IMAGENET)])
@pytest.mark.parametrize("padding", PADDINGS, ids="-".join)
def test_features_agree_with_reference(
    writer: Writer, preprocessing: reference.Preprocessing, padding: reference.Padding, tmp_path: Path
) -> None:
    parameters = random_parameters()
    path = tmp_path / "mine.onnx"
    onnx.save(model_file(read_foreign(writer(tmp_path / "theirs", parameters), "mine"), half=False), path)
    image = np.random.default_rng(1).random((19, 16, 3), np.float32)
    layers = [
        reference.Layer(name.replace("conv", "relu"), k.astype(np.float64), b.astype(np.float64), name == "conv2_1")
        for name, (k, b) in parameters.items()
    ]
    expected = reference.forward(reference.Network(preprocessing, layers), image, padding)
    from_file = reference.forward(reference.load(path), image, padding)

    network = Network(sessions_of(load(path)), (19, 16), tuple(expected), padding=padding, gradient=False)
    network.forward(image)
    for layer, features in network.features.items():
        np.testing.assert_array_equal(from_file[layer], expected[layer])
        error = np.linalg.norm(features - expected[layer]) / np.linalg.norm(expected[layer])
        assert error < 1e-5, layer


# --------------------------------------------------------------- refusals


def refused(folder: Path, file: Path, *expected: str, options: tuple[str, ...] = ()) -> None:
    """`models import` says why in one line, and leaves nothing behind."""
    models = folder / "models"
    result = CliRunner(env={"PYENGINE_MODELS": str(models)}).invoke(
        main, ["models", "import", str(file), "--name", "mine", *options]
    )
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for text in expected:
        assert text in result.stderr
    assert not models.exists()


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path, tmp_path / "theirs.npz", "theirs.npz", "No such file")
    (tmp_path / "folder.npz").mkdir()
    refused(tmp_path, tmp_path / "folder.npz", "folder.npz", "directory")


@pytest.mark.parametrize("name", ["theirs.h5", "theirs", "theirs.npy"])
def test_unknown_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"something")
    refused(tmp_path, tmp_path / name, name, ".onnx, .npz, .safetensors")


@pytest.mark.parametrize("suffix", [".onnx", ".npz", ".safetensors"])
def test_empty_and_random(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"theirs{suffix}"
    file.write_bytes(b"")
    refused(tmp_path, file, "empty")
    file.write_bytes(np.random.default_rng(0).bytes(4096))
    refused(tmp_path, file, "broken or truncated")


@pytest.mark.parametrize("writer", [torchvision_safetensors, keras_npz, torch_onnx])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated(writer: Writer, share: float, tmp_path: Path) -> None:
    file = writer(tmp_path / "theirs", random_parameters())
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    refused(tmp_path, file, "broken or truncated")


@pytest.mark.parametrize("writer", [*WRITERS, anonymous_onnx], ids=lambda writer: writer.__name__)
def test_wrong_shapes(writer: Writer, tmp_path: Path) -> None:
    parameters = random_parameters({**SHAPES, "conv1_2": (32, 64), "conv2_1": (128, 32)})
    refused(tmp_path, writer(tmp_path / "theirs", parameters), "not a VGG-16 or VGG-19", "conv1_2 (64, 64, 3, 3)")


@pytest.mark.parametrize("shape", [(64, 3, 5, 5), (64, 3, 9), (64, 3, 3, 3, 3)])
def test_other_convolutions(shape: tuple[int, ...], tmp_path: Path) -> None:
    parameters = {"conv1_1": (np.zeros(shape, np.float32), np.zeros(64, np.float32))}
    refused(tmp_path, torch_onnx(tmp_path / "theirs", parameters), "not a VGG-16 or VGG-19", str(shape))


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_wrong_bias(writer: Writer, tmp_path: Path) -> None:
    parameters = random_parameters()
    parameters["conv1_2"] = (parameters["conv1_2"][0], np.zeros(63, np.float32))
    refused(tmp_path, writer(tmp_path / "theirs", parameters), "bias", "(63,)", "(64,)")


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_missing_layer(writer: Writer, tmp_path: Path) -> None:
    parameters = random_parameters({**SHAPES_19, "conv3_4": (256, 256)})
    del parameters["conv3_2"]  # the shapes of what is left are a VGG-16's
    refused(tmp_path, writer(tmp_path / "theirs", parameters), "conv3_2 is missing")


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_automatic_padding(auto_pad: str, tmp_path: Path) -> None:
    parameters = random_parameters()
    same_parameters(read_foreign(conv_attributes(tmp_path / "theirs", parameters, auto_pad=auto_pad), "a"), parameters)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"pads": [1] * 4, "strides": [2, 2]}, "strides [2, 2], not [1, 1]"),
        ({"auto_pad": "SAME_UPPER", "strides": [1, 2]}, "strides [1, 2], not [1, 1]"),
        ({"pads": [1] * 4, "dilations": [2, 2]}, "dilations [2, 2], not [1, 1]"),
        ({"pads": [1] * 4, "group": 64}, "group 64, not 1"),
        ({"pads": [0, 0, 1, 1]}, "pads [0, 0, 1, 1], not [1, 1, 1, 1]"),
        ({"auto_pad": "VALID"}, "pads [0, 0, 0, 0], not [1, 1, 1, 1]"),
        ({}, "pads [0, 0, 0, 0], not [1, 1, 1, 1]"),
    ],
)
def test_wrong_attributes(attributes: dict[str, int | list[int] | str], expected: str, tmp_path: Path) -> None:
    file = conv_attributes(tmp_path / "theirs", random_parameters(), **attributes)
    refused(tmp_path, file, "not a VGG-16 or VGG-19", expected)


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_two_claim_one_convolution(part: str, tmp_path: Path) -> None:
    kernel, bias = random_parameters()["conv1_1"]
    arrays = {"features.0.weight": kernel, "features.0.bias": bias}
    arrays[f"ema.features.0.{part}"] = arrays[f"features.0.{part}"] * 2
    save_file(arrays, tmp_path / "theirs.safetensors")
    np.savez(tmp_path / "theirs.npz", **arrays)
    for suffix in (".safetensors", ".npz"):
        names = f"'features.0.{part}'", f"'ema.features.0.{part}'"
        refused(tmp_path, tmp_path / f"theirs{suffix}", *names, "the same convolution")


def test_bfloat16_is_read(tmp_path: Path) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    coarse = {name: (k.astype(bfloat16), b.astype(bfloat16)) for name, (k, b) in random_parameters().items()}
    expected = {name: (k.astype(np.float32), b.astype(np.float32)) for name, (k, b) in coarse.items()}
    for writer in (torchvision_safetensors, torch_onnx):
        same_parameters(read_foreign(writer(tmp_path / "theirs", coarse), "mine"), expected)
    # numpy's own format forgets what the two bytes were.
    refused(tmp_path, caffe_npz(tmp_path / "theirs", coarse), "conv1_1_W", "|V2")


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.complex64, bool])
def test_other_dtypes(dtype: type, part: int, tmp_path: Path) -> None:
    parameters = random_parameters()
    spoilt = list(parameters["conv1_2"])
    spoilt[part] = spoilt[part].astype(dtype)
    parameters["conv1_2"] = spoilt[0], spoilt[1]
    for writer, name in ((keras_npz, "block1_conv2/kernel:0"), (torch_onnx, "_output_1_2")):
        refused(tmp_path, writer(tmp_path / "theirs", parameters), f"{name!r} holds {np.dtype(dtype)};")


def test_beyond_float32(tmp_path: Path) -> None:
    parameters = random_parameters()
    parameters["conv1_2"] = (parameters["conv1_2"][0].astype(np.float64) * 1e200, parameters["conv1_2"][1])
    refused(tmp_path, caffe_npz(tmp_path / "theirs", parameters), "NaN or infinite")


@pytest.mark.parametrize("part", [0, 1])
def test_beyond_float16(part: int, tmp_path: Path) -> None:
    parameters = random_parameters()
    parameters["conv1_2"][part].flat[7] = -65504
    file = caffe_npz(tmp_path / "theirs", parameters)
    read_foreign(file, "mine").check_half()
    parameters["conv1_2"][part].flat[7] = -65536
    with pytest.raises(PyengineError, match=r"^conv1_2 holds a weight of size 65536, float16 no more than 65504; "):
        read_foreign(caffe_npz(tmp_path / "theirs", parameters), "mine").check_half()
    refused(tmp_path, caffe_npz(tmp_path / "theirs", parameters), "conv1_2", "65504", options=("--half",))


def test_missing_bias(tmp_path: Path) -> None:
    kernel, bias = random_parameters()["conv1_1"]
    np.savez(tmp_path / "theirs.npz", conv1_1_W=kernel, conv1_2_b=bias)
    refused(tmp_path, tmp_path / "theirs.npz", "no bias beside 'conv1_1_W'")
    file = torch_onnx(tmp_path / "theirs", random_parameters())
    model = onnx.load(file)
    next(node for node in model.graph.node if node.op_type == "Conv").input.pop()
    onnx.save(model, file)
    refused(tmp_path, file, "no constant kernel and bias")


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("part", [0, 1])
def test_not_finite(writer: Writer, part: int, tmp_path: Path) -> None:
    parameters = random_parameters()
    parameters["conv1_2"][part].flat[7] = np.nan if part else np.inf
    refused(tmp_path, writer(tmp_path / "theirs", parameters), "NaN or infinite")


def test_batch_normalisation(tmp_path: Path) -> None:
    file = onnx_graph(
        tmp_path / "theirs", random_parameters(), lambda name: f"features.{TORCHVISION[name]}", normalised=True
    )
    refused(tmp_path, file, "batch normalisation")
    kernel, bias = random_parameters()["conv1_1"]
    arrays = {"features.0.weight": kernel, "features.0.bias": bias, "features.1.running_mean": bias}
    save_file(arrays, tmp_path / "theirs.safetensors")
    refused(tmp_path, tmp_path / "theirs.safetensors", "batch normalisation")


def test_no_vgg_at_all(tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", table=np.zeros((4, 4)))
    refused(tmp_path, tmp_path / "theirs.npz", "no convolution")


class Payload:
    """What would run if a pickle in the file were loaded."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", conv1_1_W=np.array([Payload()], object))
    refused(tmp_path, tmp_path / "theirs.npz", "'conv1_1_W' holds object")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "two words", "mine.onnx", "-o"])
def test_bad_name(name: str, tmp_path: Path) -> None:
    file = caffe_npz(tmp_path / "theirs", random_parameters())
    refused(tmp_path, file, f"model name {name!r}", options=(f"--name={name}",))


def test_unknown_deepest(tmp_path: Path) -> None:
    file = caffe_npz(tmp_path / "theirs", random_parameters())
    refused(tmp_path, file, "relu9_9", "relu1_1, relu1_2, relu2_1", options=("--deepest", "relu9_9"))


# ----------------------------------------------------- importing and listing


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYENGINE_MODELS", str(tmp_path / "made" / "models"))
    return tmp_path / "made" / "models"


def test_import_list_use(models: Path, tmp_path: Path) -> None:
    file = torch_onnx(tmp_path / "theirs", random_parameters())
    command = ["models", "import", str(file), "--name", "mine", "--deepest", "relu1_2"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert str(models / "mine.onnx") in result.stdout

    listed = {m["name"]: m for m in json.loads(CliRunner().invoke(main, ["models", "list", "--json"]).stdout)}
    assert set(listed) == {"mine", "vgg16"}
    mine = listed["mine"]
    assert mine["architecture"] == "vgg16"
    assert mine["layers"] == ["relu1_1", "relu1_2"]
    assert mine["bytes"] == (models / "mine.onnx").stat().st_size
    assert mine["origin"].startswith("theirs.onnx sha256:")
    lines = CliRunner().invoke(main, ["models", "list"]).stdout.splitlines()
    assert lines[0].startswith("mine: vgg16, relu1_1 ... relu1_2, 0.2 MB")

    with pyengine.Engine(model="mine", threads=1) as engine:
        assert engine.model.architecture.names == ("relu1_1", "relu1_2")
        with pytest.raises(PyengineError, match=r"layer 'relu2_1': model 'mine' has relu1_1, relu1_2$"):
            engine.synthesize(np.zeros((16, 16, 3)), gram_layers=["relu1_1", "relu2_1"])
        terms = engine.synthesize(np.eye(16), iterations=1).history[0].terms
        # Of a block that is not there, no layer.
        assert list(terms) == ["histogram/relu1_1", "gram/relu1_1", "correlation/relu1_1"]


def test_import_replaces_only_when_told(models: Path, tmp_path: Path) -> None:
    file = caffe_npz(tmp_path / "theirs", random_parameters())
    for name in ("mine", "vgg16"):
        command = ["models", "import", str(file), "--name", name]
        if name == "mine":
            assert CliRunner().invoke(main, command).exit_code == 0
        before = sorted(models.iterdir())
        result = CliRunner().invoke(main, [*command, "--half"])
        assert result.exit_code == 2
        assert f"{name}.onnx exists: choose another name, or give force" in result.stderr
        assert sorted(models.iterdir()) == before
        assert CliRunner().invoke(main, [*command, "--half", "--force"]).exit_code == 0
    assert [path.name for path in sorted(models.iterdir())] == ["mine.onnx", "vgg16.onnx"]
    assert load("vgg16").architecture.names == ("relu1_1", "relu1_2", "relu2_1")  # the user's hides the shipped one


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"file": 3}, "file=3: give a path"),
        ({"output": b"new.onnx"}, r"output=b'new\.onnx': give a path"),
        ({"name": ["mine"]}, r"name=\['mine'\]: give a text"),
        ({"deepest": 1}, "deepest=1: give a text"),
        ({"preprocessing": {}}, "preprocessing={}: give a text"),
        ({"half": "no"}, "half='no': give True or False"),
        ({"force": 1}, "force=1: give True or False"),
    ],
)
def test_import_refuses_arguments_of_other_types(
    arguments: dict[str, Any], expected: str, models: Path, tmp_path: Path
) -> None:
    file = caffe_npz(tmp_path / "theirs", random_parameters())
    with pytest.raises(PyengineError, match=f"^{expected}"):
        pyengine.import_model(**{"file": file, "name": "mine", **arguments})
    assert not models.exists()


def test_remove_refuses_what_is_no_name() -> None:
    with pytest.raises(PyengineError, match=r"name=\['mine'\]: give a text"):
        pyengine.remove_model(["mine"])  # type: ignore[arg-type]


def test_import_to_a_file(models: Path, tmp_path: Path) -> None:
    file = caffe_npz(tmp_path / "theirs", random_parameters())
    out = tmp_path / "out.onnx"
    command = ["models", "import", str(file), "--output"]
    assert CliRunner().invoke(main, [*command, str(out)]).exit_code == 0
    assert load(out).architecture.names == ("relu1_1", "relu1_2", "relu2_1")
    assert not models.exists()
    content = out.read_bytes()
    for target, expected in ((out, "exists"), (tmp_path / "no" / "out.onnx", "cannot be written"), ("out", ".onnx")):
        result = CliRunner().invoke(main, [*command, str(target), "--half"])
        assert result.exit_code == 2
        assert expected in result.stderr
    assert out.read_bytes() == content
    result = CliRunner().invoke(main, ["models", "import", str(file)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "a model needs a name, or a file to write: give name, or output" in result.stderr


def test_models_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = caffe_npz(tmp_path / "theirs", random_parameters())
    result = CliRunner(env={"PYENGINE_MODELS": str(tmp_path / "file" / "models")}).invoke(
        main, ["models", "import", str(file), "--name", "mine"]
    )
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "cannot be made" in result.stderr


def damage(kind: str, content: bytes) -> bytes:
    """An own model file, spoilt."""
    if kind == "empty":
        return b""
    if kind == "truncated":
        return content[: len(content) // 2]
    if kind == "random":
        return np.random.default_rng(0).bytes(4096)
    model = onnx.load_from_string(content)
    meta = {entry.key: entry for entry in model.metadata_props}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.output[0]: node for node in model.graph.node}

    def alter(output: str, key: str, value: object) -> None:
        kept = [attribute for attribute in nodes[output].attribute if attribute.name != key]
        del nodes[output].attribute[:]
        nodes[output].attribute.extend([*kept, helper.make_attribute(key, value)])

    match kind:
        case "foreign":
            model.metadata_props.remove(meta["pyengine"])
        case "no origin":
            model.metadata_props.remove(meta["origin"])
        case "bad preprocessing":
            meta["preprocessing"].value = "{"
        case "no convolutions":
            meta["convolutions"].value = ""
        case "no architecture":
            model.metadata_props.remove(meta["architecture"])
        case "other convolutions":
            meta["convolutions"].value += " conv2_2"
        case "stride":
            alter("conv1_2", "strides", [2, 2])
        case "pads":
            alter("conv1_2", "pads", [1, 1, 0, 0])
        case "dilated":
            alter("conv2_1", "dilations", [2, 2])
        case "grouped":
            alter("conv1_2", "group", 64)
        case "even kernel":
            tensors["conv1_2.weight"].CopyFrom(
                numpy_helper.from_array(np.zeros((64, 64, 2, 2), np.float32), "conv1_2.weight")
            )
        case "other kernel":
            alter("conv1_2", "kernel_shape", [5, 5])
        case "large pool":
            alter("relu1_2.pooled", "kernel_shape", [3, 3])
        case "pool rounds down":
            alter("relu1_2.pooled", "ceil_mode", 0)
        case "maximum":
            nodes["relu1_2.pooled"].op_type = "MaxPool"
        case "no relu":
            nodes["conv1_2"].output[0] = "relu1_2"
            model.graph.node.remove(nodes["relu1_2"])
        case "no text":
            return model.SerializeToString().replace(b"theirs.npz", b"\xff" * 10)
        case "other operator":
            nodes["relu1_2"].op_type = "Sigmoid"
        case "branch":
            model.graph.node.append(helper.make_node("Relu", ["conv1_2"], ["also"]))
        case "names":
            nodes["conv1_2"].input[0] = nodes["relu1_1"].output[0] = "image/1"
        case "circle":
            nodes["relu1_2"].output[0] = "preprocessed"
        case "missing weight":
            model.graph.initializer.remove(tensors["conv1_2.weight"])
        case "channels":
            tensors["conv1_2.weight"].CopyFrom(
                numpy_helper.from_array(np.zeros((64, 32, 3, 3), np.float32), "conv1_2.weight")
            )
        case "short weight":
            tensors["conv1_2.weight"].raw_data = tensors["conv1_2.weight"].raw_data[:-8]
        case "wrong shape":
            tensors["conv1_2.weight"].dims[:] = [32, 128, 3, 3]
        case "not finite":
            bias = np.full(64, np.nan, np.float32)
            tensors["conv1_2.bias"].CopyFrom(numpy_helper.from_array(bias, "conv1_2.bias"))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("empty", "not a model of pyengine's"),
        ("truncated", "cannot be read as ONNX"),
        ("random", "cannot be read as ONNX"),
        ("foreign", "not a model of pyengine's"),
        ("no origin", "origin"),
        ("no text", "its origin is no text"),
        ("bad preprocessing", "damaged"),
        ("no convolutions", "its convolutions are conv1_1 conv1_2 conv2_1, and not those named in it"),
        ("no architecture", "architecture"),
        ("other convolutions", "its convolutions are conv1_1 conv1_2 conv2_1, and not those named in it"),
        ("stride", "convolution 'conv1_2' has strides [2, 2], not [1, 1]"),
        ("pads", "convolution 'conv1_2' has pads [1, 1, 0, 0], not [1, 1, 1, 1]"),
        ("dilated", "convolution 'conv2_1' has dilations [2, 2], not [1, 1]"),
        ("grouped", "convolution 'conv1_2' has group 64, not 1"),
        ("even kernel", "convolution 'conv1_2' has filters of shape (64, 64, 2, 2), not square with an odd side"),
        ("other kernel", "convolution 'conv1_2' has kernel_shape [5, 5], not [3, 3]"),
        ("large pool", "pool 'relu1_2.pooled' has kernel_shape [3, 3], not [2, 2]"),
        ("pool rounds down", "pool 'relu1_2.pooled' has ceil_mode 0, not 1"),
        ("maximum", "pool 'relu1_2.pooled' is a MaxPool, not an AveragePool"),
        ("no relu", "no Relu follows the convolution 'relu1_2'"),
        ("other operator", "no Relu follows the convolution 'conv1_2'"),
        ("branch", "'conv1_2' goes to 2 nodes"),
        ("circle", "'preprocessed' comes out of two nodes"),
        ("names", "'image/1' cannot be the name of a layer"),
        ("missing weight", "convolution 'conv1_2' has no constant kernel and bias"),
        ("short weight", "damaged"),
        ("wrong shape", "bias of 'conv1_2' has shape (64,), not (32,)"),
        ("channels", "conv1_2 takes 32 channels, where 64 come in"),
        ("not finite", "'conv1_2' holds NaN"),
    ],
)
def test_damaged_model(kind: str, expected: str, models: Path, tmp_path: Path) -> None:
    model = read_foreign(caffe_npz(tmp_path / "theirs", random_parameters()), "mine")
    models.mkdir(parents=True)
    (models / "mine.onnx").write_bytes(damage(kind, model_file(model, half=False).SerializeToString()))
    with pytest.raises(PyengineError) as caught:
        pyengine.Engine(model="mine", threads=1)
    message = str(caught.value)
    assert message.startswith(str(models / "mine.onnx"))
    assert expected in message
    assert "\n" not in message

    result = CliRunner().invoke(main, ["models", "list"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"mine: unusable: {message}"
    assert "\nvgg16: vgg16, relu1_1 ... relu4_2, 10.6 MB\n" in result.stdout
    listed = json.loads(CliRunner().invoke(main, ["models", "list", "--json"]).stdout)
    size = (models / "mine.onnx").stat().st_size
    unknown = {"architecture": "", "layers": [], "origin": ""}
    assert listed[0] == {
        **unknown, "name": "mine", "path": str(models / "mine.onnx"), "shipped": False, "bytes": size, "error": message
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"channels": "GBR"}, "channels 'GBR' are neither RGB nor BGR"),
        ({"channels": None}, "channels None"),
        ({"mean": [1.0, 2.0]}, "mean and std are not three numbers each"),
        ({"std": [1.0] * 4}, "mean and std are not three numbers each"),
        ({"mean": "abc"}, "not all finite numbers"),
        ({"mean": [float("nan"), 1.0, 1.0]}, "not all finite numbers"),
        ({"std": [1.0, float("inf"), 1.0]}, "not all finite numbers"),
        ({"scale": "255"}, "not all finite numbers"),
        ({"scale": True}, "not all finite numbers"),
        ({"scale": 10**400}, "damaged"),
        ({"scale": 0}, "scale and std are not all above 0"),
        ({"std": [1.0, 1.0, -1.0]}, "scale and std are not all above 0"),
        ({"gamma": 2.2}, "gamma"),
    ],
)
def test_damaged_preprocessing(changes: dict[str, object], expected: str, tmp_path: Path) -> None:
    model = model_file(read_foreign(caffe_npz(tmp_path / "theirs", random_parameters()), "mine"), half=False)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "preprocessing")
    entry.value = json.dumps({**json.loads(entry.value), **changes})
    onnx.save(model, tmp_path / "mine.onnx")
    for reader in (load, lambda path: read_foreign(path, "again")):
        with pytest.raises(PyengineError, match="damaged model file") as caught:
            reader(tmp_path / "mine.onnx")
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


def test_unknown_model_lists_the_installed(models: Path) -> None:
    with pytest.raises(PyengineError, match=r"unknown model 'nope': installed are vgg16; .*models import"):
        pyengine.Engine(model="nope")
    with pytest.raises(PyengineError, match=r"nope\.onnx: no such file"):
        pyengine.Engine(model="nope.onnx")


def test_shipped_model(models: Path) -> None:
    model = load("vgg16")
    assert model.architecture == VGG.up_to("relu4_2")
    assert model.preprocessing == PREPROCESSINGS["caffe"]
    assert "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49" in model.origin


def test_shipped_file_is_what_would_be_written_today(models: Path) -> None:
    """Byte for byte, so that it can be made again from where it came from."""
    (path,) = (model.path for model in pyengine.list_models() if model.name == "vgg16")
    assert model_file(load(path), half=True).SerializeToString() == path.read_bytes()


# ------------------------------------------------- what is not read


def peak_of_import(file: Path) -> tuple[str, float]:
    """The message, and the megabytes that the import takes at most, in a process of its own."""
    code = """if True:
        import resource, sys
        from pathlib import Path
        from pyengine import PyengineError
        from pyengine.network.importing import read_foreign
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read_foreign(Path(sys.argv[1]), "mine", preprocessing="caffe")
        except PyengineError as error:
            print(error)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    """
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, timeout=60, check=True)
    message, megabytes = done.stdout.splitlines()
    return message, float(megabytes)


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of memory is Linux's")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("features.0.weight", "has shape"), ("features.0.bias", "has shape"), ("other", "no convolution")],
)
def test_a_small_file_of_huge_arrays(name: str, expected: str, tmp_path: Path) -> None:
    """Zeros are packed to a thousandth: 0.5 MB here are 500, of which no more than the shape is read."""
    arrays = {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32), "features.0.bias": np.zeros(64, np.float32)}
    shape = (125_000_000,) if name.endswith("bias") else (1_250_000, 4, 5, 5)
    if name == "other":
        arrays = {}
    arrays[name] = np.zeros(shape, np.float32)
    np.savez_compressed(tmp_path / "theirs.npz", **arrays)
    assert (tmp_path / "theirs.npz").stat().st_size < 1e6
    message, megabytes = peak_of_import(tmp_path / "theirs.npz")
    assert expected in message
    assert megabytes < 50


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX's")
def test_a_file_without_an_end(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyengine.files.MOST_BYTES", 10_000_000)
    for suffix in (".onnx", ".npz", ".safetensors"):
        (tmp_path / f"endless{suffix}").symlink_to("/dev/zero")
        refused(tmp_path, tmp_path / f"endless{suffix}", "cannot be read (more than 10000000 bytes)")
    with pytest.raises(PyengineError, match=r"endless\.onnx: cannot be read \(more than 10000000 bytes\)"):
        load(tmp_path / "endless.onnx")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".PTH"])
def test_pytorchs_pickles_are_to_be_converted(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"theirs{suffix}"
    file.write_bytes(pickle.dumps(Payload()))
    refused(tmp_path, file, "a pickle, which may run code, is not opened", 's.save_file(torch.load("', ".safetensors")


def test_the_shipped_model_is_described(models: Path) -> None:
    lines = CliRunner().invoke(main, ["models", "list"]).stdout.splitlines()
    what = "VGG-16 by the Visual Geometry Group, University of Oxford, trained on ImageNet, CC BY 4.0"
    assert lines[1] == f"  {what}; read from a file of sha256 3be917fb4375"


def test_names_in_a_model_file_are_only_text(models: Path, tmp_path: Path) -> None:
    file = onnx.load(str(importlib.resources.files("pyengine.models") / "vgg16.onnx"))
    for entry in file.metadata_props:
        if entry.key in ("origin", "architecture"):
            entry.value = "\x1b[31mred\x07"
    models.mkdir(parents=True)
    onnx.save(file, models / "odd.onnx")
    text = CliRunner().invoke(main, ["models", "list"]).stdout
    assert "odd: \\x1b[31mred\\x07, relu1_1" in text
    assert text.replace("\n", "").isprintable()
