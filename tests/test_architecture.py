"""What networks are made of, as data."""

import subprocess
import sys
from dataclasses import replace

import pytest

from pyengine import PyengineError
from pyengine.network.architecture import Architecture, Layer
from pyengine.network.vgg import vgg

EDGES = Layer("edges", "edges.convolution", 3, 8, 5, False)
MIXED = Layer("mixed", "mixed.convolution", 8, 6, 1, False)
BLOBS = Layer("blobs", "blobs.convolution", 6, 10, 3, True)
PARTS = Layer("parts", "parts.convolution", 10, 4, 7, True)
SMALL = Architecture("small", (EDGES, MIXED, BLOBS, PARTS))


def test_layers_and_pools():
    assert SMALL.names == ("edges", "mixed", "blobs", "parts")
    assert SMALL.first == "edges"
    assert SMALL.blocks == ("edges", "blobs", "parts")
    assert SMALL["mixed"] is MIXED
    assert [SMALL.pools(name) for name in SMALL.names] == [0, 0, 1, 2]
    assert [SMALL.pool_follows(name) for name in SMALL.names] == [False, True, True, False]
    assert [SMALL.map_size(name, (17, 32)) for name in SMALL.names] == [(17, 32), (17, 32), (9, 16), (5, 8)]
    assert SMALL.deepest(["blobs", "edges", "mixed"]) == "blobs"
    assert SMALL.up_to("mixed") == Architecture("small", (EDGES, MIXED))
    assert not SMALL.up_to("mixed").pool_follows("mixed")
    assert [layer.border for layer in SMALL.layers] == [2, 0, 1, 3]


def test_vggs():
    """Table 1 of Simonyan and Zisserman 2014."""
    for name, count, last in (("vgg16", 13, "relu5_3"), ("vgg19", 16, "relu5_4")):
        architecture = vgg(name)
        assert len(architecture.layers) == count
        assert architecture.names[-1] == last
        assert architecture.blocks == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
        assert [architecture[name].channels for name in architecture.blocks] == [64, 128, 256, 512, 512]


def test_a_layer_that_there_is_not():
    SMALL.check(["parts", "edges"])
    with pytest.raises(PyengineError, match=r"^layer 'corners': this small has edges, mixed, blobs, parts$"):
        SMALL.check(["edges", "corners"])
    with pytest.raises(PyengineError, match=r"^layer 'corners': model 'x' has edges, "):
        SMALL.check(["corners"], "model 'x'")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "no convolutions"),
        ((EDGES, replace(MIXED, name="edges")), "'edges' is the name of two things"),
        ((EDGES, replace(MIXED, convolution="edges")), "'edges' is the name of two things"),
        ((replace(EDGES, name="relu/1"),), "'relu/1' cannot be the name of a layer"),
        ((replace(EDGES, name=""),), "'' cannot be the name of a layer"),
        ((replace(EDGES, name="image"),), "'image' cannot be the name of a layer"),
        ((replace(EDGES, kernel=4),), "edges.convolution has a kernel of 4 pixels, which is no odd number"),
        ((replace(EDGES, pooled=True),), "a pool stands in front of the first convolution, edges.convolution"),
        ((replace(EDGES, inputs=1),), "edges.convolution takes 1 channels, where 3 come in"),
        ((EDGES, BLOBS), "blobs.convolution takes 6 channels, where 8 come in"),
    ],
)
def test_what_is_no_chain(layers, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Architecture("bad", layers)


def test_it_is_quick_to_import():
    code = "import pyengine.network.architecture, pyengine.network.vgg, sys; print({'onnx', 'numpy'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
