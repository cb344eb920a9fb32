"""The objective against the float64 reference, and its behaviour as a function."""

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest
import reference
from conftest import relative_error

from pyengine import Engine, PyengineError

TERMS = ["histogram/relu1_1", "histogram/relu4_1", *(f"gram/relu{b}_1" for b in (1, 2, 3, 4))]


@pytest.fixture(scope="module")
def expected_vgg():
    return reference.load(str(files("pyengine.models") / "vgg16.onnx"))


def picture(kind: str, size: tuple[int, int], natural: np.ndarray, seed: int = 0) -> np.ndarray:
    if kind == "natural":
        return natural[: size[0], : size[1]].copy()
    return np.random.default_rng(seed).random((*size, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [(47, 61), (64, 64)])
@pytest.mark.parametrize("kind", ["random", "natural"])
def test_value_and_gradient_of_the_papers_sum(engine, expected_vgg, natural, other, size, kind):
    image, exemplar = picture(kind, size, natural), other
    objective = engine.objective(exemplar)
    value, gradient = objective(image)
    expected_value, expected_gradient, expected_terms = reference.objective(expected_vgg, image, exemplar)
    assert value == pytest.approx(expected_value, rel=1e-5)
    assert gradient.shape == image.shape
    assert gradient.dtype == np.float32
    assert relative_error(gradient, expected_gradient) < 1e-4
    terms = objective.terms(image)
    assert list(terms) == TERMS
    for name, found in terms.items():
        assert found == pytest.approx(expected_terms[name][0], rel=1e-5), name


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("size", [(47, 61), (64, 64)])
@pytest.mark.parametrize("kind", ["random", "natural"])
def test_gradient_of_each_term_alone(engine, expected_vgg, natural, other, name, size, kind):
    """In the sum the largest term hides the others.

    The largest error is the histogram loss's at relu1_1, where rounding swaps the ranks of nearly equal values.
    """
    loss, layer = name.split("/")
    weights = {k: float(k == loss) for k in ("gram", "histogram")}
    image, exemplar = picture(kind, size, natural), other
    _, gradient = engine.objective(exemplar, weights=weights, **{f"{loss}_layers": (layer,)})(image)
    _, expected, _ = reference.objective(expected_vgg, image, exemplar, **weights, **{f"{loss}_layers": (layer,)})
    assert relative_error(gradient, expected) < 1e-4


def test_weights_scale_the_terms(engine, natural):
    image = natural[:32, :32]
    one = engine.objective(natural[:40, :40]).terms(image)
    scaled = engine.objective(natural[:40, :40], weights={"gram": 3.0, "histogram": 0.5}).terms(image)
    for name, value in one.items():
        assert scaled[name] == pytest.approx(value * (3.0 if name.startswith("gram") else 0.5))


def test_gradients_add_up_where_losses_share_a_layer(engine, natural, other):
    """Weighted so that neither kind hides the other."""
    image = natural[:48, :32]
    weights = {"gram": 1e-6, "histogram": 1.0}
    alone = [
        engine.objective(other, weights={"gram": 0, "histogram": 0, kind: w})(image)[1] for kind, w in weights.items()
    ]
    together = engine.objective(other, weights=weights)(image)[1]
    assert all(relative_error(together, gradient) > 1e-2 for gradient in alone)
    assert relative_error(together, alone[0] + alone[1]) < 1e-5


def test_automatic_weights_do_not_depend_on_the_exemplars_contrast(engine, natural):
    """Relative to the exemplar's own feature maps, a term of a plain image is of the order of its layer's share."""
    for contrast in (1.0, 0.1):
        terms = engine.objective(contrast * natural, weights="auto").terms(np.zeros_like(natural))
        assert all(0 < value < 20 for value in terms.values())


def test_a_term_left_out_is_not_computed(engine, natural):
    assert list(engine.objective(natural, weights={"histogram": 0}).terms(natural)) == TERMS[2:]
    assert list(engine.objective(natural, weights={"gram": 0}).terms(natural)) == TERMS[:2]


def test_the_exemplar_itself_is_a_minimum(engine, natural):
    value, gradient = engine.objective(natural)(natural)
    assert value == 0
    assert not gradient.any()


def test_a_flat_exemplar_and_a_flat_image(engine):
    flat = np.full((16, 16, 3), 0.5, np.float32)
    value, gradient = engine.objective(flat, weights="auto")(np.zeros_like(flat))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_several_threads_get_what_one_gets(engine, natural, rng):
    images = [rng.random((size, 40, 3)).astype(np.float32) for size in (32, 48, 32, 33, 48, 32)]
    objective = engine.objective(natural)
    alone = [objective(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(objective, images))
    for (value, gradient), (value2, gradient2) in zip(alone, together, strict=True):
        assert value == value2
        assert np.array_equal(gradient, gradient2)


def test_the_losses_do_not_depend_on_the_number_of_threads(natural):
    results = []
    for threads in (1, 2, 3):
        with Engine(threads=threads) as engine:
            results.append(engine.objective(natural)(np.flip(natural, 0).copy()))
    assert all(value == pytest.approx(results[0][0], rel=1e-6) for value, _ in results)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((32, 32), np.float32), r"expected a float array \(height, width, 3\)"),
        (np.zeros((32, 32, 4), np.float32), r"expected a float array"),
        (np.zeros((32, 32, 3), np.uint8), r"expected a float array"),
        (np.full((32, 32, 3), np.nan, np.float32), r"NaN or infinite"),
        (np.zeros((32, 15, 3), np.float32), r"at least 16"),
    ],
)
def test_bad_images(engine, natural, image, message):
    with pytest.raises(PyengineError, match=message):
        engine.objective(natural)(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"gram": -1}}, r"weights: gram=-1: give a number that is not negative"),
        ({"weights": {"histogram": float("nan")}}, r"histogram=nan"),
        ({"weights": {"gram": 0, "histogram": 0}}, r"nothing is left to match"),
        ({"weights": {"colour": 1}}, r"there is no term 'colour': choose gram, histogram, "),
        ({"weights": {"gram/relu1_2": 1}}, r"there is no term 'gram/relu1_2'"),
        ({"weights": {"content": 1}}, r"content=1: there is no layer for it"),
        ({"weights": 3}, r"weights=3: give 'auto', 'thresholds', or numbers by term"),
        ({"gram_layers": ("relu9_9",)}, r"layer 'relu9_9': model 'vgg16' has relu1_1"),
        ({"gram_layers": "relu1_1"}, r"give a sequence"),
        ({"gram_layers": ()}, r"gram=1.0: there is no layer for it"),
        ({"padding": "mirror"}, r"padding='mirror': choose 'wrap' or 'zeros'"),
        ({"pooling": "median"}, r"pooling='median'"),
    ],
)
def test_bad_options(engine, natural, options, message):
    with pytest.raises(PyengineError, match=message):
        engine.objective(natural, **options)
