"""Scales of the KV cache, as engines look for them: by the names of their entries, whatever library saved the model."""

from __future__ import annotations

from dataclasses import dataclass, field

from qinspect.inspector.checkpoint import Checkpoint, Tensor

_LETTERS = {"k_scale": "k", "v_scale": "v", "kv_scale": "k"}
_INSIDE = ("k_proj", "v_proj", "q_proj", "qkv_proj", "attn", "k_cache", "v_cache", "kv_cache")
"""What may stand between attention and the scale."""
_KEYS = ("k_proj", "qkv_proj", "query_key_value", "c_attn")
"""Projections by which a module is known for attention that keeps keys and values."""


@dataclass(frozen=True, slots=True)
class CacheScale:
    """value: the number of a scale of one, None of another. heads: of a scale [heads, 1, 1], else 0."""

    key: str
    shape: tuple[int, ...]
    value: float | None

    @property
    def heads(self) -> int:
        """Of a scale with a number a head."""
        return self.shape[0] if len(self.shape) == 3 and self.shape[1:] == (1, 1) else 0

    @property
    def known_form(self) -> bool:
        """Whether engines read it: one number, or one a head."""
        return self.value is not None or self.heads > 0


@dataclass(frozen=True, slots=True)
class CacheScales:
    """stored: by attention module, `k` and `v`. without: attention modules that have neither, in order."""

    stored: dict[str, dict[str, CacheScale]] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @property
    def each(self) -> list[CacheScale]:
        """All of them."""
        return [scale for both in self.stored.values() for scale in both.values()]


def cache_scales(checkpoint: Checkpoint) -> CacheScales:
    """Those of a checkpoint. Reads single numbers."""
    stored: dict[str, dict[str, CacheScale]] = {}
    for name in checkpoint.entries.ending(*_LETTERS):
        module, _, last = name.rpartition(".")
        tensor = checkpoint.tensor(name)
        if last in _LETTERS and tensor is not None:
            stored.setdefault(_attention(module), {})[_LETTERS[last]] = _scale(checkpoint, tensor)
    attention = {m.rpartition(".")[0] for m in checkpoint.entries.modules_with(("weight", "weight_packed", "qweight"))
                 if m.rpartition(".")[2] in _KEYS}  # fmt: skip
    return CacheScales(stored, tuple(m for m in sorted(attention) if m not in stored))


def _attention(module: str) -> str:
    above, _, last = module.rpartition(".")
    return _attention(above) if above and last in _INSIDE else module


def _scale(checkpoint: Checkpoint, tensor: Tensor) -> CacheScale:
    value = checkpoint.scalar(tensor.name) if tensor.n_elements == 1 else None
    return CacheScale(tensor.name, tensor.shape, value)
