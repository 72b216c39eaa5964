"""Opening and comparing, off the screen's thread. Results come back as messages; nothing here touches a widget."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from textual.message import Message

from qinspect.inspector.architecture import layer_kinds
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.noise.band import Skipped
from qinspect.inspector.progress import Progress, steps_of
from qinspect.inspector.roles import strip_root
from qinspect.tui.compare.remembered import Remembered
from qinspect.tui.names import shown
from qinspect.tui.settings import write_crash_report

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint import Checkpoint, Entry
    from qinspect.inspector.compare import Comparison, ScalePair
    from qinspect.inspector.compare.paired_tree import PairedNode, PairedTree
    from qinspect.inspector.fidelity.pairs import Found, NotCompared, Pair
    from qinspect.inspector.formats import Format, ScaleRecord
    from qinspect.inspector.formats.bits import WeightBits
    from qinspect.inspector.formats.segments import ModelSegments
    from qinspect.inspector.noise.sources import Sources
    from qinspect.inspector.text import Range
    from qinspect.tui.compare.rows import Values
    from qinspect.tui.look import Line

REPORT_EVERY_S = 0.1
FILL_EVERY_S = 2.0
"""The tree is built anew this often while the files of a sharded model arrive. 60,000 tensors from a local disk are all
there before; a network's disk takes longer, and then half a second of building does not count."""
REORDERED = "inside of a segment heads and channels may be in another order"
DRAWING = "drawing"
"""The phase of a view that is being built."""


class Cancelled(Exception):
    """The screen does not want the result any more."""


class CodesSkipped(Exception):
    """The user does not want to wait for the codes."""


_SKIPPABLE = {"weights": CodesSkipped, "noise bands": Skipped}
"""What escape ends, by the phase."""


class Progressed(Message):
    """phase: what is being done. done of total; total 0 where it is not known."""

    def __init__(self, phase: str, done: int, total: int) -> None:
        super().__init__()
        self.phase = phase
        self.done = done
        self.total = total

    @property
    def share(self) -> str:
        """How much of it is done, to be put behind the phase."""
        return f" {100 * self.done // self.total} %" if self.total else ""

    def can_replace(self, message: Message) -> bool:
        """The newest is enough."""
        return isinstance(message, Progressed)


class Opened(Message):
    """Headers are read and the tree is built: of all files, or of those that were read so far."""

    def __init__(self, tree: PairedTree, complete: bool) -> None:
        super().__init__()
        self.tree = tree
        self.complete = complete


class ScalesReady(Message):
    """Scales are paired and compared (of one model: listed): the first screenful, or all."""

    def __init__(self, pairs: list[ScalePair], complete: bool) -> None:
        super().__init__()
        self.pairs = pairs
        self.complete = complete


class Surveyed(Message):
    """All scales of the only model were read. faults: what is wrong with them, empty where nothing is."""

    def __init__(self, faults: str) -> None:
        super().__init__()
        self.faults = faults


