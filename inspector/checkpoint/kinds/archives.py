"""Archives: tar files, and zip files that torch.save did not write."""

from __future__ import annotations

from itertools import islice

from qinspect.inspector.checkpoint.kinds.kind import SAVE_ARRAYS, FileKind
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.zip_directory import ZipDirectory
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.text import count, some, visible

_BLOCK = 512
_MAX_MEMBERS = 64
_MAX_ZIP_MEMBERS = 20_000
_SEARCHED = 1 << 20
_TORCH_TAR = {"sys_info", "pickle", "storages"}


def tar_kind(file: Source) -> FileKind | None:
    """What a tar archive is, by the names in it; None where the file is none."""
    if file.size < _BLOCK or file.read(257, 5) != b"ustar":
        return None
    names = _tar_names(file)
    if set(names) & _TORCH_TAR == _TORCH_TAR:
        cure = "Load it where you trust it, with torch.load(..., weights_only=False), and save its tensors again."
        return FileKind("a tar archive as torch.save wrote it before version 0.1.10", cure)
    plain = [n.removeprefix("./") for n in names]
    cure = "Unpack it (`tar -xf`) and give what is inside."
    if "model_config.yaml" in plain:
        weights = next((n for n in plain if n.endswith((".ckpt", "model_weights/"))), None)
        return FileKind("a NeMo archive", f"Unpack it (`tar -xf`) and give {weights or 'its weights'}.", _list(plain))
    return FileKind("a tar archive", cure, _list(plain))


def _tar_names(file: Source) -> list[str]:
    names: list[str] = []
    at = 0
    while at + _BLOCK <= file.size and len(names) < _MAX_MEMBERS:
        block = file.read(at, _BLOCK)
        name = block[:100].split(b"\0")[0].decode("utf-8", "replace")
        digits = block[124:136].strip(b" \0")
        if not name or not digits.isdigit():
            break
        names.append(name)
        at += _BLOCK + -(-int(digits, 8) // _BLOCK) * _BLOCK if digits.translate(None, b"01234567") == b"" else _BLOCK
    return names


def zip_kind(file: Source) -> FileKind | None:
    """What a zip archive is that could not be read as torch.save's; None where only the damage is to be told."""
    if _is_piece(file):
        cure = "Give the folder that it is in."
        return FileKind("a piece of a torch distributed checkpoint: several archives, one after another", cure)
    try:
        names = list(islice(ZipDirectory.names(file), _MAX_ZIP_MEMBERS))
    except QinspectError:
        return None
    base = {n.rpartition("/")[2] for n in names}
    if not names:
        return FileKind("an empty zip archive", "Download or copy it again.")
    if base & {"serialized_exported_program.json", "archive_format", "serialized_state_dict.json"}:
        cure = "Load it with torch.export.load and torch.save its state_dict."
        return FileKind("a program that torch.export saved (.pt2)", cure)
    if "constants.pkl" in base and "data.pkl" in base:
        return FileKind(
            "a TorchScript program, not a checkpoint", "Load it with torch.jit.load and save its state_dict."
        )
    if "data.pkl" in base:
        return None
    if all(n.endswith(".npy") for n in names):
        cure = f"Load it with numpy.load (or mlx.core.load); {SAVE_ARRAYS}"
        return FileKind(
            "an archive of numpy arrays (.npz), as numpy and MLX write them", cure, some(len(names), "array")
        )
    if "model.weights.h5" in base:
        return FileKind("a Keras model (.keras)", f"Load it with keras.models.load_model; {SAVE_ARRAYS}")
    if "Manifest.json" in base and any("com.apple.CoreML" in n for n in names):
        return FileKind("a zipped Core ML package", "Give the checkpoint that it was made from.")
    return FileKind(
        "a zip archive, but not one that torch.save wrote", "Unpack it (`unzip`) and give what is inside.", _list(names)
    )


def _is_piece(file: Source) -> bool:
    """Whether another archive begins right behind the end of one."""
    head = file.read(0, min(file.size, _SEARCHED))
    at = head.find(b"PK\x05\x06")
    while at >= 0:
        if head[at + 22 : at + 26] == b"PK\x03\x04":
            return True
        at = head.find(b"PK\x05\x06", at + 1)
    return file.path.suffix == ".distcp"


def _list(names: list[str]) -> str:
    shown = ", ".join(visible(n, 80) for n in names[:5])
    return shown + (f" and {count(len(names) - 5)} more" if len(names) > 5 else "")
