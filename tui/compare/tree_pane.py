"""The layer tree with its title and its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult

from qinspect.inspector.compare.paired_tree import PairedNode, PairedTree, place_scales, place_weights
from qinspect.inspector.compare.results import ScalePair
from qinspect.tui.compare.fidelity import Measured
from qinspect.tui.compare.tree import LayerTree
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.list_pane import MOVING, ListPane
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import LineList

if TYPE_CHECKING:
    from qinspect.inspector.compare import Comparison


TITLE = "1 layers"


class TreePane(ListPane):
    """Layers are opened and closed here; where its cursor is, its list says by `LineList.Moved`."""

    ACTIONS: ClassVar[frozenset[str]] = MOVING | {"open", "expand", "collapse"}
    EVERYWHERE: ClassVar[frozenset[str]] = frozenset({"fold_all", "fold_one_more"})

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="tree-box")
        self.nodes = LayerTree(glyphs, id="tree")
        self.paired: PairedTree | None = None
        self._measured = Measured()

    def compose(self) -> ComposeResult:
        yield TitleLine(TITLE, id="tree-title")
        yield self.nodes

    def show(self, tree: PairedTree, two: bool) -> None:
        """Another tree, or more of it."""
        self.paired = tree
        self.nodes.show(tree, two)
        self.nodes.of_fidelity(self._measured)

    def of_fidelity(self, measured: Measured) -> None:
        """What is known of it, or more of it."""
        self._measured = measured
        self.nodes.of_fidelity(measured)
        said = f" {self.nodes.glyphs.dot} worst SQNR below" if measured.any_weight else ""
        self.title.update(f"{TITLE}{said}")

    def place_scales(self, pairs: Sequence[ScalePair]) -> None:
        """All scales are known."""
        if self.paired:
            place_scales(self.paired, pairs)
            self.nodes.refresh_rows()

    def place_weights(self, c: Comparison) -> None:
        """All is compared."""
        if self.paired:
            place_weights(self.paired, c.weights, c.copies)
        self.nodes.refresh_rows()

    @property
    def node(self) -> PairedNode | None:
        """The one under the cursor."""
        return self.nodes.node

    @property
    def leaf(self) -> PairedNode | None:
        """The entry under the cursor, None where that is a layer or a module."""
        return self.node if self.node is not None and self.node.is_leaf else None

    @property
    def under(self) -> str:
        """The path that what is shown beside the tree has to begin with, "" for all of it."""
        node = self.node
        return node.path if node is not None and node.parent is not None else ""

    def action_open(self) -> None:
        self.nodes.toggle()

    def action_expand(self) -> None:
        self.nodes.go_in()

    def action_collapse(self) -> None:
        self.nodes.go_out()

    def action_fold_all(self) -> None:
        self.nodes.close_all()

    def action_fold_one_more(self) -> None:
        self.nodes.open_one_more()

    @on(LineList.Chosen)
    def _on_chosen(self, event: LineList.Chosen) -> None:
        event.stop()
        self.action_open()
