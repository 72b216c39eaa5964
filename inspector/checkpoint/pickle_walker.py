"""Walks a pickle without running it.

A virtual machine of our own for the opcodes that torch's checkpoints use. Nothing is imported and nothing the
pickle names is called: a global is looked up in a table that the caller passes, and REDUCE, NEWOBJ and BUILD
reach only what that table holds. The standard unpickler, even with `find_class` closed, lets a file allocate
by memo index, hash tuples nested a million deep (a stack overflow) and update `__dict__` of what it returns.

Cost is bounded by the size of the data: every opcode is read once, strings and integers have limits, and
dictionary keys are plain values. Format: https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import BrokenFile, UnsafePickle
from qinspect.inspector.text import brief

MAX_INTEGER_BYTES = 1024
"""A pickled integer may have this many bytes; storage keys and sizes need 8."""

_KEY_TYPES = (str, int, float, bool, bytes, type(None))
_MAX_TUPLE_KEY = 8
_MAX_INTEGER_KEY = 1 << 63
"""Larger integers with one hash value are easily made, and a dictionary of them takes quadratic time."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle refers to and the table knows. `build` makes the result of calling it.

    copies: the result copies what it is given, so a pickle could multiply one large argument by calling again and
    again; all such calls together may copy as many items as the pickle has bytes.
    """

    name: str
    build: Callable[..., object] | None = None
    copies: bool = False


@dataclass(slots=True)
class Record:
    """An object that the walker holds in place of the real one: what was called, and with what."""

    name: str
    args: tuple[object, ...] = ()
    state: object = field(default=None)


def _is_plain_key(key: object) -> bool:
    return isinstance(key, _KEY_TYPES) and not (isinstance(key, int) and abs(key) > _MAX_INTEGER_KEY)


_COPY_AGAIN = "The file is damaged: copy it again."


class PickleWalker:
    """Reads one pickle after another from a buffer.

    Parameters
    ----------
    data: the bytes. file, base: what error messages name, and the offset of `data` in that file.
    known: `module.name` to the Global that stands for it; anything else is refused.
    persistent: makes the object for a persistent id (torch: a storage).
    number: makes the object for a float of eight bytes, big-endian, given it and where they are in the file; None:
    the float itself.
    """

    def __init__(
        self,
        data: bytes,
        file: Path,
        known: Mapping[str, Global],
        persistent: Callable[[object], object],
        base: int = 0,
        number: Callable[[float, int], object] | None = None,
    ) -> None:
        self._data = data
        self._file = file
        self._known = known
        self._persistent = persistent
        self._base = base
        self._number = number
        self._copied = 0
        self.position = 0

    def load(self) -> Any:
        """The next object. `position` is then just behind its STOP.

        Raises UnsafePickle for a global that is not in the table, an opcode that checkpoints do not use, or an
        argument beyond the limits; BrokenFile where the stream ends early or makes no sense.
        """
        try:
            return self._run()
        except (IndexError, struct.error, KeyError) as e:
            raise self._broken("the pickle ends early or is damaged, at or after this place", cure=_COPY_AGAIN) from e
        except (ValueError, TypeError, AttributeError, OverflowError) as e:
            raise self._broken(f"the pickle makes no sense, at or after this place ({e})", cure=_COPY_AGAIN) from e

    def _broken(self, problem: str, **parts: Any) -> BrokenFile:
        return BrokenFile(problem, file=self._file, offset=self._base + self.position, **parts)

    def _unsafe(self, problem: str, **parts: Any) -> UnsafePickle:
        parts.setdefault("cure", "It was not run. Re-save the weights alone, as safetensors if you can.")
        return UnsafePickle(problem, file=self._file, offset=self._base + self.position, **parts)

    # One long function on purpose: a call per opcode would double the time of a 60,000-tensor checkpoint
    # (two million opcodes). The order of the branches follows their frequency in such a file.
    def _run(self) -> Any:  # noqa: C901, PLR0912, PLR0915
        data = self._data
        end = len(data)
        pos = self.position
        stack: list[Any] = []
        marks: list[list[Any]] = []
        memo: dict[int, Any] = {}
        push = stack.append
        from_bytes = int.from_bytes
        while True:
            if pos >= end:
                self.position = end
                raise self._broken("the pickle ends early", expected="a STOP opcode")
            op = data[pos]
            pos += 1
            if op == 0x71:  # BINPUT
                memo[data[pos]] = stack[-1]
                pos += 1
            elif op == 0x72:  # LONG_BINPUT
                memo[from_bytes(data[pos : pos + 4], "little")] = stack[-1]
                pos += 4
            elif op == 0x68:  # BINGET
                push(memo[data[pos]])
                pos += 1
            elif op == 0x4B:  # BININT1
                push(data[pos])
                pos += 1
            elif op == 0x4A:  # BININT
                push(from_bytes(data[pos : pos + 4], "little", signed=True))
                pos += 4
            elif op == 0x4D:  # BININT2
                push(from_bytes(data[pos : pos + 2], "little"))
                pos += 2
            elif op == 0x85:  # TUPLE1
                stack[-1] = (stack[-1],)
            elif op == 0x86:  # TUPLE2
                second = stack.pop()
                stack[-1] = (stack[-1], second)
            elif op == 0x28:  # MARK
                marks.append(stack)
                stack = []
                push = stack.append
            elif op == 0x74:  # TUPLE
                items = stack
                stack = marks.pop()
                push = stack.append
                push(tuple(items))
            elif op == 0x58:  # BINUNICODE
                n = from_bytes(data[pos : pos + 4], "little")
                pos += 4
                if pos + n > end:
                    self.position = pos
                    raise self._broken("a string reaches beyond the end", expected=f"{n} bytes", found=f"{end - pos}")
                push(data[pos : pos + n].decode("utf-8", "surrogatepass"))
                pos += n
            elif op == 0x52:  # REDUCE
                args = stack.pop()
                self.position = pos
                stack[-1] = self._call(stack[-1], args)
            elif op == 0x51:  # BINPERSID
                self.position = pos
                stack[-1] = self._persistent(stack[-1])
            elif op == 0x89:  # NEWFALSE
                push(False)
            elif op == 0x29:  # EMPTY_TUPLE
                push(())
            elif op == 0x6A:  # LONG_BINGET
                push(memo[from_bytes(data[pos : pos + 4], "little")])
                pos += 4
            elif op == 0x63:  # GLOBAL
                line_end = data.index(b"\n", pos)
                second_end = data.index(b"\n", line_end + 1)
                name = f"{data[pos:line_end].decode()}.{data[line_end + 1 : second_end].decode()}"
                self.position = pos
                pos = second_end + 1
                push(self._global(name))
            elif op == 0x47:  # BINFLOAT
                value = struct.unpack_from(">d", data, pos)[0]
                push(value if self._number is None else self._number(value, self._base + pos))
                pos += 8
            elif op == 0x4E:  # NONE
                push(None)
            elif op == 0x88:  # NEWTRUE
                push(True)
            elif op == 0x87:  # TUPLE3
                third = stack.pop()
                second = stack.pop()
                stack[-1] = (stack[-1], second, third)
            elif op == 0x75:  # SETITEMS
                items = stack
                stack = marks.pop()
                push = stack.append
                self.position = pos
                self._set_items(stack[-1], items)
            elif op == 0x73:  # SETITEM
                value = stack.pop()
                key = stack.pop()
                self.position = pos
                self._set_items(stack[-1], [key, value])
            elif op == 0x7D:  # EMPTY_DICT
                push({})
            elif op == 0x5D:  # EMPTY_LIST
                push([])
            elif op == 0x61:  # APPEND
                value = stack.pop()
                self._extend(stack[-1], [value])
            elif op == 0x65:  # APPENDS
                items = stack
                stack = marks.pop()
                push = stack.append
                self._extend(stack[-1], items)
            elif op == 0x62:  # BUILD
                state = stack.pop()
                if isinstance(stack[-1], Record):
                    stack[-1].state = state
            elif op == 0x2E:  # STOP
                self.position = pos
                if len(stack) != 1 or marks:
                    raise self._broken("the pickle does not end with one object", found=f"{len(stack)} on the stack")
                return stack[0]
            elif op == 0x80:  # PROTO
                if data[pos] > 5:
                    self.position = pos
                    raise self._broken("the pickle protocol is unknown", expected="0 to 5", found=str(data[pos]))
                pos += 1
            elif op == 0x95:  # FRAME
                pos += 8
            elif op == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif op == 0x8C:  # SHORT_BINUNICODE
                n = data[pos]
                pos += 1
                if pos + n > end:
                    raise IndexError
                push(data[pos : pos + n].decode("utf-8", "surrogatepass"))
                pos += n
            elif op == 0x93:  # STACK_GLOBAL
                attribute = stack.pop()
                module = stack.pop()
                self.position = pos
                if not isinstance(module, str) or not isinstance(attribute, str):
                    raise self._broken("a global's name is no string")
                push(self._global(f"{module}.{attribute}"))
            elif op in (0x8A, 0x8B):  # LONG1, LONG4
                width = 1 if op == 0x8A else 4
                n = from_bytes(data[pos : pos + width], "little")
                pos += width
                self.position = pos
                if n > MAX_INTEGER_BYTES:
                    raise self._unsafe("an integer is larger than any size", found=f"{n} bytes")
                push(from_bytes(data[pos : pos + n], "little", signed=True))
                pos += n
            elif op in (0x43, 0x42, 0x8E, 0x55, 0x54, 0x8D):  # byte strings and long unicode, by length field
                width = {0x43: 1, 0x55: 1, 0x42: 4, 0x54: 4, 0x8E: 8, 0x8D: 8}[op]
                n = from_bytes(data[pos : pos + width], "little")
                pos += width
                if pos + n > end:
                    self.position = pos
                    raise self._broken("a string reaches beyond the end", expected=f"{n} bytes", found=f"{end - pos}")
                raw = data[pos : pos + n]
                pos += n
                push(
                    raw
                    if op in (0x43, 0x42, 0x8E)
                    else raw.decode("utf-8" if op == 0x8D else "latin-1", "surrogatepass" if op == 0x8D else "strict")
                )
            elif op in (0x49, 0x4C, 0x46):  # INT, LONG, FLOAT as text (protocol 0)
                line_end = data.index(b"\n", pos)
                text = data[pos:line_end].decode("ascii")
                pos = line_end + 1
                if len(text) > 2 * MAX_INTEGER_BYTES:
                    raise self._unsafe("a number is longer than any size", found=f"{len(text)} digits")
                if op == 0x46:
                    push(float(text))
                elif op == 0x49 and text in ("00", "01"):
                    push(text == "01")
                else:
                    push(int(text.rstrip("L")))
            elif op in (0x8F, 0x91, 0x90):  # EMPTY_SET, FROZENSET, ADDITEMS
                if op == 0x8F:
                    push([])
                else:
                    items = stack
                    stack = marks.pop()
                    push = stack.append
                    if op == 0x91:
                        push(items)
                    else:
                        self._extend(stack[-1], items)
            elif op in (0x6C, 0x64):  # LIST, DICT
                items = stack
                stack = marks.pop()
                push = stack.append
                if op == 0x6C:
                    push(items)
                else:
                    made: dict[Any, Any] = {}
                    self.position = pos
                    self._set_items(made, items)
                    push(made)
            elif op == 0x30:  # POP
                if stack:
                    stack.pop()
                else:
                    stack = marks.pop()
                    push = stack.append
            elif op == 0x31:  # POP_MARK
                stack = marks.pop()
                push = stack.append
            elif op == 0x32:  # DUP
                push(stack[-1])
            elif op in (0x67, 0x70):  # GET, PUT
                line_end = data.index(b"\n", pos)
                index = int(data[pos:line_end][:20])
                pos = line_end + 1
                if op == 0x67:
                    push(memo[index])
                else:
                    memo[index] = stack[-1]
            elif op == 0x81:  # NEWOBJ
                args = stack.pop()
                self.position = pos
                stack[-1] = self._call(stack[-1], args)
            else:
                self.position = pos - 1
                raise self._unsafe(
                    "the pickle uses an opcode that checkpoints do not need",
                    expected="the opcodes of tensors, numbers, strings and containers",
                    found=f"0x{op:02x}",
                )

    def _global(self, name: str) -> Global:
        known = self._known.get(name)
        if known is None:
            raise self._unsafe(
                "the pickle names something other than tensors and containers",
                expected="names that a checkpoint needs (torch storages, tensors, dtypes, OrderedDict)",
                found=name,
            )
        return known

    def _call(self, target: object, args: object) -> object:
        if not isinstance(target, Global) or not isinstance(args, tuple):
            raise self._unsafe("the pickle calls something that is no known constructor", found=brief(target))
        if target.build is None:
            return Record(target.name, args)
        if target.copies:
            self._copied += sum(len(a) for a in args if isinstance(a, (str, list, tuple)))
            if self._copied > len(self._data):
                raise self._unsafe("the pickle copies the same data again and again", found=target.name)
        return target.build(*args)

    def _set_items(self, target: object, items: list[Any]) -> None:
        if isinstance(target, Record):
            return  # an attribute table that nothing reads
        if not isinstance(target, dict) or len(items) % 2:
            raise self._broken("items are set on something that is no dictionary")
        keys = items[::2]
        for i, key in enumerate(keys):
            if isinstance(key, tuple):
                keys[i] = self._tuple_key(key)
            elif not _is_plain_key(key):
                raise self._unsafe("a dictionary key is no plain value", found=brief(key))
        target.update(zip(keys, items[1::2], strict=True))

    def _tuple_key(self, key: tuple[object, ...]) -> str:
        """A short tuple of plain values as the text it is shown as. Not kept as a tuple: hashing one that nests deeply
        recurses without bound, and tuples of numbers with one hash value are easily made."""
        if len(key) > _MAX_TUPLE_KEY or not all(map(_is_plain_key, key)):
            raise self._unsafe("a dictionary key is no plain value", found=brief(key))
        self._copied += sum(len(k) for k in key if isinstance(k, (str, bytes)))
        if self._copied > len(self._data):
            raise self._unsafe("the pickle copies the same data again and again", found="tuples as keys")
        return repr(key)

    @staticmethod
    def _extend(target: object, items: list[Any]) -> None:
        if not isinstance(target, list):
            raise TypeError("items are appended to something that is no list")
        target.extend(items)
