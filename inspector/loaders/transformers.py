"""transformers' rules, in docs/loaders.md H1 to H7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qinspect.inspector.loaders.cost import fp8_error
from qinspect.inspector.loaders.engine import Engine, Match
from qinspect.inspector.loaders.fp8_shapes import block_of, is_block
from qinspect.inspector.loaders.matching import inverse_scales, listed, one_for_all, unscaled_codes, whole
from qinspect.inspector.loaders.statement import Deed, Effect, Mark, Says
from qinspect.inspector.loaders.stored import FP8, Stored
from qinspect.inspector.loaders.view import MODELOPT, View

DEQUANTIZE = "dequantize"

TRANSFORMERS = Engine(
    "transformers", "transformers", "5.24.0", "5.24.0; H/ is transformers/",
    knows={
        MODELOPT: None, "exl3": None, "nvfp4": None,
        "fp8": frozenset({*FP8, Stored.MXFP8, Stored.CODES}), "mxfp8": frozenset({*FP8, Stored.MXFP8}),
    },
    backends=(DEQUANTIZE,),
)  # fmt: skip
_CONVERSIONS = "H/quantizers/quantizer_finegrained_fp8.py update_weight_conversions"
_DEQUANTIZE = "H/integrations/finegrained_fp8.py Fp8Dequantize"
_METHODS = ("fp8", "mxfp8")
_TABLE = "H/quantizers/auto.py supports_quant_method"
_KNOWN = frozenset((
    *("awq", "bitsandbytes_4bit", "bitsandbytes_8bit", "gptq", "aqlm", "quanto", "quark", "fouroversix", "fp_quant"),
    *("eetq", "higgs", "hqq", "compressed-tensors", "fbgemm_fp8", "torchao", "bitnet", "vptq", "spqr", "fp8", "gguf"),
    *("nvfp4", "mxfp8", "auto-round", "mxfp4", "metal", "sinq", "gemma"),
))  # fmt: skip
"""Its AUTO_QUANTIZATION_CONFIG_MAPPING, and AUTO_QUANTIZER_MAPPING, which has the same names."""
_SCALES = ("weight_scale_inv", "weight_scale", "scale")


@TRANSFORMERS.rule(
    "H1", "a `quant_method` that is not in its table (modelopt), and codes of the shape of the weight",
    "takes codes for weights, without their scales, as if nothing were quantized", Effect.WRONG_CONSTANT, Says.WARNS,
    _TABLE,
)  # fmt: skip
def codes_for_weights(view: View) -> Match | None:
    """FP8 and int8. Scales are unexpected keys, which a report at the end lists."""
    if not _is_strange(view):
        return None
    return unscaled_codes(view, view.stored_so(*FP8, Stored.INT8), len(view.quantized), "weight_scale", fp8_error)


@TRANSFORMERS.rule(
    "H1", "a `quant_method` that is not in its table, and codes packed into another shape",
    "refuses packed codes, whose shape is not that of the weight: RuntimeError", Effect.REFUSED, Says.REFUSES, _TABLE,
)  # fmt: skip
def packed_for_weights(view: View) -> Match | None:
    """Two codes a byte."""
    kinds = (Stored.NVFP4, Stored.MXFP4, Stored.PACKED_INT, Stored.CODES)
    found = [m for m in view.stored_so(*kinds) if view.has(m, "weight")] if _is_strange(view) else []
    return listed(found, len(view.quantized))


@TRANSFORMERS.rule(
    "H1", "a `quant_method` that is not in its table, and modules without a `.weight` (exl3)",
    "makes weights anew that it does not find", Effect.DEFAULT, Says.WARNS, _TABLE,
)  # fmt: skip
def made_anew(view: View) -> Match | None:
    """Random ones."""
    found = view.with_entry("trellis", "qweight", "weight_packed", "q_weight", "W_q") if _is_strange(view) else []
    return listed([m for m in found if not view.has(m, "weight")], len(view.modules))


def _own_settings(view: View) -> Mapping[str, Any]:
    found = view.config.get("quantization_config")
    return found if isinstance(found, dict) else {}


def _is_strange(view: View) -> bool:
    """Whether config.json names a method that the table has not."""
    said = _own_settings(view)
    return isinstance(said.get("quant_method"), str) and said["quant_method"] not in _KNOWN and not _of_bits(said)


def _of_bits(said: Mapping[str, Any]) -> bool:
    return bool(said.get("load_in_8bit") or said.get("load_in_4bit"))


@TRANSFORMERS.rule(
    "H1", "`quantization_config` without a `quant_method` (MLX)",
    "refuses settings without a quant_method: ValueError", Effect.REFUSED, Says.REFUSES, _TABLE,
)  # fmt: skip
def no_method(view: View) -> Match | None:
    """In config.json."""
    said = _own_settings(view)
    return whole(said and said.get("quant_method") is None and not _of_bits(said))


@TRANSFORMERS.rule(
    "H1", "`quant_method: nvfp4`, quantized before", "refuses it as not supported yet: ValueError", Effect.REFUSED,
    Says.REFUSES, "H/quantizers/quantizer_nvfp4.py",
)  # fmt: skip
def nvfp4(view: View) -> Match | None:
    """It quantizes on the fly only."""
    return whole(view.method == "nvfp4")


@TRANSFORMERS.rule(
    "H2", "`fp8` and `mxfp8`: `.scale` and `.qscale_weight`", "renames them to weight_scale_inv", Effect.UNCHANGED,
    Says.UNKNOWN, _CONVERSIONS, deed=Deed.RENAMES, mark=Mark.UNCERTAIN,
)  # fmt: skip
def renamed(view: View) -> Match | None:
    """The expression has no end, so other entries with `.scale` in them are caught too."""
    if view.method not in _METHODS:
        return None
    found = [
        m for m, entries in view.modules.items() if any(e.startswith("scale") or e == "qscale_weight" for e in entries)
    ]
    return listed(found, len(view.modules))


@TRANSFORMERS.rule(
    "H3", "`scale_fmt: ue8m0` and scales of bytes", "reads bytes of scales as powers of two", Effect.UNCHANGED,
    Says.UNKNOWN, _CONVERSIONS,
)  # fmt: skip
def bytes_of_scales(view: View) -> Match | None:
    """As they are meant."""
    if view.method not in _METHODS or str(view.settings.get("scale_fmt")).lower() != "ue8m0":
        return None
    scaled = [m for m in view.quantized if view.has(m, *_SCALES)]
    found = [m for m in scaled if any((f := view.form(m, s)) is not None and f[0].name == "uint8" for s in _SCALES)]
    return listed(found, len(scaled))


@TRANSFORMERS.rule(
    "H4",
    "FP8 in blocks, dequantized while loading (no FP8 hardware, or asked for): a shape that the grid of scales "
    "does not divide", "refuses shapes that are no multiple of their scales': ValueError", Effect.REFUSED,
    Says.REFUSES, _DEQUANTIZE, backends=(DEQUANTIZE,),
)  # fmt: skip
def ragged(view: View) -> Match | None:
    """It takes shape / shape for the block, where the last one may be smaller."""
    modules = view.stored_so(Stored.FP8_BLOCK) if view.method in _METHODS else []
    return listed([m for m in modules if _is_ragged(view, m)], len(modules))


@TRANSFORMERS.rule(
    "H4",
    "FP8 in blocks, dequantized while loading: a shape that the grid of scales divides, into other blocks than the "
    "settings say", "cuts weights into as many equal blocks as there are scales: rows and columns get a neighbour's",
    Effect.WRONG_CONSTANT, Says.SILENT, _DEQUANTIZE, backends=(DEQUANTIZE,),
)  # fmt: skip
def other_blocks(view: View) -> Match | None:
    """224 rows under two scales are two blocks of 112 to it, and 128 and 96 to who wrote them."""
    block = block_of(view)
    modules = view.stored_so(Stored.FP8_BLOCK) if view.method in _METHODS and block else []
    found = [m for m in modules if block and not _is_ragged(view, m) and _blocks(view, m, block) != block]
    return listed(found, len(modules), adds=("by how much is not known: block scales are not read here",))


def _blocks(view: View, module: str, block: tuple[int, int]) -> tuple[int, ...]:
    """Rows and columns of a block as they follow from the grid; those of the settings along what has one block."""
    grid, shape = _grid(view, module), view.shape(module)
    return tuple(b if g == 1 else n // g for n, g, b in zip(shape[-2:], grid, block, strict=True)) if grid else block


def _grid(view: View, module: str) -> tuple[int, ...]:
    form = next((f for s in _SCALES if (f := view.form(module, s)) is not None), None)
    shape = view.shape(module)
    return form[1][-2:] if form and len(form[1]) >= 2 and len(shape) >= 2 and 0 not in form[1] else ()


def _is_ragged(view: View, module: str) -> bool:
    grid = _grid(view, module)
    return bool(grid) and any(n % g for n, g in zip(view.shape(module)[-2:], grid, strict=True))


@TRANSFORMERS.rule(
    "H4", "FP8, dequantized while loading: `activation_scale`", "drops scales of activations", Effect.UNCHANGED,
    Says.UNKNOWN, _DEQUANTIZE, deed=Deed.DROPS, backends=(DEQUANTIZE,),
)  # fmt: skip
def activations_dropped(view: View) -> Match | None:
    """Nothing is quantized then."""
    found = view.with_entry("activation_scale") if view.method in _METHODS else []
    return listed(found, len(view.quantized))


@TRANSFORMERS.rule(
    "H4", "FP8, dequantized while loading: a weight without its scale", "takes codes without a scale as they are",
    Effect.WRONG_CONSTANT, Says.SILENT, _DEQUANTIZE, backends=(DEQUANTIZE,),
)  # fmt: skip
def unscaled(view: View) -> Match | None:
    """By the scale that is not in the file."""
    modules = view.stored_so(*FP8, Stored.CODES) if view.method in _METHODS else []
    return listed(view.lacking(modules, *_SCALES), len(modules), adds=("wrong by the scale that is not in the file",))


@TRANSFORMERS.rule(
    "H5", "FP8 with one scale: no scale", "fills 1.0 for the scale", Effect.DEFAULT, Says.UNKNOWN,
    "H/integrations/finegrained_fp8.py FP8Linear", mark=Mark.UNCERTAIN,
)  # fmt: skip
def one_missing(view: View) -> Match | None:
    """A report of newly made parameters is to be expected."""
    return None if is_block(view) else _missing(view)


@TRANSFORMERS.rule(
    "H5", "FP8 in blocks: no scale", "leaves memory that nothing was written to where block scales should be",
    Effect.DEFAULT, Says.UNKNOWN, "H/integrations/finegrained_fp8.py FP8Linear", mark=Mark.UNCERTAIN,
)  # fmt: skip
def blocks_missing(view: View) -> Match | None:
    """A report of newly made parameters is to be expected."""
    return _missing(view) if is_block(view) else None


def _missing(view: View) -> Match | None:
    modules = view.stored_so(*FP8, Stored.CODES) if view.method in _METHODS else []
    return listed(view.lacking(modules, *_SCALES), len(modules))


@TRANSFORMERS.rule(
    "H6", "`fp8` and `mxfp8` with a list of modules to leave as they are",
    "reads its entries as expressions from the beginning to a dot, or as plain ends of names", Effect.UNCHANGED,
    Says.UNKNOWN, "H/quantizers/quantizers_utils.py should_convert_module",
)  # fmt: skip
def left_out(view: View) -> Match | None:
    """So `layer.1` is not `layer.11`."""
    return whole(view.method in _METHODS and view.left_out)


@TRANSFORMERS.rule(
    "H7", "FP8 with one scale: fused shards with different scales", "keeps the scale of each projection",
    Effect.UNCHANGED, Says.UNKNOWN, "H/integrations/finegrained_fp8.py FP8Linear",
)  # fmt: skip
def each_its_own(view: View) -> Match | None:
    """Projections are not fused."""
    groups = view.groups_so(Stored.FP8_TENSOR, experts=False) if view.method == "fp8" else []
    for last in ("weight_scale_inv", "weight_scale"):
        found = one_for_all(view, groups, last, max, None)
        if found is not None and found.modules:
            return Match(found.modules, found.of, found.noun, found.n)
    return None


@TRANSFORMERS.rule(
    "V53", "`fp8` with `weight_scale_semantics: inverse`",
    "multiplies by scales that are stored as one over them: values are wrong by their square", Effect.WRONG_CONSTANT,
    Says.SILENT, "search for the name",
)  # fmt: skip
def inverse(view: View) -> Match | None:
    """The word is read nowhere."""
    return inverse_scales(view)
