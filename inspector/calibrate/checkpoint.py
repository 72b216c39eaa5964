"""The checkpoint that a calibration writes: config.json, safetensors, and where everything in them comes from.

docs/formats.md has the layout. The same input gives the same bytes: names are sorted, no time is written, and the
arithmetic is exact (rounding.py). Tensors are read one by one, as they are written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.calibrate.rounding import WeightScheme, pack_nibbles, quantize_rows
from qinspect.inspector.checkpoint import Checkpoint, open_checkpoint
from qinspect.inspector.checkpoint.dtypes import DTYPES, SAFETENSORS, DType
from qinspect.inspector.checkpoint.safetensors import header_bytes
from qinspect.inspector.errors import CannotOpen, CannotQuantize
from qinspect.inspector.formats.own_layout import FORMAT_VERSION, METADATA_KEY, QUANT_METHOD, SCALE_SUFFIX
from qinspect.inspector.provenance import Provenance
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import natural_key
from qinspect.inspector.whole_file import new_folder

Array = NDArray[Any]
ACTIVATION_BITS = 8
SHARD_BYTES = 5_000_000_000
"""Data of one file, where no single weight is larger."""

BLOCK_ELEMENTS = 1 << 22


class Readable(Protocol):
    """A tensor that is not in memory: one of an opened checkpoint, or a `Deferred`."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def dtype(self) -> DType | np.dtype[Any]: ...  # noqa: D102

    @property
    def read(self) -> Callable[[], Array]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Deferred:
    """A tensor that is made when it is written, and then let go."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]


@dataclass(frozen=True, slots=True)
class PointScale:
    """The scale of one observation point. values: float32, a scalar or one a group. rule: what made it, as rules print
    themselves. alpha_reached: whether the alpha that was asked for has a part in it."""

    values: Array | np.floating[Any] | float
    rule: str
    alpha_reached: bool


class _Slot(NamedTuple):
    """A tensor of a file to be written. dtype: safetensors' name."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return _bytes_of(self.dtype) * int(np.prod(self.shape, dtype=object))


class _Item(NamedTuple):
    """What is read at once and lies in one file: slots, and what gives their contents. weight: whether it is quantized
    into codes and scales on the way."""

    slots: tuple[_Slot, ...]
    source: Array | Readable
    weight: bool


def check_target(folder: Path) -> None:
    """Raises CannotOpen where a checkpoint cannot be written to `folder`: ask before the model runs."""
    try:
        parent = folder.absolute().parent
        if parent.is_dir() and not os.access(parent, os.W_OK | os.X_OK):
            raise CannotOpen("cannot be written: its folder is read-only for you", file=folder)
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            return
        if folder.is_symlink() or folder.exists():
            raise CannotOpen(
                "already exists", file=folder, expected="no folder of this name, or an empty one",
                found="a link" if folder.is_symlink() else "a folder with files" if folder.is_dir() else "a file",
                cure="Name another one, or remove it.",
            )  # fmt: skip
        if not parent.is_dir():
            raise CannotOpen(
                "cannot be made: its parent folder does not exist", file=folder, expected=f"the folder {parent}",
                cure="Make it, or name another place.",
            )  # fmt: skip
    except (OSError, ValueError) as e:
        raise CannotOpen(f"cannot be written: {getattr(e, 'strerror', None) or e}", file=folder) from e


def check_same(folder: Path, activation_scales: Mapping[str, PointScale], provenance: Provenance) -> None:
    """Raises CannotOpen unless the checkpoint in `folder` has this provenance and these scales of its points."""
    checkpoint = open_checkpoint(folder)
    try:
        config = checkpoint.config
        same = config.get("provenance") == json.loads(json.dumps(asdict(provenance)))
        points = config.get("quantization_config", {}).get("activations", {}).get("points", []) if same else []
        same = same and len(points) == len(activation_scales) and all(
            _has(checkpoint, entry["key"], np.asarray(scale.values, np.float32))
            for entry, scale in zip(points, activation_scales.values(), strict=True)
        )  # fmt: skip
    finally:
        checkpoint.close()
    if not same:
        raise CannotOpen(
            "already exists, with other numbers", file=folder, expected="no folder of this name",
            found="a checkpoint of another calibration", cure="Name another one, or remove it.",
        )  # fmt: skip


