"""What in a file of names speaks for quantization, whatever family wrote it: which entries are scales, which are codes,
which belong to them.

Many things are called a scale that have nothing to do with quantization: the weight of a norm (`norm.scale` in JAX and
diffusion models), `layer_scale`, `logit_scale`, `dora_scale`. An entry is taken for a scale of quantization only where
its name says so by itself (`weight_scale_inv`, `input_scale`), or codes or a zero point stand beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import repeat
from operator import contains
from weakref import WeakValueDictionary

from qinspect.inspector.checkpoint import Tensor, Value
from qinspect.inspector.checkpoint.columns import Entries, Form
from qinspect.inspector.text import natural_keys

_SCALED = r"(?:weight|input|output|act|activation|k|v|q|kv|qkv|prob|block|global|pre_quant)"
_NAMED_SCALE = re.compile(
    rf"_?(?:\w*_)?{_SCALED}s?_(?:global_)?scales?(?:_inv|_factors?|_?\d)?|(?:\w+_)?scales?_inv|_scale|scales"
    rf"|scale_(?:weight|input|output|act)|(?:nested_)?absmax|SCB|weight_s_(?:channel|rel)"
)
"""Names that only quantization gives to a scale."""
_OTHER_SCALE = re.compile(
    r"(?i)(?:.*_)?(?:layer|logits?|dora|lora|embed|embedding|norm|res|resid|residual|skip|attn|softmax|rope|rotary|time|"
    r"temperature|grad|loss)_?scal.*|scale_shift.*|.*scale_parameter"
)
"""Names of scales that are something else, whatever stands beside them."""
_ACTIVATION_NAMES = ("input", "output", "activation", "act_scale", "k_scale", "v_scale", "q_scale", "prob")
_ZERO_POINT = re.compile(r"_?(?:\w*_)?zero_?points?|q?zeros?|_shift")
_BELONGS = re.compile(
    r"(?:nested_)?(?:absmax|quant_map)|quant_state\b.*|bitsandbytes__\w+|SCB|weight_format|g_idx|perm|suh|svh|mcg|mul1"
    r"|codebooks?|weight_codebook|weight_s_(?:channel|rel)|comfy_quant|scaled_fp8|nbits|quant_scale|quant_zero"
    r"|(?:\w+_)?weight_shape|quantized_weight_(?:metadata|amax)|weight_amax|_amax|_?svdquant_lora_[ab]"
)
"""Entries that belong to codes without being scales or codes."""
_CODES = re.compile(
    r"q?weights?|W_q|q_weight|_data|codes|trellis|qdata|\w*weight_(?:packed|qdata|q|codes)|quantized_weight_values"
    r"|\w+_(?:blocks|proj|qweight)"
)
_CODES_BY_NAME = re.compile(r"qweight|W_q|trellis|\w*weight_(?:packed|qdata)|quantized_weight_values")
"""Of them, names that nothing but codes have."""
_NO_CODES = re.compile(r"(?i).*(?:index|ids?|idx|mask|position|shape|tracked|offsets?|lengths?)")
_CODE_TYPES = re.compile(r"q?u?int(?:[1-8]|16|32)|bits\w+|float[468]_.*")
_PACKED_INTEGERS = re.compile(r"u?int(?:[1-8]|16|32)|bits\w+")
_WIDE_FLOATS = (
    "float16", "bfloat16", "float32", "float64", "float8_e8m0fnu", "python float", "python int",
    "numpy float16", "numpy float32", "numpy float64",
)  # fmt: skip


def split(name: str) -> tuple[str, str]:
    """(module, last part) of a name whose parts are parted by dots, or by slashes as JAX does."""
    at = name.rfind(".")
    if "/" in name:
        at = max(at, name.rfind("/"))
    return (name[:at], name[at + 1 :]) if at >= 0 else ("", name)


class Modules:
    """Entries by the module that they stand in.

    names, lasts: each name and its last part. forms: dtype and shape of each, None for what is no tensor.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self.names = list(entries)
        self.lasts = last_parts(self.names)
        self.forms: list[Form | None] = list(entries.tensor_forms())

    @classmethod
    def of(cls, entries: Entries) -> Modules:
        """Those of a model that is still open, where it has the same names and forms: then all of this is the same."""
        latest = _latest.get("modules")
        if latest is not None and latest._are_of(entries):
            return latest
        made = _latest["modules"] = cls(entries)
        return made

    def _are_of(self, entries: Entries) -> bool:
        columns = entries.in_columns and self._entries.in_columns
        if self._entries is entries or (columns and self._entries.has_headers(entries.blocks)):
            return True
        return columns and self.names == list(entries) and self.forms == list(entries.tensor_forms())

    @cached_property
    def place_of(self) -> dict[str, int]:
        """Name to its place."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _inside(self) -> dict[str, list[int]]:
        """Module to the places of what stands in it."""
        found: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            found.setdefault(split(name)[0], []).append(place)
        return found

    def beside(self, name: str) -> Iterator[tuple[str, Form | None]]:
        """(last part, form) of the others in its module (of one called `meta`, in the module above too), and the
        module itself where it is an entry (`w` of `w.absmax`)."""
        module = split(name)[0]
        places = [module, *([split(module)[0]] if split(module)[1] == "meta" else [])]
        for other in (o for place in places for o in self._inside.get(place, ())):
            if self.names[other] != name:
                yield self.lasts[other], self.forms[other]
        if module in self._entries:
            entry = self._entries[module]
            yield split(module)[1], (entry.dtype, entry.shape) if isinstance(entry, Tensor) else None

    def quantized(self, name: str) -> bool:
        """Whether codes or a zero point stand beside an entry."""
        return any(_ZERO_POINT.fullmatch(last) or is_code_matrix(last, form) for last, form in self.beside(name))

    @cached_property
    def scales(self) -> tuple[int, ...]:
        """The places of all scales of quantization, in the natural order of names."""
        may_be = {last for last in set(self.lasts) if _may_be_scale(last)}
        named = [place for place, last in enumerate(self.lasts) if last in may_be]
        places = list(filter(self._is_scale, named))
        keys = dict(zip(places, natural_keys([self.names[place] for place in places]), strict=True))
        return tuple(sorted(places, key=keys.__getitem__))

    @cached_property
    def speak_of_quantization(self) -> bool:
        """Whether there are codes, what belongs to codes, or scales of weights: more than scales of activations."""
        words, dtypes = self.signs
        return bool(words or dtypes) or any(
            is_scale_name(last) and not names_activation(last) for last in set(self.lasts)
        )

    def dtype_of(self, place: int) -> str:
        """The dtype of a tensor, the kind of a value."""
        form = self.forms[place]
        if form is not None:
            return form[0].name
        value = self._entries[self.names[place]]
        return value.kind if isinstance(value, Value) else ""

    def _is_scale(self, place: int) -> bool:
        last, form = self.lasts[place], self.forms[place]
        known = self._scale_kinds.get((last, id(form)))
        if known is None:
            known = self._looks_like_scale(place)
            if form is not None and is_scale_name(last):  # then nothing else stands for or against it
                self._scale_kinds[last, id(form)] = known
        return known

    @cached_property
    def _scale_kinds(self) -> dict[tuple[str, int], bool]:
        """Whether tensors of a last name and form, by its identity, are scales."""
        return {}

    def _looks_like_scale(self, place: int) -> bool:
        name, last, form = self.names[place], self.lasts[place], self.forms[place]
        dtype = self.dtype_of(place)
        if dtype.startswith(("bool", "python bool", "complex")) or (form is None and dtype not in _WIDE_FLOATS):
            return False
        if last in ("absmax", "SCB") or not is_scale_name(last):  # codes of a nested absmax are uint8, flags int
            return dtype in _WIDE_FLOATS and (is_scale_name(last) or self.quantized(name))
        return True

    @cached_property
    def kinds(self) -> list[tuple[str, int]]:
        """Of each entry its last part and, by its identity, its form, which takes long to hash: few in 60,000."""
        return list(zip(self.lasts, map(id, self.forms), strict=True))

    @cached_property
    def form_of_kind(self) -> dict[tuple[str, int], Form | None]:
        """The form of each of `kinds`."""
        return dict(zip(self.kinds, self.forms, strict=True))

    @cached_property
    def signs(self) -> tuple[list[str], list[str]]:
        """(names that speak for quantization, dtypes of the codes beside them), each once, in the order of names."""
        words: set[str] = set()
        dtypes: set[str] = set()
        for (last, _), form in self.form_of_kind.items():
            if form is not None and is_code_matrix(last, form):
                if only_codes_are_called(last):
                    words.add(last)
                dtypes.add(form[0].name)
            elif belongs_to_codes(last):
                words.add(last)
        return sorted(words), sorted(dtypes)


_latest: WeakValueDictionary[str, Modules] = WeakValueDictionary()
"""Two models that are compared mostly have the same names and forms."""


def last_parts(names: Sequence[str]) -> list[str]:
    """The last part of each name, one object for all that are equal."""
    known: dict[str, str] = {}
    if any(map(contains, names, repeat("/"))):
        return [known.setdefault(last, last) for last in (split(name)[1] for name in names)]
    return [known.setdefault(last, last) for last in (name.rpartition(".")[2] for name in names)]


@lru_cache(1024)
def names_activation(last: str) -> bool:
    """Whether a scale's name is one of activations."""
    return any(word in last for word in _ACTIVATION_NAMES)


