"""Where the modules of a Quamba checkpoint are, how they are quantized, and their logical sizes.

Told by the keys of each module, not by config.json: its norm class is copied from layer 0 whatever norm_f is,
bits and head groups are not in it, and converted files may have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.records import Problem

_MIXER = re.compile(r"^(.*?)layers\.(\d+)\.(mixer|mixers\.[^.]+)\.in_proj\.weight$")


@dataclass(frozen=True, slots=True)
class Linear:
    """One quantized linear layer. path: its module. scheme: W8A8, W4A8 or W4A16. n_in, n_out: logical sizes."""

    path: str
    scheme: str
    n_in: int
    n_out: int

    @property
    def bits(self) -> int:
        """Bits of a weight code."""
        return int(self.scheme[1])


@dataclass(frozen=True, slots=True)
class Layer:
    """One mixer with its norm. mixer, norm: module paths. role: `layers.3.mixer`, with `[W4A8]` where a hybrid layer
    keeps several mixers. mamba: 1 or 2. d_inner: channels of x. d_conv: channels of the convolution.
    n_heads: 0 for Mamba1."""

    index: int
    mixer: str
    norm: str
    role: str
    mamba: int
    d_inner: int
    d_conv: int
    n_heads: int

    @property
    def segments(self) -> dict[str, tuple[int, int]]:
        """Mamba2: row ranges of z, x, B, C and dt in in_proj's output."""
        d_state = (self.d_conv - self.d_inner) // 2
        ends = {}
        start = 0
        for name, n in (("z", self.d_inner), ("x", self.d_inner), ("B", d_state), ("C", d_state), ("dt", self.n_heads)):
            ends[name] = (start, start + n)
            start += n
        return ends


def scheme_of(checkpoint: Checkpoint, path: str) -> str | None:
    """W8A8, W4A8 or W4A16 by the module's own keys; None where it is not quantized."""
    weight = checkpoint.tensor(f"{path}.weight")
    if weight is None:
        return None
    if weight.dtype.name == "int32" and f"{path}.s_channel" in checkpoint and f"{path}.s_group" in checkpoint:
        return "W4A8"
    if weight.dtype.name == "int32" and f"{path}.scale" in checkpoint:
        return "W4A16"
    if weight.dtype.name == "int8" and f"{path}.a" in checkpoint and f"{path}.b" in checkpoint:
        return "W8A8"
    return None


def n_inputs(checkpoint: Checkpoint, path: str) -> int:
    """Input features of a linear layer, quantized or not."""
    weight = checkpoint.tensor(f"{path}.weight")
    if weight is None or len(weight.shape) != 2:
        raise CannotDequantize("the weight is missing or not a matrix", file=checkpoint.path, key=f"{path}.weight")
    scheme = scheme_of(checkpoint, path)
    if scheme is None:
        return weight.shape[1]
    return weight.shape[0] * 16 if scheme.startswith("W4") else weight.shape[0]


def linear(checkpoint: Checkpoint, path: str, n_out: int) -> Linear | None:
    """The quantized linear layer at `path`; None where it is absent or not quantized."""
    scheme = scheme_of(checkpoint, path)
    return None if scheme is None else Linear(path, scheme, n_inputs(checkpoint, path), n_out)


def find_layers(checkpoint: Checkpoint) -> tuple[str, tuple[Layer, ...], list[Problem]]:
    """(root prefix, layers in order, what is wrong with those that are left out). The root is `backbone.` as Quamba
    saves it. Raises CannotDequantize where no layer is left."""
    found: list[tuple[int, str, str]] = []
    root = ""
    for name in checkpoint.entries:
        if match := _MIXER.match(name):
            root = match[1]
            found.append((int(match[2]), match[3], match[1]))
    layers: list[Layer] = []
    problems: list[Problem] = []
    per_layer: dict[int, int] = {}
    same: dict[tuple[int, str], int] = {}
    for index, module, _ in found:
        per_layer[index] = per_layer.get(index, 0) + 1
        same[index, module] = same.get((index, module), 0) + 1
    for index, module, prefix in sorted(found):
        variant = module.partition(".")[2]
        role = f"layers.{index}.mixer" + (f"[{variant}]" if per_layer[index] > 1 else "")
        if same[index, module] > 1:  # one model within another: each has its own
            role = f"{prefix}layers.{index}.{module}"
        norm = f"{prefix}layers.{index}.norms.{variant}" if variant else f"{prefix}layers.{index}.norm"
        try:
            layers.append(_layer(checkpoint, index, f"{prefix}layers.{index}.{module}", norm, role))
        except CannotDequantize as e:
            problems.append(Problem(f"{prefix}layers.{index}.{module}", e))
    if problems and not layers:
        raise problems[0].error
    return root, tuple(layers), problems


