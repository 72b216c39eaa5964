"""Sums on a GPU, of `--device cuda`: torch is imported here alone, when that is asked for.

Codes and scales go there as they are stored, through pinned memory, and are made numbers there (unpacking.py); sums are
float64 on the device. What comes back is what piece.py makes, to the rounding of sums in another order.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from qinspect.inspector.errors import NoDevice
from qinspect.inspector.fidelity.blocks import Unit, stored_of
from qinspect.inspector.fidelity.nearest import NearestGrid, small_float_of, steps_of, table_of_steps
from qinspect.inspector.fidelity.sums import Cells, Piece, Stored, Sums
from qinspect.inspector.fidelity.unpacking import numbers_of
from qinspect.inspector.fidelity.work import Work
from qinspect.kernels.packing import PackedRows

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]
ELEMENTS = 1 << 22
"""Of a piece: a GPU takes nearly as long for a fourth of them."""
_SMALL_BYTES = 1 << 16
"""Not worth pinned memory."""
_TABLES = 16
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
            a, b = (copies.numbers(found, k) for k, found in enumerate(stored_of(pair, unit, in_c=False)))
            x, y = a.double(), b.double()
            if pair.derived is not None:  # a calculation that a format states in numpy
                on_cpu = x.cpu().numpy(), y.cpu().numpy()
                pair.derive(*on_cpu)
                x, y = (torch.from_numpy(values).to(device) for values in on_cpu)
            cells = work.cells if unit.aligned else None
            piece = _sums(x, y, unit, cells)
            if not isinstance(grid, str) and unit.aligned:
                halves = a.dtype == torch.bfloat16 and pair.derived is None
                piece.nearest = _nearest(x, halves, grid, work.largest, copies)
        return piece

    return measured


class _Copies:
    """Arrays to the device. Each thread has its stream and its pinned memory, which is used again."""

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, device
        self._of_thread = threading.local()
        self._tables: dict[int, tuple[Array, Tensor]] = {}

    def in_order(self) -> Any:
        """The stream of this thread, as a context."""
        if self._device != "cuda":
            return self._torch.no_grad()
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream, self._of_thread.pinned = self._torch.cuda.Stream(), {}
        return self._torch.cuda.stream(self._of_thread.stream)

    def numbers(self, found: Stored, which: int) -> Tensor:
        """Floats on the device. which: of the two that are there at once."""
        if isinstance(found, PackedRows):
            return numbers_of(found, lambda array, name: self._small_or_moved(array, f"{which} {name}"))
        flat = np.ascontiguousarray(found)
        if flat.dtype.name != "bfloat16":
            return self._moved(flat, f"{which}")
        return self._moved(flat.view(np.int16), f"{which}").view(self._torch.bfloat16)

    def table(self, values: Array) -> Tensor:
        """One that is used for many pieces: it is brought once."""
        held = self._tables.get(id(values))
        if held is None or held[0] is not values:
            while len(self._tables) >= _TABLES:
                self._tables.pop(next(iter(self._tables)), None)
            held = self._tables[id(values)] = values, self._torch.from_numpy(values.copy()).to(self._device)
            if self._device == "cuda":  # it may be used in another stream next
                self._torch.cuda.current_stream().synchronize()
        if self._device == "cuda":  # nor be given away while it is used in this one
            held[1].record_stream(self._torch.cuda.current_stream())
        return held[1]

    def _small_or_moved(self, values: Array, name: str) -> Tensor:
        flat = np.ascontiguousarray(values)
        if flat.nbytes < _SMALL_BYTES:
            return self._torch.from_numpy(flat.copy()).to(self._device)
        return self._moved(flat, name)

    def _moved(self, values: Array, name: str) -> Tensor:
        if self._device != "cuda":
            return self._torch.from_numpy(values.copy())
        key, pinned = (name, values.dtype), self._of_thread.pinned
        if key not in pinned or pinned[key].numel() < values.size:
            kind = getattr(self._torch, values.dtype.name)
            pinned[key] = self._torch.empty(values.size, dtype=kind, pin_memory=True)
        held = pinned[key][: values.size].view(values.shape)
        np.copyto(held.numpy(), values)
        # what is read back at the end of a piece waits for this copy: the memory is free for the next piece
        return held.to(self._device, non_blocking=True)


def _sums(x: Tensor, y: Tensor, unit: Unit, cells: Cells | None) -> Piece:
    """Of float64 of both, which may be changed. Few numbers come back, since each waits for all before it."""
    import torch

    d, n_bad = y - x, (0, 0, 0)
    if not math.isfinite(float(d.sum())):
        n_bad = _without_bad(x, y, d)
    size = d.abs().view(-1)
    at = size.argmax()
    products = (x * x, x * y, y * y, d * d)
    parts = [p.sum(1) for p in products]
    if unit.aligned:
        parts += [p.sum(0) for p in products[:3]]
    few = [d.sum(), size[at], at.double(), x.view(-1)[at], y.view(-1)[at]]
    if cells is not None and x.numel():
        noise, signal = (_in_cells(p, cells.rows, cells.columns).sum((1, 3)) for p in (products[3], products[0]))
        worst = noise.argmax()
        few += [worst.double(), noise.view(-1)[worst], signal.view(-1)[worst]]
    found = torch.cat([n.reshape(-1) for n in (*parts, *few)]).cpu().numpy()
    rows, rest = found[: 4 * unit.rows].reshape(4, unit.rows), found[4 * unit.rows :]
    columns, said = rest[: len(rest) - len(few)].reshape(3, -1), rest[len(rest) - len(few) :].tolist()
    aa, ab, bb, dd = rows.sum(axis=1).tolist()
    sums = Sums(x.numel() - n_bad[2], *n_bad, aa, bb, ab, dd, said[0])
    if said[1]:
        sums.largest, sums.at, sums.a, sums.b = said[1], unit.start + int(said[2]), said[3], said[4]
    cell = None
    if cells is not None and len(said) > 5:
        across = -(-x.shape[1] // min(cells.columns, x.shape[1]))
        i, j = divmod(int(said[5]), across)
        cell = said[6], said[7], unit.first_row + i * cells.rows, j * cells.columns
    return Piece(sums, unit.first_row, rows[3], rows[:3], columns, cell)


def _without_bad(x: Tensor, y: Tensor, d: Tensor) -> tuple[int, int, int]:
    """Set to zero, in all three, what is not finite in one of the two: how many that are in x, in y, in either."""
    bad_x, bad_y = ~x.isfinite(), ~y.isfinite()
    bad = bad_x | bad_y
    for values in (x, y, d):
        values.masked_fill_(bad, 0.0)
    return int(bad_x.sum()), int(bad_y.sum()), int(bad.sum())


def _in_cells(x: Tensor, rows: int, columns: int) -> Tensor:
    """[down, rows, across, columns], with zeros beyond the edges."""
    import torch

    rows, columns = min(rows, x.shape[0]), min(columns, x.shape[1])
    over = -x.shape[0] % rows, -x.shape[1] % columns
    if any(over):
        x = torch.nn.functional.pad(x, (0, over[1], 0, over[0]))
    return x.view(x.shape[0] // rows, rows, x.shape[1] // columns, columns)


def _nearest(x: Tensor, of_halves: bool, grid: NearestGrid, largest: float, copies: _Copies) -> float:
    """As `nearest_error`, of float64 of float32. of_halves: whether x was bfloat16: then scales are looked up by the
    value of largest magnitude of each cell; else they are made on the CPU, of the ends of each."""
    import torch

    rotated = grid.rotation is not None
    if rotated:
        x = torch.from_numpy(grid.rotated(x.cpu().numpy())).to(x.device)
    cells = _in_cells(x.float(), grid.cells.rows, grid.cells.columns)
    low, high = cells.amin((1, 3)).clamp(max=0), cells.amax((1, 3)).clamp(min=0)
    step: Tensor
    if of_halves and not rotated and (found := table_of_steps(grid, largest)) is not None:
        extreme = torch.where(high > -low, high, low).bfloat16()
        pattern = extreme.view(torch.int16).int() & 0xFFFF
        step = copies.table(found[0])[pattern]
        least, most = (torch.from_numpy(n.copy()).to(x.device) for n in found[1:])
    else:
        ends = low.cpu().numpy(), high.cpu().numpy()
        with np.errstate(all="ignore"):
            made = (np.ascontiguousarray(n, np.float32) for n in steps_of(*ends, grid, np.float32(largest)))
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
