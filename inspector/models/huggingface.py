"""Any transformers model: what goes into its linear layers and convolutions, and what comes out, is observed."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotOpen, QinspectError, UsageError
from qinspect.inspector.models import memory
from qinspect.inspector.models.declared import Declared, blamed
from qinspect.inspector.models.free import free_on, others
from qinspect.inspector.models.mamba import Probe, unobserved
from qinspect.inspector.models.memory import Need
from qinspect.inspector.models.planned import assumed_of, check_loaded, check_planned, check_values


class HuggingFaceModel:
    """A causal language model or an encoder, in its own 16-bit dtype on every device.

    The points are `<module>:input` and `<module>:output` of every linear layer and convolution. device: `auto` spreads
    a model that is larger than one GPU (accelerate).
    """

    is_mamba = False
    rotated = False

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
        self.linears = tuple(f"{n}.weight" for n in linears)
        self.may_show = tuple(f"{n}:{suffix}" for n in modules for suffix in ("input", "output"))
        self.unquantized = self._beside(modules, head)
        self._observe: Probe = unobserved
        for name, module in modules.items():
            module.register_forward_hook(self._hook(name), with_kwargs=True)

    def _beside(self, modules: Mapping[str, nn.Module], head: nn.Module | None) -> str:
        """Weights of products that are in no linear layer, in words: experts in one tensor, GPT-2's layers."""
        owned = {id(m.weight) for m in modules.values() if isinstance(m, nn.Linear) or m is head}
        owned |= {id(m.weight) for m in self._model.modules() if isinstance(m, nn.Embedding)}
        beside = [n for n, p in self._model.named_parameters() if p.ndim > 1 and id(p) not in owned]
        return f"{len(beside)} weights are not those of linear layers: {beside[0]}" if beside else ""

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def show(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if self._observe is not unobserved:
                given = [x for x in (*inputs, *named.values()) if isinstance(x, Tensor)]
                for suffix, x in (("input", given[0] if given else None), ("output", output)):
                    point = f"{name}:{suffix}"
                    if isinstance(x, Tensor) and x.is_floating_point():
                        self._observe(point, x.clone() if point in self.overwritten else x)

        return show

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

    @property
    def _no_cache(self) -> dict[str, Any]:
        return {"use_cache": False} if getattr(self._model.config, "use_cache", None) is not None else {}

    def weights(self) -> dict[str, Tensor]:
        """transformers' keys. A tensor that several modules share is there once, under the first of its names that is
        to be quantized, else under its first name."""
        made: dict[str, Tensor] = {}
        owners: dict[tuple[Any, ...], str] = {}
        chosen = frozenset(self.linears)
        for name, w in sorted(self._model.state_dict().items(), key=lambda item: item[0] not in chosen):
            place = (w.data_ptr(), w.dtype, tuple(w.shape), w.stride())
            if not w.numel() or place not in owners or name in chosen:
                made[name] = w
                owners.setdefault(place, name)
        return made

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
