"""The files that mutation tests damage: small ones made here, those of the repository, and QINSPECT_FIXTURES."""

from __future__ import annotations

import argparse
import collections
import fractions
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from array_files import opened as exl3_opened
from comfy_files import FORMATS as COMFY_FORMATS
from comfy_files import made as of_comfy
from comfy_files import of_module as of_comfy_module
from comfy_files import opened as comfy_opened
from compressed_files import fp4, fp8, integers, of_module, settings, written
from exl3_files import made as of_exl3
from exl3_files import of_module as of_exl3_module
from gguf_files import ID, LLAMA, GgufFile, Stored, plain
from hostile import entry, safetensors_bytes, state_dict, tensor, torch_legacy, torch_zip
from mlx_files import affine
from mlx_files import floats as small_floats
from mlx_files import of_module as of_mlx_module
from mlx_files import opened as mlx_opened
from modelopt_files import every_layout
from onnx_files import every_operation, write_model
from onnx_files import tensor as onnx_tensor
from torchao_files import KINDS as TORCHAO_KINDS
from torchao_files import made as of_torchao
from torchao_files import opened as torchao_opened

from qinspect.inspector.calibrate.checkpoint import PointScale, write_checkpoint
from qinspect.inspector.calibrate.rounding import WeightScheme
from qinspect.inspector.checkpoint.dtypes import BLOCKS, DTYPES, SAFETENSORS
from qinspect.inspector.provenance import Provenance

DATA = Path(__file__).parent / "data"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".json", ".gguf", ".onnx")
MAX_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """A checkpoint and the one file of it to damage. path: what is opened. target: what is damaged, `path` or in it."""

    name: str
    path: Path
    target: Path

    def place(self, folder: Path, damaged: bytes) -> Path:
        """The checkpoint with the target replaced, under `folder`; returns what to open."""
        if self.path.is_file():
            folder.mkdir(exist_ok=True)
            made = folder / f"damaged{self.path.suffix}"
            made.write_bytes(damaged)
            return made
        made = folder / self.name.replace("/", "_")
        if not made.is_dir():
            shutil.copytree(self.path, made, copy_function=os.link if _same_device(self.path, folder) else shutil.copy)
        (made / self.target.name).unlink()
        (made / self.target.name).write_bytes(damaged)
        return made


def _same_device(a: Path, b: Path) -> bool:
    b.mkdir(exist_ok=True)
    return a.stat().st_dev == b.stat().st_dev


def cases(made: Path) -> list[Case]:
    """All cases; small ones are written to `made`."""
    return [*small_cases(made), *repository_cases(), *larger_cases()]


