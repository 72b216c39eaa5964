"""Sums on a GPU, of `--device cuda`: torch is imported here alone, when that is asked for.

Values are made of codes on the CPU, as everywhere, and copied through pinned memory; sums are float64 on the device.
What comes back is what piece.py makes, to the rounding of sums in another order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from qinspect.inspector.errors import NoDevice
from qinspect.inspector.fidelity.blocks import Unit, stored_of
from qinspect.inspector.fidelity.nearest import NearestGrid, small_float_of, steps_of
from qinspect.inspector.fidelity.sums import Cells, Piece, Sums, values_of
from qinspect.inspector.fidelity.work import Work

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]
_ON_THE_CPU = "`--device cpu` measures the same without one."


def measured_on(device: str) -> Callable[[Work, Unit], Piece]:
    """What measures a piece on a device: `cuda`, or for tests `cpu`. Raises NoDevice where that cannot be."""
    try:
        import torch
    except ImportError as e:
        raise NoDevice(f"torch cannot be imported: {e}", expected="torch with CUDA", cure=_ON_THE_CPU) from e
    if device == "cuda" and not torch.cuda.is_available():
        raise NoDevice(
            "no CUDA device can be used", expected="a GPU that torch sees",
            found=f"torch {torch.__version__} and {torch.cuda.device_count()} of them", cure=_ON_THE_CPU,
        )  # fmt: skip
    copies = _Copies(device)

    def measured(work: Work, unit: Unit) -> Piece:
        pair, grid = work.pair, work.grid
        with copies.in_order():
            a, b = (copies.of(values_of(found), k) for k, found in enumerate(stored_of(pair, unit)))
            x, y = a.double(), b.double()
            if pair.derived is not None:  # a calculation that a format states in numpy
                on_cpu = x.cpu().numpy(), y.cpu().numpy()
                pair.derive(*on_cpu)
                x, y = (torch.from_numpy(values).to(device) for values in on_cpu)
            cells = work.cells if unit.aligned else None
            piece = _sums(x, y, unit, cells)
            if not isinstance(grid, str) and unit.aligned:
                piece.nearest = _nearest(x.float(), grid, work.largest)
        return piece

    return measured


class _Copies:
    """Arrays to the device. Each thread has its stream and its pinned memory, which is used again."""

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, device
        self._of_thread = threading.local()

    def in_order(self) -> Any:
        """The stream of this thread, as a context."""
        if self._device != "cuda":
            return self._torch.no_grad()
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream, self._of_thread.pinned = self._torch.cuda.Stream(), {}
        return self._torch.cuda.stream(self._of_thread.stream)

    def of(self, values: Array, which: int) -> Tensor:
        """Floats of the same bits on the device. which: of the two that are there at once."""
        flat = np.ascontiguousarray(values)
        if flat.dtype.name != "bfloat16":
            return self._moved(flat, which)
        return self._moved(flat.view(np.int16), which).view(self._torch.bfloat16)

    def _moved(self, values: Array, which: int) -> Tensor:
        if self._device != "cuda":
            return self._torch.from_numpy(values.copy())
        key, pinned = (which, values.dtype), self._of_thread.pinned
        if key not in pinned or pinned[key].numel() < values.size:
            kind = getattr(self._torch, values.dtype.name)
            pinned[key] = self._torch.empty(values.size, dtype=kind, pin_memory=True)
        held = pinned[key][: values.size].view(values.shape)
        np.copyto(held.numpy(), values)
        # what is read back at the end of a piece waits for this copy: the memory is free for the next piece
        return held.to(self._device, non_blocking=True)


def _sums(x: Tensor, y: Tensor, unit: Unit, cells: Cells | None) -> Piece:
    d = y - x
    good_a, good_b = x.isfinite(), y.isfinite()
    bad = ~(good_a & good_b)
    n_bad_a, n_bad_b, n_bad = (int(n) for n in ((~good_a).sum(), (~good_b).sum(), bad.sum()))
    if n_bad:
        for values in (x, y, d):
            values.masked_fill_(bad, 0.0)
    size = d.abs()
    at = int(size.argmax())
    products = (x * x, x * y, y * y, d * d)
    rows = [p.sum(1).cpu().numpy() for p in products]
    columns = np.stack([p.sum(0).cpu().numpy() for p in products[:3]])
    aa, ab, bb, dd = (float(r.sum()) for r in rows)
    sums = Sums(x.numel() - n_bad, n_bad_a, n_bad_b, n_bad, aa, bb, ab, dd, float(d.sum()))
    largest = float(size.view(-1)[at])
    if largest:
        sums.largest, sums.at = largest, unit.start + at
        sums.a, sums.b = float(x.view(-1)[at]), float(y.view(-1)[at])
    cell = None
    if cells is not None and x.numel():
        noise, signal = (_in_cells(p, cells.rows, cells.columns).sum((1, 3)) for p in (products[3], products[0]))
        i, j = divmod(int(noise.argmax()), noise.shape[1])
        cell = float(noise[i, j]), float(signal[i, j]), unit.first_row + i * cells.rows, j * cells.columns
    columns = columns if unit.aligned else np.zeros((3, 0))
    return Piece(sums, unit.first_row, rows[3], np.stack(rows[:3]), columns, cell)


def _in_cells(x: Tensor, rows: int, columns: int) -> Tensor:
    """[down, rows, across, columns], with zeros beyond the edges."""
    import torch

    rows, columns = min(rows, x.shape[0]), min(columns, x.shape[1])
    over = -x.shape[0] % rows, -x.shape[1] % columns
    if any(over):
        x = torch.nn.functional.pad(x, (0, over[1], 0, over[0]))
    return x.view(x.shape[0] // rows, rows, x.shape[1] // columns, columns)


def _nearest(x: Tensor, grid: NearestGrid, largest: float) -> float:
    """As `nearest_error`, of float32; the scales are made on the CPU, of the ends of each cell."""
    import torch

    if grid.rotation is not None:
        x = torch.from_numpy(grid.rotated(x.cpu().numpy())).to(x.device)
    cells = _in_cells(x, grid.cells.rows, grid.cells.columns)
    low, high = (ends.cpu().numpy() for ends in (cells.amin((1, 3)).clamp(max=0), cells.amax((1, 3)).clamp(min=0)))
    with np.errstate(all="ignore"):
        made = (np.ascontiguousarray(n, np.float32) for n in steps_of(low, high, grid, np.float32(largest)))
    step, least, most = (torch.from_numpy(n).to(x.device) for n in made)
    step, least, most = (n[:, None, :, None] if n.dim() == 2 else n for n in (step, least, most))
    codes = torch.minimum(torch.maximum(cells / step, least), most)
    floats = small_float_of(grid.element)
    if floats is None:
        codes = codes.round()
    else:
        mantissa, smallest = floats
        power = (codes.view(torch.int32) & 0x7F800000).view(torch.float32)
        anchor = power.clamp(min=smallest) * (1.5 * 2.0 ** (23 - mantissa))
        codes = (codes + anchor) - anchor
    return float((codes * step - cells).double().square().sum())
