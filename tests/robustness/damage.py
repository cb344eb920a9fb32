"""Files that were whole once."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

REST = 10**9
"""More bytes than any file has."""

EXTREMES = (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80", b"\xff" * 9)


@dataclass(frozen=True)
class Damaged:
    """A whole file, some of whose bytes are replaced: at a place, so many, by others."""

    name: str
    whole: bytes = field(repr=False)
    edits: tuple[tuple[int, int, bytes], ...]
    mended: bool

    @property
    def content(self) -> bytes:
        content = bytearray(self.whole)
        for at, length, new in self.edits:
            at %= len(content) + 1
            content[at : at + length] = new
        return with_checksums(bytes(content)) if self.mended else bytes(content)


def with_checksums(content: bytes) -> bytes:
    """The chunks of a PNG with the checksums that they should have: a reader would stop at the first wrong one."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    out, at = bytearray(content[:8]), 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        body = content[at + 4 : at + 8 + length]
        out += content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out + content[at:])


places = st.integers(0, 199) | st.integers(-200, -1) | st.integers(0, 2**16)
"""Headers are at the beginning, and in some formats at the end."""

edits = st.one_of(
    st.builds(lambda at, new: (at, len(new), new), places, st.binary(min_size=1, max_size=4)),
    st.builds(lambda at, new: (at, len(new), new), places, st.sampled_from(EXTREMES)),
    st.builds(lambda at, new: (at, 0, new), places, st.binary(min_size=1, max_size=9)),
    st.builds(lambda at, length: (at, length, b""), places, st.integers(1, 9) | st.just(REST)),
)


def damaged(files: Mapping[str, bytes]) -> st.SearchStrategy[Damaged]:
    """One of some whole files, and what happens to it."""
    some = (st.lists(edits, max_size=2) | st.lists(edits, max_size=12)).map(tuple)
    return st.builds(
        lambda name, *rest: Damaged(name, files[name], *rest), st.sampled_from([*files]), some, st.booleans()
    )
