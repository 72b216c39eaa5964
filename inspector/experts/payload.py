"""The experts of a checkpoint as the object that `--json` prints; docs/schema/experts.json has its schema."""

from __future__ import annotations

from qinspect.inspector.experts.coverage import Coverage, LayerExperts, ScaleColumn
from qinspect.inspector.experts.states import STATES
from qinspect.inspector.formats import Format
from qinspect.inspector.json_text import Json, finite


def experts(fmt: Format, found: Coverage) -> Json:
    """`qinspect experts A --json`."""
    return {
        "schema": "qinspect.experts/1",
        "model": {"path": str(fmt.checkpoint.path), "family": fmt.family, "format": fmt.description},
        "experts": found.n,
        "states": {state.value: n for state, n in found.counts().items()},
        "not_read": found.n_unread,
        "layers": [_layer(layer) for layer in found.layers],
    }


def _layer(layer: LayerExperts) -> Json:
    return {
        "layer": layer.layer,
        "states": {state.value: n for state, n in layer.counts().items()},
        "spread_of_inputs": finite(layer.spread(True)),
        "spread_of_weights": finite(layer.spread(False)),
        "experts": [
            {
                "expert": cell.number, "state": cell.state.value, "scale": cell.column, "value": finite(cell.value),
                "over_median": finite(cell.ratio),
            }
            for cell in layer.cells()
        ],
        "scales": [_column(column) for column in layer.columns],
    }  # fmt: skip


def _column(column: ScaleColumn) -> Json:
    return {
        "scale": column.name,
        "of_input": column.of_input,
        "median": finite(column.middle),
        "why": column.why or None,
        "states": [STATES[rank].value for rank in column.states.tolist()],
        "values": [finite(value) for value in column.values.tolist()],
    }
