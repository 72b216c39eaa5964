"""Quamba (Mamba1) and Quamba2 (Mamba2) checkpoints in every variant that the project saves.

W8A8, W4A8, W4A16 and hybrid; head groups or plain; quantized embedding and lm_head or not. `layout` finds the
modules, `points` says where each activation scale is stored, `parameters` where each weight scale is.
4-bit weights are in the order of Marlin (`formats.marlin`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Format, Topic
from qinspect.inspector.formats.families.quamba.layout import (
    Layer,
    find_layers,
    head_path,
    linear,
    linears_of,
    parameter_role,
    scheme_of,
    vocabulary,
)
from qinspect.inspector.formats.families.quamba.parameters import (
    Parameter,
    convolution_parameters,
    embedding_parameter,
    linear_parameter,
    scan_parameters,
)
from qinspect.inspector.formats.families.quamba.points import OUTPUT_SCALES, head_point, points_of, witnesses_of
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, Problem, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.words import NO_ACTIVATION_SCALES

_CLASS = re.compile(r"W[48]A(8|16|X)QMamba2?")


_FORWARD_ORDER = {
    1: (
        *("in_proj:input", "in_proj", "in_proj:output", "weight", "bias"),
        *("x_proj:input", "x_proj", "x_proj:output", "dt_proj", "dt_proj:output"),
        *("A_log", "D", "dt_bias", "ssm_state_act:input", "out_proj:input", "out_proj"),
    ),
    2: (
        *("in_proj:input", "in_proj", "z_act:input", "x_conv_in:input", "B_conv_in:input", "C_conv_in:input"),
        *("dt_act:input", "weight", "bias", "x_conv_out:input", "B_conv_out:input", "C_conv_out:input"),
        *("A_log", "D", "ssm_state_act:input", "out_proj:input", "out_proj"),
    ),
}
"""Points and parameters of one layer, by Mamba version; `weight` and `bias` are the convolution's."""


_GROUPED = "with --group_heads Quamba2 makes all of them from running maxima and never reads the flag"


