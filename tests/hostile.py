"""Builders of broken and hostile files, and what must hold whatever a file contains."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from qinspect.inspector.checkpoint import Checkpoint, Tensor, open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.compare import payload as comparison_payload
from qinspect.inspector.compare.report import comparison_text, scale_table
from qinspect.inspector.contents import payload as contents
from qinspect.inspector.contents.parameters import parameters_of
from qinspect.inspector.contents.report import scales_table, tree_lines
from qinspect.inspector.contents.survey import survey_scales
from qinspect.inspector.contents.tree import build_tree
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.counts import parameter_counts
from qinspect.inspector.formats.report import model_line
from qinspect.inspector.loaders import payload as loaders_payload
from qinspect.inspector.loaders import statements_of
from qinspect.inspector.loaders.report import text as loaders_text
from qinspect.inspector.values import payload as values
from qinspect.inspector.values.inspection import inspect_entry
from qinspect.inspector.values.report import inspection_text

SMALL_BYTES = 1 << 16
HOSTILE_CHARACTERS = "\x1b\x9b\x00\x07\x08\r\t\x7f\x85\u202e\u2066\u061c\u200b\u2028\u2029\ufeff\ud800\U000e0041"
"""Escape sequences of one and two bytes, bell, backspace, line ends, text direction, invisible, lone surrogate, tag."""

# --- what must hold ---


def assert_clean(text: str) -> None:
    """No control character but the line feed, nothing that hides or reorders text."""
    import unicodedata

    hidden = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    new = set(text) - _CLEAN  # a text repeats its letters, and texts those of each other
    bad = sorted(c for c in new if unicodedata.category(c) in hidden)
    assert not bad, f"{bad[:5]!r} in {text[:200]!r}"
    _CLEAN.update(new)


_CLEAN = {"\n"}
"""Characters that were found to be harmless."""


def assert_one_line(error: QinspectError) -> str:
    """The message is one clean line of bearable length. Returns it."""
    message = str(error)
    assert message.strip()
    assert "\n" not in message
    assert_clean(message)
    assert len(message) < 12_000
    assert "object at 0x" not in message
    json.dumps(error.as_dict(), allow_nan=False)
    return message


def refused(path: Path, kind: type[QinspectError], *words: str) -> str:
    """Opening raises exactly `kind`, and its one line has all `words`. Returns the line."""
    with pytest.raises(QinspectError) as caught:
        open_checkpoint(path)
    message = assert_one_line(caught.value)
    assert type(caught.value) is kind, message
    for word in words:
        assert word in message
    return message


def survives(work: Callable[[], object]) -> bool:
    """Whether `work` runs; a QinspectError with a good message is the only other outcome."""
    try:
        work()
    except QinspectError as e:
        assert_one_line(e)
        return False
    return True


def survey(path: Path, other: Format | None = None, as_a: bool = False) -> bool:
    """Open `path` and look at all of it as the commands do. Returns whether it opened.

    It is compared with `other`: as B, or `as_a`. Anything but a QinspectError gets out, and so does text that is not
    clean.
    """
    try:
        checkpoint = open_checkpoint(path)
    except QinspectError as e:
        assert_one_line(e)
        return False
    try:
        _survey_entries(checkpoint)
        survives(lambda: _survey_format(checkpoint, other, as_a))
    finally:
        checkpoint.close()
    return True


def _survey_entries(checkpoint: Checkpoint) -> None:
    for note in checkpoint.notes:
        assert "\n" not in note
    for t in checkpoint.tensors():
        if t.nbytes <= SMALL_BYTES and survives(t.read):
            assert t.read().shape == t.shape
            assert len(t.read_bytes()) == t.span_bytes()
        survives(lambda t=t: t.read_rows(0, 2) if t.shape else None)  # type: ignore[misc]
    assert checkpoint.nbytes >= 0
    checkpoint.tied()
    root = build_tree(checkpoint.entries.values())
    assert root.n_entries == len(checkpoint.entries)
    for line in (*tree_lines(root, None, False), *tree_lines(root, 2, True)):
        assert "\n" not in line
        assert_clean(line)


def _survey_format(checkpoint: Checkpoint, other: Format | None, as_a: bool) -> None:
    fmt = format_of(checkpoint)
    assert_clean(model_line("A", fmt))
    for record in fmt.scales():
        survives(lambda r=record: fmt.values(r))  # type: ignore[misc]
    for weight in fmt.weights():
        survives(lambda w=weight: fmt.codes(w, 0, 64))  # type: ignore[misc]
        survives(lambda w=weight: fmt.dequantize(w, 0, 64))  # type: ignore[misc]
    survey = survey_scales(fmt)
    assert_clean(scales_table(fmt, survey.ranges).text())
    names = list(checkpoint.entries)
    for name in names[:: max(1, len(names) // 5)]:
        survives(lambda name=name: _survey_entry(fmt, name))  # type: ignore[misc]
    root = build_tree(checkpoint.entries.values(), parameter_counts(fmt))
    _as_json(contents.tree(fmt, root, parameters_of(checkpoint, root), None))
    _as_json(contents.scales(fmt, survey))
    loaded = statements_of(fmt)
    assert_clean(loaders_text(fmt, loaded, None))
    _as_json(loaders_payload.loaders(fmt, loaded))
    if other is not None:
        result = compare(fmt, other, codes=True) if as_a else compare(other, fmt, codes=True)
        assert_clean(comparison_text(result, scale_table(result.scales)))
        _as_json(comparison_payload.comparison(result, list(result.scales), list(result.weights)))


def _survey_entry(fmt: Format, name: str) -> None:
    found = inspect_entry(fmt, name)
    assert_clean(inspection_text(fmt, found))
    _as_json(values.inspection(fmt, found))


def _as_json(content: object) -> None:
    assert_clean(json.dumps(content, allow_nan=False))


# --- safetensors ---


def entry(dtype: str, shape: Sequence[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def safetensors_bytes(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of this header (an object, or the raw bytes of one), whatever it says; `length` lies about its size."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def write_safetensors(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(safetensors_bytes(header, data, length))
    return path


def floats(path: Path, values: Mapping[str, Sequence[float]], metadata: Mapping[str, str] | None = None) -> Path:
    """A valid safetensors file of float32 vectors."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, numbers in values.items():
        raw = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = entry("F32", [len(numbers)], len(data), len(data) + len(raw))
        data += raw
    return write_safetensors(path, header, data)


