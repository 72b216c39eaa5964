"""The least SQNR at and below each node of the tree, as far as it was measured. What needs numpy comes late."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qinspect.inspector.compare.paired_tree import PairedNode, PairedTree
from qinspect.tui.compare.fidelity import Measured

if TYPE_CHECKING:
    from qinspect.inspector.fidelity.results import WeightFidelity


class WorstBelow:
    """Of one tree and what was measured of its two models."""

    def __init__(self) -> None:
        self._measured = Measured()
        self._tree: PairedTree | None = None
        self._n_seen = 0
        self._worst: dict[str, WeightFidelity] = {}

    def of(self, tree: PairedTree | None, measured: Measured) -> None:
        """Take in what is new; all of it, of another tree or of models that were opened anew."""
        if tree is not self._tree or measured is not self._measured:
            self._tree, self._measured, self._n_seen = tree, measured, 0
            self._worst = {}
        if tree is not None:
            self._add(tree, measured.since(self._n_seen))
            self._n_seen = measured.n_learned

    def _add(self, tree: PairedTree, weights: Iterable[WeightFidelity]) -> None:
        for w in weights:
            for node in tree.above(w.a, w.b):
                before = self._worst.get(node.path)
                if before is not None and before.order <= w.order:
                    break  # what is above is as bad at least
                self._worst[node.path] = w

    def of_node(self, node: PairedNode) -> WeightFidelity | None:
        """The worst at or below a node; None where nothing is known."""
        if node.is_leaf:
            return self._measured.of_entry(*(e.name for e in (node.a, node.b) if e is not None))
        return self._worst.get(node.path)

    def is_worst_of_all(self, w: WeightFidelity) -> bool:
        """Whether no weight is worse."""
        return w is self._worst.get("")
