"""Colours that a style transfer keeps: the style is given the content's, or the content's are put back."""

from __future__ import annotations

import numpy as np

from pyengine.arrays import Float32, Float64

# Y of YIQ, ITU-R BT.601. Its I and Q are differences of the channels: they stay as they are when the same is added to
# all three, which adds as much to Y. So Y is all of YIQ that is needed here.
LUMINANCE = np.array([0.299, 0.587, 0.114])

# Deviation of what counts as flat, one 8-bit level: what is less is noise, and not to be amplified into colours.
_FLAT = 1 / 255


def match_colors(image: Float32, reference: Float32) -> Float32:
    """Give an image the colours of another: the mean and the covariance of red, green and blue.

    Of all affine maps of the colours that do so, this one changes them least, the Monge-Kantorovich solution (Pitié and
    Kokaram 2007): ``Cs^(-1/2) (Cs^(1/2) Cr Cs^(1/2))^(1/2) Cs^(-1/2)``, with the covariances Cs of the image and Cr of
    the reference. In style transfer, it is the style that gets the content's colours (Gatys et al. 2016, "Preserving
    Color in Neural Artistic Style Transfer").

    Parameters
    ----------
    image, reference : float32 (H, W, 3) in [0, 1]
        The two may have any sizes.

    Returns
    -------
    float32 (H, W, 3) in [0, 1]
        Clipped. Directions in which the image's colours vary by less than an 8-bit level, such as all hues of a grey
        image, get no more than their share of the reference's variation.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> image = generator.uniform(0.4, 0.6, (64, 64, 3)).astype(np.float32)
    >>> reference = generator.uniform(0.2, 0.7, (32, 32, 3)).astype(np.float32)
    >>> matched = match_colors(image, reference)
    >>> np.allclose(matched.mean((0, 1)), reference.mean((0, 1)), atol=1e-6)
    True
    """
    colors, mean, source = _statistics(image)
    _, reference_mean, target = _statistics(reference)
    values, axes = np.linalg.eigh(source)
    deviations = np.sqrt(np.maximum(values, _FLAT**2))
    root, inverse = (axes * deviations) @ axes.T, (axes / deviations) @ axes.T
    transform = inverse @ _square_root(root @ target @ root) @ inverse
    matched = (colors - mean) @ transform + reference_mean  # the transform is symmetric
    if is_grey(reference):  # to the last bit
        matched = np.repeat(matched.mean(axis=1, keepdims=True), 3, axis=1)
    return _clipped(matched).reshape(image.shape)


CAST = 1 / 16
"""The standard deviation of the Gaussian by which areas with a cast are seen, as a part of the shorter side."""


def without_cast(image: Float32, reference: Float32) -> Float32:
    """Give each area of an image the hue that it has in another, whose colours it has as a whole; luminance stays.

    In style transfer with matched colours, a brown that the content's ground has is also the clouds'. What is added is
    the difference of the two blurred chromas, so that strokes differ in colour as before.

    Parameters
    ----------
    image, reference : float32 (H, W, 3) in [0, 1]

    Returns
    -------
    float32 (H, W, 3) in [0, 1]
        Clipped.

    Examples
    --------
    >>> brown, grey = np.full((16, 16, 3), [0.5, 0.3, 0.2], np.float32), np.full((16, 16, 3), 0.7, np.float32)
    >>> without_cast(brown, grey)[0, 0].round(3)
    array([0.348, 0.348, 0.348], dtype=float32)
    """
    from scipy.ndimage import gaussian_filter

    sigma = CAST * min(image.shape[:2])
    missing = _chroma(reference) - _chroma(image)
    return _clipped(image + gaussian_filter(missing, (sigma, sigma, 0), mode="nearest"))


def _chroma(image: Float32) -> Float64:
    """What an image differs by from its luminance, (H, W, 3)."""
    return image - _luminance(image)[:, :, None]


def is_grey(image: Float32) -> bool:
    """Whether no pixel of an image has a colour.

    Examples
    --------
    >>> is_grey(np.full((2, 2, 3), 0.5, np.float32))
    True
    """
    return bool((image == image[:, :, :1]).all())


