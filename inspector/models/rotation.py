"""Hadamard rotations, which spread outliers over channels: of values, and folded into a model's weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotate(x: Tensor) -> Tensor:
    """x H^T of the last axis, H the normalised Hadamard matrix of its width, in float32; of x's dtype.

    H is a Kronecker product of H and of Sylvester's matrix, so two small products do what a large one would:
    width (width / s + s) multiplications for a width^2.
    """
    width = x.shape[-1]
    inner = min(32, width // _odd_order(width))
    outer = hadamard(width // inner, x.device)
    rows = x.float().unflatten(-1, (-1, inner)) @ hadamard(inner, x.device).mT
    return (outer @ rows).flatten(-2).to(x.dtype)


def hadamard(width: int, device: torch.device | str = "cpu") -> Tensor:
    """float32[width, width], orthogonal, all entries +-1/sqrt(width).

    The matrix of the odd part first, then Sylvester's. Widths 2^k, 12 2^k (whose matrix is Quamba's) and 20 2^k (which
    is one of several, Quamba's may be another). Raises ValueError for others.
    """
    place = torch.device(device)
    found = _CACHE.get((width, place))
    if found is None and place.type != "cpu":
        found = _CACHE[width, place] = hadamard(width).to(place)
    elif found is None:
        order = _odd_order(width)
        found = {1: torch.ones(1, 1), 12: _paley_2(5), 20: _paley_1(19)}[order]
        while found.shape[0] < width:
            found = torch.kron(found, torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        found = _CACHE[width, place] = found / math.sqrt(width)
    return found


_CACHE: dict[tuple[int, torch.device], Tensor] = {}


def _odd_order(width: int) -> int:
    """The order of the matrix that Sylvester's construction goes on from: 1, 12 or 20."""
    order = next((n for n in (12, 20) if width % n == 0 and _is_power_of_2(width // n)), 1)
    if not _is_power_of_2(width // order):
        raise ValueError(f"there is no Hadamard matrix of width {width} here, only of 2^k, 12 2^k and 20 2^k")
    return order


def _is_power_of_2(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


def _conference(q: int, corner: float) -> Tensor:
    """float32[q + 1, q + 1]: quadratic residues modulo the prime q, bordered by ones; `corner` is the border's sign on
    the left."""
    squares = {i * i % q for i in range(1, q)}
    matrix = torch.zeros(q + 1, q + 1)
    matrix[0, 1:], matrix[1:, 0] = 1.0, corner
    for i in range(q):
        for j in range(q):
            if i != j:
                matrix[i + 1, j + 1] = 1.0 if (j - i) % q in squares else -1.0
    return matrix


def _paley_1(q: int) -> Tensor:
    """Order q + 1, for a prime q = 3 modulo 4. Source: Paley, "On orthogonal matrices" (1933)."""
    return _conference(q, -1.0) + torch.eye(q + 1)


def _paley_2(q: int) -> Tensor:
    """Order 2 (q + 1), for a prime q = 1 modulo 4. Source: as above."""
    off_diagonal, diagonal = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
    return torch.kron(_conference(q, 1.0), off_diagonal) + torch.kron(torch.eye(q + 1), diagonal)
