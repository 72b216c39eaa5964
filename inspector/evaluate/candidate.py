"""What is evaluated: a checkpoint, or an alpha of a calibration without one. Both become weights and quantizers of an
executor's modules."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.calibrate.rounding import SCHEMES, quantize_rows
from qinspect.inspector.calibration.scales import of_tables
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotOpen, QinspectError
from qinspect.inspector.evaluate import fake_quantize
from qinspect.inspector.evaluate.fake_quantize import Quantizer
from qinspect.inspector.formats import Format, Kind, Quantity
from qinspect.inspector.formats.bits import model_bits
from qinspect.inspector.formats.element import Element, integer, small_float
from qinspect.inspector.formats.grid import PER_TENSOR
from qinspect.inspector.formats.own_layout import provenance_of
from qinspect.inspector.formats.records import DynamicPoint, FloatArray, ScaleRecord
from qinspect.inspector.formats.words import stored_as
from qinspect.inspector.models.caches import POINTS
from qinspect.inspector.models.load import EditableModel, ProbedModel, as_numpy
from qinspect.inspector.observers.recipes import rotates, short
from qinspect.inspector.roles import common_spelling, strip_root
from qinspect.inspector.text import are, some, visible

_NUMBER = re.compile(r"(?<=\bexperts\.)\d+\.")
_ENDS = (":input", ":output")
_CACHES = tuple(f":{point}" for point in POINTS)
_QUERIES = ":q"
OF_QUERIES = "queries are rounded by some kernels of attention and not by others"
NO_CACHE = "the reference's attention does not show its keys and values"
_CACHED = ("float8_e4m3fn", "float8_e5m2", "int8")
"""Elements of caches whose scales are of the whole layer or of each head."""
_PLAIN = ("float16", "bfloat16", "float32", "float64")
"""Dtypes of tensors that are weights as they are stored."""
_CASTS = {stored_as(element, PER_TENSOR, ""): element for element in (small_float("float8_e4m3fn"),)}
"""By what formats call a cache of them."""
LOGITS = "logits are compared as they are"
NO_POINT = "there is no such point in the reference's modules"
MX_BLOCK = 32
"""Blocks of this size have scales that are powers of two (OCP Microscaling 1.0); of others they are float32."""


@dataclass(frozen=True, slots=True)
class Activations:
    """quantizers: by the role of the point. left_out: what is not simulated, a sentence each."""

    quantizers: Mapping[str, Quantizer] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def n_caches(self) -> int:
        """Of the quantizers, how many are of keys or of values of a layer's KV cache."""
        return sum(map(is_cache, self.quantizers))


class Candidate(ABC):
    """One model beside the reference. name: for people. nbytes, bits_per_weight: None where there is no checkpoint, or
    it is not known. rotated: whether its modules work in Hadamard space. calibrated_on: what its calibration
    recorded of its samples, None where that is not known."""

    name: str
    described: str
    nbytes: int | None = None
    bits_per_weight: float | None = None
    rotated: bool = False
    calibrated_on: object = None

    @abstractmethod
    def weights(self, model: EditableModel) -> Iterator[tuple[str, FloatArray]]:
        """Every weight of the model by its key, one after the other. Raises CannotOpen where it is not in here."""

    @abstractmethod
    def identity(self) -> object:
        """What its figures depend on, as JSON."""

    @abstractmethod
    def activations(self, model: ProbedModel) -> Activations:
        """What rounds at which point."""


def role_of(key: str) -> str:
    """The role of a weight or a point, the same for the reference and for every checkpoint of it. State-spaces and
    Hugging Face have two words for a Mamba's embedding, and Mixtral's two savers for an expert."""
    return common_spelling(strip_root(key.replace("embeddings.", "embedding.")))


def identity_of(checkpoint: Checkpoint) -> list[list[str]]:
    """Of its files: another one, or one that was written to, has another."""
    return [list(map(str, file.identity)) for file in checkpoint.files]


