"""The compiled kernels: the losses on feature maps and on the image itself, on the CPU.

A feature map is a C-contiguous float32 array (C, N), channels times pixels; its coverage, how much each
pixel counts, is one float32 >= 0 a pixel, and `None`, the default, means 1 everywhere. An array that is
written shares no memory with the others. No argument is copied or converted; what does not fit raises
`TypeError` (not an array, its dtype) or `ValueError` (shape, layout, alignment, values). Every call
releases the interpreter's lock, and its result does not depend on the number of threads, to the last bit.
"""

from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

simd: Literal["baseline", "avx2", "avx512"]
"""The instruction set in use: the best that the machine has, unless the environment variable `PYENGINE_SIMD` named
another when the module was loaded. The name of a set that the machine lacks, or of none, is an `ImportError`."""

simd_supported: tuple[Literal["baseline", "avx2", "avx512"], ...]
"""The instruction sets that the machine has, the best last."""

def release_scratch() -> None:
    """Give back to the system what memory the kernels keep for their next call, 128 MiB at most."""

def gram(
    features: NDArray[np.float32],
    coverage: NDArray[np.float32] | None = None,
    threads: int = 1,
    mass: float | None = None,
) -> NDArray[np.float64]:
    """Return the Gram matrix of a feature map, G = F diag(w) F^T / sum(w).

    These are eq. 1 and 2 of Risser et al. (1701.08893). Sums run in float32 over short stretches of
    pixels and in float64 over these.

    Parameters
    ----------
    features
        Feature map F, (C, N).
    coverage
        How much every pixel counts, w, (N,); None, the default, means 1 everywhere.
    threads
        How many threads to use at most, 1 by default.
    mass
        What is divided by in place of sum(w): for a part of a larger map, that map's; None, the default, means sum(w).

    Returns
    -------
    numpy.ndarray
        G, (C, C), symmetric to the last bit; zeros if no pixel counts.
    """

def cross_gram(
    features: NDArray[np.float32],
    other: NDArray[np.float32],
    coverage: NDArray[np.float32] | None = None,
    threads: int = 1,
    mass: float | None = None,
) -> NDArray[np.float64]:
    """Return the Gram matrix of one feature map with another, A diag(w) B^T / sum(w).

    With B a translated A, these are the products across a distance of Berger & Memisevic (1606.01286).

    Parameters
    ----------
    features
        Feature map A, (C, N).
    other
        Feature map B, (C, N).
    coverage
        How much every pixel counts, w, (N,); None, the default, means 1 everywhere.
    threads
        How many threads to use at most, 1 by default.
    mass
        What is divided by in place of sum(w): for a part of a larger map, that map's; None, the default, means sum(w).

    Returns
    -------
    numpy.ndarray
        The matrix, (C, C), rows by channels of A; zeros if no pixel counts.
    """

def mix(
    features: NDArray[np.float32],
    matrix: NDArray[np.float64] | NDArray[np.float32],
    scale: float,
    out: NDArray[np.float32],
    coverage: NDArray[np.float32] | None = None,
    accumulate: bool = False,
    threads: int = 1,
) -> None:
    """Write scale * (matrix @ features) * coverage, which is the gradient of a loss on a Gram matrix.

    For ||G(F) - T||_F^2 / C^2, `matrix` is G(F) - T and `scale` is 4 / (C^2 sum(w)). For a `cross_gram`
    in place of G, half of that: D B diag(w) is the gradient at A, and D^T A diag(w) that at B.

    Parameters
    ----------
    features
        Feature map F, (C, N).
    matrix
        Matrix (R, C); multiplied by `scale` and rounded to float32.
    scale
        Factor of the result.
    out
        Array (R, N) that is written.
    coverage
        How much every pixel counts, (N,); None, the default, means 1 everywhere.
    accumulate
        Whether to add to `out` instead of overwriting it, False by default.
    threads
        How many threads to use at most, 1 by default.
    """

