"""Any transformers model: what goes into its linear layers and convolutions, and what comes out, is observed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qinspect.inspector.calibrate.models.mamba import Probe, unobserved
from qinspect.inspector.errors import CannotOpen, UsageError


class HuggingFaceModel:
    """A causal language model or an encoder, in its own 16-bit dtype on every device.

    The points are `<module>:input` and `<module>:output` of every linear layer and convolution. device: `auto` spreads
    a model that is larger than one GPU (accelerate).
    """

    is_mamba = False
    rotated = False
    prefix = ""

    def __init__(self, path: str, device: torch.device | str, dtype: str = "") -> None:
        try:
            import transformers
        except ImportError as e:
            cure = "Install the calibration extra: pip install 'qinspect[calibrate]'."
            raise UsageError("transformers is needed for this model", file=path, cure=cure) from e
        self.path = path
        self.is_spread = spread = str(device) == "auto"
        given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if spread:
            given["device_map"] = "auto"
        try:
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            names = getattr(config, "architectures", None) or [""]
            kind = transformers.AutoModelForCausalLM if names[0].endswith("ForCausalLM") else transformers.AutoModel
            self._model = kind.from_pretrained(path, dtype=dtype or "auto", **given)
        except (OSError, ValueError, ImportError, KeyError, RuntimeError) as e:
            raise CannotOpen(f"transformers cannot load it: {' '.join(str(e).split())}", file=path) from e
        if not spread:
            self._model.to(device)  # type: ignore[arg-type]
        self._model.requires_grad_(False).eval()
        first = next(self._model.parameters())
        self.device, self.dtype = first.device, str(first.dtype).removeprefix("torch.")
        self.vocab_size = int(config.vocab_size)
        modules = dict(self._model.named_modules())
        linears = {n: m for n, m in modules.items() if isinstance(m, nn.Linear | nn.Conv1d | transformers.Conv1D)}
        self.linears = tuple(f"{n}.weight" for n, m in linears.items() if isinstance(m, nn.Linear) and n != "lm_head")
        self._observe: Probe = unobserved
        for name, module in linears.items():
            module.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def show(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if self._observe is not unobserved:
                for suffix, x in (("input", inputs[0] if inputs else None), ("output", output)):
                    if isinstance(x, Tensor) and x.is_floating_point():
                        self._observe(f"{name}:{suffix}", x)

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
        """transformers' keys."""
        return dict(self._model.state_dict())

    def config(self) -> dict[str, Any]:
        """As transformers would save it."""
        found: dict[str, Any] = self._model.config.to_diff_dict()
        return found
