"""What a torch pickle may name, and the handles we make of it instead of torch's objects.

Sources of the shapes of these calls: torch/_utils.py (`_rebuild_*`) and torch/serialization.py
(persistent ids) of torch 1.6 to 2.13.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial

from qinspect.inspector.checkpoint.dtypes import TORCH_DTYPES, TORCH_STORAGES, DType
from qinspect.inspector.checkpoint.numpy_objects import NUMPY, ArrayRecord
from qinspect.inspector.checkpoint.pickle_objects import Global, Opaque, Parts, Record, SetItems
from qinspect.inspector.checkpoint.tensor import MAX_DIMS, MAX_ELEMENTS, MAX_EMPTY_ELEMENTS, Tensor
from qinspect.inspector.checkpoint.torch_storage import QuantizedTensor, Quantizer, Storage, TorchTensor
from qinspect.inspector.text import brief, dims


def tensor_in(storage: object, dtype: DType, offset: object, shape: object, strides: object) -> TorchTensor:
    """A tensor of numbers that a pickle has. Raises TypeError and ValueError where they make none, or one that reaches
    beyond its storage."""
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without a storage")
    if isinstance(shape, Record) and shape.name == "torch.Size" and shape.args:
        shape = shape.args[0]
    if not (isinstance(shape, tuple) and isinstance(strides, tuple) and type(offset) is int and offset >= 0):
        raise TypeError("a tensor's offset, shape or strides are of the wrong type")
    if len(shape) != len(strides) or len(shape) > MAX_DIMS:
        raise ValueError(f"a tensor's shape and strides differ in length, or are over {MAX_DIMS} dimensions")
    expected_stride = 1
    contiguous = True
    last = 0
    extent = 1
    empty = False
    for d, s in zip(reversed(shape), reversed(strides), strict=True):
        if type(d) is not int or type(s) is not int or not (0 <= d <= MAX_ELEMENTS and 0 <= s <= MAX_ELEMENTS):
            raise ValueError("a dimension or stride is not a size")
        extent *= d or 1
        if d != 1 and s != expected_stride:
            contiguous = False
        expected_stride *= d
        empty = empty or d == 0
        last += (d - 1) * s if d else 0
    needed = 0 if empty else offset + last + 1
    if extent > MAX_ELEMENTS or (empty and extent > MAX_EMPTY_ELEMENTS) or offset > MAX_ELEMENTS:
        raise ValueError(f"a tensor's shape {list(shape)} or offset {brief(offset)} is larger than any file")
    if dtype.nbytes(needed) > storage.nbytes:
        raise ValueError(
            f"a tensor of shape {list(shape)[:8]}, strides {list(strides)[:8]} and offset {offset} needs "
            f"{dtype.nbytes(needed)} bytes, its storage {storage.key!r} has {storage.nbytes}"
        )
    if dtype.packed and (offset or not contiguous):
        dtype = _undecoded(dtype, "view")
    return TorchTensor(storage, dtype, shape, None if contiguous else strides, offset * dtype.bits // 8)


@lru_cache(256)
def _undecoded(dtype: DType, why: str) -> DType:
    """The dtype of elements that are not what their bytes say."""
    return DType(f"{dtype.name} ({why})", dtype.bits, "", dtype.packed)


def _seen_as(dtype: DType, metadata: object) -> DType:
    """`dtype`, or what says that torch conjugates or negates what is stored."""
    if not isinstance(metadata, dict):
        return dtype
    words = [word for bit, word in (("conj", "conjugated"), ("neg", "negated")) if metadata.get(bit) is True]
    return _undecoded(dtype, ", ".join(words)) if words else dtype


def _rebuild_tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _grad: object = None,
    _hooks: object = None,
    metadata: object = None,
) -> TorchTensor:
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without a storage")
    dtype = storage.dtype if metadata is None else _seen_as(storage.dtype, metadata)
    return tensor_in(storage, dtype, offset, shape, strides)


def _rebuild_tensor_v3(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _grad: object,
    _hooks: object,
    dtype: object,
    metadata: object = None,
) -> TorchTensor:
    return tensor_in(storage, _seen_as(_dtype(dtype), metadata), offset, shape, strides)


def _dtype(dtype: object) -> DType:
    if not isinstance(dtype, Global) or not dtype.name.startswith("torch."):
        raise TypeError("a tensor without a dtype")
    return TORCH_DTYPES[dtype.name[6:]]


def _rebuild_qtensor(
    storage: object, offset: object, shape: object, strides: object, quantizer: object, *_: object
) -> QuantizedTensor:
    codes = _rebuild_tensor(storage, offset, shape, strides)
    match quantizer:
        case (Global(name="torch.per_tensor_affine"), float() | int() as scale, int(zero_point)):
            scale = scale if isinstance(scale, float) else float(scale)  # one that knows its place keeps it
            return QuantizedTensor(codes, Quantizer("per_tensor_affine", scale, zero_point))
        case (Global(name=name), scales, zero_points, int(axis)) if name in _PER_CHANNEL:
            if not 0 <= axis < len(codes.shape):
                raise ValueError(f"a quantizer's axis {axis} is not an axis of shape {list(codes.shape)[:8]}")
            scales, zero_points = (
                _along(part, codes.shape[axis], made) for part, made in ((scales, "float64"), (zero_points, "int64"))
            )
            return QuantizedTensor(codes, Quantizer(name.removeprefix("torch."), scales, zero_points, axis))
    raise ValueError("a quantized tensor's quantizer is malformed")


_PER_CHANNEL = ("torch.per_channel_affine", "torch.per_channel_affine_float_qparams")


def _along(numbers: object, n: int, made_of: str) -> object:
    """One number for each of `n` channels: a tensor, or a list of numbers as torch before 1.4 wrote them."""
    if isinstance(numbers, (list, tuple)):
        if all(isinstance(x, float) for x in numbers):
            made_of = "float64"
        numbers = ArrayRecord.of(list(numbers), made_of)
    if not isinstance(numbers, (Tensor, ArrayRecord)) or numbers.shape != (n,):
        raise ValueError(f"a quantizer does not have one scale and zero point for each of {n} channels")
    return numbers


def _rebuild_sparse(layout: object, data: object) -> Parts:
    kind = layout.args[0] if isinstance(layout, Record) and layout.args else None
    names = _SPARSE.get(kind) if isinstance(kind, str) else None
    if names is None or not isinstance(data, tuple) or len(data) < len(names) + 1:
        raise ValueError("a sparse tensor is malformed")
    shape = _size(data[len(names)])
    return Parts(f"{str(kind).removeprefix('torch.')} tensor", _dims(shape), dict(zip(names, data, strict=False)))


_SPARSE = {
    "torch.sparse_coo": ("indices", "values"),
    "torch.sparse_csr": ("crow_indices", "col_indices", "values"),
    "torch.sparse_bsr": ("crow_indices", "col_indices", "values"),
    "torch.sparse_csc": ("ccol_indices", "row_indices", "values"),
    "torch.sparse_bsc": ("ccol_indices", "row_indices", "values"),
}
"""The parts of a sparse tensor by layout, as torch's methods name them."""


