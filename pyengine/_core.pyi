"""The compiled kernels: Gram matrices and the exact histogram loss, on the CPU.

A feature map is a C-contiguous float32 array (C, N), channels times pixels; weights are one float32 >= 0
a pixel, and `None` means 1 everywhere. No argument is copied or converted; what does not fit raises
`TypeError` (not an array, its dtype) or `ValueError` (shape, layout, values). Every call releases the
interpreter's lock, and its result does not depend on the number of threads, to the last bit.
"""

from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

openmp: bool
"""Whether the module was built with OpenMP; without, every call runs on one thread."""

simd: Literal["avx512", "avx2", "baseline"]
"""The instruction set that was chosen when the module was loaded."""

def gram(
    features: NDArray[np.float32], weights: NDArray[np.float32] | None = None, threads: int = 1
) -> NDArray[np.float64]:
    """Return the Gram matrix of a feature map, G = F diag(w) F^T / sum(w).

    Eq. 1 and 2 of Risser et al. (1701.08893). Sums run in float32 over short stretches of
    pixels and in float64 over these.

    Parameters
    ----------
    features
        Feature map F, (C, N).
    weights
        Weight w of every pixel, (N,).
    threads
        How many threads to use at most.

    Returns
    -------
    numpy.ndarray
        G, (C, C), symmetric to the last bit; zeros if the weights sum to 0.
    """

def gram_gradient(
    features: NDArray[np.float32],
    difference: NDArray[np.float64] | NDArray[np.float32],
    scale: float,
    out: NDArray[np.float32],
    weights: NDArray[np.float32] | None = None,
    accumulate: bool = False,
    threads: int = 1,
) -> None:
    """Write scale * (difference @ features) * weights, the gradient of a loss on a Gram matrix.

    For ||G(F) - T||_F^2 / C^2, `difference` is G(F) - T and `scale` is 4 / (C^2 sum(w)).

    Parameters
    ----------
    features
        Feature map F, (C, N).
    difference
        Matrix (C, C); multiplied by `scale` and rounded to float32.
    scale
        Factor of the result.
    out
        Array (C, N) that is written; it shares no memory with `features`.
    weights
        Weight of every pixel, (N,).
    accumulate
        Whether to add to `out` instead of overwriting it.
    threads
        How many threads to use at most.
    """

@final
class Histogram:
    """The distribution of every channel of an exemplar, and the distance of other feature maps from it.

    Sec. 4.3 of Risser et al. (1701.08893), as an exact rank match: no binning. Immutable, and usable by
    several threads at once.

    Parameters
    ----------
    features
        The exemplar's feature map S, (C, N); only its values other than 0 are kept.
    weights
        Weight of every pixel of the exemplar, (N,).
    threads
        How many threads to use at most.
    """

    def __init__(
        self, features: NDArray[np.float32], weights: NDArray[np.float32] | None = None, threads: int = 1
    ) -> None: ...
    @property
    def channels(self) -> int:
        """Number of channels C."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the sorted values take."""

    def match(
        self, features: NDArray[np.float32], weights: NDArray[np.float32] | None = None, threads: int = 1
    ) -> NDArray[np.float32]:
        """Return R(O): the ranks of O with the values of the exemplar.

        Samples of equal value (zeros above all) are one atom. It covers an interval of mass and is mapped
        to the mean of the exemplar's quantiles over that interval. Samples of weight 0 keep their value; so
        do all if either side has no mass.

        Parameters
        ----------
        features
            Feature map O, (C, N); N may differ from the exemplar's.
        weights
            Weight of every pixel of O, (N,).
        threads
            How many threads to use at most.

        Returns
        -------
        numpy.ndarray
            R(O), (C, N).
        """

    def loss(
        self,
        features: NDArray[np.float32],
        gradient: NDArray[np.float32] | None = None,
        scale: float = 1.0,
        weights: NDArray[np.float32] | None = None,
        accumulate: bool = False,
        threads: int = 1,
    ) -> float:
        """Return the histogram loss, sum w (O - R(O))^2 / (C sum(w)), and write its gradient.

        Parameters
        ----------
        features
            Feature map O, (C, N); N may differ from the exemplar's.
        gradient
            Array (C, N) to which `scale` times the gradient, 2 w (O - R(O)) / (C sum(w)), is written; it
            shares no memory with `features`.
        scale
            Factor of the gradient, not of the value.
        weights
            Weight of every pixel of O, (N,).
        accumulate
            Whether to add to `gradient` instead of overwriting it.
        threads
            How many threads to use at most.

        Returns
        -------
        float
            The value; 0 if either side has no mass, NaN if a sample of some weight is NaN.
        """
