"""The shape of a weight whose rows are stored as groups: [groups, size], whatever the weight was.

It follows from what stands beside: a bias has the weight's rows, and in a layer of a language model the norm in front
has the width of the residual stream, which its projections read or write. What follows has to be what quanto would have
cut into such groups; else the shape is not known.
"""

from __future__ import annotations

from qinspect.inspector.checkpoint import Checkpoint

_LARGEST, _LEAST, _STEP = 128, 32, 32
_READS_STREAM = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "qkv_proj", "gate_up_proj")
_WRITES_STREAM = ("o_proj", "down_proj")
_NORM = "input_layernorm.weight"
_EMBEDDING = "embed_tokens.weight"


def group_size(n_in: int) -> int | None:
    """Into which groups quanto cuts rows of `n_in` columns; None where it does not."""
    if n_in <= _LARGEST:
        return None
    size = _LARGEST
    while n_in % size and size > _LEAST:
        size -= _STEP
    return None if n_in % size else size


def always_whole(columns: int) -> bool:
    """Whether stored rows of so many columns are those of the weight."""
    return columns > _LARGEST or columns % _STEP != 0


class Shapes:
    """Of the weights of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        embeddings = (n for n in checkpoint.entries.ending("weight") if f".{n}".endswith(f".{_EMBEDDING}"))
        self._embedded = {form[1][-1] for n in embeddings if (form := checkpoint.entries.form(n)) and form[1]}

    def of(self, module: str, rows: int, columns: int) -> tuple[int, int] | None:
        """[out, in] of a weight that is stored in `rows` of `columns`; None where nothing tells."""
        if always_whole(columns):
            return rows, columns
        n_out = self._n_out(module, rows * columns)
        if not n_out or rows % n_out:
            return None
        n_in = rows // n_out * columns
        return (n_out, n_in) if (group_size(n_in) or n_in) == columns else None

    def _n_out(self, module: str, n: int) -> int | None:
        last = module.rpartition(".")[2]
        if last.startswith("conv"):
            return None  # a row of it has axes of its own, which are not stored
        bias = self._checkpoint.entries.form(f"{module}.bias")
        if bias is not None:
            return bias[1][0] if len(bias[1]) == 1 else None
        stream = self._stream(module) if last in (*_READS_STREAM, *_WRITES_STREAM) else None
        if not stream or last in _WRITES_STREAM:
            return stream
        return n // stream if n % stream == 0 else None

    def _stream(self, module: str) -> int | None:
        """The width of what goes through the layers: the norm of the layer around a module, where embeddings are as
        wide."""
        above = module.rpartition(".")[0]
        while above:
            norm = self._checkpoint.entries.form(f"{above}.{_NORM}")
            if norm is not None:
                width = norm[1][0] if len(norm[1]) == 1 else None
                return width if self._embedded <= {width} else None
            above = above.rpartition(".")[0]
        return None
