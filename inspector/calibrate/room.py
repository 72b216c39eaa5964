"""Whether what a calibration will write can be written: its folders, and the bytes on their disks. Asked before the
pass, which may take hours."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from qinspect.inspector.calibrate.rounding import WeightScheme
from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.text import size


def check_writable(folder: Path, what: Path | None = None) -> None:
    """Raises CannotOpen, about `what` that is to be in it, where nothing can be made in `folder`, or in the nearest one
    above it that is there. Tries it: permissions do not tell of file systems that are read-only, full, or take no
    files."""
    place = _nearest(folder)
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".qinspect-", dir=place))
    except OSError as e:
        raise CannotOpen(
            f"cannot be written: {e.strerror or e}", file=what or folder,
            expected=f"a folder that can be made in {place}", cure="Name another place.",
        ) from e  # fmt: skip


def _nearest(folder: Path) -> Path:
    """The folder itself, or the first above it that is there."""
    place = folder.absolute()
    return next((p for p in (place, *place.parents) if p.exists()), place)


def checkpoint_bytes(
    shapes: Mapping[str, tuple[tuple[int, ...], int]], quantized: Sequence[str], w: WeightScheme
) -> int:
    """Bytes of a checkpoint's tensors. shapes: of each tensor, with the bytes of an element as it is."""
    chosen = frozenset(quantized)
    total = 0
    for name, (shape, n_bytes) in shapes.items():
        n = math.prod(shape)
        if name in chosen and len(shape) == 2:
            total += n * w.bits // 8 + 4 * shape[0] * w.n_groups(shape[1])
        else:
            total += n * n_bytes
    return total


def check_disk(wanted: Sequence[tuple[Path, int, str]]) -> None:
    """Raises CannotOpen where a disk has less room than is wanted of it. wanted: a folder, bytes, and what they are."""
    of_disk: dict[int, list[tuple[Path, int, str]]] = {}
    for folder, n_bytes, what in wanted:
        place = _nearest(folder)
        of_disk.setdefault(place.stat().st_dev, []).append((place, n_bytes, what))
    for parts in of_disk.values():
        place = parts[0][0]
        free, total = shutil.disk_usage(place).free, sum(n for _, n, _ in parts)
        if total > free:
            raise CannotOpen(
                "the disk has too little room", file=place,
                expected="about " + " and ".join(f"{size(n)} of {what}" for _, n, what in parts),
                found=f"{size(free)} free",
                cure="Name another place with --state and --out, or choose fewer --samples.",
            )  # fmt: skip
