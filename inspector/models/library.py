"""A quantized checkpoint as transformers itself runs it: by the library's own quantizer, with the kernels that it has
on this device, and not in the modules of a reference."""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from qinspect.inspector.errors import CannotOpen, CannotRead, QinspectError, UsageError
from qinspect.inspector.models.load import DTYPES
from qinspect.inspector.models.memory import is_shortage, no_room
from qinspect.inspector.text import some

_INSTALL = re.compile(r"pip install [^`)]+")
_PLAIN = frozenset(str(dtype).removeprefix("torch.") for dtype in DTYPES.values())


class LibraryModel:
    """path: of the model. engine: name and version of the library, and of the package of its quantizer where one is
    installed under the name of the method."""

    def __init__(self, path: str, device: torch.device, dtype: str, quantized: bool = True) -> None:
        """dtype: of what passes between modules, of load.DTYPES. quantized: whether the checkpoint is.

        Raises UsageError for a package that is missing, by its name; CannotOpen where the config names no quantizer, or
        weights are left random; CannotRead for whatever else the library says.
        """
        self.path, self.device = path, device
        with _telling(path, str(device)):
            import transformers

            transformers.logging.set_verbosity_error()
            transformers.logging.disable_progress_bar()
            given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            config = transformers.AutoConfig.from_pretrained(path, **given)
            method = _method_of(config)
            if quantized and not method:
                raise CannotOpen(
                    "transformers cannot run it: it would take its codes for weights", file=path,
                    key="quantization_config", expected="a quantizer that config.json names", found="none",
                )  # fmt: skip
            placed = {} if device.type == "cpu" else {"device_map": {"": str(device)}}
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                path, dtype=DTYPES[dtype], output_loading_info=True, **given, **placed
            )
        made, info = loaded
        missing = sorted(info.get("missing_keys") or ())
        if missing:
            raise CannotOpen(
                f"transformers finds no values for {some(len(missing), 'weight')} and makes them up", file=path,
                key=missing[0], expected="a tensor of the name that transformers has for it",
            )  # fmt: skip
        self._model: Any = made.eval()
        self.engine = f"transformers {transformers.__version__}{_package_of(method)}"

    def logits(self, ids: Tensor) -> Tensor:
        """ids: int64[batch, length] -> float[batch, length, vocabulary]. Raises CannotRead for a forward that fails."""
        with _telling(self.path, str(self.device), *ids.shape), torch.inference_mode():
            found: Tensor = self._model(ids.to(self.device), use_cache=False).logits
        return found

    def modules(self) -> Mapping[str, int]:
        """How many modules of which class hold matrices of which dtype: `Linear of float32`, `BitLinear of uint8`.
        Embeddings and the head are not among them. Some libraries dequantize in the first forward: ask after it."""
        head = self._model.get_output_embeddings()
        found: Counter[str] = Counter()
        for module in self._model.modules():
            dtype = _dtype_of(module)
            if dtype and module is not head and not isinstance(module, nn.Embedding):
                found[f"{type(module).__name__} of {dtype}"] += 1
        return found

    @property
    def is_dequantized(self) -> bool:
        """Whether no module holds anything but floating point weights of 16 or 32 bits."""
        return all(said.rpartition(" of ")[2] in _PLAIN for said in self.modules())


def _dtype_of(module: nn.Module) -> str:
    """Of the first matrix of its own, or the class of one that is no plain tensor; "" where it has none."""
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    found = {name: w for name, w in own if w.ndim > 1 and "scale" not in name and "zero" not in name}
    matrix = found.get("weight", next(iter(found.values()), None))
    if matrix is None:
        return ""
    plain = type(matrix) in (Tensor, nn.Parameter)
    return str(matrix.dtype).removeprefix("torch.") if plain else type(matrix).__name__


def _method_of(config: Any) -> str:
    """What the config calls its quantization; "" where it has none."""
    found = getattr(config, "quantization_config", None)
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "") if found else ""


def _package_of(method: str) -> str:
    """Version of the package of that name. Methods that transformers implements itself have none."""
    try:
        return f", {method} {importlib.metadata.version(method)}" if method else ""
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""


@contextmanager
def _telling(path: str, device: str, batch: int = 0, length: int = 0) -> Iterator[None]:
    """What the library raises, in one sentence. A package that is missing is told by the library with the command that
    installs it, or is the name of an import that fails."""
    try:
        yield
    except QinspectError:
        raise
    except ImportError as e:
        said = " ".join(str(e).split())
        command = _INSTALL.search(said)
        name = command[0].removeprefix("pip install").strip("'\" ") if command else (e.name or "").partition(".")[0]
        if not name:
            raise UsageError(f"transformers cannot run it here: {said}", file=path) from e
        raise UsageError(
            f"transformers needs the package {name} to run it", file=path, cure=f"Run pip install '{name}'."
        ) from e
    except Exception as e:
        said = " ".join(str(e).split())
        if is_shortage(e) or isinstance(e, torch.OutOfMemoryError):
            raise no_room(path, said, device, batch, length) from e
        raise CannotRead(f"transformers cannot run it here: {type(e).__name__}: {said}", file=path) from e
