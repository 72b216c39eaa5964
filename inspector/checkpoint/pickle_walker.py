"""Walks a pickle without running it.

A virtual machine of our own for all opcodes of pickle. Nothing is imported and nothing that the pickle names is called:
a global is looked up in a table that the caller passes, and a call of what stands there makes one of our own objects.
Any other name gives an `Opaque`, which keeps the name and what it was called with; where the name is known to attack
(`dangerous_names`), the whole pickle is refused at its end, with all that it names. The standard unpickler, even with
`find_class` closed, lets a file allocate by memo index, hash tuples nested a million deep (a stack overflow) and update
`__dict__` of what it returns.

Cost is bounded: every opcode is read once, strings and integers have limits, dictionary keys are plain values or
objects that are equal only to themselves, and what is held may not exceed MAX_OBJECTS. Format:
https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import proxy

from qinspect.inspector.checkpoint.pickle_calls import Calls
from qinspect.inspector.checkpoint.pickle_objects import Global, Opaque, Record, SetItems
from qinspect.inspector.errors import BrokenFile, QinspectError, UnsafePickle
from qinspect.inspector.text import brief

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint.torch_shortcut import TensorShortcut

MAX_INTEGER_BYTES = 1024
"""A pickled integer may have this many bytes; storage keys and sizes need 8."""

MAX_OBJECTS = 4_000_000
"""What one pickle may hold: containers, items in them, memo entries, and 64 bytes of a long string, at up to 100 bytes
each. A tensor takes 15, so this is 250,000 tensors: an optimizer's three for each of 80,000 parameters."""

MAX_MARKS = 10_000
"""Marks within marks; Python's pickler nests one per level, and gives up at 1,000 levels."""

_BATCH_BYTES = 1 << 15
"""Of the pickle, between two looks at what is held."""
_LONG_STRING = 1 << 12

_KEY_TYPES = (str, int, float, bool, bytes, type(None))
_MAX_TUPLE_KEY = 8
_MAX_INTEGER_KEY = 1 << 63
"""Larger integers with one hash value are easily made, and a dictionary of them takes quadratic time."""


def _is_plain_key(key: object) -> bool:
    return isinstance(key, _KEY_TYPES) and not (isinstance(key, int) and abs(key) > _MAX_INTEGER_KEY)


_COPY_AGAIN = "The file is damaged: copy it again."