class OfCheckpoint(Candidate):
    """A checkpoint of any family."""

    def __init__(self, path: str, fmt: Format) -> None:
        self.name, self.described, self.fmt = path, fmt.description, fmt
        self.nbytes, self.bits_per_weight = fmt.checkpoint.nbytes, model_bits(fmt).effective
        self.rotated = bool(fmt.rotated)
        self.calibrated_on = provenance_of(fmt.checkpoint.config).get("data")

    def identity(self) -> object:
        """Its files."""
        return identity_of(self.fmt.checkpoint)

    def weights(self, model: EditableModel) -> Iterator[tuple[str, FloatArray]]:
        """Quantized ones in their effective values: with what the format adds or multiplies."""
        quantized = {role_of(w.role): w for w in self.fmt.weights()}
        names = [name for name, _ in self.fmt.other_forms()]
        plain = {role_of(role): name for role, name in zip(self.fmt.roles_of(names), names, strict=True)}
        own = model.names()
        known = {**plain, **dict.fromkeys(quantized, "")}
        keys = _roles_here(_as_stored(own, model.pieces, known), known)
        missing = [key for key, role in keys.items() if not role]
        if missing:
            self._check_whole(missing[0])
            raise CannotOpen(
                f"{some(len(missing), 'weight')} of the reference {are(len(missing))} not in it",
                file=self.fmt.checkpoint.path, key=missing[0], expected="a weight of this name",
                cure="Name the reference that it was made from.",
            )  # fmt: skip
        for key, role in keys.items():
            if role in quantized:
                values = self.fmt.effective(quantized[role])
            else:
                tensor = self.fmt.plain_tensor(plain[role])
                assert tensor is not None
                if tensor.dtype.name not in _PLAIN:
                    self._check_whole(key)
                    raise CannotOpen(
                        "has codes without a scale", file=self.fmt.checkpoint.path, key=tensor.name,
                        expected="a scale, or a floating point weight of 16 bits or more", found=tensor.dtype.name,
                        cure="Save the checkpoint again, with its scales.",
                    )  # fmt: skip
                values = tensor.read()
            self._check(key, values, tuple(own[key].shape))
            yield key, values

    def _check_whole(self, key: str) -> None:
        """Raises what is wrong with the module of a weight, where its entries are there and do not fit together."""
        module = role_of(key).rpartition(".")[0]
        for problem in self.fmt.problems():
            if role_of(problem.key).rpartition(".")[0] == module:
                raise problem.error

    def _check(self, key: str, values: FloatArray, wanted: tuple[int, ...]) -> None:
        if [n for n in values.shape if n != 1] != [n for n in wanted if n != 1]:
            raise CannotOpen(
                "has another shape than in the reference", file=self.fmt.checkpoint.path, key=key,
                expected=str(list(wanted)), found=str(list(values.shape)),
                cure="Name the reference that it was made from.",
            )  # fmt: skip

    def _caches(self, model: ProbedModel) -> Iterator[tuple[str, Quantizer | str]]:
        """Of a cache that is declared and has no scale in the file: engines take 1 then. For every layer, by the names
        of the weights that make keys and values."""
        stored = any(is_cache(role_of(r.role)) for r in self.fmt.scales())
        element = None if stored else _CASTS.get(self.fmt.declared_cache)
        if element is None:
            return
        for key in model.weights():
            attention, _, last = role_of(key).removesuffix(".weight").rpartition(".")
            point = {"k_proj": "k_cache", "v_proj": "v_cache"}.get(last)
            if point:
                yield f"{attention}:{point}", _of_cache(element, np.ones(1, np.float32), model.device, None)

    def activations(self, model: ProbedModel) -> Activations:
        """By its stored scales, and those that are made of each token or block."""
        made: dict[str, Quantizer] = {}
        refused: dict[str, list[str]] = {}
        dynamic = {role_of(p.role): p for p in self.fmt.dynamic()}
        stored = [
            r for r in self.fmt.scales()
            if r.kind is Kind.ACTIVATION and r.quantity is Quantity.SCALE and role_of(r.role) not in dynamic
        ]  # fmt: skip
        zeros = {
            r.role.partition("#")[0]: r for r in self.fmt.scales()
            if r.kind is Kind.ACTIVATION and r.quantity is Quantity.ZERO_POINT
        }  # fmt: skip
        found = [(role_of(r.role), _static(self.fmt, r, model.device, zeros.get(r.role))) for r in stored]
        for role, quantizer in (*found, *((role, _dynamic(p)) for role, p in dynamic.items()), *self._caches(model)):
            if isinstance(quantizer, str):
                refused.setdefault(quantizer, []).append(role)
            else:
                made[role] = quantizer
        told = (role for roles in refused.values() for role in roles)
        without = self._not_rounded({*made, *told})
        return Activations(made, (*(said(roles, why) for why, roles in refused.items()), *without))

    def _not_rounded(self, known: Collection[str]) -> Iterator[str]:
        """Where inputs of some quantized weights have scales and those of others have none: what the others are is not
        for the executor to guess. known: roles of points."""
        roles = [f"{role_of(w.role).removesuffix('.weight')}:input" for w in self.fmt.weights()]
        without = [role for role in roles if role not in known and of_all_experts(role) not in known]
        if 0 < len(without) < len(roles):
            yield said(without, f"no scale is stored, as it is of {len(roles) - len(without)} others")


