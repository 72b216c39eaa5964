"""A model from its files, ready to be observed."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.calibrate.models.folding import fold_and_rotate
from qinspect.inspector.calibrate.models.mamba import MambaConfig, MambaLM, Probe, config_of
from qinspect.inspector.calibrate.models.numerics import Numerics
from qinspect.inspector.checkpoint import Checkpoint, open_checkpoint
from qinspect.inspector.errors import CannotOpen, CannotRead, QinspectError, UsageError
from qinspect.inspector.formats import PlainFormat, format_of

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
    any number. unquantized: what else it multiplies with, in words, and a checkpoint keeps as it is.
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

    def forward(self, ids: Tensor, observe: Probe) -> Tensor:
        """ids: int64[batch, length] on `device` -> logits or hidden states. Never waits for the device."""

    def weights(self) -> dict[str, Tensor]:
        """What a checkpoint of this model holds, by its own keys: rotated, where it is."""

    def config(self) -> dict[str, Any]:
        """config.json of such a checkpoint."""


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
    try:
        return model.forward(torch.from_numpy(ids).to(model.device), observe)
    except (QinspectError, torch.OutOfMemoryError):
        raise
    except Exception as e:  # whatever a model of anybody's does
        said = " ".join(str(e).split())
        if "can't allocate memory" in said:  # torch's allocator on the CPU
            raise no_room(model.path, said) from e
        raise CannotRead(
            f"the model fails on {ids.shape[0]} x {ids.shape[1]} tokens: {type(e).__name__}: {said}", file=model.path,
            cure="Is it a causal language model or an encoder that takes token ids alone?",
        ) from e  # fmt: skip


def no_room(path: str, said: object) -> CannotRead:
    """Neither for the model nor for a single forward."""
    return CannotRead(
        f"the device has too little memory for the model and one forward: {str(said).split('.')[0]}", file=path,
        cure="Choose a smaller --seq-len or --batch, a free GPU, or --device auto or cpu.",
    )  # fmt: skip


def is_mamba(checkpoint: Checkpoint) -> bool:
    """Whether its mixers are Mamba's or Mamba2's. Falcon's have the same names and norms without weights in between."""
    if checkpoint.config.get("model_type") == "falcon_mamba":
        return False
    return any(name.endswith(".mixer.A_log") for name in checkpoint.entries)


def open_model(path: str, rotated: bool, device: torch.device, dtype: str = "") -> ProbedModel:
    """The model in a file or folder. rotated: in Hadamard space, which only Mamba's can be.

    Raises CannotOpen for what is no model that can be run, UsageError for what cannot be asked of it.
    """
    checkpoint = open_checkpoint(path)
    try:
        if is_mamba(checkpoint):
            return MambaModel(path, checkpoint, rotated, device, dtype)
        if not isinstance(found := format_of(checkpoint), PlainFormat):
            raise CannotOpen(
                "is quantized already", file=path, found=found.family, cure="Calibrate the model that it was made from."
            )
    finally:
        checkpoint.close()
    if rotated:
        raise UsageError("the recipe is for Mamba models", file=path, cure="Choose --recipe percentile or minmax.")
    from qinspect.inspector.calibrate.models.huggingface import HuggingFaceModel

    return HuggingFaceModel(path, device, dtype)


class MambaModel:
    """A Mamba or Mamba2 with the forward of mamba.py."""

    is_mamba = True
    is_spread = False
    may_show: tuple[str, ...] = ()
    max_length: int | None = None
    unquantized = ""

    def __init__(self, path: str, checkpoint: Checkpoint, rotated: bool, device: torch.device, dtype: str) -> None:
        self.path, self.device, self.rotated = path, device, rotated
        self.overwritten: set[str] = set()
        weights = {_state_spaces(t.name): as_torch(t.read()).to(device) for t in checkpoint.tensors()}
        embedding = "backbone.embedding.weight"
        for name in (embedding, "backbone.norm_f.weight"):
            if name not in weights:
                raise CannotOpen("is no whole Mamba model", file=path, key=name, expected="a tensor of this name")
        for name, w in weights.items():
            if not w.is_floating_point():
                raise CannotOpen(
                    "is quantized already", file=path, key=name, expected="float16, bfloat16 or float32",
                    found=str(w.dtype).removeprefix("torch."), cure="Calibrate the model that it was made from.",
                )  # fmt: skip
        weights.setdefault("lm_head.weight", weights[embedding])
        self.dtype = dtype or str(weights[embedding].dtype).removeprefix("torch.")
        numerics = Numerics.on(device, DTYPES[self.dtype])
        self._config = checkpoint.config
        if self._config.get("hidden_act", "silu") not in ("silu", "swish"):
            raise CannotOpen(
                "has another activation than Mamba's", file=path, key="hidden_act", expected="silu",
                found=str(self._config["hidden_act"]),
            )  # fmt: skip
        try:
            made = config_of(self._config, {k: tuple(w.shape) for k, w in weights.items()})
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as e:
            raise CannotOpen(f"is a Mamba model of an unknown layout: {e!r}", file=path) from e
        if rotated:
            self._check_width(made)
            weights = fold_and_rotate(weights, DTYPES[self.dtype])
            made = dataclasses.replace(made, rotated=True)
        self.mamba, self.vocab_size = made, made.vocab_size
        self.linears = tuple(k for k in weights if k.endswith("_proj.weight"))
        self._stored = {k: w.to(DTYPES[self.dtype]) if _compute_dtype(k, numerics) else w for k, w in weights.items()}
        computed = {k: w.to(_compute_dtype(k, numerics) or w.dtype) for k, w in self._stored.items()}
        with torch.device("meta"):
            self._lm = MambaLM(made, numerics)
        try:
            problem = self._lm.load_state_dict(computed, strict=False, assign=True)
        except RuntimeError as e:
            raise CannotOpen(f"is a Mamba model of an unknown layout: {' '.join(str(e).split())}", file=path) from e
        if problem.missing_keys:
            raise CannotOpen("is no whole Mamba model", file=path, key=problem.missing_keys[0], expected="this tensor")
        if problem.unexpected_keys:  # a forward that leaves out a part is another model's
            raise CannotOpen("has a part that no Mamba model has here", file=path, key=problem.unexpected_keys[0])
        self._lm.requires_grad_(False)

    def forward(self, ids: Tensor, observe: Probe) -> Tensor:
        """ids: int64[batch, length] -> logits."""
        with torch.inference_mode():
            logits: Tensor = self._lm(ids, observe)
        return logits

    def weights(self) -> dict[str, Tensor]:
        """State-spaces keys."""
        return self._stored

    def config(self) -> dict[str, Any]:
        """Of the files it came from, and whether it is rotated now."""
        return {**self._config, **({"rotation": "hadamard", "tie_embeddings": False} if self.rotated else {})}

    def _check_width(self, config: MambaConfig) -> None:
        from qinspect.inspector.calibrate.models.rotation import hadamard

        try:
            hadamard(config.d_model)
            hadamard(config.d_inner)
        except ValueError as e:
            cure = "Choose --recipe percentile or minmax."
            raise UsageError(f"cannot be rotated: {e}", file=self.path, cure=cure) from e


def _state_spaces(name: str) -> str:
    return name.replace("backbone.embeddings.", "backbone.embedding.")


def _compute_dtype(name: str, numerics: Numerics) -> torch.dtype | None:
    if CONVOLVED in name:
        return torch.float32
    return numerics.compute if any(part in name for part in COMPUTED) else None