@final
class Histogram:
    """The distribution of every channel of an exemplar, and the distance of other feature maps from it.

    It is that of Risser et al. (1701.08893), sec. 4.3, by an exact rank match: there are no bins. It does not change,
    and several threads may use it at once.

    Parameters
    ----------
    features
        The exemplar's feature map S, (C, N); only its values other than 0 are kept.
    coverage
        How much every pixel of the exemplar counts, (N,); None, the default, means 1 everywhere.
    threads
        How many threads to use at most, 1 by default.
    """

    def __init__(
        self, features: NDArray[np.float32], coverage: NDArray[np.float32] | None = None, threads: int = 1
    ) -> None: ...
    @property
    def channels(self) -> int:
        """Number of channels C."""

    def loss(
        self,
        features: NDArray[np.float32],
        gradient: NDArray[np.float32] | None = None,
        scale: float = 1.0,
        coverage: NDArray[np.float32] | None = None,
        accumulate: bool = False,
        threads: int = 1,
        first: int = 0,
    ) -> float:
        """Return the histogram loss, sum w (O - R(O))^2 / (C sum(w)), and write its gradient.

        R(O) has the ranks of O and the values of the exemplar. Samples of equal value (zeros above all) are one
        atom. It covers an interval of mass, as its pixels count, and is mapped to the mean of the exemplar's
        quantiles over that interval. Samples that do not count keep their value; so do all if no pixel of
        either side counts.

        Parameters
        ----------
        features
            Feature map O, (C, N); N may differ from the exemplar's.
        gradient
            Array (C, N) to which `scale` times the gradient, 2 w (O - R(O)) / (C sum(w)), is written; None, the
            default, where nobody wants it.
        scale
            Factor of the gradient, not of the value, 1 by default.
        coverage
            How much every pixel of O counts, w, (N,); None, the default, means 1 everywhere.
        accumulate
            Whether to add to `gradient` instead of overwriting it, False by default.
        threads
            How many threads to use at most, 1 by default.
        first
            The exemplar's channel that the first of the C channels of O is matched to, 0 by default; the others
            follow.

        Returns
        -------
        float
            The value; 0 if no pixel of either side counts, NaN if a sample that counts is NaN.
        """

def content_loss(
    features: NDArray[np.float32],
    target: NDArray[np.float32],
    gradient: NDArray[np.float32] | None = None,
    scale: float = 1.0,
    coverage: NDArray[np.float32] | None = None,
    accumulate: bool = False,
    threads: int = 1,
    mass: float | None = None,
) -> float:
    """Return the content loss, sum w (O - T)^2 / (C sum(w)), and write its gradient.

    It is eq. 4 of Risser et al. (1701.08893). Sums run in float32 over short stretches of pixels and in float64
    over these.

    Parameters
    ----------
    features
        Feature map O, (C, N).
    target
        Feature map T, (C, N).
    gradient
        Array (C, N) to which `scale` times the gradient, 2 w (O - T) / (C sum(w)), is written; None, the
        default, where nobody wants it.
    scale
        Factor of the gradient, not of the value, 1 by default.
    coverage
        How much every pixel counts, w, (N,); None, the default, means 1 everywhere.
    accumulate
        Whether to add to `gradient` instead of overwriting it, False by default.
    threads
        How many threads to use at most, 1 by default.
    mass
        What is divided by in place of sum(w): for a part of a larger map, that map's; None, the default, means sum(w).

    Returns
    -------
    float
        The value; 0 if no pixel counts.
    """

def variation(
    image: NDArray[np.float32],
    gradient: NDArray[np.float32] | None = None,
    scale: float = 1.0,
    wrap: tuple[bool, bool] = (True, True),
    accumulate: bool = False,
    threads: int = 1,
) -> float:
    """Return the mean squared difference of neighbouring pixels, and write its gradient.

    It is the total variation of Mahendran & Vedaldi (1412.0035) with exponent 2, as a mean: the sum of (x' - x)^2
    over all pairs of pixels side by side or one above the other, divided by their number and by C.

    Parameters
    ----------
    image
        Image, (H, W, C), C-contiguous.
    gradient
        Array (H, W, C) to which `scale` times the gradient is written; None, the default, where nobody wants it.
    scale
        Factor of the gradient, not of the value, 1 by default.
    wrap
        Whether the last row neighbours the first, and whether the last column does, both True by default: there are H W
        pairs one above the other then, or side by side (a side of one pixel is its own neighbour); otherwise only the
        (H - 1) W or (W - 1) H inner ones count.
    accumulate
        Whether to add to `gradient` instead of overwriting it, False by default.
    threads
        How many threads to use at most, 1 by default.

    Returns
    -------
    float
        The value; 0 if there is no pair.
    """

