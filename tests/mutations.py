"""Damage to checkpoint files, aimed at what their readers believe: lengths, headers, opcodes, directories."""

from __future__ import annotations

import copy
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

INTERESTING = (
    -1, 0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 255, 256, 1 << 15, 1 << 16, 1 << 24, 1 << 31, (1 << 31) - 1, 1 << 32,
    1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10**30,
)  # fmt: skip
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 1e308, 1 << 62, 10**40, "", "F32", "I8", "I32", "F4", "F99", "x\x1b[31m\n",
    [], [0], [[]], {}, {"a": []}, [1, 2, 3], [0, 10**18], [10**18, 0], "../../etc/passwd", "/etc/passwd",
)  # fmt: skip
_OPCODES = b"().0125FGIKMLNQRSTUVXabcdegijloprstqu]}BC" + bytes(range(0x80, 0x96))


def mutations(data: bytes, n: int) -> Iterator[bytes]:
    """`n` damaged copies of `data`, always the same ones.

    Every kind of injury has its turn, and the places of each are spread evenly over the file: a few hundred reach what
    takes thousands by chance.
    """
    kinds = _kinds(data)
    turns = [kinds[i % len(kinds)] for i in range(n)]
    totals, done = Counter(turns), Counter[Callable[[bytes, Random], bytes]]()
    for i, kind in enumerate(turns):
        random = _Evenly(i)
        random.share = (done[kind] + random.random()) / totals[kind]
        done[kind] += 1
        damaged = kind(data, random)
        yield damaged if i % 3 else mutate(damaged, random)


class _Evenly(Random):
    """Chance but for its first choice, which is made `share` of the way through what there is to choose from."""

    share: float | None = None

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        if self.share is None:
            return super().randrange(start, stop, step)
        first, end = (0, start) if stop is None else (start, stop)
        at, self.share = first + int(self.share * (end - first)), None
        return at

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        return seq[self.randrange(len(seq))]


