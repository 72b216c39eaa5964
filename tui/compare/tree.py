"""The layer tree of both models, a badge per node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from qinspect.inspector.architecture import kind_of_layer
from qinspect.inspector.checkpoint import Entry, Tensor
from qinspect.inspector.compare.paired_tree import Badge, PairedNode, PairedTree, Placed
from qinspect.inspector.compare.results import CopyProblem, ScalePair, Status, WeightPair
from qinspect.inspector.text import dims, percent, share, size, some
from qinspect.tui.compare.fidelity import Measured
from qinspect.tui.compare.tree_worst import WorstBelow
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import LineList, Piece

if TYPE_CHECKING:
    from qinspect.inspector.formats.bits import WeightBits


@dataclass(slots=True)
class TreeRow:
    """A visible node."""

    node: PairedNode
    depth: int
    is_open: bool = False


_SEQUENCES = ("layers", "blocks", "h")
"""Nodes that hold the repeated layers: opened at the start."""


class LayerTree(LineList):
    """Nodes are made when their parent is opened; 60,000 entries cost what is visible."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.rows: list[TreeRow] = []
        self.two = False
        self._tree: PairedTree | None = None
        self._bits: tuple[WeightBits | None, WeightBits | None] = (None, None)
        self._kinds: Sequence[str] = ()
        self._worst = WorstBelow()

    def of_fidelity(self, measured: Measured) -> None:
        """What is known of it, or more of it."""
        self._worst.of(self._tree, measured)
        self.refresh_rows()

    def learn(self, a: WeightBits | None, b: WeightBits | None, kinds: Sequence[str]) -> None:
        """What weights take, once it is counted, and what each layer is."""
        self._bits, self._kinds = (a, b), kinds
        self.refresh_rows()

    def show(self, tree: PairedTree, two: bool) -> None:
        """Show a tree, opened as far as there is only one way to go; a tree that grew, as the old one was left."""
        self.two = two
        before = {r.node.path: r.is_open for r in self.rows}
        at = self.node.path if self.node else ""
        self._tree = tree
        self._worst = WorstBelow()
        self.rows = [TreeRow(tree.root, 0)]
        self.open_row(0)
        row = 1
        while row < len(self.rows):
            node = self.rows[row].node
            only_way = node.name in _SEQUENCES or len(self.rows) == 2
            if before.get(node.path, only_way and len(self.rows) < 60):
                self.open_row(row)
            row += 1
        self.move_to(next((i for i, r in enumerate(self.rows) if r.node.path == at), 0))

    @property
    def node(self) -> PairedNode | None:
        """The node under the cursor."""
        return self.rows[self.cursor].node if self.rows else None

    def open_row(self, row: int) -> None:
        """Show what is below."""
        r = self.rows[row]
        if r.is_open or r.node.is_leaf:
            return
        r.is_open = True
        self.rows[row + 1 : row + 1] = [TreeRow(child, r.depth + 1) for child in r.node.children()]
        self.set_rows(len(self.rows))

    def close_row(self, row: int) -> None:
        """Hide what is below."""
        r = self.rows[row]
        if not r.is_open:
            return
        r.is_open = False
        end = row + 1
        while end < len(self.rows) and self.rows[end].depth > r.depth:
            end += 1
        if row < self.cursor < end:
            self.cursor = row
        elif self.cursor >= end:
            self.cursor -= end - row - 1
        del self.rows[row + 1 : end]
        self.set_rows(len(self.rows))

    def toggle(self) -> None:
        """Open or close the node under the cursor."""
        if self.rows:
            self.close_row(self.cursor) if self.rows[self.cursor].is_open else self.open_row(self.cursor)

    def go_in(self) -> None:
        """Open, or step to the first child."""
        if not self.rows:
            return
        r = self.rows[self.cursor]
        if r.is_open:
            self.move_by(1)
        else:
            self.open_row(self.cursor)

    def go_out(self) -> None:
        """Close, or step to the parent."""
        if not self.rows:
            return
        r = self.rows[self.cursor]
        if r.is_open:
            self.close_row(self.cursor)
            return
        row = self.cursor
        while row > 0 and self.rows[row].depth >= r.depth:
            row -= 1
        self.move_to(row)

    def close_all(self) -> None:
        """Close every node."""
        for row in range(len(self.rows) - 1, 0, -1):
            if row < len(self.rows) and self.rows[row].depth == 1:
                self.close_row(row)
        self.move_to(self.cursor)

    def open_one_more(self) -> None:
        """Open every visible closed node, while that stays a list one can scroll."""
        for row in range(len(self.rows) - 1, -1, -1):
            if len(self.rows) > 20_000:
                break
            before = len(self.rows)
            self.open_row(row)
            if row < self.cursor:
                self.cursor += len(self.rows) - before
        self.move_to(self.cursor)

    def reveal(self, path: str) -> None:
        """Open the way to `path` and put the cursor on it, or as near as the tree has it."""
        row, prefix = 0, ""
        while row < len(self.rows):
            node = self.rows[row].node
            here = node.path
            if not here or path == here or path.startswith(here + "."):
                prefix = here
                if path == here:
                    break
                self.open_row(row)
                row += 1
                continue
            row += 1
        for i, r in enumerate(self.rows):
            if r.node.path == prefix:
                self.move_to(i)
                return

    def line(self, row: int, width: int) -> Sequence[Piece]:
        r = self.rows[row]
        g = self.glyphs
        mark = "  " if r.node.is_leaf else (g.opened if r.is_open else g.closed) + " "
        badge, kind = self._badge(r.node)
        name = shown(r.node.name, 80) if r.node.parent else "whole model"
        if self._kinds and (of_layer := kind_of_layer(r.node.path, self._kinds)):
            name = f"{name} {of_layer}"
        bits = self._bits_of(r.node)
        left = f"{'  ' * min(r.depth, 12)}{mark}{name}"
        if width >= WIDE:
            what, badge = f"  {_what(r.node)}  {bits:>{LONGEST_BITS}}", badge.rjust(LONGEST_BADGE)
        else:  # a name is worth more
            what = f" {bits}" if bits and cell_len(left) + len(bits) + len(badge) + 2 <= width else ""
        left = fill(left, width - len(badge) - 1 - cell_len(what), g.cut)
        pieces = [(left, "dim" if r.node.is_leaf and kind == "same" else ""), (what, "dim")]
        return [*pieces, (" ", ""), (badge, kind)]

    def _bits_of(self, node: PairedNode) -> str:
        """`16 > 4.53 b`: bits per weight in A and in B, once where they are alike or one has none; "" of scales."""
        models = zip(self._bits, (node.a, node.b), (node.n_a, node.n_b), strict=True)
        found = [_bits_in(bits, node, entry) for bits, entry, n in models if bits is not None and n]
        if all(bits is None for bits in found):
            return ""
        return f"{' > '.join(dict.fromkeys('?' if bits is None else f'{bits:.3g}' for bits in found))} b"

    def _badge(self, node: PairedNode) -> Piece:
        g = self.glyphs
        if self._tree is None or not self.two:
            return ("", "dim")
        if (measured := self._sqnr(node)) is not None:
            return measured
        finding = self._tree.finding(node) if node.is_leaf else None
        if finding is not None and not (_is_copy(finding, node) and node.n_a != node.n_b):
            return _found(finding, node, g)
        if not (node.n_a and node.n_b):
            return self._only_here(node)
        if node.is_leaf:
            return (g.same if self._tree.compared else "", "same")
        badge = node.badge
        if badge is None:
            return ("", "dim")
        if not badge.n_findings and badge.n_copies:
            return (f"{g.different} copies", "odd")
        if not badge.n_findings:
            return (g.same if badge.n_scales else "", "same")
        return _findings(badge, g)

    def _sqnr(self, node: PairedNode) -> Piece | None:
        """The least SQNR below a node, of the worst weight of all in bold; None where nothing was measured, or where
        what differs by a number of its own says more: scales, what cannot be read."""
        w = self._worst.of_node(node)
        badge = node.badge
        if w is None or w.sums.exact or math.isnan(w.sums.sqnr):
            return None
        if badge is not None and (badge.n_different or badge.n_broken):
            return None
        if self._tree is not None and node.is_leaf and isinstance(self._tree.finding(node), ScalePair | CopyProblem):
            return None
        return (f"{w.sums.sqnr:.1f} dB", "name" if self._worst.is_worst_of_all(w) else "odd")

    def _only_here(self, node: PairedNode) -> Piece:
        """What stands under this name in one model only; all of it may be in the other under other names."""
        tree = self._tree
        if tree is not None and tree.compared and tree.elsewhere:
            badge = node.badge
            names = [e.name for e in (node.a, node.b) if e is not None]
            if all(n in tree.elsewhere for n in names) if node.is_leaf else not (badge and badge.n_findings):
                return (f"{self.glyphs.same} renamed", "same")
        return (f"{self.glyphs.only}{'A' if node.n_a else 'B'}", "odd")


