"""Model files: damaged ones of every layout that is read, and ONNX graphs and arrays of any shape."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

import pyengine
from pyengine.network.modelfile import load
from robustness.damage import Damaged, damaged
from robustness.oracle import Lost, judged

MOST = 60 * 10**6
"""Bytes that an import may take: the files here are of some kB."""

OLD = b"the model that was there before"


def chain(*convolutions: tuple[int, int], **changed: Any) -> bytes:
    """A chain of convolutions with ReLUs as others export it, a pool before the last; what is named is changed."""
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "input"
    for k, (out, into) in enumerate(convolutions):
        if k and k == len(convolutions) - 1:
            nodes.append(helper.make_node("MaxPool", [x], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]))
            x = "pooled"
        filters, bias = rng.standard_normal((out, into, 3, 3)) / 6, rng.standard_normal(out) / 6
        for part, array in (("weight", filters), ("bias", bias)):
            weights.append(numpy_helper.from_array(array.astype(np.float32), f"layer{k}.{part}"))
        names = [x, f"layer{k}.weight", f"layer{k}.bias"]
        nodes += [
            helper.make_node("Conv", names, [f"layer{k}"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("Relu", [f"layer{k}"], [f"relu{k}"]),
        ]
        x = f"relu{k}"
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, None, None])
    features = helper.make_tensor_value_info(x, TensorProto.FLOAT, None)
    file = helper.make_model(helper.make_graph(nodes, "chain", [image], [features], weights))
    for name in (name for name in CHANGES if name in changed):  # the last takes nodes away
        CHANGES[name](file, changed[name])
    return bytes(file.SerializeToString())


@cache
def tiny(folder: Path) -> Path:
    """A model for which a synthesis takes milliseconds, in a folder."""
    (folder / "chain.onnx").write_bytes(chain((8, 3), (8, 8)))
    return pyengine.import_model(
        folder / "chain.onnx", preprocessing="torchvision", output=folder / "tiny.onnx", force=True
    ).path


@cache
def whole() -> dict[str, bytes]:
    """Whole files, by names that end as theirs."""
    rng = np.random.default_rng(0)
    filters, bias = rng.standard_normal((64, 3, 3, 3)).astype(np.float32), rng.standard_normal(64).astype(np.float32)
    torchvision = {"features.0.weight": filters, "features.0.bias": bias}
    caffe, deflated = io.BytesIO(), io.BytesIO()
    np.savez(caffe, conv1_1_weight=filters, conv1_1_bias=bias)
    np.savez_compressed(deflated, **{name: array.astype(np.float16) for name, array in torchvision.items()})
    with TemporaryDirectory() as folder:
        own = tiny(Path(folder)).read_bytes()
    return {
        "own.onnx": own,
        "chain.onnx": chain((8, 3), (8, 8)),
        "one.onnx": chain((4, 3)),
        "vgg.npz": caffe.getvalue(),
        "deflated.npz": deflated.getvalue(),
        "vgg.safetensors": save(torchvision),
        "vgg.pth": caffe.getvalue(),
    }


# ------------------------------------------------------------------- graphs


def _weight(file: onnx.ModelProto) -> onnx.TensorProto:
    return file.graph.initializer[0]


def _dims(file: onnx.ModelProto, dims: list[int]) -> None:
    _weight(file).dims[:] = dims


def _outside(file: onnx.ModelProto, place: str) -> None:
    tensor = _weight(file)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": place, "offset": "0", "length": "864"}.items():
        tensor.external_data.add(key=key, value=value)


def _attribute(file: onnx.ModelProto, attribute: tuple[str, Any]) -> None:
    name, value = attribute
    node = file.graph.node[0]
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _extra(file: onnx.ModelProto, kind: str) -> None:
    file.graph.node.insert(1, helper.make_node(kind, ["layer0"], ["extra"]))


CHANGES: dict[str, Callable[[onnx.ModelProto, Any], None]] = {
    "dims": _dims,
    "type": lambda file, number: setattr(_weight(file), "data_type", number),
    "data": lambda file, length: setattr(_weight(file), "raw_data", b"\x7f" * length),
    "outside": _outside,
    "attribute": _attribute,
    "extra": _extra,
    "operator": lambda file, kind: setattr(file.graph.node[0], "op_type", kind),
    "output": lambda file, name: file.graph.node[0].output.__setitem__(0, name),
    "input": lambda file, name: file.graph.node[0].input.__setitem__(0, name),
    "relu": lambda file, name: file.graph.node[1].output.__setitem__(0, name),
    "less": lambda file, count: file.graph.node[0].input.__delitem__(slice(count, None)),
    "own": lambda file, text: file.metadata_props.add(key="pyengine", value=text),
    "described": lambda file, text: file.metadata_props.add(key="preprocessing", value=text),
    "cut": lambda file, count: file.graph.node.__delitem__(slice(count, None)),
}

texts = st.sampled_from(
    ["", "x", "input", "relu0", "layer0", "image", "preprocessed", "\x1b[2J\n", "é" * 300, "../../etc"]
)
changed = {
    "dims": st.lists(st.sampled_from([-1, 0, 1, 3, 4, 8, 2**31, 2**40, 2**62]), max_size=6),
    "type": st.integers(-1, 30),
    "data": st.sampled_from([0, 1, 864, 865, 10**5]),
    "outside": st.sampled_from(["", ".", "/etc/passwd", "../outside", "weights", "\0", "x" * 300]),
    "attribute": st.tuples(
        st.sampled_from(["kernel_shape", "pads", "strides", "group", "dilations", "auto_pad", "", "x"]),
        st.sampled_from([0, -1, 2, 2**62, [0], [1, 1], [2] * 4, [2**62] * 2, 0.5, "SAME_UPPER", "é"]),
    ),
    "extra": st.sampled_from(["Add", "Conv", "Relu", "BatchNormalization", "Gemm", "Identity", "Cast", ""]),
    "operator": st.sampled_from(["", "Relu", "Conv", "Constant", "Cast", "Transpose", "MaxPool", "Loop", "If"]),
    "output": texts,
    "input": texts,
    "relu": texts,
    "less": st.integers(0, 3),
    "cut": st.integers(0, 3),
    "own": texts,
    "described": texts | st.sampled_from(["{}", "[]", '{"scale": NaN}', "null", "[" * 2000, '{"mean": 3}']),
}
changes = st.lists(
    st.sampled_from([*changed]).flatmap(lambda name: st.tuples(st.just(name), changed[name])), max_size=3
)


@dataclass(frozen=True)
class Changed:
    """A chain with other attributes, tensors and nodes than it should have."""

    changes: dict[str, Any]
    name: str = "changed.onnx"

    @property
    def content(self) -> bytes:
        return chain((4, 3), (4, 4), **self.changes)


# ------------------------------------------------------------------- arrays


PARTS = ("weight", "bias", "running_mean")


@dataclass(frozen=True)
class Arrays:
    """Arrays of an .npz or .safetensors file whose headers say what they like."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    data: int
    key: str

    @property
    def content(self) -> bytes:
        named = [(self.key.format(part), shape) for part, shape in zip(PARTS, self.shapes, strict=False)]
        if self.name.endswith(".npz"):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, shape in named:
                    header = f"{{'descr': '{self.dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
                    magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1)
                    archive.writestr(f"{name}.npy", magic + header + b"\n" + bytes(self.data))
            return file.getvalue()
        kinds = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "|O": "BF16"}
        entries = {
            name: {"dtype": kinds.get(self.dtype, "X"), "shape": shape, "data_offsets": [0, self.data]}
            for name, shape in named
        }
        text = json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + bytes(self.data)


