"""A Merkle tree over keys that are digests: buckets that split as they fill, under one root.

The first byte of a key names one of 256 buckets. A bucket with more than `BUCKET_MAX` entries is
halved by the next bit of the key, and so on; so every proof is short however many entries there
are, and the shape depends on the entries alone, not on their history. A node is kept as the bytes
that are hashed: 0x00 and its entries in order of key, or 0x01 and the hashes of both halves.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from dpin.base.codec import Wire
from dpin.base.ids import ID_BYTES, Digest

TOP: Final = 8  # buckets have at least so many bits of the key in common
BUCKETS: Final = 1 << TOP
BUCKET_MAX: Final = 8  # entries
ENTRY_BYTES: Final = 2 * ID_BYTES  # key, value
_KEY_BITS: Final = 8 * ID_BYTES
_LEAF: Final = 0
_NODE: Final = 1
_FULL: Final = 1 + BUCKET_MAX * ENTRY_BYTES
_NODES: Final = bytes([_NODE])
_MIDDLE: Final = 1 + ID_BYTES  # where the right half's hash stands
_DEEP_PART: Final = 4  # of the list: with more deep nodes than one part in so many it grows
_UNHASHED: Final = _NODES + bytes(2 * ID_BYTES)


class StateProof(Wire, frozen=True):
    """The bucket where a key would stand, and the way up from it: shows presence and absence."""

    bucket: bytes  # key and value of each entry, in order of key
    path: tuple[Digest, ...]  # lowest sibling first; as long as the bucket is deep


class _Nodes:
    """The nodes of a tree by their number: n has the children 2n and 2n + 1.

    A place in a list takes 8 bytes, one in a dictionary some 80. The list reaches as far down as
    the tree is well filled, however few keys somebody has made to lie deep.
    """

    __slots__ = ("_deep", "_list")

    def __init__(self) -> None:
        self._list = [_UNHASHED] * BUCKETS + [bytes([_LEAF])] * BUCKETS  # There is no node 0.
        self._deep: dict[int, bytes] = {}

    def __getitem__(self, place: int) -> bytes:
        return self._list[place] if place < len(self._list) else self._deep[place]

    def __setitem__(self, place: int, node: bytes) -> None:
        if place < len(self._list):
            self._list[place] = node
            return
        self._deep[place] = node
        if len(self._deep) > len(self._list) // _DEEP_PART:
            self._lengthen()

    def __delitem__(self, place: int) -> None:
        if place < len(self._list):
            self._list[place] = b""
        else:
            del self._deep[place]

    def _lengthen(self) -> None:
        """By one level."""
        end = 2 * len(self._list)
        self._list += [b""] * len(self._list)
        for place in [place for place in self._deep if place < end]:
            self._list[place] = self._deep.pop(place)


class StateTree:
    """Entries as they come; the root over them when it is asked for."""

    def __init__(self) -> None:
        self._nodes = _Nodes()  # the bits of a number below the highest are its prefix
        self._dirty = set(range(BUCKETS, 2 * BUCKETS))  # buckets whose hash is not above them yet

    def put(self, key: Digest, value: Digest) -> bool:
        """Have this value stand at this key; whether nothing stood there before."""
        place, entries, at = self._find(key)
        known = entries[at : at + ID_BYTES] == key
        if known:
            held = entries[:at] + key + value + entries[at + ENTRY_BYTES :]
        else:
            held = entries[:at] + key + value + entries[at:]
        self._nodes[place] = held
        self._dirty.add(place)
        while len(held) > _FULL:
            place, held = self._split(place, key)
        return not known

    def adopt(self, bucket: "Bucket") -> None:
        """Have a whole bucket stand where nothing stands yet."""
        assert self._nodes[BUCKETS + bucket.number] == bytes([_LEAF]), "a bucket is adopted once"
        for place, node in bucket.nodes.items():
            self._nodes[place] = node
        self._dirty.add(BUCKETS + bucket.number)

    def remove(self, key: Digest) -> None:
        """Have nothing stand at this key."""
        place, entries, at = self._find(key)
        if entries[at : at + ID_BYTES] != key:
            return
        self._nodes[place] = entries[:at] + entries[at + ENTRY_BYTES :]
        self._dirty.add(place)
        while place >= 2 * BUCKETS and self._merge(place >> 1):
            place >>= 1

    @property
    def root(self) -> Digest:
        """The hash over all entries."""
        self._hash_dirty()
        return Digest(sha256(self._nodes[1]).digest())

    def above_buckets(self) -> tuple[bytes, ...]:
        """The 128 nodes above the buckets, in order: `bucket_hashes` reads them."""
        self._hash_dirty()
        return tuple(self._nodes[place] for place in range(BUCKETS // 2, BUCKETS))

    def prove(self, key: Digest) -> StateProof:
        """What stands at a key, or that nothing does."""
        self._hash_dirty()
        place, entries, _ = self._find(key)
        path: list[Digest] = []
        while place > 1:
            path.append(self._half(place ^ 1))
            place >>= 1
        return StateProof(entries[1:], tuple(path))

    def _half(self, place: int) -> Digest:
        """The hash of a node, as it stands in the one above."""
        above = self._nodes[place >> 1]
        at = 1 + ID_BYTES * (place & 1)
        return Digest(above[at : at + ID_BYTES])

    def _find(self, key: Digest) -> tuple[int, bytes, int]:
        """The bucket of a key: its number, its bytes, and where in them the key is or would be."""
        number, depth = int.from_bytes(key), TOP
        place = BUCKETS | key[0]
        entries = self._nodes[place]
        while entries[0] == _NODE:
            depth += 1
            place = (1 << depth) | (number >> (_KEY_BITS - depth))
            entries = self._nodes[place]
        return place, entries, _place_of(key, entries)

    def _split(self, place: int, key: Digest) -> tuple[int, bytes]:
        """Make two of a full bucket; returns the one where the key is."""
        entries, halves = self._nodes[place], [bytes([_LEAF]), bytes([_LEAF])]
        shift = _KEY_BITS - place.bit_length()
        for at in range(1, len(entries), ENTRY_BYTES):
            bit = int.from_bytes(entries[at : at + ID_BYTES]) >> shift & 1
            halves[bit] += entries[at : at + ENTRY_BYTES]
        self._nodes[place] = _UNHASHED
        self._dirty.remove(place)
        for bit, half in enumerate(halves):
            self._nodes[2 * place + bit] = half
            self._dirty.add(2 * place + bit)
        bit = int.from_bytes(key) >> shift & 1
        return 2 * place + bit, halves[bit]

    def _merge(self, place: int) -> bool:
        """Make one of both halves, if it would not be too full."""
        left, right = self._nodes[2 * place], self._nodes[2 * place + 1]
        if left[0] == _NODE or right[0] == _NODE or len(left) + len(right) - 1 > _FULL:
            return False
        self._nodes[place] = left + right[1:]
        for half in (2 * place, 2 * place + 1):
            del self._nodes[half]
            self._dirty.discard(half)
        self._dirty.add(place)
        return True

    def _hash_dirty(self) -> None:
        """Carry the hashes of all changed buckets up, level by level: each node is hashed once."""
        levels: dict[int, list[int]] = {}
        for place in sorted(self._dirty):
            levels.setdefault(place.bit_length(), []).append(place)
        self._dirty.clear()
        changed: list[int] = []
        for level in range(max(levels, default=1), 1, -1):
            if level in levels:
                changed = sorted(changed + levels[level])
            changed = self._carry(changed)

    def _carry(self, changed: list[int]) -> list[int]:
        """Put the hashes of these nodes of one level, in order, into those above; returns those."""
        nodes, above, parent = self._nodes, list[int](), 0
        for place in changed:
            hashed = sha256(nodes[place]).digest()
            if place >> 1 != parent:
                parent = place >> 1
                above.append(parent)
            old = nodes[parent]
            nodes[parent] = old[:_MIDDLE] + hashed if place & 1 else _NODES + hashed + old[_MIDDLE:]
        return above


class Bucket:
    """One of the 256 buckets by itself, from all that stands in it.

    `entries` are keys and values glued together, in order of key; the first byte of each key is
    the bucket's number.
    """

    def __init__(self, number: int, entries: bytes) -> None:
        self.number = number
        self.nodes: dict[int, bytes] = {}  # as a tree keeps them
        self.hash = self._grow(BUCKETS + number, entries)

    def _grow(self, place: int, entries: bytes) -> Digest:
        if len(entries) <= BUCKET_MAX * ENTRY_BYTES:
            node = bytes([_LEAF]) + entries
        else:
            depth = place.bit_length() - 1
            middle = (2 * place + 1 - (2 << depth)) << (_KEY_BITS - depth - 1)
            cut = _first_from(middle.to_bytes(ID_BYTES), entries)
            halves = [(2 * place, entries[:cut]), (2 * place + 1, entries[cut:])]
            node = _NODES + b"".join(self._grow(*half) for half in halves)
        self.nodes[place] = node
        return Digest(sha256(node).digest())


def _first_from(key: bytes, entries: bytes) -> int:
    """Where in glued entries the first stands whose key is not below this one."""
    low, high = 0, len(entries) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        if entries[middle * ENTRY_BYTES : middle * ENTRY_BYTES + ID_BYTES] < key:
            low = middle + 1
        else:
            high = middle
    return low * ENTRY_BYTES


def bucket_hashes(above: Sequence[bytes]) -> tuple[Digest, ...]:
    """The hashes of all buckets, in order, as the nodes above them have them."""
    halves = ((node[1:_MIDDLE], node[_MIDDLE:]) for node in above)
    return tuple(Digest(half) for pair in halves for half in pair)


def root_of_buckets(hashes: Sequence[Digest]) -> Digest:
    """The root over the hashes of all 256 buckets, in order."""
    assert len(hashes) == BUCKETS, "there are so many buckets"
    level = list(hashes)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [Digest(sha256(_NODES + left + right).digest()) for left, right in pairs]
    return level[0]


def _place_of(key: Digest, entries: bytes) -> int:
    """Where in a bucket's bytes a key stands, or would."""
    at = entries.find(key, 1)
    if at > 0 and at % ENTRY_BYTES == 1:
        return at
    at = 1
    while at < len(entries) and entries[at : at + ID_BYTES] < key:
        at += ENTRY_BYTES
    return at