# --- torch archives ---


def torch_zip(path: Path, data_pkl: bytes, storages: Mapping[str, bytes] | None = None, root: str = "archive") -> Path:
    """A torch archive with this pickle, whatever it says."""
    path.write_bytes(torch_zip_bytes(data_pkl, storages, root))
    return path


def torch_zip_bytes(data_pkl: bytes, storages: Mapping[str, bytes] | None = None, root: str = "archive") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(f"{root}/data.pkl", data_pkl)
        for key, raw in (storages or {}).items():
            z.writestr(f"{root}/data/{key}", raw)
        z.writestr(f"{root}/version", b"3\n")
    return out.getvalue()


# Opcodes, spelled out so that a pickle reads as what it does.
PROTO = b"\x80\x02"
STOP = b"."
MARK = b"("


def text(s: str) -> bytes:
    raw = s.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(n: int) -> bytes:
    raw = n.to_bytes((n.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8b" + struct.pack("<I", len(raw)) + raw


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage_id(key: str = "0", kind: str = "FloatStorage", n: int = 4) -> bytes:
    return MARK + text("storage") + global_("torch", kind) + text(key) + text("cpu") + integer(n) + b"tQ"


def sizes(*numbers: int) -> bytes:
    return MARK + b"".join(map(integer, numbers)) + b"t"


def tensor(
    shape: Sequence[int] = (4,), strides: Sequence[int] = (1,), offset: int = 0, storage: bytes | None = None
) -> bytes:
    """The pickle of one tensor, as torch writes it."""
    return (
        global_("torch._utils", "_rebuild_tensor_v2")
        + MARK
        + (storage_id() if storage is None else storage)
        + integer(offset)
        + sizes(*shape)
        + sizes(*strides)
        + b"\x89"
        + global_("collections", "OrderedDict")
        + b")RtR"
    )


def state_dict(**values: bytes) -> bytes:
    """A whole pickle: a dictionary of already pickled values."""
    return PROTO + b"}" + MARK + b"".join(text(k) + v for k, v in values.items()) + b"u" + STOP


LEGACY_HEAD = (
    pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    + pickle.dumps(1001, 2)
    + pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4}}, 2)
)


def torch_legacy(path: Path, data: bytes, keys: object, storages: bytes = b"") -> Path:
    """A torch.save file from before 1.6."""
    path.write_bytes(LEGACY_HEAD + data + pickle.dumps(keys, 2) + storages)
    return path


def opened(path: Path) -> Tensor:
    """The only tensor of a checkpoint."""
    (found,) = open_checkpoint(path).tensors()
    return found