def _layer(checkpoint: Checkpoint, index: int, mixer: str, norm: str, role: str) -> Layer:
    convolution = checkpoint.tensor(f"{mixer}.conv1d.weight")
    if convolution is None or not convolution.shape:
        raise CannotDequantize("the convolution is missing", file=checkpoint.path, key=f"{mixer}.conv1d.weight")
    d_conv = convolution.shape[0]
    if checkpoint.tensor(f"{mixer}.x_proj.weight") is not None:
        return Layer(index, mixer, norm, role, 1, d_conv, d_conv, 0)
    heads = checkpoint.tensor(f"{mixer}.qchunk_scan.dt_bias") or checkpoint.tensor(f"{mixer}.dt_bias")
    if heads is None or len(heads.shape) != 1:
        raise CannotDequantize("dt_bias is missing: neither Mamba1 nor Mamba2", file=checkpoint.path, key=mixer)
    return Layer(index, mixer, norm, role, 2, n_inputs(checkpoint, f"{mixer}.out_proj"), d_conv, heads.shape[0])


def linears_of(checkpoint: Checkpoint, layer: Layer) -> Iterator[tuple[str, Linear]]:
    """(name in the mixer, layer) of each quantized linear layer, in forward order."""
    m = layer.mixer
    d_model = _d_model(checkpoint, layer)
    if layer.mamba == 1:
        a_log = checkpoint.tensor(f"{m}.selective_scan.A_log") or checkpoint.tensor(f"{m}.A_log")
        d_state = a_log.shape[1] if a_log is not None and len(a_log.shape) == 2 else 0
        sizes = {
            "in_proj": 2 * layer.d_inner,
            "x_proj": n_inputs(checkpoint, f"{m}.dt_proj") + 2 * d_state,
            "dt_proj": layer.d_inner,
            "out_proj": d_model,
        }
    else:
        sizes = {"in_proj": layer.d_inner + layer.d_conv + layer.n_heads, "out_proj": d_model}
    for name, n_out in sizes.items():
        found = linear(checkpoint, f"{m}.{name}", n_out)
        if found:
            yield name, found


def _d_model(checkpoint: Checkpoint, layer: Layer) -> int:
    return n_inputs(checkpoint, f"{layer.mixer}.in_proj")


def vocabulary(checkpoint: Checkpoint, root: str) -> int:
    """Rows of the embedding, which lm_head's outputs match: the vocabulary padded as config.json says."""
    embedding = checkpoint.tensor(f"{root}embedding.weight")
    if embedding is not None and embedding.shape:
        return embedding.shape[0]
    size = checkpoint.config.get("vocab_size", 0)
    multiple = checkpoint.config.get("pad_vocab_size_multiple", 1)
    if not isinstance(size, int) or not isinstance(multiple, int) or multiple < 1:
        return 0
    return -(-size // multiple) * multiple


def head_path(checkpoint: Checkpoint, root: str) -> str:
    """Module path of lm_head: beside the backbone, or at the top where the backbone was renamed."""
    beside = root.removesuffix("backbone.") + "lm_head"
    return beside if f"{beside}.weight" in checkpoint else "lm_head"


def parameter_role(layer: Layer, leaf: str) -> str:
    """`leaf` (with its dot) under the name that it has in an unquantized mixer: A_log, D and dt_bias are parameters of
    the mixer, wherever the quantized scan keeps them."""
    for module in (".qchunk_scan", ".selective_scan"):
        leaf = leaf.removeprefix(module) if leaf.startswith(module + ".") else leaf
    if layer.mamba == 1 and leaf in (".dt_bias", ".dt_proj_bias"):
        return ".dt_proj.bias"
    return leaf
