"""Which losses are used, on which layers, and how much each counts."""

from __future__ import annotations

import pytest
from conftest import VGG16

from pyengine import PyengineError
from pyengine.losses.base import IMAGE
from pyengine.losses.options import LossOptions


def test_a_weight_of_a_layer_goes_before_that_of_its_kind():
    weights = {"gram": 2, "gram/relu1_1": 0, "gram/relu3_1": "auto", "histogram": 0, "variation": 3}
    options = LossOptions(weights).on(VGG16)
    assert [options.weight("gram", f"relu{b}_1") for b in (1, 2, 3, 4)] == [0, 2, "auto", 2]
    assert options.used("gram") == ("relu2_1", "relu3_1", "relu4_1")
    assert options.used("histogram") == ()
    assert options.maps == options.style_maps == ("relu2_1", "relu3_1", "relu4_1")
    assert options.weight("variation") == 3
    assert options.used("variation") == (IMAGE,)


@pytest.mark.parametrize("weights", ["auto", "thresholds", {}])
def test_default_weights(weights):
    kinds = ("gram", "histogram", "correlation", "structure", "content")
    options = LossOptions(weights, {"content": ["relu4_2"]}, kinds, content=True).on(VGG16)
    assert {options.weight(kind, "relu4_1") for kind in kinds} == {"auto"}
    assert options.weight("variation") == 0
    assert set(options.maps) == {"relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2"}
    assert options.content_maps == ("relu4_2",)
    assert "relu4_2" not in options.style_maps


def test_default_layers_are_the_papers():
    """Risser et al., sec. 4.3."""
    layers = LossOptions().on(VGG16).layers
    assert layers["gram"] == ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    assert layers["histogram"] == ("relu1_1", "relu4_1")
    assert layers["content"] == ("relu4_1",)
    assert layers["structure"] == ("relu3_1",)
    assert layers["correlation"] == ("relu2_1",)


def test_default_layers_of_a_network_of_one_block():
    layers = LossOptions().on(VGG16.up_to("relu1_2")).layers
    assert {layers[kind] for kind in ("gram", "histogram", "correlation", "structure", "content")} == {("relu1_1",)}


def test_a_layer_of_several_kinds_is_there_once():
    layers = {"gram": ["relu4_1", "relu1_1"], "histogram": ["relu4_1"], "content": ["relu4_1"]}
    options = LossOptions(layers=layers, kinds=("gram", "histogram", "content"), content=True).on(VGG16)
    assert sorted(options.maps) == ["relu1_1", "relu4_1"]
    assert options.content_maps == ("relu4_1",)


def test_a_weight_that_is_named_brings_its_loss():
    assert LossOptions({"structure": 0.5}).on(VGG16).used("structure") == ("relu3_1",)
    assert LossOptions({"structure": "auto"}).on(VGG16).used("structure") == ("relu3_1",)
    assert LossOptions({"correlation": "auto"}).on(VGG16).used("correlation") == ("relu2_1",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"structure": 1}, "layers": {"structure": []}}, r"structure=1: there is no layer for it"),
        ({"weights": {"content/relu4_1": 1}}, r"content/relu4_1=1: there is no content"),
        ({"weights": {"gram/relu1_1": 1}, "layers": {"gram": ["relu2_1"]}}, r"there is no term 'gram/relu1_1'"),
        (
            {"weights": {"style": 1}},
            r"no term 'style': choose histogram, gram, correlation, structure, content, variation, joint, or one ",
        ),
        ({"weights": {3: 1}}, r"there is no term 3"),
        ({"weights": {"gram": True}}, r"gram=True: give a number"),
        ({"weights": {"gram/": 1}}, r"there is no term 'gram/'"),
        ({"weights": {"gram": float("inf")}}, r"gram=inf"),
        ({"weights": {"gram": None}}, r"gram=None"),
        ({"weights": "automatic"}, r"weights='automatic': give 'auto', 'thresholds', or numbers by term"),
        ({"weights": {"gram": 0, "histogram": 0, "content": 1}, "content": True}, r"nothing is left"),
        ({"weights": {"gram": 0, "histogram": 0, "correlation": 1}}, r"nothing is left"),
        ({"layers": {"gram": [], "histogram": []}}, r"nothing is left to match"),
        ({"layers": {"content": "relu4_1"}}, r"content_layers='relu4_1': give a sequence of names"),
        ({"layers": {"gram": [3]}}, r"gram_layers=\[3\]: give a sequence of names"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(PyengineError, match=message) as error:
        LossOptions(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"variation/relu1_1": 1}}, r"there is no term 'variation/relu1_1'"),
        ({"weights": {"gram/relu1_1/2": 1}}, r"there is no term 'gram/relu1_1/2'"),
        ({"weights": {"gram/relu9_1": 1}}, r"there is no term 'gram/relu9_1'"),
        ({"layers": {"gram": ["image"]}}, r"layer 'image': this vgg16 has relu1_1"),
        ({"layers": {"gram": ["relu1_1", "image"]}}, r"layer 'image': this vgg16 has relu1_1"),
        ({"weights": {"gram": 0, "histogram": 0, "variation": 1}}, r"nothing is left to match"),
        ({"weights": {f"gram/relu{b}_1": 0 for b in (1, 2, 3, 4)} | {"histogram": 0}}, r"nothing is left to match"),
        ({"layers": {"gram": ["relu9_1"]}}, r"layer 'relu9_1': this vgg16 has relu1_1, "),
    ],
)
def test_bad_options_on_a_network(options, message):
    with pytest.raises(PyengineError, match=message) as error:
        LossOptions(**options).on(VGG16)
    assert "\n" not in str(error.value)


def test_weights_of_no_term_that_is_used_may_be_0():
    """So that one dict serves with and without a content."""
    assert LossOptions({"content": 0, "structure": 0, "variation": 0}).on(VGG16).used("content") == ()
