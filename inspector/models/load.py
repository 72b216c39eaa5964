"""A model from its files, ready to be observed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qinspect.inspector.checkpoint import Checkpoint, open_checkpoint
from qinspect.inspector.checkpoint import Tensor as Stored
from qinspect.inspector.errors import CannotOpen, CannotRead, QinspectError, UsageError
from qinspect.inspector.models import memory
from qinspect.inspector.models.declared import Declared, declared_of
from qinspect.inspector.models.folding import fold_and_rotate
from qinspect.inspector.models.free import free_on, others
from qinspect.inspector.models.mamba import MambaLM, Probe
from qinspect.inspector.models.mamba_config import EMBEDDING, HEAD, MambaConfig, bad_shape, config_of, is_tied
from qinspect.inspector.models.memory import Need, is_shortage, no_room
from qinspect.inspector.models.numerics import Numerics
from qinspect.inspector.models.weights import check_finite, check_headers, overflows

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
COMPUTED = ("in_proj.", "out_proj.", "x_proj.", "dt_proj.weight", "lm_head.", "embedding.")
"""Parts of the names of weights that products are made with: they are kept in the dtype of products."""
CONVOLVED = "conv1d."
"""The same for weights of convolutions, which are computed in float32 everywhere."""


class ProbedModel(Protocol):
    """A model that shows its observation points.

    is_spread: over several devices. dtype: what it stores, of DTYPES. linears: keys of the weights that a quantization
    replaces. may_show: names of points that a forward shows only for some tokens. overwritten: points whose tensors the
    model writes into after it has shown them: copies are shown of these. max_length: positions that it has, None for
    any number. unquantized: what else it multiplies with, in words, and a checkpoint keeps as it is. assumed: what its
    config.json is silent about, with the defaults that are used. need: the memory it takes. notes: what its files hold
    beside what runs, one sentence each. expert_inputs: by the module of a layer's experts, of each expert the point
    that shows the tokens it is sent, and how many values each has; of experts in one tensor a projection.
    """

    path: str
    dtype: str
    device: torch.device
    vocab_size: int
    is_mamba: bool
    is_spread: bool
    rotated: bool
    linears: tuple[str, ...]
    may_show: tuple[str, ...]
    overwritten: set[str]
    max_length: int | None
    unquantized: str
    assumed: dict[str, Any]
    need: Need
    notes: tuple[str, ...]
    expert_inputs: Mapping[str, tuple[tuple[str, int], ...]]

    def forward(self, ids: Tensor, observe: Probe) -> Tensor:
        """ids: int64[batch, length] on `device` -> logits or hidden states. Never waits for the device."""

    def weights(self) -> dict[str, Tensor]:
        """What a checkpoint of this model holds, by its own keys: rotated, where it is."""

    def config(self) -> dict[str, Any]:
        """config.json of such a checkpoint."""

    def decides(self) -> dict[str, Any]:
        """What of its config decides every number, as JSON."""


class EditableModel(ProbedModel, Protocol):
    """One that also runs with other weights, up to the head or from there.

    pieces: by the key of a tensor with the weights of many experts, the keys of these, which `names` has beside it.
    """

    pieces: Mapping[str, tuple[str, ...]]

    def hidden(self, ids: Tensor, observe: Probe) -> Tensor:
        """What goes into the head, [batch, length, width]. The head itself is left out where that can be."""

    def head(self, hidden: Tensor, weight: Tensor | None = None) -> Tensor:
        """The logits of what goes into the head. weight: in the place of the head's, as `weights` has it."""

    def show_caches(self) -> bool:
        """From now on a forward also shows the keys and values that attention sees, after rotary: caches.py. Whether
        it can."""

    def names(self) -> dict[str, Tensor]:
        """Every name that weights can be put under: as `weights`, and the further names of a tensor that several
        modules share. What is put under one of them leaves the others as they are."""

    def put(self, key: str, values: Tensor) -> None:
        """Run with other values of a weight from now on, in the dtype that its own had. Raises KeyError."""


def as_torch(array: NDArray[Any]) -> Tensor:
    """A tensor over the same memory; numpy has no bfloat16 of torch's."""
    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.copy()
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_numpy(x: Tensor) -> NDArray[Any]:
    """The reverse of `as_torch`, of a tensor on any device."""
    import ml_dtypes

    x = x.detach().cpu().contiguous()
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    found: NDArray[Any] = x.numpy()
    return found


def forward(model: ProbedModel, ids: NDArray[np.int64], observe: Probe) -> Tensor:
    """A forward of ids, int64[batch, length]. Raises CannotRead for one that fails, torch.OutOfMemoryError as torch."""
    with failing_clearly(model, *ids.shape):
        return model.forward(torch.from_numpy(ids).to(model.device), observe)


