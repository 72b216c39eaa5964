"""The header of a .npy file, believed no further than its bytes reach. No pickle is ever read."""

from __future__ import annotations

import io
import tokenize
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.checkpoint.dtypes import DTYPES, DType
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.tensor import MAX_DIMS, MAX_ELEMENTS
from qinspect.inspector.errors import BrokenFile, CannotRead
from qinspect.inspector.text import brief

MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 1 << 16
"""numpy refuses headers of more than 10,000 characters."""
_SAVE_AGAIN = "Save it again with numpy.save, or copy it again."
RAW16 = DType("raw 16 bits", 16, "uint16")
"""What numpy writes for an element type that it does not know, such as bfloat16."""


def open_npy(path: Path) -> Tensor:
    """The array of a .npy file as a handle without a name; only the header is read.

    Raises BrokenFile where the header is damaged or names more bytes than there are, CannotRead for elements that are
    no plain little-endian numbers.
    """
    file = File(path)
    shape, fortran, dtype, start = _header(file)
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        problem = "holds Python objects" if dtype.hasobject else "holds structures"
        raise CannotRead(
            problem, file=path, expected="plain numbers", found=f"elements {brief(str(dtype))}",
            cure="qinspect runs no pickle. Save an array of floats.",
        )  # fmt: skip
    if dtype.byteorder == ">":
        raise CannotRead(
            "is big-endian", file=path, expected="little-endian elements", found=f"elements {dtype.str}",
            cure="Save x.astype(x.dtype.newbyteorder('<')).",
        )  # fmt: skip
    element = RAW16 if dtype.kind == "V" and dtype.itemsize == 2 else DTYPES.get(dtype.name)
    if element is None:
        raise CannotRead(
            "has elements that are not numbers", file=path, found=f"elements {brief(str(dtype))}", expected="floats"
        )
    n = 1
    for d in shape:
        n *= max(d, 1)
    if len(shape) > MAX_DIMS or n > MAX_ELEMENTS or any(d < 0 for d in shape):
        raise BrokenFile("the shape is impossible", file=path, found=brief(str(shape)), cure=_SAVE_AGAIN)
    strides = tuple(int(np.prod(shape[:i], dtype=np.int64)) for i in range(len(shape))) if fortran else None
    tensor = Tensor("", element, shape, strides if len(shape) > 1 else None, file, start)
    if start + tensor.nbytes > file.size:
        raise BrokenFile(
            "the file ends within the array", file=path, offset=start,
            expected=f"{tensor.nbytes} bytes for shape {list(shape)}", found=f"{max(0, file.size - start)} bytes",
            cure="The file is truncated: copy it again.",
        )  # fmt: skip
    return tensor


def _header(file: File) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, whether in Fortran order, dtype, where the elements begin)."""
    stream = io.BytesIO(file.read(0, min(file.size, _MAX_HEADER_BYTES)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header that Python 2 wrote is no event
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
            else:
                raise ValueError(f"version {version[0]}.{version[1]}")
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError, tokenize.TokenError) as e:
        raise BrokenFile(
            "the header is damaged", file=file.path, offset=0, expected="a .npy header of version 1.0 or 2.0",
            found=brief(e.args[0]) if e.args else type(e).__name__, cure=_SAVE_AGAIN,
        ) from e  # fmt: skip
    return tuple(int(d) for d in shape), bool(fortran), dtype, stream.tell()
