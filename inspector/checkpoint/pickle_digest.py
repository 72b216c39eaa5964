"""A fingerprint of what a pickle holds at one place, so that two objects that are not read can still be compared."""

from __future__ import annotations

from qinspect.inspector.checkpoint.numpy_objects import ArrayRecord
from qinspect.inspector.checkpoint.pickle_objects import Global, Opaque, Parts, Record, SetItems
from qinspect.inspector.checkpoint.tensor import Tensor
from qinspect.inspector.checkpoint.torch_storage import QuantizedTensor, Storage

DIGEST_CHARACTERS = 16


class Digests:
    """SHA-256 over class names, containers and values; equal for equal contents, whatever was shared in the pickle and
    in whatever order a set or a dictionary was written.

    Of tensors and storages only dtype and shape: they are entries of their own. For one pickle: what was seen is kept.
    """

    def __init__(self) -> None:
        self._seen: dict[int, bytes] = {}

    def of(self, node: object) -> str:
        """The fingerprint, in hexadecimal."""
        return self._digest(node).hex()[:DIGEST_CHARACTERS]

    def _digest(self, root: object) -> bytes:
        """From the leaves up, without recursion. An object within itself counts as how many levels up it stands."""
        depths: dict[int, int] = {}
        todo: list[tuple[object, bool]] = [(root, False)]
        while todo:
            node, below_is_done = todo.pop()
            if below_is_done:
                self._seen[id(node)] = self._of_container(node, depths)
                del depths[id(node)]
            elif _is_container(node) and id(node) not in self._seen and id(node) not in depths:
                depths[id(node)] = len(depths)
                todo.append((node, True))
                todo.extend((child, False) for child in reversed(_children(node)) if _is_container(child))
        return self._of(root, {})

    def _of_container(self, node: object, depths: dict[int, int]) -> bytes:
        parts = [self._of(child, depths) for child in _children(node)]
        if isinstance(node, dict):
            parts = sorted(a + b for a, b in zip(parts[::2], parts[1::2], strict=True))
        elif isinstance(node, SetItems):
            parts.sort()
        return _sha(_label(node), *parts)

    def _of(self, node: object, depths: dict[int, int]) -> bytes:
        if not _is_container(node):
            return _sha(_label(node), _leaf(node))
        found = self._seen.get(id(node))
        return found if found is not None else _sha(b"within itself", str(len(depths) - depths[id(node)]).encode())


def _sha(*parts: bytes) -> bytes:
    import hashlib  # OpenSSL comes with it, 3 MB

    made = hashlib.sha256()
    for part in parts:
        made.update(len(part).to_bytes(8, "little"))
        made.update(part)
    return made.digest()


def _is_container(node: object) -> bool:
    if isinstance(node, (Record, dict, list, QuantizedTensor)):
        return not isinstance(node, ArrayRecord) or node.element is None
    return isinstance(node, tuple) and bool(node)


def _children(node: object) -> list[object]:
    """What a container holds: objects that live as long as it does, since they are known by their `id`."""
    if isinstance(node, dict):
        return [part for item in node.items() for part in item]
    if isinstance(node, (list, tuple)):
        return list(node)
    if isinstance(node, QuantizedTensor):
        q = node.quantizer
        return [q.scheme, q.scale, q.zero_point, q.axis, node.shape]
    if isinstance(node, ArrayRecord):
        return [node.shape, node.contents]
    assert isinstance(node, Record)
    more: list[object] = [node.appended, node.set_items] if isinstance(node, Opaque) else []
    return [node.args, node.state, *more, *([node.text, node.parts] if isinstance(node, Parts) else ())]


def _label(node: object) -> bytes:
    name = node.name if isinstance(node, (Record, Global)) else ""
    return f"{type(node).__name__} {name}".encode("utf-8", "surrogatepass")


def _leaf(node: object) -> bytes:
    if isinstance(node, Tensor):
        return f"{node.dtype.name} {node.shape}".encode()
    if isinstance(node, Storage):
        return f"{node.dtype.name} {node.nbytes}".encode()
    if isinstance(node, ArrayRecord):
        return _sha(f"{node.element} {node.shape} {node.strides}".encode(), node.raw)
    if isinstance(node, (bytes, bytearray)):
        return bytes(node)
    return str(node).encode("utf-8", "surrogatepass") if isinstance(node, str) else repr(node).encode()