class OfAlpha(Candidate):
    """What `qinspect calibrate` would write for an alpha: weights rounded to nearest, scales of the stored tables."""

    def __init__(
        self, recipe: str, alpha: float, scales: Mapping[str, NDArray[np.float32]], calibrated_on: object = None
    ) -> None:
        """scales: of each point, by name, as `scales_of` gives them."""
        self.calibrated_on = calibrated_on
        self.name, self.described = f"alpha {short(alpha)}", f"w8a8, {recipe}"
        self.scales, self.rotated = scales, rotates(recipe)

    def identity(self) -> object:
        """Its scales."""
        return {name: hashlib.sha256(scale.tobytes()).hexdigest() for name, scale in self.scales.items()}

    def weights(self, model: EditableModel) -> Iterator[tuple[str, FloatArray]]:
        """Those of linear layers rounded as a checkpoint's are."""
        linears = frozenset(model.linears)
        for key, w in model.weights().items():
            values = as_numpy(w)
            if key in linears:
                codes, steps = quantize_rows(values, SCHEMES["w8a8"])
                values = codes.astype(np.float32) * steps
            yield key, values

    def activations(self, model: ProbedModel) -> Activations:
        """By what the recipe's rules make of the tables."""
        made: dict[str, Quantizer] = {}
        refused: dict[str, list[str]] = {}
        for name, scale in self.scales.items():
            quantizer = _of_number(integer(8), scale, model.device)
            if isinstance(quantizer, str):
                refused.setdefault(quantizer, []).append(name)
            else:
                made[role_of(name)] = quantizer
        return Activations(made, tuple(said(names, why) for why, names in refused.items()))


def scales_of(calibration: Calibration, alphas: Sequence[float]) -> list[dict[str, NDArray[np.float32]]]:
    """What the recipe's rules make of each point's tables, for each alpha: float32 by name. The tables of a point are
    read once for all alphas."""
    made: list[dict[str, NDArray[np.float32]]] = [{} for _ in alphas]
    for name, point in calibration.points.items():
        tables = calibration.tables(name)
        for scales, alpha in zip(made, alphas, strict=True):
            scales[name] = of_tables(point, calibration.applied(name, alpha), tables).scale
    return made


class OfNoise(Candidate):
    """The reference with rounding noise of half a step of bfloat16 behind every block: what chance alone does."""

    def __init__(self, seed: int) -> None:
        self.name, self.described = f"noise, seed {seed}", "the reference with rounding noise"
        self._seed = seed

    def identity(self) -> object:
        """Where the noise begins."""
        return self._seed

    def weights(self, model: EditableModel) -> Iterator[tuple[str, FloatArray]]:
        """None are other than the reference's."""
        return iter(())

    def activations(self, model: ProbedModel) -> Activations:
        """Behind the last product of each block."""
        made = torch.Generator(device=model.device).manual_seed(self._seed)
        noise = fake_quantize.noise(made)
        points = (role_of(key).removesuffix(".weight") for key in model.weights())
        return Activations({f"{p}:output": noise for p in points if p.endswith(_LAST)})


_LAST = ("out_proj", "o_proj", "down_proj", "dense_4h_to_h", "fc2", "c_proj", "w2")
"""What the last product of a mixer, an attention or an MLP is called."""


