"""A model and its scale records as the objects that `--json` prints; docs/schema has their schemas."""

from __future__ import annotations

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.json_text import Json


def checkpoint(fmt: Format) -> Json:
    """The model: path, kind, format, sizes, notes."""
    c: Checkpoint = fmt.checkpoint
    return {
        "path": str(c.path),
        "kind": c.kind,
        "files": len(c.files),
        "entries": len(c.entries),
        "bytes": c.nbytes,
        "family": fmt.family,
        "format": fmt.description,
        "recognised_by": type(fmt).recognise(c),
        "tied": c.tied(),
        "notes": [*c.notes, *fmt.notes()],
    }


def scale(record: ScaleRecord) -> Json:
    """One scale record."""
    return {
        "role": record.role,
        "key": record.key,
        "kind": str(record.kind),
        "verified": record.verified,
        "of": record.of,
        "quantity": str(record.quantity),
        "element": None if record.element.kind is ElementKind.UNKNOWN else record.element.name,
        "scheme": record.scheme,
        "granularity": record.granularity,
        "group_size": record.group_size,
        "axis": record.axis,
        "dtype": record.dtype,
        "shape": list(record.shape),
        "alpha_sensitive": record.alpha_sensitive,
        "copies": [{"key": c.key, "relation": c.relation, "exact": c.exact} for c in record.copies],
        "folded": list(record.folded),
    }