_WORDS = {
    Status.SHAPE: "shape",
    Status.DTYPE: "dtype",
    Status.SCHEME: "scheme",
    Status.PERMUTED: "order",
    Status.INCOMPARABLE: "order",
}
"""In what two entries differ that cannot be compared value by value."""


LONGEST_BITS = 13
WIDE = 70
"""From this width on, which it has where it fills the screen, the tree says what a node holds too."""
LONGEST_BADGE = 18


def _bits_in(bits: WeightBits, node: PairedNode, entry: Entry | None) -> float | None:
    """Of a node in one model."""
    if node.is_leaf:
        return bits.of_tensor(entry) if isinstance(entry, Tensor) else None
    return bits.of_module(node.path)


def _what(node: PairedNode) -> str:
    """`int8 [384, 96]` of an entry, how many and how large of a node."""
    shown = node.a or node.b
    if isinstance(shown, Tensor):
        return f"{shown.dtype.name} {dims(shown.shape)}"
    if node.is_leaf:
        return "" if shown is None else shown.kind
    n = max(node.n_a, node.n_b)
    return f"{some(n, 'entry', 'entries')}, {size(node.nbytes)}"


def _is_copy(finding: Placed, leaf: PairedNode) -> bool:
    """Whether an entry is a copy of the scale that something was found of."""
    keys = {r.key for r in (finding.a, finding.b) if r} if isinstance(finding, ScalePair) else set()
    return bool(keys) and not any(e.name in keys for e in (leaf.a, leaf.b) if e)