def _statistics(image: Float32) -> tuple[Float64, Float64, Float64]:
    """Colours (N, 3) of an image, their mean (3,) and their covariance (3, 3)."""
    colors = image.reshape(-1, 3).astype(np.float64)
    mean = colors.mean(axis=0)
    deviation = colors - mean
    return colors, mean, deviation.T @ deviation / len(colors)


def _clipped(values: Float64) -> Float32:
    clipped: Float32 = np.clip(values, 0, 1).astype(np.float32)
    return clipped


def _square_root(matrix: Float64) -> Float64:
    """Symmetric root of a symmetric matrix that has no negative eigenvalues but by rounding."""
    values, axes = np.linalg.eigh(matrix)
    root: Float64 = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    return root


def luminance(image: Float32) -> Float32:
    """Take the colours out of an image: its luminance (Y of YIQ, ITU-R BT.601) in three equal channels.

    Parameters
    ----------
    image : float32 (H, W, 3) in [0, 1]

    Returns
    -------
    float32 (H, W, 3) in [0, 1]

    Examples
    --------
    >>> luminance(np.float32([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]]))[0, :, 0]
    array([0.299, 0.587, 0.114], dtype=float32)
    """
    return _grey(_luminance(image))


def _luminance(image: Float32) -> Float64:
    values: Float64 = image @ LUMINANCE
    return values


def _grey(values: Float64) -> Float32:
    """Make an image (H, W, 3) of its luminance (H, W), clipped."""
    return np.repeat(_clipped(values)[:, :, None], 3, axis=2)


def match_luminance(image: Float32, reference: Float32) -> Float32:
    """Give the luminance of an image the mean and the deviation of another's.

    In style transfer on luminance alone, it is the style's that gets the content's (Gatys et al. 2016, "Preserving
    Color in Neural Artistic Style Transfer").

    Parameters
    ----------
    image, reference : float32 (H, W, 3) in [0, 1]
        The two may have any sizes.

    Returns
    -------
    float32 (H, W, 3) in [0, 1]
        Three equal channels, clipped. What varies by less than an 8-bit level gets no more than its share of the
        reference's deviation; a flat image becomes the reference's mean.

    Examples
    --------
    >>> image, reference = np.zeros((1, 2, 3), np.float32), np.zeros((1, 2, 3), np.float32)
    >>> image[0, 1], reference[0] = 1, [[0.25], [0.5]]
    >>> match_luminance(image, reference)[0, :, 0]
    array([0.25, 0.5 ], dtype=float32)
    """
    values, target = _luminance(image), _luminance(reference)
    scale = target.std() / max(values.std(), _FLAT)
    return _grey((values - values.mean()) * scale + target.mean())


def with_colors_of(grey: Float32, image: Float32) -> Float32:
    """Colour the luminance of one picture by the chroma of another (I and Q of YIQ).

    In style transfer on luminance alone, the last step (Gatys et al. 2016, "Preserving Color in Neural Artistic Style
    Transfer"). Where a colour so light or dark can't be as saturated, the chroma is scaled down as far as it
    takes: luminance and hue stay.

    Parameters
    ----------
    grey : float32 (H, W, 3) in [0, 1]
        Its luminance is taken; its own chroma, if any, is not.
    image : float32 (H, W, 3) in [0, 1]
        It has the same size.

    Returns
    -------
    float32 (H, W, 3) in [0, 1]

    Examples
    --------
    >>> red = np.float32([[[0.8, 0.2, 0.2]]])
    >>> with_colors_of(luminance(red) + np.float32(0.1), red).round(4)
    array([[[0.9, 0.3, 0.3]]], dtype=float32)
    >>> with_colors_of(np.ones((1, 1, 3), np.float32), red)
    array([[[1., 1., 1.]]], dtype=float32)
    """
    light = np.clip(_luminance(grey), 0, 1)[:, :, None]  # white's may exceed 1 by rounding
    chroma = image - _luminance(image)[:, :, None]
    room = np.where(chroma > 0, 1 - light, light)
    reach = np.maximum(np.abs(chroma), np.finfo(np.float64).tiny)
    saturation = np.minimum((room / reach).min(axis=2, keepdims=True), 1)
    return _clipped(light + saturation * chroma)