@contextmanager
def failing_clearly(model: ProbedModel, batch: int, length: int) -> Iterator[None]:
    """What a forward of so many tokens raises is said of the model. Raises as `forward`."""
    try:
        yield
    except (QinspectError, torch.OutOfMemoryError):
        raise
    except Exception as e:  # whatever a model of anybody's does
        said = " ".join(str(e).split())
        if is_shortage(e):  # torch's allocator on the CPU
            raise no_room(model.path, said, str(model.device), batch, length) from e
        raise CannotRead(
            f"the model fails on {batch} x {length} tokens: {type(e).__name__}: {said}", file=model.path,
            cure="Is it a causal language model or an encoder that takes token ids alone?",
        ) from e  # fmt: skip


def is_mamba(checkpoint: Checkpoint) -> bool:
    """Whether its mixers are Mamba's or Mamba2's. Falcon's have the same names and norms without weights in between."""
    if checkpoint.config.get("model_type") == "falcon_mamba":
        return False
    return any(name.endswith(".mixer.A_log") for name in checkpoint.entries)


def open_model(path: str, rotated: bool, device: torch.device, dtype: str = "") -> EditableModel:
    """The model in a file or folder. rotated: in Hadamard space, which only Mamba's can be.

    Raises CannotOpen for what is no model that can be run, UsageError for what cannot be asked of it.
    """
    checkpoint = open_checkpoint(path)
    try:
        declared = declared_of(checkpoint)
        check_headers(checkpoint, declared)
        if is_mamba(checkpoint):
            return MambaModel(path, checkpoint, declared, rotated, device, dtype)
        if rotated:
            raise UsageError("the recipe is for Mamba models", file=path, cure="Choose --recipe percentile or minmax.")
        from qinspect.inspector.models.huggingface import HuggingFaceModel

        return HuggingFaceModel(path, checkpoint, declared, device, dtype)
    except Exception as e:
        if not isinstance(e, QinspectError) and is_shortage(e):
            raise no_room(path, " ".join(str(e).split()) or "out of memory", str(device)) from e
        raise
    finally:
        checkpoint.close()


class MambaModel:
    """A Mamba or Mamba2 with the forward of mamba.py."""

    is_mamba = True
    is_spread = False
    may_show: tuple[str, ...] = ()
    max_length: int | None = None
    unquantized = ""
    notes: tuple[str, ...] = ()
    pieces: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    expert_inputs: Mapping[str, tuple[tuple[str, int], ...]] = MappingProxyType({})

    def __init__(
        self, path: str, checkpoint: Checkpoint, declared: Declared, rotated: bool, device: torch.device, dtype: str
    ) -> None:
        self.path, self.device, self.rotated = path, device, rotated
        self.overwritten: set[str] = set()
        stored = _by_state_spaces_key(checkpoint)
        self.dtype = dtype or (stored[EMBEDDING].dtype.name if EMBEDDING in stored else "float32")
        numerics = Numerics.on(device, DTYPES[self.dtype])
        made = config_of(declared, {k: t.shape for k, t in stored.items()})
        tied = is_tied(declared, HEAD in stored)
        with torch.device("meta"):
            parts = MambaLM(made, numerics).state_dict()
        _check_parts(declared, stored, {k: tuple(w.shape) for k, w in parts.items()})
        if rotated:
            self._check_width(made)
        self.vocab_size = min(made.vocab_size, int(declared.get("vocab_size") or made.vocab_size))
        copied = sum(
            t.n_elements for k, t in stored.items() if _compute_dtype(k, numerics) not in (None, numerics.store)
        )
        self.need = Need(sum(t.n_elements for t in stored.values()), self.dtype, copied, made.vocab_size)
        memory.check_weights(self.need, path, str(device), free_on(device), lambda: others(device))
        weights = {k: self._read(k, t) for k, t in stored.items()}
        self._check_tied(declared, stored, weights, tied)
        weights.setdefault(HEAD, weights[EMBEDDING])
        if rotated:
            weights = self._rotated(weights, stored)
            made = dataclasses.replace(made, rotated=True)
        self.mamba, self._config, self.assumed = made, dict(checkpoint.config), dict(declared.assumed)
        self.linears = tuple(k for k in weights if k.endswith("_proj.weight"))
        self._stored = {k: w.to(DTYPES[self.dtype]) if _compute_dtype(k, numerics) else w for k, w in weights.items()}
        computed = {k: w.to(_compute_dtype(k, numerics) or w.dtype) for k, w in self._stored.items()}
        with torch.device("meta"):
            self._lm = MambaLM(made, numerics)
        self._lm.load_state_dict(computed, assign=True)
        self._lm.requires_grad_(False)

    def _read(self, key: str, t: Stored) -> Tensor:
        """A weight on the device, finite as it is and as it is kept."""
        values = t.read()
        check_finite(t, values)
        if self.dtype == "float16" and t.dtype.name != "float16" and _is_product(key):
            largest = float(np.abs(values.astype(np.float32)).max())
            if largest > torch.finfo(torch.float16).max:
                raise overflows(t.file.path, t.name, self.dtype, largest)
        return as_torch(values).to(self.device)

    def _rotated(self, weights: Mapping[str, Tensor], stored: Mapping[str, Stored]) -> dict[str, Tensor]:
        """The weights in Hadamard space: norms are folded into them, which may be more than 16 bits hold."""
        made = fold_and_rotate(weights, DTYPES[self.dtype])
        for name, w in made.items():
            if not w.isfinite().all():
                of = stored.get(name, stored[EMBEDDING])
                raise overflows(of.file.path, of.name, f"{self.dtype}, rotated and with its norm folded in,", math.inf)
        return made

    def _check_tied(
        self, declared: Declared, stored: Mapping[str, Stored], weights: Mapping[str, Tensor], tied: bool
    ) -> None:
        if tied and HEAD in weights and not torch.equal(weights[HEAD], weights[EMBEDDING]):
            raise CannotOpen(
                "is said to be the embedding, and is another tensor", file=stored[HEAD].file.path, key=HEAD,
                expected=f"the values of {EMBEDDING}, as {declared.file.name} ties them",
                cure="Say in config.json that they are not tied, or remove the head.",
            )  # fmt: skip

    def forward(self, ids: Tensor, observe: Probe) -> Tensor:
        """ids: int64[batch, length] -> logits."""
        with torch.inference_mode():
            logits: Tensor = self._lm(ids, observe)
        return logits

    def hidden(self, ids: Tensor, observe: Probe) -> Tensor:
        """stored[B, L, d_model]."""
        with torch.inference_mode():
            found: Tensor = self._lm.hidden(ids, observe)
        return found

    def head(self, hidden: Tensor, weight: Tensor | None = None) -> Tensor:
        """stored[..., vocabulary]."""
        with torch.inference_mode():
            return self._lm.head(hidden, weight)

    def show_caches(self) -> bool:
        """It has none."""
        return False

    def names(self) -> dict[str, Tensor]:
        """State-spaces keys: a head that is the embedding has its own."""
        return self._stored

    def put(self, key: str, values: Tensor) -> None:
        """Of state-spaces keys. Another shape is refused."""
        own = self._stored[key]
        kept = values.to(self.device, own.dtype).reshape(own.shape)
        parent, _, name = key.rpartition(".")
        at = self._lm.get_submodule(parent)
        setattr(at, name, nn.Parameter(kept.to(getattr(at, name).dtype), requires_grad=False))

    def weights(self) -> dict[str, Tensor]:
        """State-spaces keys."""
        return self._stored

    def config(self) -> dict[str, Any]:
        """Of the files it came from, and whether it is rotated now."""
        return {**self._config, **({"rotation": "hadamard", "tie_embeddings": False} if self.rotated else {})}

    def decides(self) -> dict[str, Any]:
        """The forward's settings: those that were declared, read off, and assumed."""
        return {k: [str(v) for v in found] if k == "dt_limit" else found for k, found in asdict(self.mamba).items()}

    def _check_width(self, config: MambaConfig) -> None:
        from qinspect.inspector.models.rotation import hadamard

        try:
            hadamard(config.d_model)
            hadamard(config.d_inner)
        except ValueError as e:
            cure = "Choose --recipe percentile or minmax."
            raise UsageError(f"cannot be rotated: {e}", file=self.path, cure=cure) from e


