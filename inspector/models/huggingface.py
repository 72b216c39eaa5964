"""Any transformers model: what goes into its linear layers and convolutions, and what comes out, is observed."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotOpen, QinspectError, UsageError
from qinspect.inspector.models import memory
from qinspect.inspector.models.caches import show_caches
from qinspect.inspector.models.declared import Declared, blamed
from qinspect.inspector.models.experts import Experts, experts_of
from qinspect.inspector.models.free import free_on, others
from qinspect.inspector.models.mamba import Probe, unobserved
from qinspect.inspector.models.memory import Need
from qinspect.inspector.models.planned import assumed_of, check_loaded, check_planned, check_values

Args = tuple[Any, ...]


class HuggingFaceModel:
    """A causal language model or an encoder, in its own 16-bit dtype on every device.

    The points are `<module>:input` and `<module>:output` of every linear layer and convolution, and of every projection
    of every expert, whose modules are called `<experts>.<number>.<projection>`. device: `auto` spreads a model that is
    larger than one GPU (accelerate).
    """

    is_mamba = False
    rotated = False
    pieces: Mapping[str, tuple[str, ...]]
    expert_inputs: Mapping[str, tuple[tuple[str, int], ...]]

    def __init__(
        self, path: str, checkpoint: Checkpoint, declared: Declared, device: torch.device | str, dtype: str = ""
    ) -> None:
        try:
            import transformers
        except ImportError as e:
            cure = "Install the calibration extra: pip install 'qinspect[calibrate]'."
            raise UsageError("transformers is needed for this model", file=path, cure=cure) from e
        self.path = path
        self.is_spread = str(device) == "auto"
        self.overwritten: set[str] = set()
        if not isinstance(declared.get("model_type"), str):
            raise declared.refused("model_type", "the name of an architecture", declared.get("model_type"))
        given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        # what they would say of the files, they would say raw
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        with _clearly(declared.file, "transformers cannot make a model of it", declared):
            config = transformers.AutoConfig.from_pretrained(path, **given)
            kind = _class_of(config, declared)
            with torch.device("meta"):
                planned = kind(copy.deepcopy(config))
        self.assumed = assumed_of(declared, config)
        check_planned(checkpoint, declared, planned)
        self.need = _need(planned, dtype or _dtype_of(config, checkpoint))
        memory.check_weights(self.need, path, str(device), free_on(device), lambda: others(device))
        with _clearly(path, "transformers cannot load it"):
            more = {"device_map": "auto"} if self.is_spread else {}
            made, info = kind.from_pretrained(
                path, dtype=dtype or "auto", output_loading_info=True, ignore_mismatched_sizes=True, **given, **more
            )
        self.notes = check_loaded(checkpoint, planned, info)
        self._model: Any = made if self.is_spread else made.to(device)
        self._model.requires_grad_(False).eval()
        if any(p.is_meta for p in self._model.parameters()):
            cure = "Choose --device cpu, or more GPUs."
            raise UsageError("the model does not fit on the GPUs that are free", file=path, cure=cure)
        first = next(self._model.parameters())
        self.device, self.dtype = first.device, str(first.dtype).removeprefix("torch.")
        check_values(checkpoint, self._model, self.dtype)
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        self.vocab_size = _size_of_vocabulary(text, self._model)
        found = getattr(text, "max_position_embeddings", None)
        self.max_length = found if isinstance(found, int) and found > 0 else None
        head = self._model.get_output_embeddings()
        kinds = (nn.Linear, nn.Conv1d, transformers.Conv1D)
        modules = {n: m for n, m in self._model.named_modules() if isinstance(m, kinds)}
        linears = [n for n, m in modules.items() if isinstance(m, nn.Linear) and m is not head]
        self._take(experts_of(self._model, self._shown))
        self.linears = (*(f"{n}.weight" for n in linears), *self._expert_of)
        self._head_input = next((f"{n}:input" for n, m in modules.items() if m is head), "")
        self.may_show = (*(f"{n}:{end}" for n in modules for end in ("input", "output")), *self._expert_points)
        self.unquantized = self._beside(modules, head)
        self._observe: Probe = unobserved
        for name, module in modules.items():
            module.register_forward_pre_hook(self._before(f"{name}:input"), with_kwargs=True)
            module.register_forward_hook(self._behind(f"{name}:output"))

    def _take(self, found: Sequence[Experts]) -> None:
        """The experts of each layer that has them in one tensor."""
        self._expert_of = {key: experts for experts in found for key in experts.keys}
        self._expert_points = [point for experts in found for point in experts.points()]
        self.pieces = {fused: experts.keys_in(fused) for experts in found for fused in experts.fused}
        self.expert_inputs = {experts.name: experts.inputs() for experts in found}

    def _beside(self, modules: Mapping[str, nn.Module], head: nn.Module | None) -> str:
        """Weights of products that are in no linear layer, in words: routers, GPT-2's layers."""
        owned = {id(m.weight) for m in modules.values() if isinstance(m, nn.Linear) or m is head}
        owned |= {id(m.weight) for m in self._model.modules() if isinstance(m, nn.Embedding)}
        small = tuple(f"{fused}_bias" for fused in self.pieces)
        beside = [
            n for n, p in self._model.named_parameters()
            if p.ndim > 1 and id(p) not in owned and n not in self.pieces and n not in small
        ]  # fmt: skip
        return f"{len(beside)} weights are not those of linear layers: {beside[0]}" if beside else ""

    def _shown(self, point: str, x: object) -> Tensor | None:
        """What goes on in the place of what a point shows; None where it is the same."""
        if self._observe is unobserved or not isinstance(x, Tensor) or not x.is_floating_point():
            return None
        return self._observe(point, x.clone() if point in self.overwritten else x)

    def _before(self, point: str) -> Callable[[nn.Module, Args, dict[str, Any]], tuple[Args, dict[str, Any]] | None]:
        """The first tensor that goes into a module."""

        def show(_module: nn.Module, inputs: Args, named: dict[str, Any]) -> tuple[Args, dict[str, Any]] | None:
            at = next((i for i, x in enumerate(inputs) if isinstance(x, Tensor)), None)
            key = next((k for k, x in named.items() if isinstance(x, Tensor)), None) if at is None else None
            if at is None and key is None:
                return None
            found = self._shown(point, inputs[at] if at is not None else named[str(key)])
            if found is None:
                return None
            if at is None:
                return inputs, {**named, str(key): found}
            return (*inputs[:at], found, *inputs[at + 1 :]), named

        return show

    def _behind(self, point: str) -> Callable[[nn.Module, Args, Any], Tensor | None]:
        """What comes out of it."""
        return lambda _module, _inputs, output: self._shown(point, output)

    def forward(self, ids: Tensor, observe: Probe) -> Tensor:
        """ids: int64[batch, length] -> logits, or the hidden states of an encoder."""
        self._observe = observe
        try:
            with torch.inference_mode():
                out = self._model(ids, **self._no_cache)
        finally:
            self._observe = unobserved
        found: Tensor = out[0]
        return found

    def hidden(self, ids: Tensor, observe: Probe) -> Tensor:
        """What goes into the head: the head is given one position and no more."""
        if not self._head_input:
            raise UsageError("has no head that makes logits", file=self.path, cure="Choose a causal language model.")
        kept: list[Tensor] = []

        def keep(point: str, x: Tensor) -> Tensor | None:
            found = observe(point, x)
            if point == self._head_input:
                kept.append(x if found is None else found)
                return kept[0][:, :1]
            return found

        self.forward(ids, keep)
        return kept[0]

    def head(self, hidden: Tensor, weight: Tensor | None = None) -> Tensor:
        """float[..., vocabulary]."""
        module = self._model.get_output_embeddings()
        with torch.inference_mode():
            if weight is None:
                found: Tensor = module(hidden)
                return found
            return functional.linear(hidden, weight.to(hidden.device, hidden.dtype), module.bias)

    def show_caches(self) -> bool:
        """Of every layer whose attention is a registered function."""
        return show_caches(self._model, self._shown)

    def names(self) -> dict[str, Tensor]:
        """transformers' keys, those of tied tensors too, and of each projection of each expert beside the tensor of
        all."""
        return {**self._model.state_dict(), **self._of_experts()}

    def _of_experts(self) -> dict[str, Tensor]:
        return {key: experts.weight(key) for key, experts in self._expert_of.items()}

    def put(self, key: str, values: Tensor) -> None:
        """Of transformers' keys, or an expert's. Another shape is refused."""
        if key in self._expert_of:
            self._expert_of[key].put(key, values)
            return
        parent, _, name = key.rpartition(".")
        at = self._model.get_submodule(parent)
        own = getattr(at, name)
        kept = values.to(own.device, own.dtype).reshape(own.shape)
        setattr(at, name, nn.Parameter(kept, requires_grad=False))

    @property
    def _no_cache(self) -> dict[str, Any]:
        return {"use_cache": False} if getattr(self._model.config, "use_cache", None) is not None else {}

    def weights(self) -> dict[str, Tensor]:
        """transformers' keys, and each projection of each expert in the place of the tensor of all. A tensor that
        several modules share is there once, under the first of its names that is to be quantized, else under its first
        name."""
        made: dict[str, Tensor] = {}
        owners: dict[tuple[Any, ...], str] = {}
        chosen = frozenset(self.linears)
        for name, w in sorted(self._model.state_dict().items(), key=lambda item: item[0] not in chosen):
            place = (w.data_ptr(), w.dtype, tuple(w.shape), w.stride())
            if not w.numel() or place not in owners or name in chosen:
                made[name] = w
                owners.setdefault(place, name)
        return {**{name: w for name, w in made.items() if name not in self.pieces}, **self._of_experts()}

    def decides(self) -> dict[str, Any]:
        """The whole config, but for what another version of the library writes into it and where it was read."""
        beside = ("transformers_version", "_name_or_path", "dtype", "torch_dtype")
        found = {k: v for k, v in self._model.config.to_dict().items() if k not in beside}
        return {"sha256": hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()}

    def config(self) -> dict[str, Any]:
        """As transformers would save it."""
        found: dict[str, Any] = self._model.config.to_diff_dict()
        return found


