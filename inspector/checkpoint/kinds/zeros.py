"""Files that were reserved and not filled."""

from __future__ import annotations

from qinspect.inspector.checkpoint.kinds.kind import FileKind
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.text import count

_READ = 1 << 24
"""How much is looked at from the beginning."""
_BLOCK = 1 << 16
_LEAST = 64
"""Fewer zeros at the beginning say nothing."""
_CURE = "It was reserved but not filled, or its beginning was lost: download or copy it again."


def zeros_kind(file: Source, head: bytes) -> FileKind | None:
    """What a file is that begins with zeros only; None where it does not."""
    if any(head[:_LEAST]):
        return None
    n = _leading_zeros(file)
    if n == file.size:
        return FileKind(f"empty but for its size: all its {count(n)} bytes are zero", _CURE)
    beginning = f"its first {count(n)} bytes" + (" (no more were looked at)" if n == _READ else "")
    return FileKind(f"not a checkpoint: {beginning} are zero", _CURE)


def _leading_zeros(file: Source) -> int:
    for at in range(0, min(file.size, _READ), _BLOCK):
        block = file.read(at, min(_BLOCK, file.size - at))
        if any(block):
            return at + len(block) - len(block.lstrip(b"\0"))
    return min(file.size, _READ)
