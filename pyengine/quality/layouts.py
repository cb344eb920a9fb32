"""How much of a content is left in a picture that shows it."""

from __future__ import annotations

import numpy as np

from pyengine.arrays import Float32
from pyengine.images.color import LUMINANCE
from pyengine.images.resampling import resize
from pyengine.quality.checks import check_size


def layout_similarity(content: Float32, image: Float32) -> float:
    """How much of a content's layout is in an image: 1 for all, 0 for none.

    The correlation of the two luminances' gradient magnitudes (Sobel), both reduced to a quarter of the side: outlines
    count, not colours, and not the strokes that replace fine detail. A figure of our own.

    Parameters
    ----------
    content, image : float32 (H, W, 3) in [0, 1]
        The content is scaled to the image's size.

    Raises
    ------
    PyengineError
        A side of an image is shorter than 16 pixels.

    Examples
    --------
    >>> picture = np.kron(np.eye(8, dtype=np.float32), np.ones((8, 8), np.float32))[:, :, None].repeat(3, axis=2)
    >>> round(layout_similarity(picture, 1 - picture), 3), layout_similarity(picture, picture[::-1]) < 0.5
    (1.0, True)
    """
    from scipy.ndimage import generic_gradient_magnitude, sobel

    check_size(content, "content")
    check_size(image, "image")
    height, width = image.shape[:2]
    edges = [
        generic_gradient_magnitude(resize(x, (width // 4, height // 4)) @ LUMINANCE, sobel) for x in (content, image)
    ]
    if min(float(e.std()) for e in edges) == 0:
        return 0.0
    return float(np.corrcoef(edges[0].ravel(), edges[1].ravel())[0, 1])