def _rebuild_nested(buffer: object, sizes: object, strides: object, offsets: object) -> Parts:
    parts = {"buffer": buffer, "sizes": sizes, "strides": strides, "storage_offsets": offsets}
    return Parts("nested tensor", "its parts are stored one after another", parts)


def _rebuild_meta(dtype: object, size: object, *_: object) -> Parts:
    return Parts("meta tensor", f"{_dtype(dtype).name} {_dims(_size(size))}, without values", {})


def _rebuild_wrapper(cls: object, dtype: object, size: object, *_: object) -> Parts:
    name = cls.name if isinstance(cls, Global) else "a subclass"
    return Parts(f"tensor of {name}", f"{_dtype(dtype).name} {_dims(_size(size))}, not read", {})


def _rebuild_from_type(function: object, cls: object, args: object, state: object) -> object:
    """A tensor of a subclass, or one with attributes: the tensor where torch makes it of a storage, else an object that
    is not read."""
    if not isinstance(function, Global) or not isinstance(args, tuple) or not isinstance(cls, Global):
        raise TypeError("a tensor subclass is malformed")
    made = function.build(*args) if function.known and function.build else None
    if isinstance(made, Tensor):
        return _with_state(made, None, None, state)
    opaque = Opaque(cls.name, args if made is None else (made,))
    opaque.state = state
    return opaque


def _parameter(data: object = None, *_: object) -> object:
    return Record("torch.nn.parameter.Parameter") if data is None else data


def _same(data: object, *_: object) -> object:
    return data


def _with_state(data: object, _grad: object, _hooks: object, state: object, *_: object) -> object:
    """A tensor with attributes of its own, of which other tensors are shown."""
    return Parts("", "", {"": data}, state) if state else data


class OldTensor(Record):
    """A tensor as torch before 0.2 pickled it: its class, and the arguments of `set_` as its state."""

    __slots__ = ()

    def tensor(self) -> TorchTensor:
        """Raises TypeError and ValueError where the state makes no tensor."""
        if not isinstance(self.state, tuple) or len(self.state) != 4:
            raise TypeError("a tensor without a storage")
        return _rebuild_tensor(*self.state)


def _ordered_dict(*args: object) -> dict[object, object]:
    if not args:
        return {}
    (pairs,) = args
    if not isinstance(pairs, list):
        raise TypeError("an OrderedDict is made of something that is not a list of pairs")
    made: dict[object, object] = {}
    for pair in pairs:
        key, value = pair
        if not isinstance(key, (str, int)) or (isinstance(key, int) and abs(key) >= 1 << 63):
            raise TypeError("an OrderedDict key is not a plain value")
        made[key] = value
    return made


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("bytes in an unknown encoding")
    return text.encode("latin-1")


