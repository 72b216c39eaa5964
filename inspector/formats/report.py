"""A model in two lines, for people."""

from __future__ import annotations

from qinspect.inspector.formats import Format
from qinspect.inspector.formats.bits import model_bits
from qinspect.inspector.text import count, size, visible


def model_line(label: str, fmt: Format) -> str:
    """Two lines: `A  path`, and format, entries, bytes, kind."""
    c = fmt.checkpoint
    files = f"{len(c.files)} {c.kind} files" if len(c.files) > 1 else f"{c.kind} file"
    entries = f"{count(len(c.entries))} {'entry' if len(c.entries) == 1 else 'entries'}"
    contents = f"{entries}, {size(c.nbytes)}, {files}, {model_bits(fmt).sentence}"
    return f"{label}  {visible(str(c.path))}\n   {visible(fmt.description, 200)}; {contents}"