def _has(checkpoint: Checkpoint, key: str, values: Array) -> bool:
    tensor = checkpoint.tensor(key)
    return tensor is not None and np.array_equal(tensor.read(), values, equal_nan=True)


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, Array | Readable],
    quantized: Collection[str],
    activation_scales: Mapping[str, PointScale],
    config: Mapping[str, Any],
    provenance: Provenance,
    weights: WeightScheme,
    shard_bytes: int = SHARD_BYTES,
) -> tuple[Path, ...]:
    """Write a folder that holds config.json and model.safetensors, or shards with their index. Returns its files.

    tensors: by key; `quantized` names those that become codes and scales, the others are stored as they are.
    activation_scales: by observation point, in forward order. config: the model's own; `rotation` in it says whether
    weights are in Hadamard space. The folder appears under its name when it is complete.

    Raises CannotOpen where the folder cannot be written or is not empty, CannotQuantize for a weight that is no finite
    matrix and for keys that occur twice, and what reading a tensor raises.
    """
    check_target(folder)
    chosen = frozenset(quantized)
    if unknown := sorted(chosen - tensors.keys()):
        raise CannotQuantize("there is no tensor of this name", file=folder, key=unknown[0])
    roots = _roots(tensors)
    points = {_point_key(name, roots): point for name, point in activation_scales.items()}
    items = list(_items(folder, tensors, chosen, points, weights))
    settings = _settings(tensors, chosen, points, config, weights)
    described = {"quantization_config": settings, "provenance": asdict(provenance)}
    metadata = {"format": "pt", METADATA_KEY: json.dumps(described, sort_keys=True, separators=(",", ":"))}
    shards = _shards(items, shard_bytes)
    try:
        with new_folder(folder) as made:
            names = _file_names(len(shards))
            for name, shard in zip(names, shards, strict=True):
                with (made / name).open("wb") as f:
                    _write_shard(f, shard, metadata, weights)
            if len(shards) > 1:
                weight_map = {
                    s.name: name for name, shard in zip(names, shards, strict=True) for i in shard for s in i.slots
                }
                total = sum(s.n_bytes for i in items for s in i.slots)
                names.append("model.safetensors.index.json")
                _write_json(made / names[-1], {"metadata": {"total_size": total}, "weight_map": weight_map})
            names.append("config.json")
            _write_json(made / names[-1], {**config, **described})
    except OSError as e:
        raise CannotOpen(f"cannot be written: {e.strerror}", file=folder) from e
    return tuple(folder / name for name in names)


def _roots(tensors: Mapping[str, object]) -> dict[str, str]:
    """What stands before a tensor's role in its key, by the first part of the role: `layers` to `backbone.`."""
    found: dict[str, str] = {}
    for key in sorted(tensors):
        role = strip_root(key)
        found.setdefault(role.partition(".")[0], key.removesuffix(role))
    return found


def _point_key(name: str, roots: Mapping[str, str]) -> str:
    return roots.get(name.partition(".")[0].partition(":")[0], "") + name