arrays = st.builds(
    Arrays,
    st.sampled_from(["arrays.npz", "arrays.safetensors"]),
    st.lists(
        st.sampled_from(
            [(64, 3, 3, 3), (64,), (), (0,), (-1,), (64, 3, 3), (3, 3, 3, 64), (10**9, 10**9), (2**62, 4), (10**10,)]
        ),
        min_size=1, max_size=3,
    ).map(tuple),
    st.sampled_from(["<f4", "<f2", "<f8", "|O", "|V1000000", "<U9", "<c16", "x", "<i4"]),
    st.sampled_from([0, 256, *[64 * 27 * 4] * 4, 64 * 27 * 4 + 1, 10**7]),
    st.sampled_from(["features.0.{}", "conv1_1_{}", "block1_conv1_{}", "features.0.{}\x1b[2J", "{}", "../{}"]),
)  # fmt: skip

# ------------------------------------------------------------------ reading

some_options = st.fixed_dictionaries(
    {},
    optional={
        "preprocessing": st.sampled_from(["torchvision", "caffe", None, "", "x", 3]),
        "deepest": st.sampled_from(["relu0", "relu1_1", "", "x", None, "relu9_9"]),
        "half": st.booleans(),
        "name": st.sampled_from(["mine", "", "a/b", "\0", "n" * 300, ".onnx", None]),
        "force": st.booleans(),
    },
)
options = st.just({"preprocessing": "torchvision"}) | st.just({"preprocessing": "caffe", "half": True}) | some_options
inputs = st.deferred(
    lambda: st.tuples(
        damaged(whole()) | damaged(whole()) | st.builds(Changed, changes.map(dict)) | arrays,
        options,
        st.sampled_from([True, True, False]),
    )
)


def act(value: tuple[Damaged | Changed | Arrays, dict[str, Any], bool], folder: Path) -> None:
    """Import a file, or take it for a model, and see that the old model is there, or a whole new one."""
    file, options, imported = value
    path, output = folder / file.name, folder / "new.onnx"
    if not imported:
        path = path.with_suffix(".onnx")  # or it would be taken for a name
    path.write_bytes(file.content)
    output.write_bytes(OLD)
    try:
        with judged(MOST, folder, output):
            if not imported:
                load(path)
                return
            pyengine.import_model(path, output=output, **{"force": True, **options})
        load(output)
    except pyengine.PyengineError:
        if output.read_bytes() != OLD:
            raise Lost("the old model is gone, and no new one was made") from None
        raise
    finally:
        for left in folder.iterdir():
            left.unlink()
