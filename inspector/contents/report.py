"""What a checkpoint holds, as text: the same answers that `--json` gives, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from qinspect.inspector.architecture import kind_of_layer
from qinspect.inspector.checkpoint import Entry, Tensor
from qinspect.inspector.contents.tree import Node, Repetition, repetitions
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.bits import bits_per_weight
from qinspect.inspector.several_models import ModelInside
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import Range, count, dims, range_text, size, some, visible
from qinspect.inspector.values.report import entry_text
from qinspect.inspector.values.value_text import value_text


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


def tree_lines(
    node: Node, depth: int | None, expand: bool, kinds: Sequence[str] = (), models: Sequence[ModelInside] = ()
) -> Iterator[str]:
    """The tree, two spaces a level; repeated layers as one line unless `expand`. kinds: what each layer is. models: of
    a file with several."""
    return _lines((node,), depth, expand, 0, kinds, {m.prefix: f" ({m.said})" for m in models})


def _lines(
    alike: Sequence[Node], depth: int | None, expand: bool, level: int, kinds: Sequence[str], models: Mapping[str, str]
) -> Iterator[str]:
    """What is below nodes of one structure, which are shown as one."""
    for run in _runs(alike[0], expand):
        shown = run.nodes[0]
        together = [node.children[child.name] for node in alike for child in run.nodes]
        times = f" ({len(run.nodes)} alike)" if len(run.nodes) > 1 else ""
        of_layers = {kind_of_layer(n.path, kinds) for n in run.nodes} if kinds else set()
        said = f" {of_layers.pop()}" if len(of_layers) == 1 and of_layers != {""} else ""
        entries = [n.entry for n in together if n.entry is not None]
        named = models.get(shown.path, "")
        yield _tree_line(f"{run.label}{said}{named}{times}", run.nodes, entries, level)
        if shown.children and (depth is None or level + 1 < depth):
            yield from _lines(together, depth, expand, level + 1, kinds, models)


def _runs(node: Node, expand: bool) -> list[Repetition]:
    return [Repetition((child,)) for child in node.children.values()] if expand else repetitions(node)


def _tree_line(label: str, together: Sequence[Node], entries: Sequence[Entry], level: int) -> str:
    """together: the nodes that are counted in this line. entries: of all nodes that it stands for."""
    node = together[0]
    indent = "  " * level
    name = f"{indent}{visible(label, 100)}"
    if node.is_leaf and entries:
        key = "" if entries[0].name == node.path else f"  key {visible(entries[0].name, 200)}"
        return f"{name:<44} {_entries_text(entries)}{key}"
    n_unknown = sum(n.n_unknown for n in together)
    if n_unknown:
        holds = f"{some(sum(n.n_elements for n in together), 'element')} stored, parameters not known"
    else:
        holds = some(sum(n.n_parameters for n in together), "parameter")
    dtypes = ", ".join(f"{d} x{n}" if n > 1 else d for d, n in node.dtypes.items())
    each = " each" if len(together) > 1 else ""
    n_entries = f"{some(node.n_entries, 'entry', 'entries')}{each}"
    nbytes = size(sum(n.nbytes for n in together))
    bits = bits_per_weight(sum(n.weight_bytes for n in together), sum(n.n_weights for n in together), n_unknown)
    said = "" if bits is None else f", {bits:.4g} bits each"
    return f"{name:<44} {n_entries}, {holds}, {nbytes}{said}  [{dtypes}]"


def _entries_text(entries: Sequence[Entry]) -> str:
    """What entries of one structure are; of values that differ the first few and how many, not one for all."""
    first = entries[0]
    texts = list(dict.fromkeys("" if isinstance(e, Tensor) else value_text(e.value) for e in entries))
    if isinstance(first, Tensor) or len(texts) == 1:
        return entry_text(first)
    more = f", ... ({count(len(texts))} values)" if len(texts) > _MAX_VALUES else ""
    return f"{first.kind} = {', '.join(texts[:_MAX_VALUES])}{more}"


_MAX_VALUES = 3
