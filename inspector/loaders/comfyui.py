"""ComfyUI's rules, in docs/loaders.md U1 to U9."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.loaders.cost import fp8_error
from qinspect.inspector.loaders.engine import Engine, Match
from qinspect.inspector.loaders.matching import listed, unscaled_codes, whole
from qinspect.inspector.loaders.statement import Deed, Effect, Mark, Says
from qinspect.inspector.loaders.view import COMFY, View

COMFYUI = Engine(
    "comfyui", "ComfyUI", "0271a469",
    "comfy/ops.py and quant_ops.py at 0271a469, comfy/utils.py at 09708eae, of 2026", knows={COMFY: None},
)  # fmt: skip
_CONVERT = "comfy/utils.py convert_old_quants"
_LOAD = "comfy/ops.py _load_quantized_module"
_MARKER, _OLD, _HEADER = "comfy_quant", "scaled_fp8", "_quantization_metadata"
_MAX_MARKER_BYTES = 1 << 16
_FP8 = ("float8_e4m3fn", "float8_e5m2")
_PREFIX = "model.diffusion_model."


def _marked(view: View) -> list[str]:
    return view.with_entry(_MARKER) if view.is_comfy else []


def _layers(view: View) -> Mapping[str, Any]:
    """`layers` of the header's metadata; {} where there are none."""
    return view.once(_read_layers)


def _read_layers(view: View) -> Mapping[str, Any]:
    try:
        found = json.loads(view.checkpoint.metadata.get(_HEADER, "{}"))
    except (ValueError, RecursionError):
        return {}
    layers = found.get("layers") if isinstance(found, dict) else None
    return layers if isinstance(layers, dict) else {}


def _old_markers(view: View) -> list[str]:
    """Names of the entries `scaled_fp8`."""
    return [n for n in view.checkpoint.entries.ending(_OLD) if n.rpartition(".")[2] == _OLD]


def _dtype(view: View, module: str) -> str:
    form = view.form(module, "weight")
    return form[0].name if form else ""


def _of_fp8(view: View) -> list[str]:
    return view.once(_find_fp8)


def _find_fp8(view: View) -> list[str]:
    return [m for m in view.modules if _dtype(view, m) in _FP8]


def _mixed(view: View) -> list[str]:
    """Layers that have a marker, in the file or from its header, each once."""
    return view.once(_find_mixed)


def _find_mixed(view: View) -> list[str]:
    return list(dict.fromkeys((*_marked(view), *(name for name in _layers(view) if name in view.modules))))


@COMFYUI.rule(
    "U1", "a `comfy_quant` beside a layer, or a list of layers in the header", "loads each layer by its own marker",
    Effect.UNCHANGED, Says.UNKNOWN, "comfy/utils.py detect_layer_quantization",
)  # fmt: skip
def mixed(view: View) -> Match | None:
    """One is enough for the whole model."""
    found = _mixed(view)
    return listed(found, len(view.modules)) if view.is_comfy else None


@COMFYUI.rule(
    "U2", "the header names layers that no entry belongs to",
    "takes layers as not quantized whose name in the header has another beginning: scales are not used",
    Effect.WRONG_CONSTANT, Says.SILENT, _CONVERT,
)  # fmt: skip
def names_apart(view: View) -> Match | None:
    """Names are taken as they are written."""
    layers = _layers(view)
    return listed([str(n) for n in layers if n not in view.modules], len(layers), "named layer")


@COMFYUI.rule(
    "U2", "the header names layers, and there is an old `scaled_fp8` too", "goes by the header and not by scaled_fp8",
    Effect.UNCHANGED, Says.UNKNOWN, _CONVERT,
)  # fmt: skip
def header_wins(view: View) -> Match | None:
    """Both are of one file rarely."""
    return whole(_layers(view) and _old_markers(view))


@COMFYUI.rule(
    "U3", "old `scaled_fp8`: `.scale_weight`, `.scale_input`", "renames them to weight_scale and input_scale",
    Effect.UNCHANGED, Says.SILENT, _CONVERT, deed=Deed.RENAMES,
)  # fmt: skip
def renamed(view: View) -> Match | None:
    """Under the prefix of the marker."""
    found = view.with_entry("scale_weight", "scale_input") if _found_markers(view) else []
    return listed(found, len(view.modules))


def _found_markers(view: View) -> list[str]:
    """Old markers that stand under the model's prefix."""
    prefix = _PREFIX if any(m.startswith(_PREFIX) for m in view.modules) else ""
    return [n for n in _old_markers(view) if n.removesuffix(_OLD) == prefix]


@COMFYUI.rule(
    "U3", "old `scaled_fp8`: a `scale_input` of exactly 1.0", "drops input scales of exactly 1.0", Effect.UNCHANGED,
    Says.SILENT, _CONVERT, deed=Deed.DROPS,
)  # fmt: skip
def ones_dropped(view: View) -> Match | None:
    """Activations are then not quantized by a stored scale."""
    scaled = view.with_entry("scale_input") if _found_markers(view) else []
    return listed([m for m in scaled if view.number(m, "scale_input") == 1], len(scaled))


@COMFYUI.rule(
    "U3", "old `scaled_fp8` of 2 elements", "multiplies in full precision", Effect.UNCHANGED, Says.SILENT, _CONVERT,
)  # fmt: skip
def full_precision(view: View) -> Match | None:
    """Weights stay FP8."""
    forms = [view.forms.get(n) for n in _found_markers(view)]
    return whole(any(f is not None and f[1] == (2,) for f in forms))