def small_cases(made: Path) -> list[Case]:
    """Files of a few kB that hold every kind of thing: quick to damage thousands of times."""
    made.mkdir(exist_ok=True)
    small = made / "small"
    small.mkdir(exist_ok=True)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, ours in SAFETENSORS.items():
        n = DTYPES[ours].nbytes(8)
        header[f"layers.0.{name}.weight"] = entry(name, [2, 4], len(data), len(data) + n)
        data += bytes(range(60, 60 + n))[:n] if n < 190 else bytes(n)
    header["layers.0.F32.scale"] = entry("F32", [], len(data), len(data) + 4)
    (small / "all.safetensors").write_bytes(safetensors_bytes(header, data + b"\x00\x00\x80?"))
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "a.weight": base, "a.weight_t": base.t(), "a.part": base[1:3, ::2], "a.scale": torch.tensor(0.25),
        "b.scale": 0.5, "b.weight": torch.ones(3, 3, dtype=torch.bfloat16), "c.expanded": torch.ones(1, 3).expand(5, 3),
        "c.none": None, "c.bool": torch.tensor([True, False]), "d": {"e": [1, 2.5, "text"], "f": (True, b"bytes")},
        "g": torch.Size([1, 2]), "h": torch.zeros(4, dtype=torch.float8_e4m3fn), "i": torch.zeros(0, 5),
        "j": torch.complex64, "k": 10**30,
        "layers.0.mixer.in_proj.scale": torch.tensor([float("nan"), float("inf"), -1.0, 0.0]),
    }  # fmt: skip
    torch.save(state, small / "zip.bin")
    torch.save({k: v for k, v in state.items() if k != "h"}, small / "legacy.bin", _use_new_zipfile_serialization=False)
    for name, zipped in (("objects.pt", True), ("objects_legacy.pt", False)):
        torch.save(_objects(), small / name, _use_new_zipfile_serialization=zipped)
    (small / "arrays.pkl").write_bytes(pickle.dumps({"model": _objects()}, 0))
    torch_zip(small / "plain.pt", state_dict(w=tensor(), s=tensor((), ())), {"0": bytes(16)})
    torch_legacy(small / "plain_legacy.pt", state_dict(w=tensor()), ["0"], b"\x04" + bytes(7) + bytes(16))
    tensors = [Stored(f"blk.0.{n}.weight", i, [2, 256], bytes(range(60, 160)) * 25) for n, i in ID.items() if "_" in n]
    tensors = [Stored(t.name, t.type_id, t.shape, t.data[: BLOCKS[str(t.name)[6:-7]].nbytes(512)]) for t in tensors]
    experts = Stored("blk.1.ffn_up_exps.weight", ID["nvfp4"], [2, 2, 64], bytes(range(144)))
    query = Stored("blk.1.attn_q.weight", ID["q8_0"], [4, 32], bytes(range(136)))
    factors = [plain("blk.1.ffn_up_exps.scale", [1.0, 2.0]), plain("blk.1.attn_k.weight", [1.0] * 8, [4, 2])]
    unknown = Stored("blk.1.ffn_down.weight", 139, [2, 32], bytes(40))
    (small / "blocks.gguf").write_bytes(bytes(GgufFile([*tensors, experts, *factors, query, unknown], LLAMA)))
    write_model(small / "graph.onnx", *every_operation())
    (small / "adapter.safetensors").write_bytes(_adapter())
    found = [Case(f"small/{p.name}", p, p) for p in sorted(small.iterdir())]
    exported = every_layout(made / "modelopt")
    found += [Case(f"modelopt/{p.name}", exported, p) for p in sorted(exported.iterdir())]
    sharded = made / "sharded"
    sharded.mkdir(exist_ok=True)
    parts = {"a.weight": "one.safetensors", "a.scale": "two.safetensors"}
    for name, file in parts.items():
        (sharded / file).write_bytes(safetensors_bytes({name: entry("F32", [1], 0, 4)}, b"\x00\x00\x80?"))
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 8}, "weight_map": parts}))
    config = sharded / "config.json"
    config.write_text(json.dumps({"ssm_cfg": {"layer": "W8A8QMamba"}, "norm_cfg": {"norm": "QRMSNorm"}, "n": [1, 2]}))
    native = [Case(f"{name}/{p.name}", p.parent, p) for name in ("native4", "native8") for p in _native(made / name)]
    packed = [Case(f"compressed/{p.name}", p.parent, p) for p in _compressed(made / "compressed")]
    packed += [Case(f"mlx/{p.name}", p.parent, p) for p in _mlx(made / "mlx")]
    packed += [Case(f"comfy/{p.name}", p.parent, p) for p in _comfy(made / "comfy")]
    packed += [Case(f"exl3/{p.name}", p.parent, p) for p in _exl3(made / "exl3")]
    packed += [Case(f"torchao/{p.name}", p.parent, p) for p in _torchao(made / "torchao")]
    packed += [Case(f"onnx/{p.name}", p.parent, p) for p in _onnx(made / "onnx")]
    return [*found, Case("sharded/index", sharded, index), Case("sharded/config", sharded, config), *native, *packed]


def _onnx(folder: Path) -> list[Path]:
    """A model with its weights beside it, in files of two names."""
    folder.mkdir(exist_ok=True)
    outside = [
        onnx_tensor(n, data_type=1, dims=[4], external={"location": "w.bin", "offset": str(16 * i), "length": "16"})
        for i, n in enumerate("ab")
    ]
    (folder / "w.bin").write_bytes(bytes(32))
    return [write_model(folder / "model.onnx", outside)]


