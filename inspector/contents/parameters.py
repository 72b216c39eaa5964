"""The number of parameters of a whole model: counted where every tensor is understood, stated where the files do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.contents.tree import Node
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.text import count, some

_INDEX = ".index.json"
_MOST = 1 << 56


@dataclass(frozen=True, slots=True)
class Parameters:
    """counted: in tensors whose parameters are known. n_unknown: elements of the others. stated: what the files say of
    the whole model, None where they do not; source: which file and field says it."""

    counted: int
    n_unknown: int
    stated: int | None
    source: str

    @property
    def sentence(self) -> str:
        """For people; "" where all are counted and nothing is stated: the tree says it."""
        said = "" if self.stated is None else f"{count(self.stated)} parameters by {self.source}"
        if not self.n_unknown:
            return said
        unknown = f"parameters not known: {some(self.n_unknown, 'element')} are codes, each of which may hold several"
        return f"{said}; in the files {count(self.counted)} are counted, {unknown}" if said else unknown


def parameters_of(checkpoint: Checkpoint, root: Node) -> Parameters:
    """Of a model and its tree. Reads the index of a sharded model."""
    stated, source = _stated(checkpoint)
    return Parameters(root.n_parameters, root.n_unknown, stated, source)


def _stated(checkpoint: Checkpoint) -> tuple[int | None, str]:
    """`total_parameters` in the metadata of the index that was opened."""
    path = Path(checkpoint.path)
    try:
        found = [path] if path.name.endswith(_INDEX) else sorted(path.glob(f"*{_INDEX}")) if path.is_dir() else []
        content = read_json(found[0]) if len(found) == 1 else {}
    except (QinspectError, OSError):
        return None, ""
    metadata = content.get("metadata")
    n = metadata.get("total_parameters") if isinstance(metadata, dict) else None
    if isinstance(n, float) and n.is_integer():
        n = int(n)
    if not isinstance(n, int) or isinstance(n, bool) or not 0 < n < _MOST:
        return None, ""
    return n, f"total_parameters in {found[0].name}"