class PickleWalker:
    """Reads one pickle after another from a buffer.

    Parameters
    ----------
    data: the bytes. file, base: what error messages name, and the offset of `data` in that file.
    known: `module.name` to the Global that stands for it; anything else becomes an Opaque.
    persistent: makes the object for a persistent id (torch: a storage).
    number: makes the object for a float of eight bytes, big-endian, given it and where they are in the file; None:
    the float itself.
    shortcut: reads tensors at one stroke where they are written as most are; None: goes opcode by opcode.

    `calls` knows the names met so far.
    """

    def __init__(
        self,
        data: bytes,
        file: Path,
        known: Mapping[str, Global],
        persistent: Callable[[object], object],
        base: int = 0,
        number: Callable[[float, int], object] | None = None,
        shortcut: TensorShortcut | None = None,
    ) -> None:
        self._data = data
        self._file = file
        self._persistent = persistent
        self._base = base
        self._number = number
        self._shortcut = shortcut
        self._held = 0
        self.position = 0
        # No circle of references: what was walked is large, and is to go as soon as it can.
        self.calls = Calls(known, len(data), partial(PickleWalker._unsafe, proxy(self)))

    def load(self) -> Any:
        """The next object. `position` is then just behind its STOP.

        Raises UnsafePickle where it would call what is known to attack, calls what cannot be called, or has an argument
        beyond the limits; BrokenFile where the stream ends early or makes no sense.
        """
        before = self.position, self._held, self.calls.copy()
        try:
            return self._checked()
        except QinspectError:
            if self._shortcut is None or not self._shortcut.used:
                raise
        # What was passed over may be what is missing; and errors tell of places that only opcodes know.
        self._shortcut = None
        self.position, self._held, self.calls = before
        return self._checked()

    def _checked(self) -> Any:
        try:
            made = self._run()
        except BrokenFile as e:
            if attack := self.calls.attack():
                raise attack from e
            raise
        except (IndexError, struct.error, KeyError) as e:
            broken = self._broken("the pickle ends early or is damaged, at or after this place", cure=_COPY_AGAIN)
            raise (self.calls.attack() or broken) from e
        except (ValueError, TypeError, AttributeError, OverflowError) as e:
            broken = self._broken(f"the pickle makes no sense, at or after this place ({e})", cure=_COPY_AGAIN)
            raise (self.calls.attack() or broken) from e
        if attack := self.calls.attack():
            raise attack
        return made

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
        shortcut = self._shortcut
        memo: Any = {} if shortcut is None else shortcut.memo(data)
        push = stack.append
        from_bytes = int.from_bytes
        look = min(end, pos + _BATCH_BYTES)
        held = self._held
        while True:
            if pos >= look:
                self.position = min(pos, end)
                if pos >= end:
                    raise self._broken("the pickle ends early", expected="a STOP opcode")
                self._check_held(held + len(memo) + len(stack) + self.calls.held, marks)
                look = min(end, pos + _BATCH_BYTES)
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
                held += 1
                stack[-1] = (stack[-1],)
            elif op == 0x86:  # TUPLE2
                held += 1
                second = stack.pop()
                stack[-1] = (stack[-1], second)
            elif op == 0x28:  # MARK
                if shortcut and stack and data[pos : pos + 1] == b"(":
                    found = shortcut(data, pos - 1, stack[-1], memo)
                    if found is not None:
                        stack[-1:], pos = found
                        held += shortcut.held * (len(found[0]) + 1) // 2
                        continue
                held += 1
                marks.append(stack)
                stack = []
                push = stack.append
            elif op == 0x74:  # TUPLE
                items = stack
                stack = marks.pop()
                push = stack.append
                held += len(items) >> 3
                push(tuple(items))
            elif op == 0x58:  # BINUNICODE
                n = from_bytes(data[pos : pos + 4], "little")
                pos += 4
                if pos + n > end:
                    self.position = pos
                    raise self._broken("a string reaches beyond the end", expected=f"{n} bytes", found=f"{end - pos}")
                text = data[pos : pos + n].decode("utf-8", "surrogatepass")
                if n > _LONG_STRING:
                    held += text.__sizeof__() >> 6
                push(text)
                pos += n
            elif op == 0x52:  # REDUCE
                held += 1
                args = stack.pop()
                self.position = pos
                stack[-1] = self.calls.call(stack[-1], args)
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
                push(self.calls.named(name))
            elif op == 0x47:  # BINFLOAT
                value = struct.unpack_from(">d", data, pos)[0]
                push(value if self._number is None else self._number(value, self._base + pos))
                pos += 8
            elif op == 0x4E:  # NONE
                push(None)
            elif op == 0x88:  # NEWTRUE
                push(True)
            elif op == 0x87:  # TUPLE3
                held += 1
                third = stack.pop()
                second = stack.pop()
                stack[-1] = (stack[-1], second, third)
            elif op == 0x75:  # SETITEMS
                items = stack
                stack = marks.pop()
                push = stack.append
                held += len(items)
                self.position = pos
                self._set_items(stack[-1], items)
            elif op == 0x73:  # SETITEM
                held += 2
                value = stack.pop()
                key = stack.pop()
                self.position = pos
                self._set_items(stack[-1], [key, value])
            elif op == 0x7D:  # EMPTY_DICT
                held += 1
                push({})
            elif op == 0x5D:  # EMPTY_LIST
                held += 1
                push([])
            elif op == 0x61:  # APPEND
                held += 1
                value = stack.pop()
                self._extend(stack[-1], [value])
            elif op == 0x65:  # APPENDS
                items = stack
                stack = marks.pop()
                push = stack.append
                held += len(items)
                self._extend(stack[-1], items)
            elif op == 0x62:  # BUILD
                state = stack.pop()
                if isinstance(stack[-1], Record):
                    stack[-1].set_state(state)
            elif op == 0x2E:  # STOP
                self.position = pos
                if len(stack) != 1 or marks:
                    raise self._broken("the pickle does not end with one object", found=f"{len(stack)} on the stack")
                if shortcut and not memo.is_whole:
                    raise KeyError
                self._held = held
                return stack[0]
            elif op == 0x80:  # PROTO
                if data[pos] > 5:
                    self.position = pos
                    raise self._broken("the pickle protocol is unknown", expected="0 to 5", found=str(data[pos]))
                pos += 1
            elif op == 0x95:  # FRAME
                pos += 8
            elif op == 0x94:  # MEMOIZE
                if shortcut and memo.has_gaps:
                    raise KeyError
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
                    raise self._broken("a global's name is not a string")
                push(self.calls.named(f"{module}.{attribute}"))
            else:
                self.position = pos
                pos, stack, added = self._rare(op, pos, stack, marks, memo)
                push = stack.append
                held += added

    # The opcodes of other protocols and of few objects. Returns the new position, the new stack, and what is held more.
    def _rare(  # noqa: C901, PLR0912, PLR0915
        self, op: int, pos: int, stack: list[Any], marks: list[list[Any]], memo: dict[int, Any]
    ) -> tuple[int, list[Any], int]:
        data = self._data
        added = 1
        if op == 0x81:  # NEWOBJ
            args = stack.pop()
            stack[-1] = self.calls.call(stack[-1], args)
        elif op in (0x8A, 0x8B):  # LONG1, LONG4
            raw, pos = self._counted(pos, 1 if op == 0x8A else 4, MAX_INTEGER_BYTES)
            stack.append(int.from_bytes(raw, "little", signed=True))
        elif op in _BYTES:
            raw, pos = self._counted(pos, _BYTES[op])
            stack.append(bytearray(raw) if op == 0x96 else raw)
            added += len(raw) >> 6
        elif op in _STRINGS:
            raw, pos = self._counted(pos, _STRINGS[op])
            stack.append(raw.decode("utf-8", "surrogatepass") if op == 0x8D else raw.decode("latin-1"))
            added += stack[-1].__sizeof__() >> 6
        elif op in (0x49, 0x4C, 0x46):  # INT, LONG, FLOAT as text (protocol 0)
            raw, pos = self._line(pos)
            stack.append(self._number_of(op, raw.decode("ascii")))
        elif op in (0x53, 0x56):  # STRING, UNICODE as text (protocol 0)
            raw, pos = self._line(pos)
            stack.append(_quoted(raw) if op == 0x53 else raw.decode("raw-unicode-escape", "surrogatepass"))
            added += stack[-1].__sizeof__() >> 6
        elif op == 0x8F:  # EMPTY_SET
            stack.append(SetItems())
        elif op in (0x90, 0x91, 0x6C, 0x64, 0x69, 0x6F):  # what takes all since the mark
            items = stack
            stack = marks.pop()
            added += len(items)
            if op == 0x90:  # ADDITEMS
                if not isinstance(stack[-1], (SetItems, Opaque)):
                    raise TypeError("items are added to something that is not a set")
                (stack[-1].appended if isinstance(stack[-1], Opaque) else stack[-1]).extend(items)
            elif op == 0x91:  # FROZENSET
                stack.append(SetItems(items))
            elif op == 0x6C:  # LIST
                stack.append(items)
            elif op == 0x64:  # DICT
                stack.append({})
                self._set_items(stack[-1], items)
            elif op == 0x69:  # INST
                name, pos = self._name(pos)
                stack.append(self.calls.call(self.calls.named(name), tuple(items)))
            else:  # OBJ
                stack.append(self.calls.call(items[0], tuple(items[1:])))
        elif op == 0x30:  # POP
            if stack:
                stack.pop()
            else:
                stack = marks.pop()
        elif op == 0x31:  # POP_MARK
            stack = marks.pop()
        elif op == 0x32:  # DUP
            stack.append(stack[-1])
        elif op in (0x67, 0x70):  # GET, PUT
            raw, pos = self._line(pos)
            if op == 0x67:
                stack.append(memo[int(raw[:20])])
            else:
                memo[int(raw[:20])] = stack[-1]
        elif op == 0x92:  # NEWOBJ_EX
            keywords, args = stack.pop(), stack.pop()
            if not isinstance(args, tuple):
                raise TypeError("arguments that are not a tuple")
            stack[-1] = self.calls.call(stack[-1], (*args, keywords) if keywords else args)
        elif op in (0x82, 0x83, 0x84):  # EXT1, EXT2, EXT4: names that only the program which wrote it knows
            width = 1 << (op - 0x82)
            stack.append(self.calls.named(f"copyreg extension {int.from_bytes(data[pos : pos + width], 'little')}"))
            pos += width
        elif op == 0x50:  # PERSID
            raw, pos = self._line(pos)
            stack.append(self._persistent(raw.decode("ascii")))
        elif op in (0x97, 0x98):  # NEXT_BUFFER, READONLY_BUFFER
            raise self._broken(
                "the pickle's data are in buffers that were sent beside it", cure="Pickle it without a buffer_callback."
            )
        else:
            self.position = pos - 1
            raise self._unsafe("the pickle uses an opcode that does not exist", found=f"0x{op:02x}")
        return pos, stack, added

    def _counted(self, pos: int, width: int, limit: int | None = None) -> tuple[bytes, int]:
        """The bytes behind a length of `width` bytes, and the position behind them."""
        n = int.from_bytes(self._data[pos : pos + width], "little")
        pos += width
        if limit is not None and n > limit:
            raise self._unsafe("an integer is larger than any size", found=f"{n} bytes")
        if pos + n > len(self._data):
            self.position = pos
            left = max(0, len(self._data) - pos)
            raise self._broken("a string reaches beyond the end", expected=f"{n} bytes", found=f"{left}")
        return self._data[pos : pos + n], pos + n

    def _line(self, pos: int) -> tuple[bytes, int]:
        end = self._data.index(b"\n", pos)
        return self._data[pos:end], end + 1

    def _name(self, pos: int) -> tuple[str, int]:
        module, pos = self._line(pos)
        attribute, pos = self._line(pos)
        return f"{module.decode()}.{attribute.decode()}", pos

    def _number_of(self, op: int, text: str) -> float:
        if len(text) > 2 * MAX_INTEGER_BYTES:
            raise self._unsafe("a number is longer than any size", found=f"{len(text)} digits")
        if op == 0x46:
            return float(text)
        return text == "01" if op == 0x49 and text in ("00", "01") else int(text.rstrip("L"))

    def _check_held(self, held: int, marks: list[list[Any]]) -> None:
        if len(marks) > MAX_MARKS:
            raise self._unsafe("marks nest too deeply", expected=f"at most {MAX_MARKS}")
        held += sum(map(len, marks))
        if held > MAX_OBJECTS:
            raise self._unsafe(
                "the pickle holds more objects than any checkpoint",
                expected=f"at most {MAX_OBJECTS:,}",
                found=f"over {held:,}",
                cure="It was not run. Save model.state_dict() alone, or as safetensors.",
            )

    def _set_items(self, target: object, items: list[Any]) -> None:
        if len(items) % 2:
            raise self._broken("items are set on something that is not a dictionary")
        if isinstance(target, Opaque):
            target.set_items.extend(items)
            return
        if isinstance(target, Record):
            return  # an attribute table that nothing reads
        if not isinstance(target, dict):
            raise self._broken("items are set on something that is not a dictionary")
        keys = items[::2]
        for i, key in enumerate(keys):
            if isinstance(key, tuple):
                keys[i] = self._tuple_key(key)
            elif not _is_plain_key(key) and not isinstance(key, (Record, Global)):
                raise self._unsafe("a dictionary key is not a plain value", found=brief(key))
        target.update(zip(keys, items[1::2], strict=True))

    def _tuple_key(self, key: tuple[object, ...]) -> str:
        """A short tuple of plain values as the text it is shown as. Not kept as a tuple: hashing one that nests deeply
        recurses without bound, and tuples of numbers with one hash value are easily made."""
        if len(key) > _MAX_TUPLE_KEY or not all(map(_is_plain_key, key)):
            raise self._unsafe("a dictionary key is not a plain value", found=brief(key))
        self.calls.copied(sum(len(k) for k in key if isinstance(k, (str, bytes))), "tuples as keys")
        return repr(key)

    @staticmethod
    def _extend(target: object, items: list[Any]) -> None:
        if isinstance(target, Opaque):
            target.appended.extend(items)
        elif type(target) is list:
            target.extend(items)
        else:
            raise TypeError("items are appended to something that is not a list")


_BYTES = {0x43: 1, 0x42: 4, 0x8E: 8, 0x96: 8}  # SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8: width of the length
_STRINGS = {0x55: 1, 0x54: 4, 0x8D: 8}  # SHORT_BINSTRING, BINSTRING, BINUNICODE8
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def _quoted(raw: bytes) -> str:
    """A string as Python 2 wrote it: in quotes, with escapes."""
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"'):
        raise ValueError("a string without its quotes")
    return _ESCAPE.sub(_unescaped, raw[1:-1]).decode("latin-1")


def _unescaped(found: re.Match[bytes]) -> bytes:
    what = found[1]
    if what[:1] == b"x" and len(what) == 3:
        return bytes([int(what[1:], 16)])
    if what[:1].isdigit() and what[0] < 0x38:
        return bytes([int(what, 8) & 0xFF])
    return _ESCAPED.get(what, what if what in (b"\\", b"'", b'"') else b"\\" + what)
