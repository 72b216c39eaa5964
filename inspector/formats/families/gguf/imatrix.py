"""The importance matrix of llama.cpp: what went into each weight while text ran through the model. Statistics, no
model."""

from __future__ import annotations

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.records import CodeArray, FloatArray, QuantizedWeight, ScaleRecord
from qinspect.inspector.text import some, visible

_SUMS, _COUNTS = ".in_sum2", ".counts"


class ImportanceMatrix(Format):
    """`NAME.in_sum2`, sums of squares of what went into each column of a weight, and `NAME.counts`, of how many."""

    family = "gguf imatrix"
    ordered_by = "file order"
    is_model = False

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        if checkpoint.kind != "GGUF" or checkpoint.metadata.get("general.type") != "imatrix":
            return None
        return "its general.type is imatrix"

    @property
    def description(self) -> str:
        facts = self.checkpoint.metadata
        n_weights = sum(name.endswith(_SUMS) for name in self.checkpoint.entries)
        chunks, size = facts.get("imatrix.chunk_count"), facts.get("imatrix.chunk_size")
        text = f", {visible(chunks, 20)} chunks of {visible(size, 20)} tokens" if chunks and size else ""
        return f"importance matrix of llama.cpp: the inputs of {some(n_weights, 'weight')}{text}"

    def scales(self) -> tuple[ScaleRecord, ...]:
        return ()

    def weights(self) -> tuple[QuantizedWeight, ...]:
        return ()

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        raise CannotDequantize("holds statistics and no weights", file=self.checkpoint.path, key=weight.name)

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        raise CannotDequantize("holds statistics and no weights", file=self.checkpoint.path, key=weight.name)

    def notes(self) -> tuple[str, ...]:
        names = self.checkpoint.entries
        alone = [n for n in names if n.endswith(_SUMS) and n.removesuffix(_SUMS) + _COUNTS not in names]
        found = [
            "statistics and no model: NAME.in_sum2 / NAME.counts is the mean square of what went into a column of it"
        ]
        if data := self.checkpoint.metadata.get("imatrix.datasets"):
            found.append(f"the text was {visible(data, 200)}")
        if alone:
            found.append(f"{some(len(alone), 'sum')} without a count, first {visible(alone[0], 120)}")
        return (*found, *super().notes())
