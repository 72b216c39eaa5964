"""What one model stores in one tensor and the other in several: experts in a stack, q, k and v or gate and up as one.

A part pairs only where shapes prove it: all parts are there and fill the whole, and of q, k and v config.json gives
the numbers of heads, by which rows may take turns (turns.py). Where a stack is square, another one of the same experts
must say which way round it is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qinspect.inspector.compare.items import Item, logical_shape
from qinspect.inspector.compare.turns import GROUPED, gate_and_up, gate_and_up_take_turns, model_types, parts_of
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.records import Slice
from qinspect.inspector.formats.runs import Runs
from qinspect.inspector.roles import common_spelling

_STACK = re.compile(
    r"(?P<experts>(?:.*\.)?(?:experts|switch_mlp))\.(?P<name>(?!\d)[^.]+?)(?P<last>\.weight|\.bias|_bias)?", re.DOTALL
)
_JOINED = re.compile(
    r"(?P<module>(?:.*\.)?)(?P<name>gate_up_proj|qkv_proj|W_pack|Wqkv|in_proj|fused_qkv_a_proj_with_mqa|"
    rf"{'|'.join(GROUPED)})"
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
        parts = list(_of_stack(role, items[role], there, turned)) or list(_of_joined(role, items, there))
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
            experts, shape = _spelled(found["experts"]), logical_shape(items[role])
            rows = _rows_there(experts, found["name"], there)
            if len(shape) == 3 and rows is not None and rows[0] != rows[1]:
                if shape[1:] == rows:
                    said.setdefault(experts, set()).add(False)
                elif shape[1:] == rows[::-1]:
                    said.setdefault(experts, set()).add(True)
    return {experts: next(iter(ways)) for experts, ways in said.items() if len(ways) == 1}


def _spelled(experts: str) -> str:
    """As `common_spelling`, of the module alone."""
    return common_spelling(f"{experts}.").removesuffix(".")


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
    experts, name = _spelled(found["experts"]), found["name"]
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
    experts, shape = _spelled(found["experts"]), item.form[1]
    partners = [there.get(f"{experts}.{n}{found['last']}") for n in _PARTS["gate_up_proj"]]
    if found["last"] not in (".bias", "_bias") or len(shape) != 2:
        return
    half = (shape[0], shape[1] / 2)
    for number, partner in enumerate(partners if all(p and logical_shape(p) == half for p in partners) else ()):
        assert partner is not None
        form = (item.form[0], logical_shape(partner))
        yield item._replace(role=partner.role, form=form, part=Slice(), every=(1, number, 2))


def _of_joined(role: str, items: Items, there: Mapping[str, Item]) -> Iterator[Item]:
    """Rows of projections that are stored one below the other, or in turns."""
    found, item = _JOINED.fullmatch(role), items[role]
    if found is None:
        return
    module, name, last = common_spelling(found["module"]), found["name"], found["last"]
    if name in GROUPED:
        yield from _of_groups(module, name, last, item, there)
        return
    partners = [there.get(f"{module}{n}.{last}") for n in _PARTS[name]]
    if name == "gate_up_proj" and _takes_turns(item.fmt):
        n_rows = logical_shape(item)[0] if logical_shape(item) else 0
        yield from _in_runs(item, list(zip(partners, gate_and_up(n_rows), strict=True)))
        return
    if name == "gate_up_proj" and _may_take_turns(found["module"], items):
        return
    if "q_proj" in _PARTS[name] and not _fits_heads(item.fmt, partners):
        return
    yield from _cut(item, partners, Slice(), False, logical_shape(item))


def _of_groups(module: str, name: str, last: str, item: Item, there: Mapping[str, Item]) -> Iterator[Item]:
    """Rows that are grouped by heads, where config.json says how."""
    above = module.removesuffix(".").rpartition(".")[0]
    above = f"{above}." if above else ""
    shape = logical_shape(item)
    for parts in parts_of(name, item.fmt.checkpoint.config, shape[0] if shape else 0):
        made = _in_runs(item, [(there.get(f"{above}{n}.{last}"), runs) for n, runs in parts])
        if made:
            yield from made
            return


def _in_runs(item: Item, parts: list[tuple[Item | None, Runs]]) -> list[Item]:
    """The rows of each part, where all are there and have as many; [] where not."""
    shape, found = logical_shape(item), []
    for partner, runs in parts:
        if partner is None or logical_shape(partner) != (runs.n_rows, *shape[1:]):
            return []
        form = item.form if item.weight else (item.form[0], (runs.n_rows, *shape[1:]))
        found.append(item._replace(role=partner.role, form=form, part=Slice(runs=runs)))
    return found if shape and sum(runs.n_rows for _, runs in parts) == shape[0] else []


def _takes_turns(fmt: Format) -> bool:
    """Whether gate and up of a model are one row of each after another."""
    return gate_and_up_take_turns(fmt.checkpoint.config)


_EXPERT = re.compile(r"(.*experts\.)\d+\.", re.DOTALL)


def _may_take_turns(module: str, items: Items) -> bool:
    """Whether config.json does not say of which kind a model is whose experts have biases in one tensor, as those of
    gpt-oss have."""
    expert = _EXPERT.fullmatch(module)
    if expert is None:
        return False
    bias = items.get(f"{expert[1]}gate_up_proj_bias")
    return bias is not None and not model_types(bias.fmt.checkpoint.config)


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
