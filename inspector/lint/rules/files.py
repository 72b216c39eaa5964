"""Files that are damaged, missing, or not what an index says. What is sound beside them is linted all the same."""

from __future__ import annotations

from qinspect.inspector.checkpoint.damage import Damage, DamageKind
from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject


def _of(subject: Subject, *kinds: DamageKind) -> Checked:
    """What is wrong with the files in one of these ways: a finding each, for each has its own cure."""
    opened = subject.opened
    if opened is None:
        return Checked(0, "file")
    found = tuple(_found(d) for d in opened.damage if d.kind in kinds)
    return Checked(max(1, len(opened.files)), "file", found)


def _found(damage: Damage) -> Found:
    error = damage.error
    said = str(error).removesuffix(f". {error.cure}")
    return Found(f"{said}.", (Place(error.key or error.file or ""),), next=error.cure or None)


@rule(
    "F01", "truncated-file", Severity.ERROR, Needs.FILES,
    why="A file that ends early was not downloaded or copied whole. Loaders refuse it, or read zeros for what lacks.",
    next="Download or copy the file again, and compare its size with that of the source.",
)  # fmt: skip
def truncated_file(subject: Subject, limits: Limits) -> Checked:
    """The header of a file is whole, and says more bytes than the file has."""
    return _of(subject, DamageKind.TRUNCATED)


@rule(
    "F02", "damaged-file", Severity.ERROR, Needs.FILES,
    why="A header, an archive or a pickle is not as its format says: no loader can be trusted with the rest of it, and "
    "most refuse all of the checkpoint.",
    next="Download or copy the file again; if it is damaged at its source, save the model again.",
)  # fmt: skip
def damaged_file(subject: Subject, limits: Limits) -> Checked:
    """A file of weights is not as its format says: its header lies, is not JSON, or has holes."""
    return _of(subject, DamageKind.DAMAGED)


@rule(
    "F03", "no-weights", Severity.ERROR, Needs.FILES,
    why="A pointer of git-lfs, a web page or an empty file under the name of weights is what a download leaves that "
    "asked for the wrong address, or without a login.",
    next="Download the file itself: `hf download`, or `git lfs pull`.",
)  # fmt: skip
def no_weights(subject: Subject, limits: Limits) -> Checked:
    """A file with the name of weights holds none: text, a pointer, nothing, or another format."""
    return _of(subject, DamageKind.NO_WEIGHTS)


@rule(
    "F04", "missing-shard", Severity.ERROR, Needs.FILES,
    why="What is in a shard that is not there is not in the model: a loader refuses it, or starts it with random "
    "numbers.",
    next="Download the files that are named.",
)  # fmt: skip
def missing_shard(subject: Subject, limits: Limits) -> Checked:
    """An index, or the names of the other shards, speak of files that are not there."""
    return _of(subject, DamageKind.MISSING)


@rule(
    "F05", "index-disagrees", Severity.ERROR, Needs.FILES,
    why="A loader that goes by the index looks for a tensor where it is not, or leaves out what the index does not "
    "name; one that reads all files finds another model.",
    next="Save the model again, or take index and shards from one source.",
)  # fmt: skip
def index_disagrees(subject: Subject, limits: Limits) -> Checked:
    """The index of the shards is damaged, or says otherwise than the shards."""
    return _of(subject, DamageKind.INDEX)


@rule(
    "F06", "tensor-twice", Severity.ERROR, Needs.FILES,
    why="Which of two tensors of one name a loader takes depends on the order in which it reads: two loaders may run "
    "two models.",
    next="Remove the file that does not belong, or save the model again.",
)  # fmt: skip
def tensor_twice(subject: Subject, limits: Limits) -> Checked:
    """A tensor is in two files, or its name twice in one header."""
    return _of(subject, DamageKind.TWICE)


@rule(
    "F07", "unsafe-pickle", Severity.ERROR, Needs.FILES,
    why="A pickle can run any program when it is loaded. This one asks for more than tensors, numbers and containers; "
    "it was not run here.",
    next="Do not load it. Ask its author for safetensors.",
)  # fmt: skip
def unsafe_pickle(subject: Subject, limits: Limits) -> Checked:
    """A pickle asks for something other than data."""
    return _of(subject, DamageKind.UNSAFE)


@rule(
    "F08", "shard-outside", Severity.ERROR, Needs.FILES,
    why="An index that names a file outside of the folder of the checkpoint makes a loader read whatever lies there. "
    "No library writes that.",
    next="Do not trust this checkpoint.",
)  # fmt: skip
def shard_outside(subject: Subject, limits: Limits) -> Checked:
    """The index names a file outside of its folder."""
    return _of(subject, DamageKind.OUTSIDE)


@rule(
    "F09", "broken-config", Severity.ERROR, Needs.FILES,
    why="Without its settings a loader takes a quantized checkpoint for a plain one, or refuses it; of a key that "
    "stands twice one loader takes the first and another the last.",
    next="Repair the file, or take it from the source again.",
)  # fmt: skip
def broken_config(subject: Subject, limits: Limits) -> Checked:
    """A JSON file beside the weights cannot be read, or names a key twice."""
    return _of(subject, DamageKind.CONFIG)


RULES = (
    truncated_file, damaged_file, no_weights, missing_shard, index_disagrees, tensor_twice, unsafe_pickle,
    shard_outside, broken_config,
)  # fmt: skip