def _roles_here(own: Mapping[str, Tensor], known: Collection[str]) -> dict[str, str]:
    """By which of the known roles a checkpoint has each weight of the reference; "" where it has not. A tied tensor may
    be there under any of its names, and the embedding may be the head."""
    shared = {_place(w): role_of(key) for key, w in own.items() if role_of(key) in known}
    embedding = next((role for role in known if role.startswith("embed")), "")
    made = {}
    for key, w in own.items():
        role = role_of(key)
        made[key] = role if role in known else shared.get(_place(w)) or (embedding if is_head(key) else "")
    return made


def _as_stored(
    own: Mapping[str, Tensor], pieces: Mapping[str, Sequence[str]], known: Collection[str]
) -> dict[str, Tensor]:
    """The names that a checkpoint goes by: one tensor for all experts where it has that, else one for each expert."""
    left: set[str] = set()
    for whole, parts in pieces.items():
        left.update(parts if role_of(whole) in known else (whole,))
    return {key: w for key, w in own.items() if key not in left}


def _place(w: Tensor) -> tuple[object, ...]:
    """Equal of tensors that are one in memory."""
    return (w.data_ptr(), tuple(w.shape), w.stride()) if w.numel() else (id(w),)


def is_head(key: str) -> bool:
    """Whether a key is of the head's own weight."""
    return strip_root(key).startswith("lm_head.")


def said(roles: list[str], why: str) -> str:
    """Of activations that are not simulated, and why."""
    return f"{some(len(roles), 'activation')}, first {visible(roles[0], 120)}: {why}"


def _static(fmt: Format, record: ScaleRecord, device: torch.device, zero: ScaleRecord | None) -> Quantizer | str:
    """How a stored scale rounds, or why that is not simulated."""
    if record.role.endswith(_QUERIES):
        return OF_QUERIES
    if not record.role.endswith((*_ENDS, *_CACHES)):
        return NO_POINT
    try:
        values = np.asarray(fmt.values(record), np.float32)
        offsets = None if zero is None else np.asarray(fmt.values(zero), np.float64).reshape(-1)
        offset = None if offsets is None else float(offsets[np.abs(offsets).argmax()])
    except QinspectError as e:
        return f"its scale cannot be read: {e}"
    if is_cache(record.role):
        return _of_cache(record.element, values.reshape(-1), device, offset)
    size = record.group_size or (16 if record.element.name == "float4_e2m1fn" else 0)
    return _of_number(record.element, values, device, size, offset)


def of_all_experts(role: str) -> str:
    """The role of the scale that all experts of a layer have together."""
    return _NUMBER.sub("", role)


def is_cache(role: str) -> bool:
    """Whether a role is of keys or values that a cache keeps."""
    return role.endswith(_CACHES)


def _of_cache(
    element: Element, scales: NDArray[np.float32], device: torch.device, zero_point: float | None
) -> Quantizer | str:
    """scales: one number, or one of each head."""
    if zero_point:
        return "its cache has zero points"
    if element.name not in _CACHED:
        return f"no rule for a cache of {element}"
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        return "its scale is not a positive number"
    found = fake_quantize.of_each_head(element, [torch.tensor(float(s), device=device) for s in scales])
    return found or f"no rule for codes of {element}"


def _of_number(
    element: Element, values: NDArray[np.float32], device: torch.device, size: int = 0, zero_point: float | None = None
) -> Quantizer | str:
    if values.size != 1:
        return "its scale is of groups"
    if not (np.isfinite(values).all() and (values > 0).all()):
        return "its scale is not a positive number"
    scale = torch.tensor(float(values.reshape(-1)[0]), device=device)
    if size:
        found = fake_quantize.of_blocks(element, size, scale)
    else:
        found = fake_quantize.static(element, scale, zero_point)
    return found or f"no rule for codes of {element}"


def _dynamic(point: DynamicPoint) -> Quantizer | str:
    grid = point.grid
    if grid.block and grid.block[-1] > 1 and 1 in grid.axes:
        size = grid.block[-1]
        found = (fake_quantize.microscaled if size == MX_BLOCK else fake_quantize.of_blocks)(point.element, size)
    elif grid.axes == (0,) or grid.cells == ("token",):
        found = fake_quantize.of_each_token(point.element)
    else:
        return "its scale is of the whole tensor, whatever is in a batch"
    return found or f"no rule for codes of {point.element}"