def _found(finding: Placed, leaf: PairedNode, g: Glyphs) -> Piece:
    """What was found of one entry."""
    if isinstance(finding, CopyProblem):
        return (f"{g.broken} copy", "broken")
    match finding.status:
        case Status.BROKEN:
            return (g.broken, "broken")
        case Status.NOT_COMPARED:
            return ("", "dim")
        case Status.ONLY_A | Status.ONLY_B:
            return (f"{g.only}{'A' if finding.status is Status.ONLY_A else 'B'}", "odd")
        case Status.DIFFERENT if isinstance(finding, WeightPair):
            what = "codes" if finding.quantized else "values"
            return (f"{g.different} {share(finding.n_changed or 0, finding.n)} {what}", "odd")
        case Status.DIFFERENT if not isinstance(finding, WeightPair):
            d = finding.difference
            if d is None or _is_copy(finding, leaf):
                # A copy is another number, a quotient or a reciprocal: that it differs is known, by how much is not.
                return (g.different, "odd")
            if d.n_undefined:
                return (f"{g.different} n/a", "broken")
            return (f"{g.different} {percent(d.largest)}", {"up": "up", "down": "down"}.get(d.direction, "odd"))
    return (f"{g.odd} {_WORDS.get(finding.status, '')}".rstrip(), "odd")


def _findings(badge: Badge, g: Glyphs) -> Piece:
    if badge.n_broken:
        return (f"{g.broken}{badge.n_broken}", "broken")
    if badge.n_undefined:
        return (f"{g.different}{badge.n_different} n/a", "broken")
    if badge.n_different:
        kind = "up" if badge.largest > 0 else "down"
        return (f"{g.different}{badge.n_different} {percent(badge.largest)}", kind)
    if badge.n_tensors_different:
        return (f"{g.different}{badge.n_tensors_different} tensors", "odd")
    return (f"{g.odd}{badge.n_only_a + badge.n_only_b + badge.n_odd}", "odd")