def relu_gradient(
    features: NDArray[np.float32] | NDArray[np.uint16],
    out: NDArray[np.float32],
    above: NDArray[np.float32],
    loss: NDArray[np.float32] | None = None,
    pooling: Literal["none", "average", "max"] = "none",
    wrap: tuple[bool, bool] = (True, True),
    measure: bool = False,
    threads: int = 1,
    border: int = 1,
) -> float:
    """Write the gradient before a ReLU, from that after it, with a border.

    Where the map is positive it is the sum of the loss's gradient and of the one from above, elsewhere 0. Pixels that
    share the maximum of their window share its gradient equally.

    Parameters
    ----------
    features
        Feature map F after the ReLU, (C, H, W), or its mask, uint16 (C, ceil(H / 4), ceil(W / 4)): a word for each
        square of 4x4 pixels, whose bits, row by row from the lowest on, are set where the map is positive and, if
        `pooling` is "max", its window's maximum. There is no `loss` then.
    out
        Array (C, H + 2 border, W + 2 border) that is written.
    above
        Gradient with respect to the map, (C, H, W), or to its 2x2 pool, (C, ceil(H / 2), ceil(W / 2)).
    loss
        Gradient of a loss with respect to the map, (C, H, W); None, the default, where no loss is on it.
    pooling
        The pool between the map and what `above` is with respect to, "none" by default.
    wrap
        Whether the border above and below wraps round, and whether that to the left and right does, both True by
        default; otherwise it is 0.
    measure
        Whether the result is wanted, False by default.
    threads
        How many threads to use at most, 1 by default.
    border
        Pixels on each side, as many as the convolution before the ReLU sees beyond its map, 1 by default.

    Returns
    -------
    float
        The largest magnitude in `out`; 0 unless `measure`.
    """

def nearest(
    queries: NDArray[np.float32],
    sources: NDArray[np.float32],
    cost: NDArray[np.float32] | None = None,
    threads: int = 1,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the nearest of many vectors, for each of many others.

    Parameters
    ----------
    queries
        Q vectors of D dimensions, (D, Q).
    sources
        S vectors, (D, S).
    cost
        What is added to the squared distance from each source, (S,); None, the default, is 0 for all.
    threads
        How many threads to use at most, 1 by default.

    Returns
    -------
    indices : numpy.ndarray
        (Q,): the source of the smallest sum, the first of those that are equally near as float32 tells. One that is not
        finite, or whose cost is infinite, is taken only where there is no other: then the first source is.
    distances : numpy.ndarray
        (Q,): the squared distance from it, and its cost.
    """

def inner_products(rows: NDArray[np.float32], picks: list[int], threads: int = 1) -> NDArray[np.float64]:
    """Return the inner products of some rows of a matrix with all of them.

    Parameters
    ----------
    rows
        Matrix, (R, N).
    picks
        Numbers of K rows.
    threads
        How many threads to use at most, 1 by default.

    Returns
    -------
    numpy.ndarray
        The products, (K, R). Sums run in float32 over short stretches and in float64 over these.
    """

def combine(
    rows: NDArray[np.float32], coefficients: NDArray[np.float32], out: NDArray[np.float32], threads: int = 1
) -> None:
    """Write the sum of a matrix's rows, each times its coefficient.

    Parameters
    ----------
    rows
        Matrix, (R, N).
    coefficients
        The rows' coefficients, (R,); a row whose coefficient is 0 is not read.
    out
        Array (N,) that is written.
    threads
        How many threads to use at most, 1 by default.
    """
