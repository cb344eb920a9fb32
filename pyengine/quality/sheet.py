"""Pictures beside one another, to compare by eye what `quality.measures` compares by figures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pyengine.errors import PyengineError
from pyengine.images.reading import Source, load
from pyengine.images.writing import ByteImage, to_uint8

GAP = 8
"""Pixels between rows and between columns."""

TEXT = 14
"""Size of the labels' font, in pixels."""


def sheet(rows: Iterable[Iterable[Source]], labels: Iterable[Iterable[str]] | None = None) -> ByteImage:
    """Pictures in rows, on white, each at its own size.

    A column is as wide, and a row as high, as its largest picture with its label; pictures lie top left.

    Parameters
    ----------
    rows : iterable of rows of pictures
        Arrays, or whatever else `images.reading.load` takes; rows need not be of one length.
    labels : iterable of rows of str, optional
        A text under each picture, of one line or more; an empty one takes no place.

    Returns
    -------
    uint8 (H, W, 3)

    Raises
    ------
    PyengineError
        A picture that can't be read, no pictures at all, or labels that are not one a picture.

    Examples
    --------
    >>> black, grey = np.zeros((20, 30, 3), np.uint8), np.full((10, 40, 3), 0.5, np.float32)
    >>> sheet([[black, grey], [grey]]).shape
    (38, 88, 3)
    >>> sheet([[black, grey]], labels=[["black", ""]]).shape[0] > 20
    True
    """
    pictures = [[Image.fromarray(to_uint8(load(picture, "picture"))) for picture in row] for row in rows]
    texts = [[""] * len(row) for row in pictures] if labels is None else [list(row) for row in labels]
    counts, text_counts = ([len(row) for row in cells] for cells in (pictures, texts))
    if not any(counts):
        raise PyengineError("no pictures for a sheet: give at least one")
    if text_counts != counts:
        raise PyengineError(f"labels: rows of {text_counts} for rows of {counts} pictures: give one a picture")
    font = ImageFont.load_default(size=TEXT)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def cell(picture: Image.Image, text: str) -> tuple[int, int]:
        _, _, right, bottom = pen.textbbox((0, 0), text, font)
        return max(picture.width, int(np.ceil(right))), picture.height + int(np.ceil(bottom))

    sizes = [[cell(*pair) for pair in zip(*row, strict=True)] for row in zip(pictures, texts, strict=True)]
    widths = [max(row[x][0] for row in sizes if x < len(row)) for x in range(max(counts))]
    heights = [max((height for _, height in row), default=0) for row in sizes]
    lefts, tops = (np.cumsum([0, *(side + GAP for side in sides)]).tolist() for sides in (widths, heights))
    page = Image.new("RGB", (lefts[-1] - GAP, tops[-1] - GAP), "white")
    pen = ImageDraw.Draw(page)
    for top, row, row_texts in zip(tops, pictures, texts, strict=False):
        for left, picture, text in zip(lefts, row, row_texts, strict=False):
            page.paste(picture, (left, top))
            pen.text((left, top + picture.height), text, "black", font)
    return np.array(page)
