"""Merkle paths that somebody has altered."""

from hypothesis import strategies as st

from dpin.base.merkle import leaf_hash


@st.composite
def altered_path(draw: st.DrawFn, path: list[bytes]) -> list[bytes]:
    """`path` with one bit turned, one hash dropped, or one hash added."""
    place = draw(st.integers(0, len(path)))
    if place == len(path):
        return [*path, leaf_hash(b"extra")]
    if draw(st.booleans()):
        return path[:place] + path[place + 1 :]
    turned = bytearray(path[place])
    turned[draw(st.integers(0, 31))] ^= 1 << draw(st.integers(0, 7))
    return [*path[:place], bytes(turned), *path[place + 1 :]]
