"""Textual inversion: vectors that stand for a word of their own in a text encoder, and no weights of a model.

Four ways to store them: A1111's `.pt` (`string_to_param.*` with the settings of the training), one tensor `emb_params`
or `clip_l` and `clip_g` in safetensors, and diffusers' `<word>`, or any word whose vectors are all that there is.
"""

from __future__ import annotations

from collections.abc import Iterator

from qinspect.inspector.checkpoint import Checkpoint, Value
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.records import CodeArray, FloatArray, QuantizedWeight, ScaleRecord
from qinspect.inspector.text import count, some, visible

_OF_A1111 = "string_to_param."
_OF_ENCODERS = ("clip_l", "clip_g", "t5xxl")
_MOST_ENTRIES = 64
_MOST_VECTORS = 1024
_SETTINGS = (("name", "name"), ("step", "steps"), ("sd_checkpoint_name", "trained with"))
_NO_CODES = "holds embeddings of words and no codes"


class TextualInversion(Format):
    """Embeddings of a few words."""

    family = "textual-inversion"
    ordered_by = "file order"

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        found = _embeddings(checkpoint)
        return f"{visible(next(iter(found)), 120)} is an embedding of a word" if found else None

    @property
    def description(self) -> str:
        found = _embeddings(self.checkpoint)
        vectors = {name: form[1][0] if len(form[1]) == 2 else 1 for name, form in found.items()}
        each = [f"{some(n, 'vector')} of {count(found[name][1][-1])}" for name, n in vectors.items()]
        shown = ", ".join(dict.fromkeys(each[:3])) + (", ..." if len(each) > 3 else "")
        return f"textual inversion: {some(len(found), 'embedding')}, {shown}"

    def scales(self) -> tuple[ScaleRecord, ...]:
        return ()

    def weights(self) -> tuple[QuantizedWeight, ...]:
        return ()

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        raise CannotDequantize(_NO_CODES, file=self.checkpoint.path, key=weight.name)

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        raise CannotDequantize(_NO_CODES, file=self.checkpoint.path, key=weight.name)

    def role_of(self, name: str) -> str:
        """The same for the only embedding of a file, whoever wrote it and whatever its word is."""
        found = _embeddings(self.checkpoint)
        return "embedding" if len(found) == 1 and name in found else super().role_of(name)

    def notes(self) -> tuple[str, ...]:
        return (*self._said(), *super().notes())

    def _said(self) -> Iterator[str]:
        yield "vectors for words of a text encoder: no weights of a model are in it"
        said = []
        for key, word in _SETTINGS:
            entry = self.checkpoint.entries.get(key)
            if isinstance(entry, Value) and isinstance(entry.value, (str, int)) and entry.value != "":
                said.append(f"{word} {visible(str(entry.value)[:200], 120)}")
        if said:
            yield f"by the file: {', '.join(said)}"


def _embeddings(checkpoint: Checkpoint) -> dict[str, Form]:
    """The tensors that are embeddings, where everything in the file belongs to a textual inversion; {} of others."""
    entries = checkpoint.entries
    if not 0 < len(entries) <= _MOST_ENTRIES:
        return {}
    forms = {name: form for name, form in zip(entries, entries.tensor_forms(), strict=True) if form is not None}
    if not forms or not all(map(_is_embedding, forms.values())):
        return {}
    if all(name.startswith(_OF_A1111) for name in forms):
        return forms
    if forms.keys() == {"emb_params"} or ("clip_l" in forms and forms.keys() <= set(_OF_ENCODERS)):
        return forms
    words = all(name[:1] == "<" and name[-1:] == ">" for name in forms)
    return forms if words else {}


def _is_embedding(form: Form) -> bool:
    dtype, shape = form
    return dtype.is_float and len(shape) in (1, 2) and shape[-1] > 1 and (len(shape) == 1 or shape[0] <= _MOST_VECTORS)
