"""What a checkpoint holds, as text: the same answers that `--json` gives, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qinspect.inspector.contents.tree import Node, repetitions
from qinspect.inspector.formats import Format
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import Range, count, dims, range_text, size, visible
from qinspect.inspector.values.report import entry_text


def scales_table(fmt: Format, ranges: dict[str, Range]) -> Table:
    """`qinspect scales A`: one row per record."""
    columns = (
        *(Column("scale"), Column("value", True), Column("granularity", drop=2), Column("dtype", drop=3)),
        *(Column("shape", drop=5), Column("alpha", drop=1), Column("is a scale of", drop=6)),
        *(Column("copies", True, drop=4), Column("key", drop=7)),
    )
    rows = []
    for r in fmt.scales():
        value = range_text(ranges.get(r.role, ""))
        alpha = {True: "yes", False: "no", None: "?"}[r.alpha_sensitive]
        granularity = r.granularity + (f" {r.group_size}" if r.group_size else "")
        rows.append([r.role, value, granularity, r.dtype, dims(r.shape), alpha, r.of, str(len(r.copies) or ""), r.key])
    return Table(columns, rows)


def tree_lines(node: Node, depth: int | None, expand: bool, level: int = 0) -> Iterator[str]:
    """The tree, two spaces a level; repeated layers as one line unless `expand`."""
    for run in repetitions(node) if not expand else ():
        shown = run.nodes[0]
        times = f" ({len(run.nodes)} alike)" if len(run.nodes) > 1 else ""
        yield _tree_line(shown, f"{run.label}{times}", run.nodes, level)
        if shown.children and (depth is None or level + 1 < depth):
            yield from tree_lines(shown, depth, expand, level + 1)
    for child in node.children.values() if expand else ():
        yield _tree_line(child, child.name, (child,), level)
        if child.children and (depth is None or level + 1 < depth):
            yield from tree_lines(child, depth, expand, level + 1)


def _tree_line(node: Node, label: str, together: Sequence[Node], level: int) -> str:
    indent = "  " * level
    name = f"{indent}{visible(label, 100)}"
    if node.is_leaf and node.entry is not None:
        return f"{name:<44} {entry_text(node.entry)}"
    if any(n.n_unknown for n in together):
        holds = f"{count(sum(n.n_elements for n in together))} elements stored, parameters not known"
    else:
        holds = f"{count(sum(n.n_parameters for n in together))} parameters"
    dtypes = ", ".join(f"{d} x{n}" if n > 1 else d for d, n in node.dtypes.items())
    each = " each" if len(together) > 1 else ""
    entries = f"{count(node.n_entries)} {'entry' if node.n_entries == 1 else 'entries'}{each}"
    nbytes = size(sum(n.nbytes for n in together))
    return f"{name:<44} {entries}, {holds}, {nbytes}  [{dtypes}]"
