"""The checksums of a torch zip archive, after some bytes of its members were changed.

Sizes and places stay as they are, so this is all of a zip archive that depends on the contents: APPNOTE.TXT 6.3.10,
sections 4.4.7 and 4.3.9. torch adds a number of its own, made of all checksums:
writeSerializationId in caffe2/serialize/inline_container.cc.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping

from qinspect.inspector.apply.edits import Edits, edited
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.zip_directory import ZipDirectory
from qinspect.inspector.errors import BrokenFile

_ID = ".data/serialization_id"
_ID_DIGITS = 20
_ID_BYTES = 2 * _ID_DIGITS
"""Twenty digits of the names, twenty of the checksums."""


def with_checksums(file: Source, edits: Edits) -> dict[int, bytes]:
    """The edits, and those that they make necessary. Raises BrokenFile where a member that they change is damaged."""
    directory = ZipDirectory(file)
    found = list(directory.checksums())
    before = {name: crc for name, crc, _ in found}
    places = {name: at for name, _, at in found}
    made = dict(edits)
    after = before | _checksums(file, directory, before, edits)
    for name in before:
        if name.endswith(_ID) and directory.members[name][0] == _ID_BYTES:
            at = directory.locate(name) + _ID_DIGITS
            rest = {n: crc for n, crc in before.items() if n != name}
            if file.read(at, _ID_DIGITS) == _combined(rest.values()):
                made[at] = _combined(after[n] for n in rest)
                after |= _checksums(file, directory, {name: before[name]}, {at: made[at]})
    for name, crc in after.items():
        if crc != before[name]:
            made.update((at, crc.to_bytes(4, "little")) for at in places[name])
    return made


def _checksums(file: Source, directory: ZipDirectory, known: Mapping[str, int], edits: Edits) -> dict[str, int]:
    """CRC-32 of each of `known` that is changed. One that torch was told not to compute, 0, stays so."""
    names = sorted(known, key=lambda name: directory.members[name][1])
    starts = [directory.members[name][1] for name in names]
    of_member: dict[str, dict[int, bytes]] = {}
    for at, new in edits.items():
        i = bisect_right(starts, at) - 1
        if i >= 0:
            of_member.setdefault(names[i], {})[at] = new
    made = {}
    for name, own in of_member.items():
        start = directory.locate(name)
        stop = start + directory.members[name][0]
        if not all(start <= at < stop for at in own):
            continue
        crc = _crc(file, start, stop, {})
        if crc == known[name]:
            made[name] = _crc(file, start, stop, own)
        elif known[name]:
            raise BrokenFile(
                "the checksum of a member is not that of its bytes", file=file.path, key=name,
                expected=f"{known[name]:08x}", found=f"{crc:08x}", cure="The file is damaged: copy it again.",
            )  # fmt: skip
    return made


def _crc(file: Source, start: int, stop: int, edits: Edits) -> int:
    crc = 0
    for block in edited(file, start, stop, edits):
        crc = zlib.crc32(block, crc)
    return crc


def _combined(checksums: Iterable[int]) -> bytes:
    """All checksums in one, as c10::hash_combine does it, in decimal digits."""
    seed = 0
    for crc in checksums:
        seed ^= (crc + 0x9E3779B9 + (seed << 6) + (seed >> 2)) & 0xFFFFFFFFFFFFFFFF
    return f"{seed:0{_ID_DIGITS}}".encode()