@contextmanager
def _clearly(path: str | Path, problem: str, declared: Declared | None = None) -> Iterator[None]:
    """What the library, its backends and the files' parsers raise, as one error; memory is for the caller to name."""
    try:
        yield
    except (QinspectError, torch.OutOfMemoryError):
        raise
    except Exception as e:
        if memory.is_shortage(e):
            raise
        said = " ".join(str(e).split())
        key = blamed(declared, said) if declared else None
        raise CannotOpen(f"{problem}: {type(e).__name__}: {said}", file=path, key=key) from e


def _dtype_of(config: Any, checkpoint: Checkpoint) -> str:
    """What the library will load it in: as the config says, else as the first weight of the files."""
    declared = str(getattr(config, "dtype", None) or "").removeprefix("torch.")
    if declared in memory.BYTES_OF:
        return declared
    return next((t.dtype.name for t in checkpoint.tensors() if t.dtype.name in memory.BYTES_OF), "float32")


def _need(planned: Any, dtype: str) -> Need:
    head = planned.get_output_embeddings()
    n_out = int(head.weight.shape[0]) if isinstance(head, nn.Linear) else 0
    return Need(sum(p.numel() for p in planned.parameters()), dtype, vocab_size=n_out)


def _class_of(config: Any, declared: Declared) -> Any:
    """The class that the weights were saved from: another of the same family would have parts with random weights.
    Raises CannotOpen for one of another family."""
    import transformers

    names = getattr(config, "architectures", None) or [""]
    found = getattr(transformers, names[0], None)
    if found is not None and hasattr(found, "from_pretrained"):
        if not isinstance(config, found.config_class or object):
            raise declared.refused("architectures", f"a class for the model_type {config.model_type}", names[0])
        return found
    return transformers.AutoModelForCausalLM if names[0].endswith("ForCausalLM") else transformers.AutoModel


def _size_of_vocabulary(config: Any, model: Any) -> int:
    found = getattr(config, "vocab_size", None)
    return int(found) if isinstance(found, int) else int(model.get_input_embeddings().weight.shape[0])
