"""Integer weights packed by hand, one code at a time, as GPTQ's and AWQ's tools lay them, and checkpoints of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

LAYER = "model.layers.0.self_attn.q_proj"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Weight:
    """codes [out, in], zeros and scales [out, groups], group_of [in]."""

    codes: np.ndarray
    zeros: np.ndarray
    scales: np.ndarray
    group_of: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """float32 [out, in]."""
        shifted = self.codes.astype(np.float32) - self.zeros.astype(np.float32)[:, self.group_of]
        return shifted * self.scales.astype(np.float32)[:, self.group_of]


def weight(bits: int, n_out: int, n_in: int, group: int, seed: int = 0, shuffled: bool = False) -> Weight:
    """A random one, zero points of 0 among them."""
    rng = np.random.default_rng(seed)
    n_groups = -(-n_in // group)
    codes, zeros = rng.integers(0, 1 << bits, (n_out, n_in)), rng.integers(0, 1 << bits, (n_out, n_groups))
    zeros[rng.random(zeros.shape) < 0.3] = 0
    group_of = rng.integers(0, n_groups, n_in) if shuffled else np.arange(n_in) // group
    return Weight(codes, zeros, (rng.random(zeros.shape) * 0.1 + 0.01).astype(np.float16), group_of)


def words(codes: Sequence[int], bits: int, word_bits: int = 32) -> list[int]:
    """One stream of codes, the first in the lowest bits, cut into words."""
    whole = sum(int(code) << (i * bits) for i, code in enumerate(codes))
    n = -(-len(codes) * bits // word_bits)
    return [whole >> (word_bits * i) & ((1 << word_bits) - 1) for i in range(n)]


def planar_words(codes: Sequence[int], planes: Sequence[int]) -> list[int]:
    """Of each 32 codes the lowest plane, then the next."""
    found = []
    for start in range(0, len(codes), 32):
        shift = 0
        for width in planes:
            found += words([int(c) >> shift & ((1 << width) - 1) for c in codes[start : start + 32]], width)
            shift += width
    return found


def tensor(rows: Sequence[Sequence[int]], word_bits: int = 32) -> torch.Tensor:
    """Unsigned words as a signed tensor of the same bits."""
    unsigned = np.array(rows, np.uint64).astype(f"u{word_bits // 8}")
    return torch.from_numpy(unsigned.view(f"i{word_bits // 8}").copy())


def gptq(w: Weight, bits: int, one_less: bool, planes: Sequence[int] = (), word_bits: int = 32) -> Tensors:
    """qweight, qzeros, scales, g_idx."""

    def packed(codes: np.ndarray) -> list[list[int]]:
        return [planar_words(row, planes) if planes else words(row, bits, word_bits) for row in codes]

    zeros = w.zeros.T
    if one_less and bits not in (2, 4, 8):
        zeros = (zeros - 1) % (1 << bits)
    stored = packed(zeros)
    if one_less and bits in (2, 4, 8):
        ones = words([1] * (word_bits // bits), bits, word_bits)[0]
        stored = [[(word - ones) % (1 << word_bits) for word in row] for row in stored]
    return {
        "qweight": tensor(packed(w.codes), word_bits).T.contiguous(),
        "qzeros": tensor(stored, word_bits),
        "scales": torch.from_numpy(w.scales.T.copy()),
        "g_idx": torch.from_numpy(w.group_of.astype(np.int32)),
    }


def awq_gemm(w: Weight) -> Tensors:
    """The eight outputs of a word in the order 0 2 4 6 1 3 5 7."""

    def packed(codes: np.ndarray) -> list[list[int]]:
        n_out = codes.shape[0]
        order = [8 * word + i for word in range(n_out // 8) for i in (0, 2, 4, 6, 1, 3, 5, 7)]
        return [words(row[order], 4) for row in codes.T]

    return {
        "qweight": tensor(packed(w.codes)), "qzeros": tensor(packed(w.zeros)),
        "scales": torch.from_numpy(w.scales.T.copy()),
    }  # fmt: skip


def awq_gemv(w: Weight, room: int) -> Tensors:
    """Along the inputs, in order. room: groups with padding."""
    padding = ((0, 0), (0, room - w.scales.shape[1]))
    zeros = np.pad(w.zeros, padding)
    return {
        "qweight": tensor([words(row, 4) for row in w.codes]), "qzeros": tensor([words(row, 4) for row in zeros]),
        "scales": torch.from_numpy(np.pad(w.scales, padding)),
    }  # fmt: skip


def awq_gemv_fast(w: Weight, room: int, name: str = "qzeros") -> Tensors:
    """Runs of 64 inputs of four rows, one after the other; of 32 codes, number 8x + 2y + z lies at 8y + 4z + x."""
    n_out, n_in = w.codes.shape
    at = {8 * y + 4 * z + x: 8 * x + 2 * y + z for x in range(4) for y in range(4) for z in range(2)}
    order = [32 * run + at[i] for run in range(n_in // 32) for i in range(32)]
    mixed = w.codes[:, order]
    rows = [
        [int(c) for run in range(0, n_in, 64) for row in range(4) for c in mixed[4 * four + row, run : run + 64]]
        for four in range(n_out // 4)
    ]
    padding = ((0, 0), (0, room - w.scales.shape[1]))
    scaled = -(w.scales.astype(np.float32) * w.zeros).astype(np.float16)
    return {
        "qweight": tensor([words(row, 4, 16) for row in rows], 16),
        "scales": torch.from_numpy(np.pad(w.scales, padding).T.copy()),
        name: torch.from_numpy(np.pad(scaled, padding).T.copy()),
    }


def layer(tensors: Mapping[str, torch.Tensor], name: str = LAYER) -> Tensors:
    """Under the name of a module."""
    return {f"{name}.{last}": t for last, t in tensors.items()}


def opened(folder: Path, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any] | None = None) -> Format:
    """The family of a checkpoint of these tensors. settings: of `quantization_config`; None for no config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, folder / "model.safetensors")
    if settings is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": dict(settings)}))
    return format_of(open_checkpoint(folder))


def in_parts(fmt: Format, step: int) -> np.ndarray:
    """The first weight, dequantized `step` rows at a time."""
    w = fmt.weights()[0]
    return np.concatenate([fmt.dequantize(w, i, i + step) for i in range(0, w.shape[0], step)])
