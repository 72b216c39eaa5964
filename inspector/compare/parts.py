"""What one model stores in one tensor and the other in several: experts in a stack, q, k and v or gate and up as one.

A part pairs only where shapes prove it: all parts are there and fill the whole, and of q, k and v config.json gives
the numbers of heads. Where a stack is square, another one of the same experts must say which way round it is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qinspect.inspector.compare.items import Item, logical_shape
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.records import Slice
from qinspect.inspector.roles import common_spelling

_STACK = re.compile(r"(?P<experts>(?:.*\.)?experts)\.(?P<name>(?!\d)[^.]+?)(?P<last>\.weight|\.bias|_bias)?", re.DOTALL)
_JOINED = re.compile(
    r"(?P<module>(?:.*\.)?)(?P<name>gate_up_proj|qkv_proj|W_pack|Wqkv|in_proj|fused_qkv_a_proj_with_mqa)"
    r"(?:\.|(?<=in_proj)_)(?P<last>weight|bias)",
    re.DOTALL,
)
_QKV = ("q_proj", "k_proj", "v_proj")
_PARTS = {
    "gate_up_proj": ("gate_proj", "up_proj"),
    "qkv_proj": _QKV,
    "W_pack": _QKV,
    "Wqkv": _QKV,
    "in_proj": _QKV,
    "fused_qkv_a_proj_with_mqa": ("q_a_proj", "kv_a_proj_with_mqa"),
}
"""In the order of their rows. `in_proj` is torch's attention's, where q, k and v are beside it in the other model."""
_INTERLEAVED = ("gpt_oss",)
"""Models by `model_type` whose gate and up take turns, row by row."""

Items = dict[str, Item]


def in_parts(a: Items, b: Items) -> tuple[Items, Items]:
    """The items of both, where what one stores as a whole and the other in parts is an item for each part, under the
    role that the part has in the other. Nothing is read."""
    if a.keys() == b.keys():
        return a, b
    return _split(a, b), _split(b, a)


def _split(items: Items, other: Items) -> Items:
    """Wholes of `items` in the parts that `other` has."""
    wholes = [role for role in items if role not in other and (_STACK.fullmatch(role) or _JOINED.fullmatch(role))]
    if not wholes:
        return items
    there = {common_spelling(role): item for role, item in other.items() if role not in items}
    turned = _turned(items, wholes, there)
    found: dict[str, list[Item]] = {}
    for role in wholes:
        parts = list(_of_stack(role, items[role], there, turned)) or list(_of_joined(role, items[role], there))
        parts = parts or list(_of_biases(role, items[role], there))
        if parts and not any(p.role in items for p in parts):
            found[role] = parts
    if not found:
        return items
    made: Items = {}
    for role, item in items.items():
        made |= {p.role: p for p in found[role]} if role in found else {role: item}
    return made


def _turned(items: Items, wholes: list[str], there: Mapping[str, Item]) -> dict[str, bool]:
    """By experts, whether their stacks are [E, in, out]: from those that are not square."""
    said: dict[str, set[bool]] = {}
    for role in wholes:
        if found := _STACK.fullmatch(role):
            experts, shape = common_spelling(found["experts"]), logical_shape(items[role])
            rows = _rows_there(experts, found["name"], there)
            if len(shape) == 3 and rows is not None and rows[0] != rows[1]:
                if shape[1:] == rows:
                    said.setdefault(experts, set()).add(False)
                elif shape[1:] == rows[::-1]:
                    said.setdefault(experts, set()).add(True)
    return {experts: next(iter(ways)) for experts, ways in said.items() if len(ways) == 1}


def _rows_there(experts: str, name: str, there: Mapping[str, Item]) -> tuple[int, ...] | None:
    """[out, in] of a projection of the first expert, of several together where it is kept in parts."""
    shapes = [
        logical_shape(item)
        for part in ((name,) if f"{experts}.0.{name}.weight" in there else _PARTS.get(name, ()))
        if (item := there.get(f"{experts}.0.{part}.weight"))
    ]
    if not shapes or any(len(s) != 2 or s[1] != shapes[0][1] for s in shapes):
        return None
    return (sum(s[0] for s in shapes), shapes[0][1])


def _of_stack(role: str, item: Item, there: Mapping[str, Item], turned: Mapping[str, bool]) -> Iterator[Item]:
    """Experts of a stack [E, out, in], or [E, in, out] of which none is cut into gate and up unless they take turns."""
    found = _STACK.fullmatch(role)
    shape = item.form[1]
    if found is None or item.weight is not None or len(shape) not in (2, 3):
        return
    experts, name = common_spelling(found["experts"]), found["name"]
    last = "bias" if found["last"] in (".bias", "_bias") else "weight"
    way = turned.get(experts)
    if way is None or (len(shape) == 3) != (last == "weight"):
        return
    kept = f"{experts}.0.{name}.{last}" in there
    turns = not kept and name == "gate_up_proj" and _takes_turns(item.fmt)
    names = (name,) if kept else () if way and not turns else _PARTS.get(name, ())
    parts: list[Item] = []
    for e in range(shape[0]):
        partners = [there.get(f"{experts}.{e}.{n}.{last}") for n in names]
        cut = _cut(item, partners, Slice((e,)), way and last == "weight", shape[1:], turns)
        if not cut:
            return
        parts += cut
    if any(f"{experts}.{shape[0]}.{n}.{last}" in there for n in names):
        return  # the other has more experts
    yield from parts


def _of_biases(role: str, item: Item, there: Mapping[str, Item]) -> Iterator[Item]:
    """Of biases [E, 2 * m] of gate and up that take turns, those of each, where the other model stacks them alone."""
    found = _STACK.fullmatch(role)
    if found is None or found["name"] != "gate_up_proj" or not _takes_turns(item.fmt):
        return
    experts, shape = common_spelling(found["experts"]), item.form[1]
    partners = [there.get(f"{experts}.{n}{found['last']}") for n in _PARTS["gate_up_proj"]]
    if found["last"] not in (".bias", "_bias") or len(shape) != 2:
        return
    half = (shape[0], shape[1] / 2)
    for number, partner in enumerate(partners if all(p and logical_shape(p) == half for p in partners) else ()):
        assert partner is not None
        form = (item.form[0], logical_shape(partner))
        yield item._replace(role=partner.role, form=form, part=Slice(), every=(1, number, 2))


def _of_joined(role: str, item: Item, there: Mapping[str, Item]) -> Iterator[Item]:
    """Rows of projections that are stored one below the other."""
    found = _JOINED.fullmatch(role)
    if found is None or (found["name"] == "gate_up_proj" and _takes_turns(item.fmt)):
        return
    module, name, last = common_spelling(found["module"]), found["name"], found["last"]
    partners = [there.get(f"{module}{n}.{last}") for n in _PARTS[name]]
    if "q_proj" in _PARTS[name] and not _fits_heads(item.fmt, partners):
        return
    yield from _cut(item, partners, Slice(), False, logical_shape(item))


def _takes_turns(fmt: Format) -> bool:
    """Whether gate and up of a model are one row of each after another."""
    config = fmt.checkpoint.config
    nested = config.get("text_config")
    said = (c.get("model_type") for c in (config, nested) if isinstance(c, dict))
    return any(kind in _INTERLEAVED for kind in said)


def _cut(
    item: Item, partners: list[Item | None], at: Slice, turned: bool, shape: tuple[int, ...], turns: bool = False
) -> list[Item]:
    """Parts of the entry at a place, of this shape, one below the other as the partners are, or, where they take turns,
    row by row; [] where they do not fill it, or gate and up are not equal."""
    shapes = [logical_shape(p) for p in partners if p is not None]
    if not shapes or len(shapes) < len(partners):
        return []
    if turned:
        shape = shape[::-1]
    fills = all(len(s) == len(shape) and s[1:] == shape[1:] for s in shapes) and sum(s[0] for s in shapes) == shape[0]
    halves = len(shapes) == 2 and not any(p is not None and "_a_proj" in p.role for p in partners)
    if not fills or (halves and shapes[0] != shapes[1]):
        return []
    found, first = [], 0
    for number, (partner, s) in enumerate(zip(partners, shapes, strict=True)):
        assert partner is not None
        rows = None if len(shapes) == 1 or turns else (first, first + s[0])
        form = item.form if item.weight else (item.form[0], s)
        every = (0, number, len(shapes)) if turns else None
        found.append(
            item._replace(role=partner.role, form=form, part=Slice(at.index, rows), turned=turned, every=every)
        )
        first += s[0]
    return found


def _fits_heads(fmt: Format, partners: list[Item | None]) -> bool:
    """Whether q, k and v have the rows that config.json says: of either model."""
    rows = [logical_shape(p)[0] for p in partners if p is not None and logical_shape(p)]
    configs = [fmt.checkpoint.config, *(p.fmt.checkpoint.config for p in partners if p is not None)]
    return len(rows) == 3 and any(rows == said for c in configs if (said := _rows_said(c)))


def _rows_said(config: Mapping[str, Any]) -> list[int]:
    """Rows of q, k and v; [] where it does not say."""
    nested = config.get("text_config")
    c = nested if isinstance(nested, dict) else config

    def number(key: str) -> int:
        value = c.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

    n_heads = number("num_attention_heads")
    n_kv = number("num_key_value_heads") or (n_heads if c.get("num_key_value_heads") is None else 0)
    size = number("head_dim") or (number("hidden_size") // n_heads if n_heads else 0)
    return [n_heads * size, n_kv * size, n_kv * size] if n_heads and n_kv and size else []


def is_stack(role: str) -> bool:
    """Whether this is the role of experts that are stored as one tensor: `mlp.experts.down_proj`."""
    return _STACK.fullmatch(role) is not None


def role_of_expert(role: str, expert: int) -> str:
    """The role that one expert of a stack has where it is stored alone: `mlp.experts.3.down_proj.weight`."""
    found = _STACK.fullmatch(role)
    assert found is not None
    last = "bias" if found["last"] in (".bias", "_bias") else "weight"
    return f"{found['experts']}.{expert}.{found['name']}.{last}"