def _adapter() -> bytes:
    """An adapter of every kind of factors, under flat names and under dotted ones."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "lora_unet_mid_block_attentions_0_proj_in": {"lora_down.weight": (2, 3), "lora_up.weight": (4, 2)},
        "lora_te_layers_0_mlp_fc1": {"lora_A.weight": (1, 2, 3), "lora_B.weight": (2, 1, 1), "dora_scale": (2, 1, 1)},
        "blocks.0.q": {f"hada_w{i}_{x}": s for i in (1, 2) for x, s in (("a", (2, 1)), ("b", (1, 3)))},
        "blocks.0.k": {"lokr_w1": (2, 1), "lokr_w2_a": (2, 1), "lokr_w2_b": (1, 3)},
        "blocks.0.v": {"oft_R": (2, 2)},
    }
    tensors = {f"{stem}.{part}": shape for stem, parts in shapes.items() for part, shape in parts.items()}
    tensors |= {f"{stem}.alpha": () for stem in shapes}
    header: dict[str, object] = {"__metadata__": {"ss_network_dim": "2", "ss_network_args": '{"algo": "lokr"}'}}
    end = 0
    for name, shape in tensors.items():
        n = 4 * int(np.prod(shape, dtype=np.int64))
        header[name] = entry("F32", list(shape), end, end + n)
        end += n
    return safetensors_bytes(header, np.linspace(0.5, 1.5, end // 4, dtype="<f4").tobytes())


def _objects() -> dict[str, object]:
    """Everything beside plain tensors: quantizers, other layouts, numpy, sets, objects of unknown classes."""
    codes = torch.arange(-6, 6, dtype=torch.int8).reshape(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        channels = torch.quantize_per_channel(
            torch.ones(3, 4), torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([0, 1, 2]), 0, torch.qint8
        )
        quantized = torch._make_per_tensor_quantized_tensor(codes, 0.5, 1)
    return {
        "fc.weight": quantized, "conv.weight": channels, "fc.scale": torch.tensor(0.5),
        "fc.zero_point": torch.tensor(3),
        "array": np.arange(4.0), "number": np.float32(1.5), "set": {1, "a"}, "count": collections.Counter("aab"),
        "args": argparse.Namespace(lr=0.1, w=torch.ones(2)), "object": fractions.Fraction(1, 3), "c": 1 + 2j,
    }  # fmt: skip


def _native(folder: Path) -> tuple[Path, ...]:
    """A checkpoint of qinspect's own, of 4 or 8 bits as its name ends. Returns the weights and the config."""
    weights = WeightScheme(4 if folder.name.endswith("4") else 8, group_size=4)
    values = np.arange(15, dtype=np.float32).reshape(3, 5) - 7
    points = {
        "layers.0.mixer.in_proj:input": PointScale(0.5, "absmax(|x|)", False),
        "layers.0.mixer.x_conv_out:input": PointScale(np.ones(2), "quantile(|x|, 0.99)", True),
    }
    tensors = {"backbone.layers.0.mixer.in_proj.weight": values, "backbone.layers.0.norm.weight": values[0]}
    provenance = Provenance({"alpha": 0.99}, {"alpha": 0.99}, {"order": [0, 1]}, {"numpy": "2"})
    return write_checkpoint(folder, tensors, list(tensors)[:1], points, {"n_layer": 1}, provenance, weights)


def _compressed(folder: Path) -> tuple[Path, ...]:
    """Packed integers with zero points and an order of groups, FP4, FP8 in blocks, and experts in one. Returns the
    weights and the config."""
    parts = {
        "layers.0.mlp.up_proj": integers(3, (5, 32), 16, zeros="packed", order=True), "layers.0.mlp.gate_proj": fp4(),
        "layers.0.mlp.down_proj": fp8("block"),
    }  # fmt: skip
    tensors = {name: t for module, made in parts.items() for name, t in of_module(made, module).items()}
    groups = {
        m: {"targets": [f"re:.*{m}$"], "weights": made.weights, "format": made.format} for m, made in parts.items()
    }
    stack = {k: np.stack([t, t]) for k, t in integers(4, (6, 32), 16, zeros="packed").tensors.items()}
    stack["weight_shape"] = np.array([2, 6, 32])
    tensors |= {f"layers.0.mlp.experts.up_proj.{k}": t for k, t in stack.items()}
    written(folder, tensors, settings(fp4(), config_groups=groups, format="mixed-precision"))
    return folder / "model.safetensors", folder / "config.json"


