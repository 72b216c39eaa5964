"""The directory of a zip archive, read without unpacking anything.

Own reader rather than `zipfile`: that makes a 600-byte object per member (36 MB for 60,000) and does not
complain about members that overlap. Layout: APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.14-16, 4.5.3.
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import BrokenFile

MAX_DIRECTORY_BYTES = 1 << 27
"""60,000 tensors take 5 MB."""

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s4x2H4x3L3H8xL")
"""Signature, flags, method, CRC, packed size, size, bytes of the name, the extra field and the comment, position."""
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL_CRC, _LOCAL_CRC = 16, 14
"""Where the checksum stands in these."""
_HAS_DESCRIPTOR = 1 << 3
_UNUSUAL_NAME = re.compile(r"^[/\\]|^.:|\.\.", re.DOTALL)
"""What may lead out of the archive."""
_STORED = 0
_COPY_AGAIN = "The file is damaged: copy it again."


class ZipDirectory:
    """Members of an archive: name to (size, position of the local header). `compressed` has those that cannot be read
    in place, with their packed size."""

    __slots__ = ("_checksums", "_starts", "compressed", "file", "members")

    def __init__(self, file: Source) -> None:
        """Raises BrokenFile for a damaged directory, encrypted or overlapping members, and names that are absolute,
        climb out with `..`, or occur twice."""
        self.file = file
        self.compressed: dict[str, tuple[int, int]] = {}
        n, size, start = self._find_directory()
        self._starts = array("Q")
        self._checksums = array("I")
        self.members = self._read_directory(n, file.read(start, size), start)
        self._starts.append(start)

    @classmethod
    def names(cls, file: Source) -> Iterator[str]:
        """Names of the members of any zip archive, which may be of a kind that is refused here. Raises BrokenFile for a
        damaged directory."""
        reader = cls.__new__(cls)
        reader.file = file
        n, size, start = reader._find_directory()
        return (name for _, _, name, _ in reader._records(n, file.read(start, size), start))

    def _broken(self, problem: str, **parts: str | int | None) -> BrokenFile:
        return BrokenFile(problem, file=self.file.path, **parts)  # type: ignore[arg-type]

    def _find_directory(self) -> tuple[int, int, int]:
        """(number of members, bytes, position) of the central directory."""
        file = self.file
        tail_start = max(0, file.size - (1 << 16) - _END.size)
        tail = file.read(tail_start, file.size - tail_start)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + _END.size > len(tail):
            raise self._broken(
                "the zip archive has no directory at its end",
                expected="an end-of-central-directory record",
                cure="The file is truncated: download or copy it again.",
            )
        _, disk, _, _, n, size, start, _ = _END.unpack_from(tail, at)
        end = tail_start + at
        if n == 0xFFFF or size == 0xFFFFFFFF or start == 0xFFFFFFFF:
            if at < _END64_LOCATOR.size:
                raise self._broken("the zip64 directory is missing", offset=end)
            mark, _, position, _ = _END64_LOCATOR.unpack_from(tail, at - _END64_LOCATOR.size)
            if mark != b"PK\x06\x07":
                raise self._broken("the zip64 directory is missing", offset=end)
            mark, _, _, _, _, _, _, n, size, start = _END64.unpack(file.read(position, _END64.size))
            if mark != b"PK\x06\x06":
                raise self._broken("the zip64 directory is damaged", offset=position)
            end = position
        if disk not in (0, 0xFFFF):
            raise self._broken("the archive is split over several disks")
        if start + size > end or size > MAX_DIRECTORY_BYTES or n * _CENTRAL.size > size:
            raise self._broken(
                "the zip directory does not fit the file",
                offset=start,
                expected=f"{n} members in {size} bytes before {end}",
                cure="The file is truncated or damaged: copy it again.",
            )
        return n, size, start

    def _read_directory(self, n: int, raw: bytes, directory_start: int) -> dict[str, tuple[int, int]]:
        members: dict[str, tuple[int, int]] = {}
        add_start, add_checksum = self._starts.append, self._checksums.append
        previous_end, in_order = 0, True
        for _, fields, name, extra in self._records(n, raw, directory_start):
            _, flags, method, crc, packed, size, _, _, _, position = fields
            if size == 0xFFFFFFFF or packed == 0xFFFFFFFF or position == 0xFFFFFFFF:
                size, packed, position = self._zip64_fields(name, extra, size, packed, position)
            if flags & 1 or name in members or _UNUSUAL_NAME.search(name) or self.compressed:
                self._check_member(name, members, flags)
            end = position + _LOCAL.size + packed
            if end > directory_start:
                raise self._broken(
                    "a member reaches into the zip directory",
                    key=name,
                    offset=position,
                    expected=f"an end before {directory_start}",
                    found=f"{packed} bytes",
                    cure=_COPY_AGAIN,
                )
            in_order = in_order and position >= previous_end
            previous_end = end
            add_start(position)
            add_checksum(crc)
            if method == _STORED and packed == size:
                members[name] = (size, position)
            else:
                self.compressed[name] = (packed, position)
        if not in_order:
            self._check_overlaps({**members, **self.compressed} if self.compressed else members)
            checksums = dict(zip(self._starts, self._checksums, strict=True))
            self._starts = array("Q", sorted(checksums))
            self._checksums = array("I", [checksums[position] for position in self._starts])
        return members

    def _records(self, n: int, raw: bytes, directory_start: int) -> Iterator[tuple[int, tuple[Any, ...], str, bytes]]:
        """(position in the file, fields, name, extra field) of each record of the central directory."""
        at = 0
        for _ in range(n):
            if at + _CENTRAL.size > len(raw):
                raise self._broken("the zip directory ends early", offset=directory_start + at)
            fields = _CENTRAL.unpack_from(raw, at)
            if fields[0] != b"PK\x01\x02":
                raise self._broken("the zip directory is damaged", offset=directory_start + at)
            behind_name = at + _CENTRAL.size + fields[6]
            behind = behind_name + fields[7]
            name = raw[at + _CENTRAL.size : behind_name].decode("utf-8", "replace")
            yield directory_start + at, fields, name, raw[behind_name:behind]
            at = behind + fields[8]

    def checksums(self) -> Iterator[tuple[str, int, tuple[int, ...]]]:
        """(name, CRC-32, where in the file that is stored) of each stored member, in the order of the directory.

        The places are four bytes, little-endian: in the directory, and wherever the member's local header or the
        descriptor behind its data repeats it (APPNOTE.TXT 4.3.9). Raises BrokenFile as `locate` does.
        """
        n, size, start = self._find_directory()
        for at, fields, name, _ in self._records(n, self.file.read(start, size), start):
            crc = fields[3]
            if name in self.compressed:
                continue
            stored = crc.to_bytes(4, "little")
            n_bytes, position = self.members[name]
            end = self.locate(name) + n_bytes
            places = [position + _LOCAL_CRC]
            if fields[1] & _HAS_DESCRIPTOR:
                places = [end + 4 if self.file.read(end, 4) == b"PK\x07\x08" else end]
            repeated = (p for p in places if self.file.read(p, 4) == stored)
            yield name, crc, (at + _CENTRAL_CRC, *repeated)

    def _zip64_fields(self, name: str, extra: bytes, size: int, packed: int, position: int) -> tuple[int, int, int]:
        """The 64-bit values that replace fields of 0xFFFFFFFF, in the order that section 4.5.3 gives."""
        at = 0
        while at + 4 <= len(extra):
            kind, n = struct.unpack_from("<2H", extra, at)
            if kind == 1:
                values = list(struct.unpack_from(f"<{n // 8}Q", extra, at + 4)) if at + 4 + n <= len(extra) else []
                try:
                    size = values.pop(0) if size == 0xFFFFFFFF else size
                    packed = values.pop(0) if packed == 0xFFFFFFFF else packed
                    position = values.pop(0) if position == 0xFFFFFFFF else position
                except IndexError as e:
                    raise self._broken("a zip64 field is missing", key=name) from e
                return size, packed, position
            at += 4 + n
        raise self._broken("a zip64 field is missing", key=name)

    def _check_member(self, name: str, members: dict[str, tuple[int, int]], flags: int) -> None:
        if name.startswith(("/", "\\")) or name[1:2] == ":" or ".." in name.replace("\\", "/").split("/"):
            raise self._broken(
                "a member's name leaves the archive",
                key=name,
                expected="a relative name without '..'",
                cure="Do not unpack this file: it was made to overwrite others.",
            )
        if name in members or name in self.compressed:
            raise self._broken("two members have the same name", key=name, expected="each name once", cure=_COPY_AGAIN)
        if flags & 1:
            raise self._broken("a member is encrypted", key=name, cure="Decrypt the archive first.")

    def _check_overlaps(self, members: dict[str, tuple[int, int]]) -> None:
        """No two members share bytes: overlapping members are how zip bombs without compression are made."""
        previous_end = 0
        previous = ""
        for name, (size, position) in sorted(members.items(), key=_position):
            if position < previous_end:
                raise self._broken(
                    "two members overlap",
                    key=name,
                    offset=position,
                    expected=f"a start at or after {previous_end}, the end of {previous}",
                    cure="Do not unpack this file: it may be made to exhaust memory.",
                )
            previous_end = position + _LOCAL.size + size
            previous = name

    def refuse_compressed(self, name: str) -> None:
        """Raises BrokenFile where the member is compressed: what torch.save writes is stored."""
        if name in self.compressed:
            raise self._broken(
                "a member is compressed",
                key=name,
                expected="stored members, as torch.save writes them",
                found=f"{self.compressed[name][0]} packed bytes",
                cure="Unpack the archive and pack it again without compression (`zip -0 -r`), or load it with torch and"
                " save it again.",
            )

    def checksum_at(self, offset: int) -> int:
        """The CRC-32 that the directory has for the member in which `offset` lies; 0 where none was computed, as by
        torch.serialization.set_crc32_options(False)."""
        return self._checksums[bisect_right(self._starts, offset) - 1]

    def locate(self, name: str) -> int:
        """Position of the member's first byte: its local header is read and checked now."""
        return self.locate_at(name, *self.members[name])

    def locate_at(self, name: str, size: int, position: int) -> int:
        """`locate`, for who has kept the member's size and position."""
        # One read for header and name. It stays in the file: the directory, which comes later, holds the name too.
        header = self.file.read(position, _LOCAL.size + len(name))
        mark, _, _, method, _, _, _, _, _, n_name, n_extra = _LOCAL.unpack_from(header)
        start: int = position + _LOCAL.size + n_name + n_extra
        # How long the header is stands only in itself, so only now is known where the data ends.
        end = self._starts[bisect_right(self._starts, position)]
        if mark != b"PK\x03\x04" or method != _STORED or start + size > end:
            raise self._broken(
                "a member's local header is damaged, or its data overlaps what follows",
                key=name,
                offset=position,
                expected=f"a stored member of {size} bytes that ends before {end}",
                cure="The file is damaged: copy it again.",
            )
        # Another length is another name, or one that is not ASCII.
        found = header[_LOCAL.size :] if n_name == len(name) else self.file.read(position + _LOCAL.size, n_name)
        if found.decode("utf-8", "replace") != name:
            raise self._broken("the local header and the directory have different names", key=name, offset=position)
        return start


def _position(member: tuple[str, tuple[int, int]]) -> int:
    return member[1][1]
