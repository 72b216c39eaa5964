"""One magnitude table as bytes: differences of patterns and counts, split into byte planes, deflated where it pays.

Neighbouring magnitudes mostly differ by one pattern and counts have few significant bytes, so most planes are constant:
a sample of 100,000 float16 values takes 6-7 kB instead of the 256 kB of its dense table.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution.single import DROPPED_BITS, INFINITY
from qinspect.inspector.distribution.table import MagnitudeTable, table_from_patterns

RAW, DEFLATED = 0, 1
LEVEL = 6
DTYPES = ("float16", "bfloat16", "float32")
_INFINITIES = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": INFINITY}
_MAX_RATIO = 1032
"""No deflated byte stands for more (zlib's technical notes): sizes are checked before memory is asked for."""
_MAX_COUNT = 1 << 62


class Damaged(ValueError):
    """Bytes are not what `pack` made. Says what is wrong, a clause."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A table's bytes and the numbers that are kept beside them; `fields` as one row of the file's index."""

    payload: bytes
    fields: tuple[int, ...]

    def at(self, offset: int) -> Packed:
        """The same table standing elsewhere."""
        fields = (offset, *self.fields[1:])
        return Packed(self.payload, (*fields[:_CRC], checksum(self.payload, fields), *fields[_CRC + 1 :]))


FIELDS = (
    "offset",
    "bytes",
    "crc32",
    "encoding",
    "entries",
    "count_bytes",
    "dtype",
    "dropped_bits",
    "n_inf",
    "n_nan",
    "signed_absmax",
)
"""Columns of an index row. offset, bytes: of the payload among those of its point. crc32: `checksum`. encoding: RAW
or DEFLATED. entries: magnitudes. count_bytes: byte planes of a count. dtype: index in DTYPES. signed_absmax: the bit
pattern of the float32."""
_SIZE, _CRC = FIELDS.index("bytes"), FIELDS.index("crc32")


def pack(table: MagnitudeTable, offset: int) -> Packed:
    """The table as bytes that will stand at `offset`."""
    patterns = table.patterns >> np.uint32(table.dropped_bits)
    deltas = np.diff(patterns, prepend=np.uint32(0)).astype(np.uint32 if table.dtype == "float32" else np.uint16)
    less_one = (table.counts - 1).astype("<u8")
    count_bytes = max(1, (int(less_one.max(initial=0)).bit_length() + 7) // 8)
    planes = _planes(deltas)[: deltas.itemsize].tobytes() + _planes(less_one)[:count_bytes].tobytes()
    deflated = zlib.compress(planes, LEVEL)
    payload, encoding = (deflated, DEFLATED) if len(deflated) < len(planes) else (planes, RAW)
    extreme = int(np.float32(table.signed_absmax).view(np.uint32))
    fields = (
        offset, len(payload), 0, encoding, table.counts.size, count_bytes,
        DTYPES.index(table.dtype), table.dropped_bits, table.n_inf, table.n_nan, extreme,
    )  # fmt: skip
    return Packed(payload, (*fields[:_CRC], checksum(payload, fields), *fields[_CRC + 1 :]))


def checksum(payload: bytes, fields: tuple[int, ...]) -> int:
    """CRC-32 of a table's bytes and of its index row but for the place of the checksum itself."""
    others = np.array([*fields[:_CRC], *fields[_CRC + 1 :]], "<i8")
    return zlib.crc32(others.tobytes(), zlib.crc32(payload))


def checked(packed: Packed) -> Packed:
    """The same. Raises Damaged unless it has the size and the checksum that it says."""
    fields = packed.fields
    if len(packed.payload) != fields[_SIZE] or checksum(packed.payload, fields) != fields[_CRC]:
        raise Damaged("the checksum of a table does not fit it")
    return packed


def unpack(packed: Packed) -> MagnitudeTable:
    """The table that `pack` packed. Raises Damaged for anything else; takes no more memory than the payload can stand
    for."""
    payload, fields = checked(packed).payload, packed.fields
    _, _, _, encoding, k, count_bytes, dtype_index, dropped, n_inf, n_nan, extreme = fields
    if not 0 <= dtype_index < len(DTYPES) or encoding not in (RAW, DEFLATED) or not 1 <= count_bytes <= 8:
        raise Damaged("a table is of an unknown kind")
    dtype = DTYPES[dtype_index]
    if dropped not in ((0, DROPPED_BITS) if dtype == "float32" else (0,)):
        raise Damaged("a table has an impossible precision")
    if not (0 <= n_inf < _MAX_COUNT and 0 <= n_nan < _MAX_COUNT and 0 <= extreme < 1 << 32):
        raise Damaged("a table has an impossible count")
    pattern_bytes = 4 if dtype == "float32" else 2
    planes = _inflate(payload, encoding, k, pattern_bytes + count_bytes)
    deltas = _join(planes[: k * pattern_bytes], pattern_bytes)
    counts = _join(planes[k * pattern_bytes :], count_bytes)
    patterns = np.cumsum(deltas)
    infinity = _INFINITIES[dtype] >> dropped
    # differences of at most 4 bytes, of which there are fewer than 2^31: no sum of them overflows
    if k and ((deltas[1:] == 0).any() or int(patterns[-1]) >= infinity):
        raise Damaged("the magnitudes of a table do not ascend to a finite one")
    if k and (
        int(counts.min()) < 0 or int(counts.max()) >= _MAX_COUNT or float(counts.sum(dtype=np.float64)) >= _MAX_COUNT
    ):
        raise Damaged("a table has an impossible count")
    found = table_from_patterns(
        (patterns << dropped).astype(np.uint32), counts + 1, dtype, n_inf, n_nan,
        float(np.uint32(extreme).view(np.float32)), dropped,
    )  # fmt: skip
    _check_extreme(found)
    return found


def _check_extreme(table: MagnitudeTable) -> None:
    extreme = abs(table.signed_absmax)
    if math.isnan(extreme):
        if not table.exact and table.counts.size:
            raise Damaged("a table that is not exact does not know its largest value")
        return
    if not table.counts.size or not math.isfinite(extreme):
        raise Damaged("the largest value of a table is not among its magnitudes")
    room = np.uint32((1 << table.dropped_bits) - 1)
    if np.float32(extreme).view(np.uint32) & ~room != table.magnitudes[-1].view(np.uint32):
        raise Damaged("the largest value of a table is not among its magnitudes")


def _inflate(payload: bytes, encoding: int, k: int, width: int) -> bytes:
    size = k * width
    if not 0 <= k < 1 << 31 or size > len(payload) * (_MAX_RATIO if encoding == DEFLATED else 1):
        raise Damaged("a table has more entries than its bytes can stand for")
    if encoding == RAW:
        planes = payload
    else:
        stream = zlib.decompressobj()
        try:
            planes = stream.decompress(payload, size + 1)
        except zlib.error as e:
            raise Damaged("a table cannot be inflated") from e
        if not stream.eof or stream.unused_data:
            raise Damaged("a table inflates to a different size than it says")
    if len(planes) != size:
        raise Damaged("a table has a different size than it says")
    return planes


def _planes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8[itemsize, k], lowest bytes first."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, values.itemsize).T


def _join(planes: bytes, width: int) -> NDArray[np.int64]:
    """int64[k] of `width` byte planes; a top bit that is set makes a number negative."""
    k = len(planes) // width
    wide = np.zeros((k, 8), np.uint8)
    wide[:, :width] = np.frombuffer(planes, np.uint8).reshape(width, k).T
    return wide.view("<i8").reshape(-1).astype(np.int64)