def _mlx(folder: Path) -> tuple[Path, ...]:
    """Each mode of MLX, and experts in one. Returns the weights and the config."""
    parts = {
        "model.layers.0.mlp.up_proj": affine(3, (3, 64), 32),
        "model.layers.0.mlp.down_proj": small_floats("mxfp8", (3, 32)),
        "lm_head": small_floats("nvfp4", (3, 32), whole=1.5),
        "model.layers.1.mlp.switch_mlp.up_proj": affine(4, (2, 3, 32), 32),
    }  # fmt: skip
    said = {"model.layers.0.mlp.down_proj": {"mode": "mxfp8"}, "lm_head": {"mode": "nvfp4"},
            "model.layers.0.mlp.up_proj": {"bits": 3, "group_size": 32}}  # fmt: skip
    tensors = {name: t for module, made in parts.items() for name, t in of_mlx_module(made, module).items()}
    mlx_opened(folder, tensors, {"bits": 4, "group_size": 32, **said})
    return folder / "model.safetensors", folder / "config.json"


def _comfy(folder: Path) -> tuple[Path, ...]:
    """Each format of ComfyUI, with marks, and one that the metadata list. Returns the weights."""
    blocks = {"convrot_w4a4": 16, "int8_tensorwise": 4}
    parts = {f"blocks.{i}.lin": of_comfy(n, (3, 64), block=blocks.get(n)) for i, n in enumerate(COMFY_FORMATS)}
    parts["blocks.8.lin"] = of_comfy("asym_w4a8_int8", (3, 64), bits=6)
    tensors = {name: t for module, made in parts.items() for name, t in of_comfy_module(made, module).items()}
    listed = of_comfy("mxfp8", (3, 64))
    tensors |= of_comfy_module(listed, "blocks.9.lin", marked=False)
    comfy_opened(folder, tensors, {"model.blocks.9.lin": listed.mark})
    return (folder / "model.safetensors",)


def _exl3(folder: Path) -> tuple[Path, ...]:
    """Two codebooks. Returns the weights and the config."""
    parts = {
        "model.layers.0.mlp.up_proj": of_exl3(1, few=True),
        "model.layers.0.mlp.down_proj": of_exl3(2, codebook="", few=True),
    }
    tensors = {name: t for module, made in parts.items() for name, t in of_exl3_module(made, module).items()}
    exl3_opened(folder, tensors, {"quant_method": "exl3", "bits": 1.5, "codebook": "mcg"})
    return folder / "model.safetensors", folder / "config.json"


def _torchao(folder: Path) -> tuple[Path, ...]:
    """Each class of torchao. Returns the weights."""
    weights = {f"model.layers.0.{i}.weight": of_torchao(kind, (2, 64)) for i, kind in enumerate(TORCHAO_KINDS)}
    torchao_opened(folder, weights)
    return (folder / "model.safetensors",)


def repository_cases() -> list[Case]:
    """Every checkpoint file and its config under tests/data."""
    return list(_files(DATA))


def larger_cases() -> list[Case]:
    """The same of QINSPECT_FIXTURES; none where it is not set."""
    where = os.environ.get("QINSPECT_FIXTURES")
    return list(_files(Path(where))) if where else []


def _files(root: Path) -> Iterator[Case]:
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not path.is_file() or path.suffix not in SUFFIXES or path.stat().st_size > MAX_BYTES:
            continue
        if path.name in ("config.json", "quantization_map.json", "adapter_config.json"):
            yield Case(name, path.parent, path)
        elif path.suffix != ".json":
            beside = path.with_name(f"{path.name}.data").is_file()
            yield Case(name, path.parent if beside else path, path)