def holds(proof: StateProof, key: Digest, root: Digest) -> tuple[bool, Digest | None]:
    """Whether the proof leads to the root, and the value that it shows at the key, if any."""
    depth, bucket = len(proof.path), proof.bucket
    if depth > _KEY_BITS or len(key) != ID_BYTES or len(bucket) % ENTRY_BYTES:
        return False, None
    node, number = sha256(bytes([_LEAF]) + bucket).digest(), int.from_bytes(key)
    for height, sibling in enumerate(proof.path):
        if len(sibling) != ID_BYTES:
            return False, None
        right = number >> (_KEY_BITS - depth + height) & 1
        pair = sibling + node if right else node + sibling
        node = sha256(bytes([_NODE]) + pair).digest()
    if node != root:
        return False, None
    places = range(0, len(bucket), ENTRY_BYTES)
    found = (at for at in places if bucket[at : at + ID_BYTES] == key)
    at = next(found, None)
    return True, None if at is None else Digest(bucket[at + ID_BYTES : at + ENTRY_BYTES])


def root_of_bucket(entries: dict[Digest, Digest], depth: int = TOP) -> Digest:
    """The hash of a bucket, from nothing: of entries that have this many bits of key in common."""
    if len(entries) <= BUCKET_MAX:
        glued = b"".join(key + entries[key] for key in sorted(entries))
        return Digest(sha256(bytes([_LEAF]) + glued).digest())
    shift = _KEY_BITS - depth - 1
    halves: tuple[dict[Digest, Digest], dict[Digest, Digest]] = ({}, {})
    for key in sorted(entries):
        halves[int.from_bytes(key) >> shift & 1][key] = entries[key]
    left, right = (root_of_bucket(half, depth + 1) for half in halves)
    return Digest(sha256(bytes([_NODE]) + left + right).digest())
