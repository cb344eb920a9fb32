"""What is typed behind an option, turned into what the API takes."""

from __future__ import annotations

from pathlib import Path

import click

from pyengine.errors import in_short

UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "b": 1, "": 1}


def size(text: str) -> tuple[int, int]:
    """A width and a height.

    Examples
    --------
    >>> size("512x256"), size("64")
    ((512, 256), (64, 64))
    """
    sides = text.lower().split("x")
    try:
        width, height = map(int, sides * 2 if len(sides) == 1 else sides)
    except ValueError:
        raise click.BadParameter(
            f"{in_short(text)}: give WIDTHxHEIGHT in pixels, such as 512x256, or one number"
        ) from None
    return width, height


def sides(text: str) -> list[int]:
    """Sides of squares.

    Examples
    --------
    >>> sides("128,256")
    [128, 256]
    """
    try:
        return [int(side) for side in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{in_short(text)}: give pixels on a side, such as 128,256,512") from None


def seeds(text: str) -> list[int]:
    """Seeds of noise.

    Examples
    --------
    >>> seeds("0,7")
    [0, 7]
    """
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}: give whole numbers with commas in between, such as 0,1,2") from None


def iterations(text: str) -> int | list[int]:
    """How many at every level, or at each.

    Examples
    --------
    >>> iterations("100"), iterations("100,60")
    (100, [100, 60])
    """
    try:
        counts = [int(count) for count in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{in_short(text)}: give a number, or one a level, such as 100,100,60") from None
    return counts[0] if len(counts) == 1 else counts


def weight(text: str) -> tuple[str, str | float]:
    """A term and its weight.

    Examples
    --------
    >>> weight("histogram=0"), weight("gram/relu1_1=auto")
    (('histogram', 0.0), ('gram/relu1_1', 'auto'))
    """
    term, _, number = text.partition("=")
    try:
        return term, number if number == "auto" else float(number)
    except ValueError:
        raise click.BadParameter(f"{in_short(text)}: give TERM=NUMBER, such as histogram=0, or TERM=auto") from None


def named_file(text: str) -> tuple[str, Path]:
    """A map's name and its file.

    Examples
    --------
    >>> named_file("height=rock.exr")
    ('height', PosixPath('rock.exr'))
    """
    name, _, file = text.partition("=")
    if not file:
        raise click.BadParameter(f"{in_short(text)}: give MAP=FILE, such as normal=rock_normal.png")
    return name, Path(file)


def numbers(text: str) -> list[float]:
    """Numbers with commas in between.

    Examples
    --------
    >>> numbers("2,0.5")
    [2.0, 0.5]
    """
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{in_short(text)}: give numbers with commas in between, such as 2,1") from None


def names(text: str) -> list[str]:
    """Names with commas in between.

    Examples
    --------
    >>> names("relu1_1,relu2_1")
    ['relu1_1', 'relu2_1']
    """
    return text.split(",")


def depth(text: str) -> int | str:
    """How values are stored: a number of bits, or a word.

    Examples
    --------
    >>> depth("16"), depth("half")
    (16, 'half')
    """
    return int(text) if text in ("8", "16") else text


def byte_count(text: str) -> int:
    """Bytes, given with a unit.

    Examples
    --------
    >>> byte_count("3GB"), byte_count("0.5 MiB")
    (3000000000, 524288)
    """
    number = text.strip().lower().rstrip("kmgib")
    unit = text.strip().lower()[len(number) :]
    try:
        return round(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise click.BadParameter(f"{in_short(text)}: give bytes with a unit, such as 3GB, 1.5GB or 800MB") from None
