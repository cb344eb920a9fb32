"""Coarse to fine (Risser et al., sec. 5): the sizes of a pyramid of ratio 2."""

from __future__ import annotations

COARSEST = 32
"""Pixels on the shorter side at the coarsest level, at least: there, the deepest feature maps span the image."""

FINEST_ITERATIONS = 60
COARSER_ITERATIONS = 100


def default_levels(*sizes: tuple[int, int], coarsest: int = COARSEST) -> int:
    """Number of levels for images of these (width, height): halved as often as the coarsest stays large enough.

    Examples
    --------
    >>> default_levels((256, 256), (512, 300)), default_levels((40, 40))
    (4, 1)
    """
    shortest = min(min(size) for size in sizes)
    levels = 1
    while shortest >= 2**levels * coarsest:
        levels += 1
    return levels


def default_iterations(levels: int) -> tuple[int, ...]:
    """Iterations of each level, coarsest first: the coarse ones are cheap, and make what the fine ones refine.

    Examples
    --------
    >>> default_iterations(3)
    (100, 100, 60)
    """
    return (COARSER_ITERATIONS,) * (levels - 1) + (FINEST_ITERATIONS,)


def level_sizes(size: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """The (width, height) of each level, coarsest first, rounded to whole pixels.

    Examples
    --------
    >>> level_sizes((300, 201), 3)
    [(75, 50), (150, 101), (300, 201)]
    """
    width, height = size
    return [(_halved(width, k), _halved(height, k)) for k in reversed(range(levels))]


def _halved(side: int, times: int) -> int:
    return (side + 2**times // 2) // 2**times