@COMFYUI.rule(
    "U3", "old `scaled_fp8` and weights of float8_e5m2",
    "casts E5M2 weights to E4M3: codes beyond 448 are lost, the smallest are rounded", Effect.REQUANTIZED,
    Says.SILENT, f"{_CONVERT}; {_LOAD}", mark=Mark.UNCERTAIN,
)  # fmt: skip
def e5m2(view: View) -> Match | None:
    """Whether they become NaN or 448 was not followed."""
    if not _found_markers(view):
        return None
    fp8 = _of_fp8(view)
    found = [m for m in fp8 if _dtype(view, m) == "float8_e5m2"]
    return listed(found, len(fp8), adds=("how many is not known: weights are not read",))


@COMFYUI.rule(
    "U4", "old `scaled_fp8` under another prefix than the layers'",
    "does not find scaled_fp8: FP8 weights are used without their scales", Effect.WRONG_CONSTANT, Says.SILENT,
    _CONVERT,
)  # fmt: skip
def marker_elsewhere(view: View) -> Match | None:
    """The model's prefix is taken to be `model.diffusion_model.` where a layer has it, and none otherwise."""
    if not _old_markers(view) or _found_markers(view) or _mixed(view) or _layers(view):
        return None
    fp8 = [m for m in _of_fp8(view) if view.has(m, "scale_weight")]
    return unscaled_codes(view, fp8, len(_of_fp8(view)), "scale_weight", fp8_error)


@COMFYUI.rule(
    "U5", "a file with markers: an FP8 layer without one",
    "casts FP8 codes of layers without a marker, without their scales", Effect.WRONG_CONSTANT, Says.SILENT, _LOAD,
)  # fmt: skip
def unmarked_fp8(view: View) -> Match | None:
    """The scale is left as an unexpected key."""
    marked = set(_mixed(view))
    layers = [m for m in _of_fp8(view) if view.has(m, "weight_scale")] if marked else []
    return unscaled_codes(view, [m for m in layers if m not in marked], len(layers), "weight_scale", fp8_error)


@COMFYUI.rule(
    "U5", "a file with markers: a layer of packed codes without one", "takes packed codes as numbers from 0 to 255",
    Effect.WRONG_CONSTANT, Says.SILENT, _LOAD,
)  # fmt: skip
def unmarked_codes(view: View) -> Match | None:
    """Shapes are not checked."""
    marked = set(_mixed(view))
    layers = [m for m in view.modules if _dtype(view, m) in ("uint8", "int8")] if marked else []
    return listed([m for m in layers if m not in marked], len(layers), adds=("these are no longer the layer's values",))


def _format_of(view: View, module: str) -> str:
    """`format` of a layer's marker; "" where it cannot be read."""
    return view.once(_formats).get(module, "")


def _formats(view: View) -> dict[str, str]:
    """Those of all layers that have a marker."""
    return {module: _read_format(view, module) for module in _mixed(view)}


def _read_format(view: View, module: str) -> str:
    said = _layers(view).get(module)
    if not isinstance(said, dict):
        key = view.key(module, _MARKER)
        tensor = None if key is None else view.checkpoint.tensor(key)
        if tensor is None or tensor.nbytes > _MAX_MARKER_BYTES:
            return ""
        try:
            said = json.loads(tensor.read_bytes().decode("utf-8", "replace"))
        except (ValueError, RecursionError, QinspectError):
            return ""
    found = said.get("format") if isinstance(said, dict) else None
    return found if isinstance(found, str) else ""


@COMFYUI.rule(
    "U6", "a layer marked float8 without `weight_scale`", "loads FP8 codes without a scale", Effect.WRONG_CONSTANT,
    Says.UNKNOWN, _LOAD,
)  # fmt: skip
def fp8_without_scale(view: View) -> Match | None:
    """The scale is None."""
    marked = _mixed(view)
    found = [m for m in marked if not view.has(m, "weight_scale") and _format_of(view, m).startswith("float8")]
    return None if view.incomplete else listed(found, len(marked), adds=("wrong by the scale that is not in the file",))


@COMFYUI.rule(
    "U6", "a layer marked nvfp4, mxfp8 or int8 without a scale", "refuses layers without a scale: ValueError",
    Effect.REFUSED, Says.REFUSES, _LOAD,
)  # fmt: skip
def others_without_scale(view: View) -> Match | None:
    """Both scales of nvfp4."""
    marked = _mixed(view)
    found = [m for m in marked if _lacks_scale(view, m)]
    return None if view.incomplete else listed(found, len(marked))


def _lacks_scale(view: View, module: str) -> bool:
    if view.has(module, "weight_scale", "scale_weight", "weight_scales") and view.has(module, "weight_scale_2"):
        return False
    name = _format_of(view, module)
    if name == "nvfp4":
        return not (view.has(module, "weight_scale") and view.has(module, "weight_scale_2"))
    return name in ("mxfp8", "int8_tensorwise") and not view.has(module, "weight_scale")


@COMFYUI.rule(
    "U7", "layers marked nvfp4 or mxfp8", "does not check in which order scales and halves of bytes lie",
    Effect.UNCHANGED, Says.UNKNOWN, _LOAD,
)  # fmt: skip
def order_unchecked(view: View) -> Match | None:
    """A file of another program with markers added loads, and is wrong."""
    marked = _mixed(view)
    return listed([m for m in marked if _format_of(view, m) in ("nvfp4", "mxfp8")], len(marked))


@COMFYUI.rule(
    "U9", "`input_scale`, `pre_quant_scale`", "reads stored scales of inputs; without one they are made on the fly",
    Effect.UNCHANGED, Says.UNKNOWN, _LOAD, mark=Mark.UNCERTAIN,
)  # fmt: skip
def inputs(view: View) -> Match | None:
    """Where the layout asks for them."""
    marked = _mixed(view)
    return listed([m for m in marked if view.has(m, "input_scale", "pre_quant_scale")], len(marked))
