"""The flat mapping of names to entries of what a pickle holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from qinspect.inspector.checkpoint.numpy_objects import ArrayRecord, ScalarRecord
from qinspect.inspector.checkpoint.pickle_digest import Digests
from qinspect.inspector.checkpoint.pickle_objects import Global, Number, Opaque, Parts, Record, SetItems
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import Described, Entry, Tensor, Value
from qinspect.inspector.checkpoint.torch_objects import OldTensor
from qinspect.inspector.checkpoint.torch_script import OF_SCRIPT, attributes_of_quantized
from qinspect.inspector.checkpoint.torch_storage import QuantizedTensor, Storage, TorchTensor
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.text import brief, count, some, visible

MAX_DEPTH = 64
"""Containers may nest this deep; real checkpoints nest 3."""
MAX_ENTRIES = 400_000
"""An entry with its place in the tree takes 800 bytes. Large models have 60,000 tensors, their optimizers 180,000."""
MAX_NAME_BYTES_PER_BYTE = 64
"""Names together may be this much longer than the pickle: a long one over many short entries is repeated for each."""
MAX_LISTED = 512
"""A list or dictionary of more plain values than this, below the first level, is one entry: a tokenizer's vocabulary,
the state of a random generator."""

_SHARED_FACTOR = 16
_SHARED_FREE = 10_000
_PLAIN = (str, int, float, complex, bool, bytes, type(None))
_MAX_PAIR = 8
_MAX_CLASSES = 6
_MODULE = {"_parameters", "_buffers", "_modules"}
"""Attributes of a torch module whose contents a state_dict names without them."""


def entries_of(root: object, file: Source, limit: int, summarise: bool = True) -> tuple[dict[str, Entry], list[str]]:
    """(name to entry, what there is to say): containers become names joined by dots.

    An object of an unknown class is one entry, and the tensors in it are entries below, named by the attributes that
    lead to them. `limit`, the bytes of the pickle, bounds the entries and their names. summarise: make one entry of a
    long list of plain values. Raises BrokenFile where containers are shared to multiply (a "billion laughs" file), for
    depth over MAX_DEPTH, more than MAX_ENTRIES, for a name that two entries have, and where the root is no container.
    """
    listing = _Listing(file, limit, summarise)
    listing.add(root)
    return listing.entries, listing.notes()


class _Listing:
    def __init__(self, file: Source, limit: int, summarise: bool) -> None:
        self.entries: dict[str, Entry] = {}
        self.file = file
        self._limit = limit
        self._summarise = summarise
        self._digests = Digests()
        self._unread: Counter[str] = Counter()
        self._inside: set[int] = set()
        self._opened: set[int] = set()
        self._summaries: dict[int, object] = {}
        self._again: Counter[str] = Counter()
        self._kept: list[object] = []
        self._n_within = 0
        self._n_waiting = 0
        self._n_characters = 0
        # A model has few shapes: one object each saves 8 MB in 60,000 tensors.
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}

    def add(self, root: Any) -> None:
        """All of `root`, in order."""
        todo: list[tuple[str, Any, int, bool]] = []
        if isinstance(root, Opaque):
            self._add_opaque("object", root)
            todo.extend(reversed([(name, child, 1, True) for name, child in _attributes("", root)]))
        elif isinstance(root, (Tensor, ArrayRecord, Parts, Storage, OldTensor)):
            todo.append(("tensor", root, 1, False))
        elif isinstance(root, (dict, list, tuple)):
            todo.append(("", root, 0, False))
        else:
            raise BrokenFile(
                "holds no dictionary of tensors",
                file=self.file.path,
                expected="a state_dict",
                found=brief(root),
                cure="Save model.state_dict() rather than something else.",
            )
        self._walk(todo)

    def _walk(self, todo: list[tuple[str, Any, int, bool]]) -> None:
        seen: set[int] = set()
        n_distinct = 0
        while todo:
            prefix, node, depth, inside = todo.pop()
            if type(node) is TorchTensor:  # nearly all: 60,000 times
                self._put(prefix, _named(node, prefix), inside)
                continue
            if inside and (isinstance(node, (dict, list, tuple, Record)) and not isinstance(node, ArrayRecord)):
                if id(node) in self._inside:
                    continue  # objects refer to each other, and to what holds them
                self._inside.add(id(node))
            self._n_waiting = len(todo)
            children = self._children(prefix, node, inside)
            if children is None:
                continue
            if depth > MAX_DEPTH:
                if inside:
                    continue
                raise BrokenFile(
                    "containers nest too deeply, or contain themselves",
                    file=self.file.path,
                    key=prefix,
                    expected=f"at most {MAX_DEPTH} levels",
                    cure="Save model.state_dict() alone.",
                )
            if id(node) not in seen:
                seen.add(id(node))
                n_distinct += len(children)
            n = len(self.entries) + len(todo) + len(children)
            self._n_characters += sum(len(name) for name, _ in children)
            if n > min(self._limit, _SHARED_FACTOR * n_distinct + _SHARED_FREE) or self._names_are_long():
                raise self._multiplied(prefix, n)
            # A quantizer's numbers belong to its tensor: they are listed wherever that is.
            inside = (inside or isinstance(node, Opaque)) and not isinstance(node, QuantizedTensor)
            todo.extend([(name, child, depth + 1, inside) for name, child in reversed(children)])

    def _children(self, prefix: str, node: Any, inside: bool) -> list[tuple[str, Any]] | None:
        """Names and contents of what is below `node`; None where it is an entry, or nothing, of its own."""
        if isinstance(node, TorchTensor):
            tensor = _named(node, prefix)
            self._put(prefix, tensor, inside)
            return _quantizer(tensor) if isinstance(tensor, QuantizedTensor) else None
        if isinstance(node, (dict, list, tuple)) and (node or not prefix or isinstance(node, SetItems)):
            long = prefix and (isinstance(node, SetItems) or len(node) > MAX_LISTED)
            if long and (summary := self._summary(node)) is not None:
                self._put_value(prefix, summary, inside)
                return None
            self._check_room(prefix, len(node))
            return _items(prefix, node)
        if isinstance(node, Opaque):
            if not inside and node.name:
                self._add_opaque(prefix, node)
            if id(node) in self._opened:  # its tensors are listed where it was met first
                return None
            self._opened.add(id(node))
            self._check_room(prefix, len(node.appended) + len(node.set_items) // 2)
            return _attributes(prefix, node)
        if isinstance(node, Parts):
            return self._parts(prefix, node, inside)
        self._add_leaf(prefix, node, inside)
        return None

    def _names_are_long(self, more: int = 0) -> bool:
        """Whether all names together, and `more` characters, are longer than the pickle could make them by itself."""
        return self._n_characters + more > MAX_NAME_BYTES_PER_BYTE * self._limit

    def _check_room(self, prefix: str, n: int) -> None:
        """Raises BrokenFile where `n` more entries below `prefix` are too many, or their names too long: before the
        names are made."""
        long = self._names_are_long(n * len(prefix))
        n += len(self.entries) + self._n_waiting
        if long:
            raise self._multiplied(prefix, n)
        if n > MAX_ENTRIES:
            raise BrokenFile(
                "holds more entries than any checkpoint",
                file=self.file.path,
                key=prefix or None,
                expected=f"at most {count(MAX_ENTRIES)}",
                found=f"over {count(n)}",
                cure="Save model.state_dict() alone, or as several files.",
            )

    def _summary(self, node: Any) -> object:
        """What one entry says of a whole container: a set of plain values itself, a long one in words; None for any
        other. Made once for each, since many entries may share one."""
        if id(node) not in self._summaries:
            made: object = None
            if len(node) <= MAX_LISTED:
                made = _as_set(node) if all(isinstance(x, _PLAIN) for x in node) else None
            elif self._summarise and _is_plain(node):
                text = f"{count(len(node))} values, sha256 {self._digests.of(node)}"
                made = Described(f"python {_kind_of(node)}", text)
            self._summaries[id(node)] = made
        return self._summaries[id(node)]

    def _parts(self, prefix: str, node: Parts, inside: bool) -> list[tuple[str, Any]]:
        children = [(f"{prefix}.{name}" if name else prefix, part) for name, part in node.parts.items()]
        if node.name:
            self._put_value(prefix, Described(visible(node.name, 160), node.text), inside)
        else:  # a tensor with attributes
            self._unread["attributes of tensors"] += 1
            holder = Opaque("")
            holder.state = node.state
            self._kept.append(holder)  # known by its `id`
            children.append((prefix, holder))
        return children

    def _add_leaf(self, name: str, node: Any, inside: bool) -> None:
        """An entry that is not a torch tensor. Inside of an object that is not read, only what is a tensor."""
        if isinstance(node, OldTensor) and node.state is not None:
            self._put(name, _named(self._old_tensor(name, node), name), inside)
        elif isinstance(node, Storage):
            whole = TorchTensor(node, node.dtype, (node.n_elements,), None, 0)
            self._put(name, _named(whole, name), inside)
        elif isinstance(node, ArrayRecord) and (array := node.tensor(self.file)) is not None:
            self._put(name, _named(array, name), inside)
        elif isinstance(node, Tensor):
            self._put(name, _named(node, name), inside)
        elif isinstance(node, Number):
            self._put(name, Value(name, node.value, self.file), inside)
        elif not inside:
            self._put(name, self._value(name, node), inside)

    def _old_tensor(self, name: str, node: OldTensor) -> Tensor:
        try:
            return node.tensor()
        except (TypeError, ValueError) as e:
            raise BrokenFile(
                f"a tensor makes no sense ({e})",
                file=self.file.path,
                key=name,
                cure="The file is damaged: copy it again.",
            ) from e

    def _value(self, name: str, node: Any) -> Value:
        if isinstance(node, ScalarRecord) and (number := node.value()) is not None:
            return Value(name, number[0], self.file, number[1])
        if isinstance(node, Global):
            return Value(name, node.name, self.file)
        if isinstance(node, (ArrayRecord, ScalarRecord)):
            dtype = node.args[0] if node.args else None
            what = node.what if isinstance(node, ArrayRecord) else repr(dtype if isinstance(dtype, Record) else "")
            self._unread[f"{node.name} of {what}"] += 1
            return Value(name, Described(f"{node.name} of {what}, not read", self._fingerprint(node)), self.file)
        if isinstance(node, Record):
            plain = all(isinstance(a, _PLAIN) for a in node.args) and node.state is None
            shown = ", ".join(map(brief, node.args[:4])) if plain else self._fingerprint(node)
            return Value(name, Described(node.name, f"({shown})"), self.file)
        return Value(name, node, self.file)

    def _add_opaque(self, name: str, node: Opaque) -> None:
        cls = visible(node.name, 160)
        self._unread[cls] += 1
        self._put_value(name, Described(f"{cls}, not read", self._fingerprint(node)), False)

    def _fingerprint(self, node: object) -> str:
        return f"content sha256 {self._digests.of(node)}"

    def _put_value(self, name: str, value: object, inside: bool) -> None:
        if not inside:
            self._put(name, Value(name, value, self.file), inside)

    def _put(self, name: str, entry: Entry, inside: bool) -> None:
        if name in self.entries:
            if not inside:
                raise BrokenFile(
                    "two entries have the same name",
                    file=self.file.path,
                    key=name,
                    expected="each name once",
                    cure="Rename one where the file was made: 'a.b' and {'a': {'b': ...}} have the same path.",
                )
            while name in self.entries:
                self._again[entry.name] += 1
                name = f"{entry.name}~{self._again[entry.name] + 1}"
            entry.name = name
        self._n_within += inside and isinstance(entry, Tensor)
        self.entries[name] = entry
        if isinstance(entry, Tensor):
            entry.shape = self._shapes.setdefault(entry.shape, entry.shape)

    def _multiplied(self, prefix: str, n: int) -> BrokenFile:
        return BrokenFile(
            "its containers or names are shared so as to multiply, or contain themselves",
            file=self.file.path,
            key=prefix or None,
            expected="each entry stored once",
            found=f"{n} entries or more, from a pickle of {self._limit} bytes",
            cure="The file is damaged or made to exhaust memory.",
        )

    def notes(self) -> list[str]:
        """What was not read, and what was found inside of it."""
        made: list[str] = []
        if self._unread and all(name.startswith(OF_SCRIPT) for name in self._unread):
            return made  # a TorchScript program, of which this is said already
        if n := sum(self._unread.values()):
            classes = [f"{name} ({m})" if m > 1 else name for name, m in self._unread.most_common(_MAX_CLASSES)]
            left = len(self._unread) - _MAX_CLASSES
            more = f" and {left} more classes" if left > 0 else ""
            were = f"{some(n, 'value')} {'was' if n == 1 else 'were'}"
            made.append(f"{were} not read, because nothing in the file is run: {', '.join(classes)}{more}")
        if n := self._n_within:
            are = f"{some(n, 'tensor')} in what was not read {'is' if n == 1 else 'are'}"
            made.append(f"{are} listed under the attributes that hold {'it' if n == 1 else 'them'}")
        return made


def _items(prefix: str, node: Any) -> list[tuple[str, Any]]:
    items: Iterator[tuple[Any, Any]] = iter(node.items()) if isinstance(node, dict) else iter(enumerate(node))
    if prefix:
        return [(f"{prefix}.{_key(k, i)}", v) for i, (k, v) in enumerate(items)]
    return [(_key(k, i), v) for i, (k, v) in enumerate(items)]


def _key(key: Any, place: int) -> str:
    """As in a name: an object as a key is told by its class and its place."""
    return f"{key.name}#{place}" if isinstance(key, (Record, Global)) else str(key)


def _attributes(prefix: str, node: Opaque) -> list[tuple[str, Any]]:
    """Names and values of what was set on an object. Those of a torch module are named as its state_dict names them."""
    if (known := attributes_of_quantized(node)) is not None:
        return _items(prefix, known)
    halves = node.state if isinstance(node.state, tuple) else (node.state,)
    found: list[tuple[str, Any]] = []
    for i, half in enumerate(halves):
        if not isinstance(half, dict):
            found.append((f"{prefix}.state.{i}" if prefix else f"state.{i}", half))
            continue
        module = half.keys() >= _MODULE
        for key, value in half.items():
            if module and key in _MODULE and isinstance(value, dict):
                found += _items(prefix, value)
            else:
                found += _items(prefix, {key: value})
    found += _items(f"{prefix}.args" if prefix else "args", node.args)
    found += _items(prefix, node.appended)
    found += _items(prefix, {k if isinstance(k, (str, int)) else str(i): v for i, (k, v) in _pairs(node.set_items)})
    return found


def _pairs(flat: list[object]) -> Iterator[tuple[int, tuple[object, object]]]:
    return enumerate(zip(flat[::2], flat[1::2], strict=True))


def _quantizer(tensor: QuantizedTensor) -> list[tuple[str, Any]]:
    """The quantizer's numbers, named as torch's methods that give them."""
    prefix, q = tensor.name, tensor.quantizer
    if q.axis is None:
        return [(f"{prefix}.q_scale", q.scale), (f"{prefix}.q_zero_point", q.zero_point)]
    return [(f"{prefix}.q_per_channel_scales", q.scale), (f"{prefix}.q_per_channel_zero_points", q.zero_point)]


def _named(tensor: Tensor, name: str) -> Tensor:
    if tensor.name and isinstance(tensor, TorchTensor):  # the same object under a second key: tied
        tensor = tensor.again()
    tensor.name = name
    return tensor


def _is_plain(node: Any) -> bool:
    """Whether a container holds only plain values, and short lists of them."""
    values = node.values() if isinstance(node, dict) else node
    return all(
        isinstance(v, _PLAIN)
        or (isinstance(v, (list, tuple)) and len(v) <= _MAX_PAIR and all(isinstance(x, _PLAIN) for x in v))
        for v in values
    )


def _kind_of(node: object) -> str:
    return "set" if isinstance(node, SetItems) else type(node).__name__


def _as_set(items: SetItems) -> set[object]:
    """The set itself. Filled in one order, so that two equal ones are written alike."""
    in_order = sorted(items, key=lambda x: (type(x).__name__, repr(x)))
    return set(in_order)