class QuambaFormat(Format):
    """One Quamba or Quamba2 checkpoint. A layer without a module that it needs is a problem; raises CannotDequantize
    where no layer is left."""

    family = "quamba"
    copies_complete = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.root, self.layers, self._problems = find_layers(checkpoint)
        self._all = tuple(self._in_forward_order())

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        if ".in_proj.weight" not in "\n".join(checkpoint.entries):  # one search is faster than a look at each name
            return None
        modules = [
            name[: -len(".in_proj.weight")]
            for name in checkpoint.entries
            if name.endswith(".in_proj.weight") and ".mixer" in name
        ]
        schemes = {scheme_of(checkpoint, f"{m}.in_proj") for m in modules} - {None}
        if not schemes:
            return None
        named = sorted(_class_names(checkpoint))
        evidence = f"in_proj modules hold {'/'.join(sorted(map(str, schemes)))} codes and scales"
        return f"config.json names {', '.join(named)}; {evidence}" if named else evidence

    def _in_forward_order(self) -> Iterator[ScaleRecord | Parameter]:
        """Points and parameters of the whole model."""
        c = self.checkpoint
        if embedding := embedding_parameter(c, self.root):
            yield embedding
        for layer in self.layers:
            found = self._of_layer(layer)
            yield from (found[name] for name in _FORWARD_ORDER[layer.mamba] if name in found)
        if point := head_point(c, self.root):
            yield point
        head = head_path(c, self.root)
        with self._damage_at(head):
            if found_head := linear(c, head, vocabulary(c, self.root)):
                yield linear_parameter(c, found_head, "lm_head", {}, {})

    @contextmanager
    def _damage_at(self, key: str) -> Iterator[None]:
        """What cannot be understood inside becomes a problem of the module `key`."""
        try:
            yield
        except CannotDequantize as e:
            self._problems.append(Problem(e.key or key, e))

    def _of_layer(self, layer: Layer) -> dict[str, ScaleRecord | Parameter]:
        """What one layer has, by the names of _FORWARD_ORDER."""
        c = self.checkpoint
        found: dict[str, ScaleRecord | Parameter] = dict(points_of(c, layer))
        witnesses = witnesses_of(c, layer)
        with self._damage_at(layer.mixer):
            for name, module in linears_of(c, layer):
                with self._damage_at(module.path):
                    found[name] = linear_parameter(c, module, f"{layer.role}.{name}", *_folds(layer, name), witnesses)
        for parameter in (*convolution_parameters(c, layer), *scan_parameters(c, layer)):
            found[parameter.weight.name.rpartition(".")[2]] = parameter
        return found

    @property
    def description(self) -> str:
        schemes: dict[str, int] = {}
        for layer in self.layers:
            scheme = scheme_of(self.checkpoint, f"{layer.mixer}.in_proj") or "fp16"
            schemes[scheme] = schemes.get(scheme, 0) + 1
        name = "Quamba2" if any(layer.mamba == 2 for layer in self.layers) else "Quamba"
        how = (
            next(iter(schemes)) if len(schemes) == 1 else "hybrid " + " + ".join(f"{n} {s}" for s, n in schemes.items())
        )
        n = len({layer.index for layer in self.layers})
        extras = [f"{n} layer{'s' * (n != 1)}"]
        if self.head_groups:
            extras.append("head groups")
        if f"{self.root}embedding.scales" in self.checkpoint:
            extras.append("quantized embedding")
        if scheme_of(self.checkpoint, head_path(self.checkpoint, self.root)):
            extras.append("quantized lm_head")
        return f"{name} {how}, {', '.join(extras)}"

    @property
    def head_groups(self) -> bool:
        """Whether activations are scaled per head group (--group_heads)."""
        return any(f"{layer.mixer}.conv1d.x_head_group_range" in self.checkpoint for layer in self.layers)

    @property
    def declared_bits(self) -> tuple[float, ...]:
        found = (re.match(r"W(\d{1,2})A\d", name) for name in _class_names(self.checkpoint))
        return tuple(sorted({float(match[1]) for match in found if match}))

    def scales(self) -> tuple[ScaleRecord, ...]:
        return self._scales

    @cached_property
    def _scales(self) -> tuple[ScaleRecord, ...]:
        records: list[ScaleRecord] = []
        for item in self._all:
            records.extend(item.scales if isinstance(item, Parameter) else [item])
        return tuple(records)

    @cached_property
    def _parameters(self) -> dict[str, Parameter]:
        return {p.weight.name: p for p in self._all if isinstance(p, Parameter)}

    @cached_property
    def _owner(self) -> dict[str, Parameter]:
        return {r.role: p for p in self._parameters.values() for r in p.scales}

    def weights(self) -> tuple[QuantizedWeight, ...]:
        return tuple(p.weight for p in self._parameters.values())

    @np.errstate(all="ignore")
    def values(self, record: ScaleRecord) -> FloatArray:
        owner = self._owner.get(record.role)
        try:
            return super().values(record) if owner is None else owner.scale_values(record)
        except (ValueError, IndexError) as e:
            raise self._misfit(record.key, e) from e

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        try:
            return self._parameters[weight.name].codes(start, _stop(weight, stop))
        except (ValueError, IndexError) as e:
            raise self._misfit(weight.codes_key, e) from e

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        try:
            with np.errstate(all="ignore"):  # NaN and Inf scales are the file's; lint and show report them
                return self._parameters[weight.name].dequantize(start, _stop(weight, stop))
        except (ValueError, IndexError) as e:
            raise self._misfit(weight.codes_key, e) from e

    def _misfit(self, key: str, reason: Exception) -> CannotDequantize:
        return CannotDequantize(
            f"codes and scales do not fit {self.description}: {reason}", file=self.checkpoint.path, key=key
        )

    def witnesses(self) -> dict[str, tuple[str, ...]]:
        return {f"{layer.role}.": witnesses_of(self.checkpoint, layer) for layer in self.layers}

    @property
    def rotated(self) -> bool:
        """Always: Quamba quantizes in Hadamard space and in no other."""
        return True

    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems)

    def says(self, topic: Topic, roles: Sequence[str] = ()) -> str:
        match topic:
            case Topic.UNREACHED:
                calibrated = any(r.kind is Kind.ACTIVATION for r in self.scales())
                return _GROUPED if calibrated and self.head_groups else "" if calibrated else NO_ACTIVATION_SCALES
            case Topic.MAXIMA:
                return f"{'it sits' if len(roles) == 1 else 'they sit'} on a float16 grid of about 0.05-0.1 %"
            case Topic.ORDER:
                return "dt_bias and the gated norm hold the same values in another order, or the group ranges differ"
            case Topic.RECIPE:
                return "--recipe quamba for Quamba's"
            case Topic.REORDERED if any("out_proj" in role for role in roles):
                return "out_proj is rotated after it is reordered: its scales and codes differ whatever the cause."
        return ""

    def notes(self) -> tuple[str, ...]:
        notes = []
        config = self.checkpoint.config
        norm = config.get("norm_cfg", {}).get("norm") if isinstance(config.get("norm_cfg"), dict) else None
        if norm == "QRMSNorm" and self.layers and f"{self.root}norm_f.output_scale" not in self.checkpoint:
            notes.append(
                "config.json says QRMSNorm, but norm_f is not quantized: Quamba writes this without "
                "--quantize_lm_head and then cannot load it again"
            )
        if (
            self.layers
            and self.layers[0].mamba == 2
            and not self.head_groups
            and any(r.alpha_sensitive for r in self.scales())
        ):
            notes.append("per-tensor scales in a Mamba2 model (no --group_heads): Quamba's own loader refuses them")
        return (*notes, *super().notes())

    def taken(self) -> set[str]:
        """With the kernels' workspaces, which hold nothing."""
        return super().taken() | {n for n in self.checkpoint.entries if n.endswith(".workspace")}

    def role_of(self, name: str) -> str:
        module = name
        while "." in module:
            module = module.rpartition(".")[0]
            if found := self._modules.get(module):
                layer, role = found
                return role + parameter_role(layer, name[len(module) :])
        return super().role_of(name)

    @cached_property
    def _modules(self) -> dict[str, tuple[Layer, str]]:
        """Mixers and norms by path, each with its layer and role."""
        norms = {layer.norm: (layer, f"layers.{layer.index}.norm") for layer in self.layers}
        return norms | {layer.mixer: (layer, layer.role) for layer in self.layers}


def _folds(layer: Layer, name: str) -> tuple[dict[str, str], dict[str, tuple[int, int]]]:
    """(output-scale entry per segment, rows per segment) of a linear layer with int8 outputs."""
    outputs = OUTPUT_SCALES[layer.mamba].get(name, {})
    return (
        {segment: f"{layer.mixer}.{key}" for segment, key in outputs.items()},
        layer.segments if layer.mamba == 2 else {},
    )


def _stop(weight: QuantizedWeight, stop: int | None) -> int:
    return weight.shape[0] if stop is None else min(stop, weight.shape[0])


def _class_names(checkpoint: Checkpoint) -> set[str]:
    """Mixer classes that config.json names; in hybrid files the field is a list of objects."""
    ssm = checkpoint.config.get("ssm_cfg")
    field = ssm.get("layer") if isinstance(ssm, dict) else None
    return {m[0] for m in _CLASS.finditer(str(field)[:100_000])} if field else set()