def _items(
    folder: Path,
    tensors: Mapping[str, Array | Readable],
    chosen: frozenset[str],
    points: Mapping[str, PointScale],
    weights: WeightScheme,
) -> Iterator[_Item]:
    """Everything to be written, by key."""
    scales = {
        key: np.ascontiguousarray(point.values, np.float32).reshape(np.shape(point.values))
        for key, point in points.items()
    }
    seen: set[str] = set()
    for key, source in sorted({**tensors, **scales}.items(), key=lambda item: natural_key(item[0])):
        shape = tuple(source.shape)
        if key in chosen:
            if len(shape) != 2:
                raise CannotQuantize(
                    "is not a matrix", file=folder, key=key, expected="[out, in]", found=str(list(shape))
                )
            n_out, n_in = shape
            codes = (n_out, n_in) if weights.bits == 8 else (n_out, -(-n_in // 2))
            scale = _Slot(key + SCALE_SUFFIX, "F32", (n_out, weights.n_groups(n_in)))
            item = _Item((_Slot(key, "I8" if weights.bits == 8 else "U8", codes), scale), source, True)
        else:
            item = _Item((_Slot(key, _dtype_of(folder, key, source), shape),), source, False)
        for slot in item.slots:
            if slot.name in seen or (slot.name in points and slot.name in tensors):
                raise CannotQuantize("two tensors would have this name", file=folder, key=slot.name)
            seen.add(slot.name)
        yield item


@cache
def _safetensors_names() -> dict[np.dtype[Any], str]:
    return {DTYPES[ours].to_numpy(): name for name, ours in SAFETENSORS.items() if not DTYPES[ours].packed}


@cache
def _bytes_of(dtype: str) -> int:
    return DTYPES[SAFETENSORS[dtype]].bits // 8


def _dtype_of(folder: Path, key: str, source: Array | Readable) -> str:
    dtype = source.dtype.to_numpy() if isinstance(source.dtype, DType) else np.dtype(source.dtype)
    try:
        return _safetensors_names()[dtype]
    except KeyError:
        raise CannotQuantize("safetensors has no such dtype", file=folder, key=key, found=str(dtype)) from None


def _settings(
    tensors: Mapping[str, Array | Readable],
    chosen: frozenset[str],
    points: Mapping[str, PointScale],
    config: Mapping[str, Any],
    weights: WeightScheme,
) -> dict[str, Any]:
    """`quantization_config`: what the format reads."""
    return {
        "quant_method": QUANT_METHOD,
        "format_version": FORMAT_VERSION,
        "rotation": config.get("rotation") or "none",
        "weights": {
            "bits": weights.bits,
            "granularity": "per-channel" if weights.bits == 8 else "per-group",
            "group_size": None if weights.bits == 8 else weights.group_size,
            "rounding": "nearest, half to even",
            "symmetric": True,
            "tensors": {key: list(tensors[key].shape) for key in chosen},
        },
        "activations": {
            "bits": ACTIVATION_BITS,
            "symmetric": True,
            "points": [
                {"key": key, "rule": point.rule, "alpha_reached": point.alpha_reached} for key, point in points.items()
            ],
        },
    }


def _shards(items: list[_Item], shard_bytes: int) -> list[list[_Item]]:
    """`items` in their order, as many in each shard as fit; a weight and its scale are never parted."""
    shards: list[list[_Item]] = [[]]
    room = shard_bytes
    for item in items:
        n = sum(slot.n_bytes for slot in item.slots)
        if n > room and shards[-1]:
            shards.append([])
            room = shard_bytes
        shards[-1].append(item)
        room -= n
    return shards


def _file_names(n: int) -> list[str]:
    if n == 1:
        return ["model.safetensors"]
    return [f"model-{i + 1:05}-of-{n:05}.safetensors" for i in range(n)]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_shard(f: BinaryIO, items: list[_Item], metadata: Mapping[str, str], weights: WeightScheme) -> None:
    """One file. Wide elements come first, so that all are aligned."""
    slots = sorted((s for item in items for s in item.slots), key=lambda s: (-_bytes_of(s.dtype), s.name))
    header: dict[str, object] = {"__metadata__": metadata}
    offsets: dict[str, int] = {}
    end = 0
    for slot in slots:
        offsets[slot.name] = end
        end += slot.n_bytes
        fields = {"dtype": slot.dtype, "shape": list(slot.shape), "data_offsets": [offsets[slot.name], end]}
        header[slot.name] = fields
    head = header_bytes(header)
    f.write(head)
    for item in items:
        _write_item(f, item, [len(head) + offsets[slot.name] for slot in item.slots], weights)


def _write_item(f: BinaryIO, item: _Item, places: list[int], weights: WeightScheme) -> None:
    """What comes of one tensor, each slot at its place."""
    values = _read(item)
    if item.weight:
        scales = _write_codes(f, places[0], item, values, weights)
        f.seek(places[1])
        f.write(_raw(scales))
    else:
        f.seek(places[0])
        f.write(_raw(values))


def _read(item: _Item) -> Array:
    """The contents, which are what was promised of them."""
    values = item.source if isinstance(item.source, np.ndarray) else item.source.read()
    dtype = item.source.dtype
    promised = (tuple(item.source.shape), dtype.to_numpy() if isinstance(dtype, DType) else np.dtype(dtype))
    if (values.shape, values.dtype) != promised:
        raise ValueError(f"{item.slots[0].name} was promised as {promised}, but is {values.shape}, {values.dtype}")
    return values


def _write_codes(f: BinaryIO, offset: int, item: _Item, values: Array, weights: WeightScheme) -> NDArray[np.float32]:
    """Write the codes, a block of rows at a time. Returns the scales."""
    codes_slot, scale_slot = item.slots
    all_scales = np.empty(scale_slot.shape, np.float32)
    n_rows = max(1, BLOCK_ELEMENTS // max(1, values.shape[1]))
    f.seek(offset)
    for start in range(0, values.shape[0], n_rows):
        try:
            codes, scales = quantize_rows(values[start : start + n_rows], weights)
        except ValueError as e:
            raise CannotQuantize(f"cannot be quantized: {e}", key=codes_slot.name) from e
        f.write(_raw(codes if weights.bits == 8 else pack_nibbles(codes)))
        all_scales[start : start + n_rows] = scales
    return all_scales


def _raw(values: Array) -> memoryview:
    """The bytes in C order, little-endian as the format is."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<") if values.dtype.byteorder == ">" else None)
    return little.reshape(-1).view(np.uint8).data