def _size(items: object = ()) -> tuple[object, ...]:
    if not isinstance(items, (tuple, list)):
        raise TypeError("a torch.Size is made of something that is not a list of sizes")
    return tuple(items)


def _dims(shape: tuple[object, ...]) -> str:
    return dims(tuple(d if type(d) is int and abs(d) <= MAX_ELEMENTS else -1 for d in shape[:MAX_DIMS]))


def _set(items: object = ()) -> SetItems:
    if not isinstance(items, (tuple, list)):
        raise TypeError("a set is made of something that is not a list")
    return SetItems(items)


def _counter(counts: object = None) -> dict[object, object]:
    if counts is None:
        return {}
    if not isinstance(counts, dict):
        raise TypeError("a Counter is made of something that is not a dictionary")
    return dict(counts)


def _default_dict(_factory: object = None, items: object = None) -> dict[object, object]:
    return _counter(items)


def _complex(real: object = 0.0, imaginary: object = 0.0) -> complex:
    if not isinstance(real, (int, float)) or not isinstance(imaginary, (int, float)):
        raise TypeError("a complex number is made of something that is not a number")
    return complex(real, imaginary)


def _bytearray(content: object = b"", encoding: object = "latin1") -> bytearray:
    if isinstance(content, (bytes, bytearray)):
        return bytearray(content)
    return bytearray(_encode(content, encoding))


def _bytes(content: object = b"", encoding: object = "latin1") -> bytes:
    return bytes(_bytearray(content, encoding))


def _list(items: object = ()) -> list[object]:
    return list(_size(items))


_SCHEMES = (
    "per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric",
    "per_channel_affine_float_qparams",
)  # fmt: skip
_TENSORS = ("torch.Tensor", "torch._tensor.Tensor", "torch.tensor.Tensor", *(
    f"torch.{name.removesuffix('Storage')}Tensor" for name in TORCH_STORAGES if not name.startswith(("Q", "U", "C"))
), "torch.CharTensor")  # fmt: skip
_OF_TORCHSCRIPT = (
    "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag",
)  # fmt: skip
"""Typed lists and dictionaries: the first argument is the value."""

KNOWN: Mapping[str, Global] = {
    g.name: g
    for g in (
        Global("collections.OrderedDict", _ordered_dict, copies=True),
        Global("collections.Counter", _counter, copies=True),
        Global("collections.defaultdict", _default_dict, copies=True),
        Global("builtins.set", _set, copies=True),
        Global("builtins.frozenset", _set, copies=True),
        Global("builtins.list", _list, copies=True),
        Global("builtins.tuple", _size, copies=True),
        Global("builtins.dict", _counter, copies=True),
        Global("builtins.complex", _complex),
        Global("builtins.bytearray", _bytearray, copies=True),
        Global("builtins.bytes", _bytes, copies=True),
        Global("torch._utils._rebuild_tensor", _rebuild_tensor),
        Global("torch._utils._rebuild_tensor_v2", _rebuild_tensor),
        Global("torch._utils._rebuild_tensor_v3", _rebuild_tensor_v3),
        Global("torch._utils._rebuild_qtensor", _rebuild_qtensor),
        Global("torch._utils._rebuild_parameter", _same),
        Global("torch._utils._rebuild_parameter_with_state", _with_state),
        Global("torch._utils._rebuild_sparse_tensor", _rebuild_sparse),
        Global("torch._utils._rebuild_nested_tensor", _rebuild_nested),
        Global("torch._utils._rebuild_meta_tensor_no_storage", _rebuild_meta),
        Global("torch._utils._rebuild_wrapper_subclass", _rebuild_wrapper),
        Global("torch._utils._rebuild_device_tensor_from_cpu_tensor", _same),
        Global("torch._utils._rebuild_device_tensor_from_numpy", _same),
        Global("torch._utils._rebuild_xla_tensor", _same),
        Global("torch._tensor._rebuild_from_type_v2", _rebuild_from_type),
        Global("torch._tensor._rebuild_from_type", _rebuild_from_type),
        Global("torch.nn.parameter.Parameter", _parameter),
        *(Global(f"torch.jit._pickle.{name}", _same) for name in _OF_TORCHSCRIPT),
        Global("torch.serialization._get_layout"),
        Global("torch.storage.UntypedStorage"),
        Global("torch.storage.TypedStorage"),
        Global("torch.UntypedStorage"),
        Global("torch.Size", _size, copies=True),
        Global("torch.device"),
        *(Global(f"torch.{scheme}") for scheme in _SCHEMES),
        *(Global(name, partial(OldTensor, name)) for name in _TENSORS),
        Global("_codecs.encode", _encode, copies=True),
        *(Global(f"torch.{name}") for name in TORCH_STORAGES if name != "UntypedStorage"),
        *(Global(f"torch.{name}") for name in TORCH_DTYPES),
        *NUMPY,
    )
}
"""Everything that is made of a checkpoint's pickle: what `torch.load(weights_only=True)` takes, and data of Python and
numpy. Any other name gives an Opaque."""
