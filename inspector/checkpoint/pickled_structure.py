"""A pickle as a plain structure, for who reads files of a known layout that are pickles: nothing is imported or run.

`walk_structure` gives dicts, lists, tuples, strings, bytes and numbers as they are; sets as `SetItems` (a list); what a
torch checkpoint needs as the objects of `torch_objects`; a class or function as a `Global` (`torch.float32` is
`Global.name == "torch.float32"`); and every object of another class as an `Opaque`: `name` is `module.class`, `args`
what it was made with, `state` what was set on it, mostly the dictionary of its attributes. `attributes` gives the last
in one call, whatever way the class was pickled.

torch.distributed.checkpoint's `.metadata` is such a file:

    metadata = attributes(walk_structure(file.read(0, file.size), file.path))
    for name, entry in metadata["state_dict_metadata"].items():
        found = attributes(entry)       # TensorStorageMetadata: properties, size, chunks; BytesStorageMetadata: {}
        found["size"], found["properties"].state[0].name        # (1024, 64), "torch.float32": its state is a tuple
    for index, place in metadata["storage_data"].items():   # keys are Opaque (MetadataIndex), equal only to themselves
        attributes(index)["fqn"], attributes(place)["relative_path"], attributes(place)["offset"]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qinspect.inspector.checkpoint.pickle_objects import Opaque, Record
from qinspect.inspector.checkpoint.pickle_walker import PickleWalker
from qinspect.inspector.checkpoint.torch_objects import KNOWN

MAX_PICKLE_BYTES = 1 << 27
"""Largest pickle that is walked: 60,000 tensors take 11 MB."""


def walk_structure(data: bytes, path: Path, base: int = 0) -> Any:
    """The one object in the pickle `data`, which stands at `base` in the file `path`.

    A persistent id is kept as a Record named `persistent id`. Raises UnsafePickle where it would run something that is
    known to attack; BrokenFile where it is damaged or beyond the walker's limits.
    """
    return PickleWalker(data, path, KNOWN, lambda pid: Record("persistent id", (pid,)), base).load()


def attributes(thing: object) -> Mapping[str, Any]:
    """The attributes of an Opaque by name: its state, or the two halves of it where the class has slots. Empty for
    anything else, and for a state of another kind."""
    if not isinstance(thing, Opaque):
        return {}
    halves = thing.state if isinstance(thing.state, tuple) else (thing.state,)
    return {k: v for half in halves if isinstance(half, dict) for k, v in half.items() if isinstance(k, str)}