class Compared(Message):
    """The comparison is complete, codes included."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self.comparison = comparison


class Weighed(Message):
    """Bits per weight of the models are known."""


class Drawn(Message):
    """A view is ready. number: of the request; only the answer to the last one is shown."""

    def __init__(self, number: int, lines: list[Line]) -> None:
        super().__init__()
        self.number = number
        self.lines = lines


class Failed(Message):
    """model: `A` or `B`, or "" where both were open. error: what to show in its place."""

    def __init__(self, model: str, error: str) -> None:
        super().__init__()
        self.model = model
        self.error = error


@dataclass
class Session:
    """Two models (or one) and what is known of them. Owned by the screen; filled by `run` in a thread.

    noise, noise_run: repeats, and a calibration, that noise bands are made of, as `qinspect diff` takes them;
    noise_problem: why they are not. so_far: what the scales of both say, until all is compared. skip_codes: set it to
    end a long comparison of codes, or long resampling of a run; scales are compared all the same. bits_a, bits_b: what
    weights take, counted when all else is done; segments: with it, what the rows of projections are, A's first. views:
    what they took from weights.
    """

    path_a: str
    path_b: str | None
    noise: tuple[str, ...] = ()
    noise_run: str | None = None
    a: Format | None = None
    b: Format | None = None
    checkpoint_a: Checkpoint | None = None
    checkpoint_b: Checkpoint | None = None
    comparison: Comparison | None = None
    pairs: list[ScalePair] = field(default_factory=list)
    error_a: str = ""
    error_b: str = ""
    noise_problem: str = ""
    skip_codes: bool = False
    so_far: str = ""
    bits_a: WeightBits | None = None
    bits_b: WeightBits | None = None
    segments: tuple[ModelSegments, ...] = ()
    _found: Sources | None = None
    brought_over: dict[str, str] = field(default_factory=dict)
    """By role, what was done to a weight before it was measured."""
    _lined_up: Found | None = None
    _weight_pairs: dict[str, Pair | NotCompared] | None = None
    views: Remembered = field(default_factory=Remembered)
    _schemes: dict[str, str] = field(default_factory=dict)
    _schemes_of: tuple[Format | None, Format | None] = (None, None)

    @property
    def two(self) -> bool:
        """Whether there is a B that could be opened."""
        return self.path_b is not None and not self.error_b

    def anew(self) -> Session:
        """The same models, of which nothing is known yet."""
        return Session(self.path_a, self.path_b, self.noise, self.noise_run)

    def run(self, post: Callable[[Message], object], cancelled: Callable[[], bool]) -> None:
        """Open, list, compare. Posts one message a step; returns early when cancelled."""
        last = 0.0

        def progress(phase: str, done: int, total: int) -> None:
            nonlocal last
            if cancelled():
                raise Cancelled
            now = time.monotonic()
            if now - last > REPORT_EVERY_S:
                last = now
                post(Progressed(phase, done, total))

        try:
            if self._open(post, progress):
                self._compare(post, progress)
                self._weigh(post, progress)
        except Cancelled:
            return
        except QinspectError as e:
            post(Failed("", str(e)))
        except Exception as e:  # a bug; the tree, and what was compared so far, stay usable
            report = write_crash_report(traceback.format_exc())
            post(Failed("", f"a bug in the program ({type(e).__name__}); the report is in {shown(str(report))}"))

    def _open(self, post: Callable[[Message], object], progress: Progress) -> bool:
        """Whether A could be opened. A broken B leaves A usable."""
        from qinspect.inspector.checkpoint import open_checkpoint
        from qinspect.inspector.compare.paired_tree import build_paired_tree

        last = time.monotonic()
        first: Iterable[Entry] = ()

        def arrived(entries: Mapping[str, Entry]) -> None:
            nonlocal last
            if time.monotonic() - last >= FILL_EVERY_S:
                both = (first, entries.values()) if first else (entries.values(),)
                post(Opened(build_paired_tree(*both), complete=False))
                last = time.monotonic()

        try:
            self.checkpoint_a = open_checkpoint(self.path_a, steps_of(progress, "opening A"), arrived)
        except QinspectError as e:
            self.error_a = str(e)
            post(Failed("A", self.error_a))
            return False
        first = self.checkpoint_a.entries.values()
        if self.path_b is not None:
            try:
                self.checkpoint_b = open_checkpoint(self.path_b, steps_of(progress, "opening B"), arrived)
            except QinspectError as e:
                self.error_b = str(e)
                post(Failed("B", self.error_b))
        second = self.checkpoint_b.entries.values() if self.checkpoint_b else ()
        post(Opened(build_paired_tree(first, second), complete=True))
        return True

    def _place_anew(self, post: Callable[[Message], object]) -> None:
        """The tree by the modules of the model where a format has other names, by models where a file has several."""
        from qinspect.inspector.compare.paired_tree import build_paired_tree, place_in

        both = (self.a, self.b)
        places = [place_in(f) for f in both]
        if any(places):
            a, b = (place or strip_root for place in places)
            first, second = (f.checkpoint.entries.values() if f else () for f in both)
            post(Opened(build_paired_tree(first, second, (a, b)), complete=True))

    def _compare(self, post: Callable[[Message], object], progress: Progress) -> None:
        from qinspect.inspector.compare import ScalePair, Status, compare
        from qinspect.inspector.compare.summary import said_so_far
        from qinspect.inspector.formats import format_of

        assert self.checkpoint_a is not None
        progress("recognising the format", 0, 0)
        self.a = format_of(self.checkpoint_a)
        self.b = format_of(self.checkpoint_b) if self.checkpoint_b else None
        self._place_anew(post)
        if self.b is None:
            self.pairs = [ScalePair(r.role, i, r, None, Status.IDENTICAL) for i, r in enumerate(self.a.scales())]
            post(ScalesReady(self.pairs, True))
            self._survey(self.a, post, progress)
            return

        def ready(pairs: list[ScalePair], complete: bool) -> None:
            self.pairs = pairs
            self.so_far = said_so_far(pairs) if complete else ""
            post(ScalesReady(pairs, complete))

        def skippable(phase: str, done: int, total: int) -> None:
            if self.skip_codes and phase in _SKIPPABLE:
                self.skip_codes = False
                raise _SKIPPABLE[phase]
            progress(phase, done, total)

        sources = partial(self._sources, self.a, self.b)
        try:
            self.comparison = compare(self.a, self.b, None, skippable, ready, sources)
        except CodesSkipped:
            self.comparison = compare(self.a, self.b, False, skippable, None, sources)
        finally:
            if self._found is not None:
                self._found.close()
        self.pairs = list(self.comparison.scales)  # with their noise bands
        post(Compared(self.comparison))

    def _weigh(self, post: Callable[[Message], object], progress: Progress) -> None:
        from qinspect.inspector.formats.bits import WeightBits
        from qinspect.inspector.formats.segments import ModelSegments

        progress("counting bits", 0, 0)
        self.bits_a = WeightBits(self.a) if self.a else None
        self.bits_b = WeightBits(self.b) if self.b else None
        self.segments = tuple(ModelSegments(f) for f in (self.a, self.b) if f)
        post(Weighed())

    def _survey(self, a: Format, post: Callable[[Message], object], progress: Progress) -> None:
        """Look for scales of the only model that no scale should be."""
        from qinspect.inspector.contents.survey import survey_scales
        from qinspect.inspector.values.scale_faults import model_faults_said

        survey = survey_scales(a, steps_of(progress, "reading scales"))
        if survey.faulty:
            self.pairs = [replace(p, faults_a=survey.faults.get(p.role)) for p in self.pairs]
            post(ScalesReady(self.pairs, True))
        post(Surveyed(" ".join(text for _, text in model_faults_said(survey.faulty))))

    def _sources(self, a: Format, b: Format) -> Sources:
        """What noise bands are made of. Repeats or a run that cannot be had are a problem to show, not the end."""
        from qinspect.inspector.noise.sources import NOTHING, sources_of

        try:
            self._found = sources_of(a, b, self.noise, self.noise_run)
        except QinspectError as e:
            self.noise_problem = str(e)
            return NOTHING
        return self._found

    @property
    def layer_kinds(self) -> tuple[str, ...]:
        """What each layer is, where the settings of A or of B say it."""
        found = (layer_kinds(f.checkpoint.config) for f in (self.a, self.b) if f)
        return next(filter(None, found), ())

    def segments_said(self, a: Entry | None, b: Entry | None) -> list[str]:
        """What the rows of an entry of the tree are, a segment a line; empty where it has none."""
        for of, entry in zip(self.segments, (a, b), strict=False):
            if entry is not None and (found := of.of_entry(entry.name)):
                role = of.role_of_entry(entry.name)
                return [*(f"  rows {s}" for s in found), *(["  " + REORDERED] if of.reordered(role) else [])]
        return []

    def segments_of_scale(self, pair: ScalePair) -> list[str]:
        """What the rows of the weight are that a scale is of."""
        if pair.record.kind != "weight":
            return []
        for of, record in zip(self.segments, (pair.a, pair.b), strict=False):
            if record is not None and (found := of.of_role(record.role)):
                return [", ".join(map(str, found)), *([REORDERED] if of.reordered(record.role) else [])]
        return []

    @property
    def b_missing(self) -> str:
        """Why there is no B although one was asked for, "" where that is not so."""
        return f"B cannot be opened: {self.error_b}" if self.error_b else ""

    @property
    def names(self) -> list[str]:
        """Of all scales, and of all entries of both models."""
        names = dict.fromkeys(p.role for p in self.pairs)
        for checkpoint in (self.checkpoint_a, self.checkpoint_b):
            names |= dict.fromkeys(map(strip_root, checkpoint.entries if checkpoint else ()))
        return list(names)

    def weight_schemes(self) -> dict[str, str]:
        """Roles of scales to the scheme of the weight that they belong to: `w4a8` is said by the weight, not by its
        scales. Made when it is first asked for, and anew when B has become known."""
        known = (self.a, self.b)
        if known != self._schemes_of:
            self._schemes_of, self._schemes = known, {}
            for fmt in known:
                for weight in fmt.weights() if fmt else ():
                    for role in weight.scale_roles:
                        before = self._schemes.get(role, weight.scheme)
                        self._schemes[role] = before if before == weight.scheme else f"{before} {weight.scheme}"
        return self._schemes

    def role_of(self, node: PairedNode | None) -> str:
        """Of an entry of the tree that both models have; "" of a layer, or before the formats are known."""
        if node is None or not node.is_leaf or node.a is None or node.b is None or self.a is None or self.b is None:
            return ""
        return self.a.role_of(node.a.name)

    def lined_up(self, tick: Callable[[int], None]) -> Found:
        """Which weights of both models stand against each other, found when that is first asked for. tick: called with
        bytes that were compared."""
        if self._lined_up is None:
            from qinspect.inspector.fidelity.pairs import all_pairs_of

            assert self.a is not None
            assert self.b is not None
            self._lined_up = all_pairs_of(self.a, self.b, tick)
        return self._lined_up

    def weight_pairs(self, tick: Callable[[int], None]) -> Mapping[str, Pair | NotCompared]:
        """By role, weights that are compared as they stand, and those that are not. tick: as of `lined_up`."""
        if self._weight_pairs is None:
            found = self.lined_up(tick)
            others = {o.role: o for o in (*found.others, *(d.refused for d in found.doubts))}
            self._weight_pairs = {**others, **{p.role: p for p in found.pairs}}
        return self._weight_pairs

    def read_values(self, pairs: list[ScalePair], cancelled: Callable[[], bool]) -> dict[str, Values]:
        """The ranges of these scales in A and in B: for rows that are on the screen."""
        found: dict[str, Values] = {}
        for p in pairs:
            if cancelled():
                break
            a = _range(self.a, p.a)
            found[p.role] = (a, a if a is not None and p.status.counts_as_same else _range(self.b, p.b))
        return found


def _range(fmt: Format | None, record: ScaleRecord | None) -> Range | None:
    from qinspect.inspector.values.scale_values import scale_range

    if fmt is None or record is None:
        return None
    try:
        return scale_range(fmt, record)
    except QinspectError as e:
        return str(e)