# Few last names occur in 20,000 entries.
@lru_cache(4096)
def _may_be_scale(last: str) -> bool:
    return is_scale_name(last) or ("scale" in last.lower() and not _OTHER_SCALE.fullmatch(last))


@lru_cache(4096)
def is_scale_name(last: str) -> bool:
    """Whether only quantization calls an entry so."""
    return _NAMED_SCALE.fullmatch(last) is not None and _OTHER_SCALE.fullmatch(last) is None


@lru_cache(4096)
def belongs_to_codes(last: str) -> bool:
    """Whether an entry is zero point, map, order, shape, ... of codes: no parameter of the model."""
    return (_BELONGS.fullmatch(last) or _ZERO_POINT.fullmatch(last)) is not None


@lru_cache(4096)
def _name_of_codes(last: str) -> bool:
    return _CODES.fullmatch(last) is not None and not belongs_to_codes(last) and not is_scale_name(last)


@lru_cache(4096)
def _no_codes(last: str) -> bool:
    return _NO_CODES.fullmatch(last) is not None or belongs_to_codes(last) or is_scale_name(last)


@lru_cache(4096)
def only_codes_are_called(last: str) -> bool:
    """Whether nothing but codes has this name: `qweight`, `weight_packed`."""
    return _CODES_BY_NAME.fullmatch(last) is not None


def is_code_matrix(last: str, form: Form | None) -> bool:
    """Whether a tensor of this last name can be the codes of a weight: small numbers, in a matrix."""
    return (
        form is not None
        and len(form[1]) >= 2
        and _CODE_TYPES.fullmatch(form[0].name) is not None
        and not _no_codes(last)
    )


def is_packed(last: str, form: Form) -> bool:
    """Whether the elements of an integer tensor are codes, of which one may hold several parameters."""
    if _PACKED_INTEGERS.fullmatch(form[0].name) is None or _no_codes(last):
        return False
    return len(form[1]) >= 2 or _name_of_codes(last)
