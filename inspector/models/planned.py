"""What a transformers model will be, against what its files hold: shapes, ties, dtypes, keys, before it is loaded and
after. The library fills, drops and converts without a word; a calibration of what came of it would be another model's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.models.declared import Declared
from qinspect.inspector.models.weights import MODEL_DTYPES, left_out, not_finite, overflows

_NO_PART_OF_A_FORWARD = frozenset({
    "initializer_range", "initializer_factor", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id",
    "architectures", "transformers_version", "dtype", "tie_word_embeddings", "_name_or_path",
})  # fmt: skip
"""Keys that decide nothing of what a forward on token ids computes; tied embeddings are compared instead."""
_CURE = "Take the config.json that was saved with these weights, and all files of one model."


def assumed_of(declared: Declared, config: Any) -> dict[str, Any]:
    """Keys of the architecture that config.json is silent about, with the defaults that transformers uses."""
    from transformers import PretrainedConfig

    everywhere = PretrainedConfig().to_dict()
    made = {k: v for k, v in config.to_dict().items() if k not in everywhere}
    renamed = set(getattr(config, "attribute_map", {}).values())
    given = {*declared.content, *(config.attribute_map.get(k, k) for k in declared.content)}
    return {
        k: _as_json(v) for k, v in sorted(made.items())
        if k not in given and k not in _NO_PART_OF_A_FORWARD and not (k in renamed and k in given)
    }  # fmt: skip


def check_planned(checkpoint: Checkpoint, declared: Declared, planned: nn.Module) -> None:
    """planned: the model of its config without memory. Raises CannotOpen for tensors in other shapes or dtypes than the
    architecture has, and for a head that is said to be the embedding and is not."""
    for name, p in planned.named_parameters():
        t = _stored(checkpoint, planned, name)
        if t is None:
            continue  # the library may know it by another name
        if t.dtype.name not in MODEL_DTYPES:
            raise CannotOpen(
                "is quantized already, at least in part", file=t.file.path, key=t.name,
                expected="float16, bfloat16 or float32", found=t.dtype.name,
                cure="Calibrate the model that it was made from.",
            )  # fmt: skip
        if t.shape != tuple(p.shape):
            raise _other_shape(t, declared, tuple(p.shape))
    _check_tied(checkpoint, declared, planned)


def check_loaded(checkpoint: Checkpoint, planned: nn.Module, info: Mapping[str, Any]) -> tuple[str, ...]:
    """Raises CannotOpen for weights that were not in the files, in another shape, or are in the files and belong into a
    part that runs. Returns a sentence about those that belong to no part."""
    if missing := sorted(info["missing_keys"]):  # the library would go on with random numbers
        raise CannotOpen(
            "does not have all weights of its architecture", file=checkpoint.path, key=missing[0],
            found=f"{len(missing)} missing", cure=_CURE,
        )  # fmt: skip
    for name, found, expected in sorted(map(tuple, info["mismatched_keys"])):
        raise CannotOpen(
            "has another shape than config.json gives it", file=checkpoint.path, key=name,
            expected=str(list(expected)), found=str(list(found)), cure=_CURE,
        )  # fmt: skip
    extra = sorted(info["unexpected_keys"])
    within = [k for k in extra if _within_what_runs(planned, k)]
    if within:
        t = checkpoint.tensor(within[0])
        raise CannotOpen(
            "has a weight that its architecture does not use", file=t.file.path if t else checkpoint.path,
            key=within[0], found=f"{len(within)} such", cure=_CURE,
        )  # fmt: skip
    return (left_out(extra),) if extra else ()


def check_values(checkpoint: Checkpoint, model: nn.Module, dtype: str) -> None:
    """Raises CannotOpen for weights that are no finite numbers, in the files or in the dtype that was asked for."""
    for name, p in model.named_parameters():
        with torch.inference_mode():
            if p.is_meta or bool(p.isfinite().all()):
                continue
        t = _stored(checkpoint, model, name)
        if t is None:
            raise not_finite(checkpoint.path, name, "NaN or an infinity")
        values = t.read().astype(np.float32).reshape(-1)
        bad = np.flatnonzero(~np.isfinite(values))
        if not bad.size:
            raise overflows(t.file.path, t.name, dtype, float(np.abs(values).max()))
        place = [int(i) for i in np.unravel_index(int(bad[0]), t.shape)] if t.shape else []
        raise not_finite(t.file.path, t.name, f"{values[bad[0]]} at {place}")


def _check_tied(checkpoint: Checkpoint, declared: Declared, planned: Any) -> None:
    head, embedding = planned.get_output_embeddings(), planned.get_input_embeddings()
    if head is None or embedding is None or not declared.get("tie_word_embeddings"):
        return
    names = {id(m): n for n, m in planned.named_modules()}
    two = [_stored(checkpoint, planned, f"{names.get(id(m), '')}.weight") for m in (head, embedding)]
    if two[0] is None or two[1] is None or two[0].location == two[1].location:
        return
    if two[0].shape != two[1].shape or not np.array_equal(two[0].read(), two[1].read()):
        raise CannotOpen(
            "is said to be the embedding, and is another tensor", file=two[0].file.path, key=two[0].name,
            expected=f"the values of {two[1].name}, as tie_word_embeddings in {declared.file.name} says",
            cure="Say in config.json that they are not tied, or remove the head.",
        )  # fmt: skip


def _other_shape(t: Tensor, declared: Declared, expected: tuple[int, ...]) -> CannotOpen:
    transposed = len(expected) == 2 and t.shape == expected[::-1]
    return CannotOpen(
        f"has another shape than {declared.file.name} gives it", file=t.file.path, key=t.name,
        expected=str(list(expected)), found=f"{list(t.shape)}{', which is transposed' if transposed else ''}",
        cure="Save the weight as [out, in]." if transposed else _CURE,
    )  # fmt: skip


def _stored(checkpoint: Checkpoint, model: Any, name: str) -> Tensor | None:
    """The tensor of a parameter: by its name, with or without the prefix of the model inside."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    for key in (name, prefix + name, name.removeprefix(prefix)):
        if (found := checkpoint.tensor(key)) is not None:
            return found
    return None


def _within_what_runs(planned: nn.Module, key: str) -> bool:
    """Whether a key lies in a part of the model: a module that has parameters of its own, or a list of layers. Heads
    that another architecture of the family has lie beside."""
    modules = dict(planned.named_modules())
    prefix = f"{getattr(planned, 'base_model_prefix', '')}."
    for name in (key, key.removeprefix(prefix), prefix + key):
        for parent in _parents(name):
            if parent in modules:
                found = modules[parent]
                owns = next(found.parameters(recurse=False), None) is not None
                if parent and (owns or isinstance(found, (nn.ModuleList, nn.ModuleDict)) or _is_layer(modules, parent)):
                    return True
                break
    return False


def _is_layer(modules: Mapping[str, nn.Module], name: str) -> bool:
    """Whether a module lies in a list of layers."""
    return any(isinstance(modules.get(p), nn.ModuleList) for p in _parents(name))


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _as_json(value: object) -> object:
    """With infinities and what JSON lacks as text."""
    if isinstance(value, Mapping):
        return {str(k): _as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(v) for v in value]
    plain = value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else str(value)