def _by_state_spaces_key(checkpoint: Checkpoint) -> dict[str, Stored]:
    """Tensors by the keys of state-spaces. Raises CannotOpen for what is no tensor, and for two of one key."""
    made: dict[str, Stored] = {}
    for name, entry in checkpoint.entries.items():
        if not isinstance(entry, Stored):
            if name.endswith("_extra_state"):
                continue
            raise CannotOpen(
                "has an entry that is not a tensor", file=entry.file.path, key=name, found=entry.kind,
                cure="Save the model's state_dict alone.",
            )  # fmt: skip
        key = name.replace("backbone.embeddings.", "backbone.embedding.")
        if key in made:
            raise CannotOpen(
                "two tensors are the same part of the model", file=entry.file.path, key=name,
                found=f"{made[key].name} too", cure="Remove one of them.",
            )  # fmt: skip
        made[key] = entry
    return made


def _check_parts(declared: Declared, stored: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raises CannotOpen where a tensor is missing, has another shape, or is one that no Mamba has here."""
    for name, shape in wanted.items():
        if name not in stored:
            if name == HEAD:  # tied
                continue
            raise CannotOpen(
                "is not a complete Mamba model", file=declared.file.parent, key=name, expected="a tensor of this name",
                cure="Download or save the model again.",
            )  # fmt: skip
        found = stored[name].shape
        if found != shape:
            transposed = len(shape) == 2 and found == shape[::-1]
            raise bad_shape(declared, name, str(list(shape)), found, transposed, stored[name].file.path)
    for name, t in stored.items():
        if name not in wanted:  # a forward that leaves out a part is another model's
            raise CannotOpen(
                "has a part that no Mamba model has here", file=t.file.path, key=t.name,
                cure="Remove it from the file if it is not part of the model, such as an optimizer's state.",
            )  # fmt: skip


def _is_product(name: str) -> bool:
    """Whether a weight is kept in the dtype of products."""
    return CONVOLVED in name or any(part in name for part in COMPUTED)


def _compute_dtype(name: str, numerics: Numerics) -> torch.dtype | None:
    if CONVOLVED in name:
        return torch.float32
    return numerics.compute if _is_product(name) else None
