"""What a file is that is no checkpoint we read: by its content, and only where that says nothing by its name.

Every answer is one sentence and a cure. What is read here is a beginning, an end and a few names; the readers of
checkpoints are asked first, so nothing here takes time from a file that opens.
"""

from __future__ import annotations

import re
from pathlib import Path

from qinspect.inspector.checkpoint.kinds.archives import tar_kind, zip_kind
from qinspect.inspector.checkpoint.kinds.binary import binary_kind, weak_kind
from qinspect.inspector.checkpoint.kinds.kind import FileKind
from qinspect.inspector.checkpoint.kinds.protobuf import looks_like_onnx, protobuf_kind
from qinspect.inspector.checkpoint.kinds.words import text_kind
from qinspect.inspector.checkpoint.kinds.zeros import zeros_kind
from qinspect.inspector.checkpoint.source import Source

__all__ = ["FileKind", "foreign_kind", "looks_like_onnx", "unknown_kind", "zip_kind"]

HEAD_BYTES = 1 << 12
_ORIGINAL = "Give the checkpoint that it was made from."
_NAMES = (
    (r"\.(engine|plan|trt)", FileKind("a TensorRT engine", _ORIGINAL, weak=True)),
    (r"\.data-\d{5}-of-\d{5}", FileKind("the data of a TensorFlow checkpoint", "Read it with tf.train.load_checkpoint.",
                                    weak=True)),
    (r"\.onnx[_.]data|\.onnx\.bin", FileKind("the external weights of an ONNX model", _ORIGINAL, weak=True)),
    (r"\.onnx", FileKind("a damaged ONNX model, by its name", "Download or copy it again.", weak=True)),
    (r"\.tflite", FileKind("a damaged TensorFlow Lite model, by its name", "Download or copy it again.", weak=True)),
    (r"\.gguf", FileKind("a damaged GGUF file, by its name", "Download or copy it again.", weak=True)),
    (r"\.msgpack", FileKind("a damaged flax file, by its name", "Download or copy it again.", weak=True)),
    (r"\.(pdiparams|pdparams|pdmodel)", FileKind("a PaddlePaddle file", _ORIGINAL, weak=True)),
    (r"\.distcp", FileKind("a piece of a torch distributed checkpoint", "Give the folder that it is in.", weak=True)),
    (r"\.(part|crdownload|incomplete|download|partial|tmp|aria2)",
     FileKind("a download that was not finished", "Download it again.", weak=True)),
    (r"\.(part-?)?[a-z]{2}|\.(part|z)?-?\d{1,3}(of\d+)?|\.tar\.\d+",
     FileKind("one part of a file that was split", "Join the parts in their order (`cat`) and unpack the whole.",
          weak=True)),
)  # fmt: skip


def foreign_kind(file: Source) -> FileKind | None:
    """What the content says; None where it says nothing."""
    head = file.read(0, min(file.size, HEAD_BYTES))
    return (
        binary_kind(file, head)
        or tar_kind(file)
        or text_kind(head, file.path)
        or zeros_kind(file, head)
        or protobuf_kind(file)
        or weak_kind(file, head)
        or _lost_beginning(file)
    )


def unknown_kind(path: Path) -> FileKind | None:
    """What the name, or a file of the same name beside it, says of a file whose content says nothing."""
    if path.suffix in (".bin", ".data", ".weights", ".raw"):
        if path.with_suffix(".xml").is_file():
            return FileKind(f"the weights of {path.with_suffix('.xml').name}, an OpenVINO model", _ORIGINAL, weak=True)
        graph = next(iter(sorted(path.parent.glob("*.onnx"))[:1]), None)
        if graph is not None:
            return FileKind(f"the external weights of {graph.name}", _ORIGINAL, weak=True)
    for pattern, kind in _NAMES:
        if re.search(f"({pattern})$", path.name, re.IGNORECASE):
            return kind
    return None


def _lost_beginning(file: Source) -> FileKind | None:
    """The directory of a zip archive stands at its end, and survives where the beginning does not."""
    if file.size < 22 or file.read(file.size - 22, 4) != b"PK\x05\x06":
        return None
    return FileKind(
        "the end of a zip archive (as torch.save writes) without its beginning", "Download or copy it again."
    )
