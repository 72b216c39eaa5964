"""Files of other programs, by what they begin with."""

from __future__ import annotations

import re
import struct

from qinspect.inspector.checkpoint.kinds.kind import GIVE_MODEL, SAVE_ARRAYS, FileKind
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.text import visible

_ORIGINAL = "Give the checkpoint that it was made from."
_ONE_GPU = f"It is made for one GPU and cannot be taken apart. {_ORIGINAL}"
_UNPACK = "Unpack it first."
_NPY = "qinspect verify reads one array as activations; as a checkpoint:"

_BEGINNINGS = (
    (b"\x93NUMPY", FileKind("one numpy array (.npy)", f"{_NPY} {SAVE_ARRAYS}")),
    (b"\x89HDF\r\n\x1a\n", FileKind("an HDF5 file, as Keras and TensorFlow save models",
                                f"Read its arrays with h5py or Keras; {SAVE_ARRAYS}")),
    (b"\x1f\x8b", FileKind("compressed by gzip", "Unpack it: `gunzip`, or `tar -xzf` for a .tar.gz or .nemo.")),
    (b"\xfd7zXZ\0", FileKind("compressed by xz", "Unpack it: `unxz`, or `tar -xJf` for a .tar.xz.")),
    (b"\x28\xb5\x2f\xfd", FileKind("compressed by zstd", "Unpack it: `unzstd`, or `tar --zstd -xf` for a .tar.zst.")),
    (b"\x04\x22\x4d\x18", FileKind("compressed by lz4", "Unpack it: `unlz4`.")),
    (b"BZh", FileKind("compressed by bzip2", "Unpack it: `bunzip2`, or `tar -xjf` for a .tar.bz2.")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", FileKind("a RAR archive", _UNPACK)),
    (b"PAR1", FileKind("a Parquet file, a table and not a model", GIVE_MODEL)),
    (b"ARROW1", FileKind("an Arrow file, a table and not a model", GIVE_MODEL)),
    (b"SQLite format 3\0", FileKind("an SQLite database", GIVE_MODEL)),
    (b"\x7fELF", FileKind("a program or library (ELF)", GIVE_MODEL)),
    (b"MZ", FileKind("a program for Windows, or a llamafile", GIVE_MODEL, weak=True)),
    (b"\x89PNG\r\n\x1a\n", FileKind("a picture (PNG)", GIVE_MODEL)),
    (b"\xff\xd8\xff", FileKind("a picture (JPEG)", GIVE_MODEL)),
    (b"%PDF-", FileKind("a PDF document", GIVE_MODEL)),
    (b"ptrt", FileKind("a TensorRT engine", _ONE_GPU, weak=True)),
    (b"ftrt", FileKind("a TensorRT engine", _ONE_GPU, weak=True)),
)  # fmt: skip

_IDENTIFIERS = {
    b"TFL3": FileKind("a TensorFlow Lite model", _ORIGINAL),
    b"ET12": FileKind("an ExecuTorch program (.pte)", _ORIGINAL),
    b"ORTM": FileKind("an ONNX Runtime model (.ort)", _ORIGINAL),
}
"""Flatbuffers have a name of four letters at byte 4."""

_GGML = {
    b"lmgg": ("ggml", "the first format of llama.cpp, which whisper.cpp still uses"),
    b"fmgg": ("ggmf", "a format of llama.cpp before GGUF"),
    b"tjgg": ("ggjt", "a format of llama.cpp before GGUF"),
    b"algg": ("ggla", "a LoRA adapter of llama.cpp before GGUF"),
}
"""Written as a little-endian number: backwards."""

_TABLE_END = bytes.fromhex("57fb808b247547db")
"""The last bytes of a table of LevelDB, which TensorFlow's .index files are."""


def binary_kind(file: Source, head: bytes) -> FileKind | None:
    """A file with an unmistakable beginning (or end), or None."""
    if kind := _ggml(head):
        return kind
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if kind := _IDENTIFIERS.get(head[4:8]):
        return kind
    if file.size >= 48 and file.read(file.size - 8, 8) == _TABLE_END:
        cure = f"Read it with tf.train.load_checkpoint; {SAVE_ARRAYS}"
        return FileKind("the index of a TensorFlow checkpoint", cure)
    return None


def weak_kind(file: Source, head: bytes) -> FileKind | None:
    """A file that a few bytes speak for, which others might have too: asked last."""
    for recognise in (_ctranslate, _msgpack, _engine_of_ultralytics):
        if kind := recognise(file, head):
            return kind
    return None


def _ggml(head: bytes) -> FileKind | None:
    if head[:4] not in _GGML:
        return None
    name, what = _GGML[head[:4]]
    return FileKind(f"a {name} file, {what}", f"qinspect does not read it. {_ORIGINAL}")


def _ctranslate(_: Source, head: bytes) -> FileKind | None:
    """model.bin: a version, then the name of a model specification."""
    if len(head) < 8:
        return None
    version, n = struct.unpack_from("<IH", head)
    name = head[6 : 6 + n]
    if not (1 <= version <= 32 and 5 <= n <= 64 and re.fullmatch(rb"[A-Z]\w*Spec\0", name)):
        return None
    return FileKind(f"a CTranslate2 model ({visible(name[:-1].decode('latin-1'))})", _ORIGINAL)


def _msgpack(_: Source, head: bytes) -> FileKind | None:
    """A map whose first key is a name: how flax saves."""
    at = 1 if 0x81 <= head[0] <= 0x8F else {0xDE: 3, 0xDF: 5}.get(head[0], 0)
    if not at or len(head) <= at + 2:
        return None
    n = head[at] & 31 if 0xA1 <= head[at] <= 0xBF else head[at + 1] if head[at] == 0xD9 else 0
    key = head[at + (2 if head[at] == 0xD9 else 1) :][:n]
    if not n or not re.fullmatch(rb"[A-Za-z_][\w./-]*", key):
        return None
    cure = f"Read it with flax.serialization.msgpack_restore; {SAVE_ARRAYS}"
    found = f"its first key is {visible(key.decode('latin-1'), 60)}"
    return FileKind("a msgpack file, as flax saves models", cure, found,
                weak=True)  # fmt: skip


def _engine_of_ultralytics(_: Source, head: bytes) -> FileKind | None:
    """Four bytes of length, JSON, then the engine."""
    n = int.from_bytes(head[:4], "little")
    if head[4:5] != b"{" or not 2 <= n <= 1 << 16 or b'"' not in head[5:16]:
        return None
    return FileKind("a TensorRT engine behind a JSON header, as Ultralytics writes", _ORIGINAL, weak=True)
