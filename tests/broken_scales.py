"""Checkpoints of Gaussian weights as ModelOpt quantizes them, of any number of layers and experts, to be broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from modelopt_files import FP8, Tensors, config, generator, pairs, saved

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.lint.check import Lint, RuleFinding, lint
from qinspect.inspector.lint.subject import Subject

Edit = Callable[[Tensors], None]
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
ROWS, COLUMNS = 16, 64
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def modules(n_layers: int, n_experts: int = 0) -> list[str]:
    """All linear layers, in forward order."""
    names = []
    for layer in range(n_layers):
        at = f"model.layers.{layer}"
        names += [f"{at}.self_attn.{name}" for name in ATTENTION]
        inside = [f"experts.{e}." for e in range(n_experts)] or [""]
        names += [f"{at}.mlp.{expert}{name}" for expert in inside for name in MLP]
    return names


def weights(n_layers: int, n_experts: int = 0, seed: int = 0) -> Tensors:
    """The original: Gaussian, each weight of a size of its own."""
    g = generator(seed)
    return {
        f"{m}.weight": (
            torch.randn(ROWS, COLUMNS, generator=g) * (0.02 + 0.02 * torch.rand((), generator=g))
        ).bfloat16()
        for m in modules(n_layers, n_experts)
    }


def inputs(originals: Tensors, seed: int = 1) -> dict[str, float]:
    """The largest activation that goes into each module; projections that read one input have one."""
    g = generator(seed)
    found: dict[str, float] = {}
    of_module: dict[tuple[str, int], float] = {}
    for name in originals:
        module, _, last = name.removesuffix(".weight").rpartition(".")
        group = next((i for i, names in enumerate(FUSED) if last in names), 2 + hash(last) % 1000)
        if (module, group) not in of_module:
            of_module[module, group] = float(2 + 8 * torch.rand((), generator=g))
        found[name.removesuffix(".weight")] = of_module[module, group]
    return found


def fp8_of(originals: Tensors, largest: Mapping[str, float] | None = None) -> Tensors:
    """FP8 with one scale each."""
    largest = largest or inputs(originals)
    made: Tensors = {}
    for name, weight in originals.items():
        module = name.removesuffix(".weight")
        scale = weight.float().abs().max() / 448
        made[name] = (weight.float() / scale).to(FP8)
        made[f"{module}.weight_scale"] = scale
        made[f"{module}.input_scale"] = torch.tensor(largest[module] / 448)
    return made


def nvfp4_of(originals: Tensors, fused: bool = True, largest: Mapping[str, float] | None = None) -> Tensors:
    """FP4 in blocks of 16 with E4M3 scales and an outer one, which projections of one input share where `fused`."""
    largest = largest or inputs(originals)
    outer = {name: float(w.float().abs().max()) / 2688 for name, w in originals.items()}
    made: Tensors = {}
    for name, weight in originals.items():
        module, last = name.removesuffix(".weight"), name.split(".")[-2]
        parent = module.rpartition(".")[0]
        group = next((names for names in FUSED if last in names), (last,))
        second = max(outer[f"{parent}.{n}.weight"] for n in group) if fused else outer[name]
        blocks = weight.float().reshape(ROWS, -1, 16)
        scale = (blocks.abs().amax(2) / 6 / second).clamp(2**-9, 448).to(FP8)
        steps = (scale.float() * second)[:, :, None]
        codes = ((blocks / steps).abs()[..., None] - E2M1).abs().argmin(3) + 8 * (blocks < 0)
        made[name] = pairs(codes.reshape(ROWS, -1).to(torch.uint8))
        made |= {f"{module}.weight_scale": scale, f"{module}.weight_scale_2": torch.tensor(second)}
        made[f"{module}.input_scale"] = torch.tensor(largest[module] / 2688)
    return made


def fp8(folder: Path, edit: Edit | None = None, n_layers: int = 4) -> Format:
    """An FP8 checkpoint after an edit of its tensors."""
    return _saved(folder, fp8_of(weights(n_layers)), "FP8", edit)


def nvfp4(folder: Path, edit: Edit | None = None, n_layers: int = 2, n_experts: int = 4, fused: bool = True) -> Format:
    """An NVFP4 checkpoint of a mixture after an edit of its tensors."""
    return _saved(folder, nvfp4_of(weights(n_layers, n_experts), fused), "NVFP4", edit)


def _saved(folder: Path, tensors: Tensors, algorithm: str, edit: Edit | None) -> Format:
    if edit is not None:
        edit(tensors)
    return saved(folder, tensors, config(algorithm))


def original(folder: Path, n_layers: int = 4) -> Format:
    """What `fp8` was made of."""
    return saved(folder, weights(n_layers), {})


def scaled(key: str, factor: float) -> Edit:
    """Multiply what is stored under a key."""

    def edit(tensors: Tensors) -> None:
        tensors[key] = (tensors[key].float() * factor).to(tensors[key].dtype)

    return edit


def put(value: float, *keys: str) -> Edit:
    """Put a number in place of all numbers under keys."""

    def edit(tensors: Tensors) -> None:
        for key in keys:
            tensors[key] = torch.full_like(tensors[key].float(), value).to(tensors[key].dtype)

    return edit


def linted(fmt: Format | Path, other: Format | None = None, **limits: float) -> Lint:
    """All findings of a checkpoint."""
    fmt = fmt if isinstance(fmt, Format) else format_of(open_checkpoint(fmt))
    return lint([("A", Subject(fmt, other))])


def of_rule(found: Lint, code: str) -> list[RuleFinding]:
    """Those of one rule."""
    assert any(o.rule.code == code and o.checked is not None for o in found.outcomes), f"{code} was not asked"
    return [f for f in found.findings if f.rule.code == code]


def codes(found: Lint) -> set[str]:
    """The rules that found something."""
    return {f.rule.code for f in found.findings}