def mutate(data: bytes, random: Random) -> bytes:
    """`data` with one to three injuries."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(_kinds(data))(data, random)
    return data


def _kinds(data: bytes) -> tuple[Callable[[bytes, Random], bytes], ...]:
    if data[:4] == b"PK\x03\x04":
        return (_bit_flip, _truncate, _splice, _pickle_bytes, _pickle_bytes, _pickle_bytes, _pickle_number, _zip_number)
    if data[8:9] == b"{":
        return (
            _bit_flip,
            _truncate,
            _splice,
            _header_bytes,
            _header_length,
            _header_value,
            _header_value,
            _header_value,
        )
    if data[:1] == b"{":
        return (_bit_flip, _truncate, _splice, _json_value, _json_value)
    return (_bit_flip, _truncate, _splice, _pickle_bytes, _pickle_bytes, _pickle_number)


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _bit_flip(data: bytes, random: Random) -> bytes:
    if not data:
        return data
    near_an_end = random.random() < 0.5
    at = random.randrange(min(len(data), 512)) if near_an_end else random.randrange(len(data))
    if near_an_end and random.random() < 0.5:
        at = len(data) - 1 - at
    return _put(data, at, bytes([data[at] ^ (1 << random.randrange(8))]))


def _truncate(data: bytes, random: Random) -> bytes:
    keep = random.choice((random.randrange(len(data) + 1), random.randrange(min(len(data), 64) + 1), len(data) - 1))
    return data[: max(0, keep)]


def _splice(data: bytes, random: Random) -> bytes:
    """A range removed, repeated, or overwritten by another."""
    if len(data) < 2:
        return data
    start = random.randrange(len(data))
    piece = data[start : start + random.choice((1, 2, 4, 8, 64, 1024))]
    to = random.randrange(len(data))
    return random.choice(
        (data[:start] + data[start + len(piece) :], data[:to] + piece + data[to:], _put(data, to, piece))
    )


def _header_length(data: bytes, random: Random) -> bytes:
    actual = int.from_bytes(data[:8], "little")
    new = random.choice((*INTERESTING, actual + 1, actual - 1, actual + 8, len(data), len(data) - 8, 10**8, 10**8 + 1))
    return struct.pack("<Q", new % (1 << 64)) + data[8:]


def _header(data: bytes) -> tuple[Any, bytes]:
    n = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + n]), data[8 + n :]


def _header_bytes(data: bytes, random: Random) -> bytes:
    n = min(int.from_bytes(data[:8], "little"), len(data) - 8)
    at = 8 + random.randrange(max(1, n))
    return _put(
        data, at, random.choice((b'"', b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\xff", b"9", b"-", b"\\"))
    )


def _header_value(data: bytes, random: Random) -> bytes:
    try:
        header, rest = _header(data)
    except (ValueError, RecursionError):
        return data
    raw = json.dumps(_with_one_change(header, random)).encode()
    return struct.pack("<Q", len(raw)) + raw + rest


def _json_value(data: bytes, random: Random) -> bytes:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    return json.dumps(_with_one_change(content, random)).encode()


def _with_one_change(content: Any, random: Random) -> Any:
    """One place of a JSON tree replaced, nudged, removed, renamed or copied."""
    content = copy.deepcopy(content)
    if not isinstance(content, (dict, list)) or not content:
        return random.choice(JSON_VALUES)
    places = list(_places(content, 3))
    at, how = divmod(random.randrange(5 * len(places)), 5)
    parent, key = places[at]
    node = parent[key]
    if how == 0 and isinstance(node, int):
        parent[key] = node + random.choice((-8, -1, 1, 8, 1 << 40))
    elif how == 1 and isinstance(parent, dict):
        del parent[key]
    elif how == 2 and isinstance(parent, dict):
        parent[random.choice(("", "x", "\x1b]0;x\x07", "a.b", "weight", "scale", str(key) + ".scale"))] = parent.pop(
            key
        )
    elif how == 3:
        parent[key] = copy.deepcopy(random.choice(list(parent.values()) if isinstance(parent, dict) else parent))
    else:
        parent[key] = random.choice(JSON_VALUES)
    return content


def _places(node: Any, depth: int) -> Iterator[tuple[Any, Any]]:
    """Where a tree can be changed, to `depth` levels; of a long list its ends and its middle."""
    if not depth or not isinstance(node, (dict, list)):
        return
    keys = list(node) if isinstance(node, dict) else sorted({0, len(node) // 2, len(node) - 1} & set(range(len(node))))
    for key in keys:
        yield node, key
        yield from _places(node[key], depth - 1)


def _pickle_range(data: bytes) -> tuple[int, int]:
    """Where the pickle is: behind the first local header of an archive, else at the start."""
    if data[:4] != b"PK\x03\x04" or len(data) < 30:
        return 0, min(len(data), 4096)
    start = 30 + sum(struct.unpack_from("<2H", data, 26))
    end = data.find(b"PK", start)
    return min(start, len(data)), end if end > start else len(data)


def _pickle_bytes(data: bytes, random: Random) -> bytes:
    start, end = _pickle_range(data)
    if end <= start:
        return data
    places = [random.randrange(start, end), *(random.randrange(start, end) for _ in range(random.choice((0, 0, 1, 3))))]
    for at in places:
        data = _put(data, at, bytes([random.choice((random.choice(_OPCODES), random.randrange(256)))]))
    return data


def _pickle_number(data: bytes, random: Random) -> bytes:
    """An integer of the pickle (BININT1, BININT2, BININT) replaced by another."""
    start, end = _pickle_range(data)
    found = [i for i in range(start, max(start, end - 5)) if data[i] in b"KMJ"]
    if not found:
        return data
    at = random.choice(found)
    width = {75: 1, 77: 2, 74: 4}[data[at]]
    new = random.choice(INTERESTING) % (1 << 8 * width)
    return _put(data, at + 1, new.to_bytes(width, "little"))


def _zip_number(data: bytes, random: Random) -> bytes:
    """A field of the directory, or of its end, replaced."""
    directory = data.find(b"PK\x01\x02")
    if directory < 0:
        return data
    at = random.randrange(directory, len(data))
    width = random.choice((1, 2, 4, 8))
    return _put(data, at, (random.choice(INTERESTING) % (1 << 8 * width)).to_bytes(width, "little"))[: len(data)]
