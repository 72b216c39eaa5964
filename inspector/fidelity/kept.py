"""Results are kept by the identity of both models' files, so that a second look at the same two takes no reading.

A file for each pair under the state folder: a digest, then what was measured. What cannot be read, is damaged, was made
by another version, or is of files that have changed since is as good as nothing; what cannot be written is not kept.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from qinspect.inspector import __version__
from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.fidelity.blocks import UNIT_ELEMENTS, Unit
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.order import Arrange, as_they_come
from qinspect.inspector.fidelity.pairs import NotCompared
from qinspect.inspector.fidelity.piece import measured
from qinspect.inspector.fidelity.results import Fidelity, WeightFidelity
from qinspect.inspector.fidelity.sums import Piece
from qinspect.inspector.fidelity.work import Result, Work
from qinspect.inspector.formats import Format
from qinspect.inspector.places import state_folder
from qinspect.inspector.progress import Progress, unseen
from qinspect.inspector.whole_file import replacing

LAYOUT = 3
"""Of what is kept: another number where a field, or what it means, becomes another."""
MOST_KEPT = 64
"""Pairs: of 40,000 experts one takes 20 MB."""
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Kept:
    """of: which files, in full, since a digest in a name may be of others too. at: in seconds since the epoch."""

    of: str
    at: float
    weights: tuple[WeightFidelity, ...]
    not_compared: tuple[NotCompared, ...]
    bits: float | None


def kept_or_measured(
    a: Format,
    b: Format,
    progress: Progress = unseen,
    told: Callable[[Result], None] = lambda _: None,
    *,
    fresh: bool = False,
    arrange: Arrange = as_they_come,
    body: Callable[[Work, Unit], Piece] = measured,
    elements: int = UNIT_ELEMENTS,
) -> Fidelity:
    """`measure_fidelity`, or what it found for the same files before: then `measured_at` says when. fresh: measure in
    any case. body, elements: as there. Raises what measuring raises."""
    of = _identity(a, b)
    found = None if fresh or of is None else _read(a, b, of)
    if found is not None:
        for weight in found.weights:
            told(weight)
        for other in found.not_compared:
            told(other)
        return found
    made = measure_fidelity(a, b, progress, told, arrange, body, elements)
    if of is not None and not made.changed:
        with suppress(OSError):
            _write(of, made)
    return made


def _identity(a: Format, b: Format) -> str | None:
    """What decides the result: both models' files and settings, and the program. None where bytes are not those of
    files, or a file is not what was opened any more."""
    found = [_identity_of(fmt.checkpoint) for fmt in (a, b)]
    if None in found or a.checkpoint.changed_files() or b.checkpoint.changed_files():
        return None
    return json.dumps([LAYOUT, __version__, *found])


def _identity_of(c: Checkpoint) -> list[object] | None:
    if not all(isinstance(f, File) for f in c.files):
        return None
    files = [[os.path.abspath(f.path), *f.identity] for f in c.files]
    settings = json.dumps([c.config, c.metadata], sort_keys=True, default=str)
    return [str(c.kind), files, sha256(settings.encode("utf-8", "surrogatepass")).hexdigest()]


def folder_of_kept() -> Path:
    """Where they are."""
    return state_folder() / "fidelity"


def _path(of: str) -> Path:
    return folder_of_kept() / f"{sha256(of.encode()).hexdigest()[:40]}.kept"


def _read(a: Format, b: Format, of: str) -> Fidelity | None:
    try:
        content = _path(of).read_bytes()
    except OSError:
        return None
    body = content[_DIGEST_BYTES:]
    if sha256(body).digest() != content[:_DIGEST_BYTES]:
        return None
    try:
        kept = msgspec.msgpack.decode(body, type=_Kept)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if kept.of != of:
        return None
    return Fidelity(a, b, kept.weights, kept.not_compared, kept.bits, (), kept.at)


def _write(of: str, found: Fidelity) -> None:
    # names of tensors may hold what is no text, which this encoding has not: such a result is not kept
    try:
        body = msgspec.msgpack.encode(_Kept(of, time.time(), found.weights, found.not_compared, found.bits))
    except (TypeError, UnicodeEncodeError):
        return
    path = _path(of)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as f:
        f.write(sha256(body).digest() + body)
    _forget_oldest(path.parent)


def _forget_oldest(folder: Path) -> None:
    known = [(p.stat().st_mtime, p) for p in folder.glob("*.kept")]
    for _, path in sorted(known)[:-MOST_KEPT]:
        with suppress(OSError):
            path.unlink()
