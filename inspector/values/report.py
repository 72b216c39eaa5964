"""One entry as text: the same answers that `--json` gives, for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

import numpy as np

from qinspect.inspector.checkpoint import Entry, Tensor
from qinspect.inspector.formats import Format, Quantity, ScaleRecord
from qinspect.inspector.formats.element import Element
from qinspect.inspector.formats.records import Use
from qinspect.inspector.text import count, dims, number, share, size, visible
from qinspect.inspector.values.inspection import Inspection
from qinspect.inspector.values.statistics import Statistics
from qinspect.inspector.values.value_text import array_texts, value_text

_BAR = 40


def entry_text(e: Entry) -> str:
    """Kind, shape or value, and bytes of an entry."""
    if isinstance(e, Tensor):
        strided = "" if e.strides is None else f", strides {list(e.strides)}"
        return f"{e.dtype.name} {dims(e.shape)}{strided}, {size(e.nbytes)}"
    return f"{e.kind}" + ("" if e.value is None else f" = {value_text(e.value)}")


def inspection_text(fmt: Format, i: Inspection) -> str:
    """`qinspect show A KEY`."""
    e = i.entry
    lines = [visible(i.key), f"  stored     {entry_text(e)}", f"  file       {visible(str(e.file.path))}"]
    if isinstance(e, Tensor):
        lines[-1] += f", offset {e.offset}" if e.file.stored else ", inside its pickle"
    if i.scale:
        lines += _scale_lines(i)
    if i.copy_of:
        lines.append(f"  copy of    {visible(i.copy_of)}")
    lines += _stored_lines(i)
    if i.logical:
        lines += [_logical_heading(i), *_statistics_lines(i.logical)]
    if i.weight:
        form = f"{dims(i.weight.shape)}, {_bits(i.weight.element)}, {i.weight.scheme}"
        lines.append(f"  codes of   {visible(i.weight.name)} {form}")
        lines += _part_lines(i)
        records = {r.role: r for r in fmt.scales()}
        lines += dict.fromkeys(_scaled_by(records[role], i.key) for role in i.weight.scale_roles)
    if i.codes and i.element:
        lines += ["  CODES", *_code_lines(i.codes, i.element)]
    if i.dequantized:
        lines += ["  DEQUANTIZED", *_statistics_lines(i.dequantized)]
    if i.problem:
        lines.append(f"  problem    {i.problem}")
    lines.append(f"  model      {visible(fmt.description)}")
    return "\n".join(lines)


def _inverted(i: Inspection) -> str:
    """The scale, of an entry that holds one over it."""
    if i.scale is None or not i.scale.inverted or i.values is None:
        return ""
    with np.errstate(all="ignore"):
        return f", one over the scale {number(float(np.float32(1) / i.values.astype(np.float32).reshape(-1)[0]))}"


def _logical_heading(i: Inspection) -> str:
    """What the numbers below are, and what was done to the stored ones to get them."""
    assert i.scale is not None
    assert i.logical is not None
    done = ", ".join(_done(i, i.scale, i.logical.n))
    return f"  {i.scale.quantity.upper()}, LOGICAL" + (f" ({done})" if done else "")


def _done(i: Inspection, scale: ScaleRecord, n: int) -> Iterator[str]:
    if scale.slice is not None and i.part:
        yield i.part.said
    if scale.packed:
        yield f"stored as {scale.packed}"
    if scale.inverted:
        yield "one over the stored numbers"
    if scale.folded:
        yield "what they were divided by is multiplied back"
    parts = [visible(s.key) for s in scale.sources if s.use is Use.PART]
    if parts:
        yield f"made with {', '.join(parts)}"
    if scale.slice is None and not scale.packed and isinstance(i.entry, Tensor) and n < i.entry.n_elements:
        yield "padding dropped"


def _part_lines(i: Inspection) -> Iterator[str]:
    """Which part of an entry is shown that several share, and how to see another."""
    if i.part:
        yield f"  part       {i.part.said}; give {visible(i.part.another)} for another"


def _scaled_by(record: ScaleRecord, codes: str) -> str:
    key = visible(record.key) if record.key != codes else "what its own blocks hold"
    if record.quantity.is_step:
        return f"  scaled by  {key}"
    return f"  {'less' if record.quantity is Quantity.ZERO_POINT else 'plus':<9}  {key}"


def _bits(element: Element) -> str:
    return f"{element.bits} bits" + (f" for {element.n_values} values" if element.n_values > 1 else "")


def _stored_lines(i: Inspection) -> Iterator[str]:
    """What a tensor holds: one number as it is, few with their values, many by their statistics."""
    values, s = i.values, i.statistics
    if values is not None and values.size == 1:
        yield f"  value      {array_texts(values)[0]}{_inverted(i)}"
        return
    if s is not None and s.n == 0:
        yield "  values     none: it has no elements"
        return
    if s is not None and isinstance(i.entry, Tensor) and i.entry.dtype.name == "bool":
        yield f"  STORED     {count(s.n)} elements, {count(s.n - s.n_zero)} true"
    elif s is not None:
        yield "  STORED NUMBERS"
        yield from _statistics_lines(s, brief=values is not None and values.dtype.kind in "iub")
    elif isinstance(i.entry, Tensor) and i.entry.dtype.is_complex:
        yield "  complex numbers have no order: no minimum, no percentiles"
    if values is not None and values.size:
        texts = np.array(array_texts(values), dtype=object).reshape(values.shape)
        yield "  VALUES"
        yield from _indented(np.array2string(texts, formatter={"all": str}, max_line_width=110))


def _scale_lines(i: Inspection) -> Iterator[str]:
    r = i.scale
    assert r is not None
    yield f"  scale      {visible(r.role)}" + ("" if r.verified else "  (unverified: paired by name)")
    yield f"  of         {visible(r.of)}"
    if i.weight is None:
        yield from _part_lines(i)
    group = f", groups of {r.group_size} along axis {r.axis}" if r.group_size else ""
    formula = f"{r.formula}, " if r.formula else ""
    yield f"  formula    {formula}{visible(r.scheme)}; {r.granularity}{group}"
    if r.alpha_sensitive is not None:
        yield f"  alpha      {'percentile_alpha makes it' if r.alpha_sensitive else 'percentile_alpha cannot reach it'}"
    if r.folded:
        yield f"  folded     divided by {', '.join(visible(k) for k in r.folded)}"
    for c in i.copies:
        value = f" = {c.text}" if c.text else ""
        yield f"  copy       {visible(c.key)}{value}  ({c.relation})"


def _statistics_lines(s: Statistics, brief: bool = False) -> Iterator[str]:
    """brief: without moments and percentiles, which say nothing of a few integers: shapes, indices, masks."""
    yield (
        f"    {count(s.n)} element{'s' * (s.n != 1)}, {count(s.n_zero)} zero, {count(s.n_negative)} negative"
        + (f", {count(s.n_nan)} NaN" if s.n_nan else "")
        + (f", {count(s.n_inf)} Inf" if s.n_inf else "")
    )
    if not s.percentiles:
        return
    named = {"min": s.minimum, "max": s.maximum}
    if not brief:
        named |= {"absmax": s.absmax, "mean": s.mean, "std": s.std}
    yield "    " + ", ".join(f"{name} {number(value)}" for name, value in named.items())
    if s.n > 1 and not brief:
        yield f"    percentiles{' (of an even sample)' if s.sampled else ''}:"
        cells = [f"{p:>6g} % {_percentile(s, p, v):>12}" for p, v in s.percentiles]
        half = -(-len(cells) // 2)
        yield from (f"    {'   '.join(pair)}" for pair in zip_longest(cells[:half], cells[half:], fillvalue=""))


def _percentile(s: Statistics, percent: float, value: float) -> str:
    """One percentile; of integers with all digits, where it is one."""
    if not isinstance(s.minimum, int):
        return number(value)
    ends = {0.0: s.minimum, 100.0: s.maximum}
    if percent in ends and not s.sampled:
        return number(ends[percent])
    return number(int(value)) if value.is_integer() and abs(value) < 1 << 53 else number(value)


def _code_lines(codes: dict[int, int], element: Element) -> Iterator[str]:
    total = sum(codes.values())
    unused = sum(n == 0 for n in codes.values())
    low, high = element.outermost
    zero = element.zero_codes
    zeros = f"; zero {share(sum(codes[c] for c in zero), total)}" if zero else ""
    yield (
        f"    {len(codes)} levels, {unused} unused; at the ends {element.said(low)}: {share(codes[low], total)}, "
        f"{element.said(high)}: {share(codes[high], total)}{zeros}"
    )
    step = max(1, len(codes) // 32)
    levels = element.in_order
    bins = [
        (levels[k], levels[min(k + step, len(levels)) - 1], sum(codes[v] for v in levels[k : k + step]))
        for k in range(0, len(levels), step)
    ]
    top = max(n for *_, n in bins) or 1
    for first, last, n in bins:
        label = element.said(first) if first == last else f"{element.said(first)}..{element.said(last)}"
        yield f"    {label:>10} {count(n):>12}  {'#' * max(1 if n else 0, round(_BAR * n / top))}".rstrip()


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
