"""What rules are given: a checkpoint, what it is held against, and what many rules need of it, read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from qinspect.inspector.experts.coverage import Coverage
from qinspect.inspector.experts.gathering import coverage
from qinspect.inspector.formats import Format, Kind, Quantity, ScaleRecord
from qinspect.inspector.formats.grid import PER_TENSOR
from qinspect.inspector.lint.cache_scales import CacheScales, cache_scales
from qinspect.inspector.lint.engines_said import EnginesSaid
from qinspect.inspector.lint.originals import Originals, originals
from qinspect.inspector.lint.reach import Reach, reach_of
from qinspect.inspector.lint.rule import Needs
from qinspect.inspector.progress import Steps
from qinspect.inspector.rows import column
from qinspect.inspector.values.scale_table import ScaleTable, read_scales

if TYPE_CHECKING:
    from qinspect.inspector.calibration.stored import Calibration
    from qinspect.inspector.checkpoint.sound import OpenedSound
    from qinspect.inspector.compare.results import Comparison
    from qinspect.inspector.explain.claims import Claim
    from qinspect.inspector.formats.said import NamedModules
    from qinspect.inspector.lint.code_facts import CodeTable
    from qinspect.inspector.lint.loose_entries import Loose

T = TypeVar("T")


class Subject:
    """One checkpoint under lint.

    fmt: it. other: a second checkpoint, where one was given; base: that, where it is in full precision, and so may be
    what the first was made of. run: what a calibration stored. fast: only what is had at once is looked at. meter: told
    (phase, done, total); it may raise to cancel. engines: says of modules that engines load as one, and whose scales,
    or those of their inputs, are not equal, what they make of them, a clause; None where nobody knows. opened: what is
    wrong with its files, where they were looked at.
    """

    def __init__(
        self,
        fmt: Format,
        other: Format | None = None,
        run: Calibration | None = None,
        *,
        fast: bool = False,
        meter: Callable[[str, int, int], None] | None = None,
        engines: Callable[[Sequence[str], bool], str] | None = None,
        opened: OpenedSound | None = None,
    ) -> None:
        self.fmt = fmt
        self.other = other
        self.run = run
        self.fast = fast
        self.engines = engines
        self.opened = opened
        self.meter = meter

    def steps(self, phase: str) -> Steps | None:
        """Progress of one phase."""
        meter = self.meter
        return None if meter is None else lambda done, total: meter(phase, done, total)

    @property
    def base(self) -> Format | None:
        """The second checkpoint, where it has neither codes nor scales."""
        other = self.other
        return None if other is None or other.weights() or other.scales() else other

    @property
    def incomplete(self) -> bool:
        """Whether tensors that belong to it were not opened."""
        return self.opened is not None and (self.opened.one_of > 1 or any(d.loses_entries for d in self.opened.damage))

    def lacks(self, needs: tuple[Needs, ...]) -> str:
        """Why a rule with these needs cannot be checked, a clause; "" where it can."""
        if Needs.BASE in needs and self.base is None:
            return "no base model was given"
        if Needs.OTHER in needs and (self.other is None or self.base is not None):
            return "no second checkpoint was given"
        if Needs.RUN in needs and self.run is None:
            return "no run was given"
        if Needs.FILES in needs and self.opened is None:
            return "its files were not looked at"
        if Needs.WHOLE in needs and self.incomplete:
            return "a part of it is missing or cannot be read"
        if self.fast and not all(n.fast for n in needs):
            return "left out by --fast"
        return ""

    @cached_property
    def scales(self) -> ScaleTable:
        """All scales; with `fast` only those of a few numbers."""
        return read_scales(self.fmt, not self.fast, self.steps("reading scales"))

    @cached_property
    def loose(self) -> Loose:
        """Entries that belong to quantized weights by their names, and that no weight has."""
        from qinspect.inspector.lint.loose_entries import loose_entries

        return loose_entries(self.fmt)

    @cached_property
    def codes(self) -> CodeTable:
        """What the codes of all weights show: all of them are read."""
        from qinspect.inspector.lint.code_facts import read_codes

        return read_codes(self.fmt, self.steps("reading codes"))

    @cached_property
    def outer_scales(self) -> dict[str, int]:
        """Module to the place of its one number for the whole weight: of two levels of scales the outer one."""
        found: dict[str, int] = {}
        for place, record in enumerate(self.scales.records):
            of_all = record.grid == PER_TENSOR and record.quantity in (Quantity.SCALE, Quantity.GLOBAL_SCALE)
            if record.kind is Kind.WEIGHT and of_all:
                found[module_of(record)] = place
        return found

    @cached_property
    def other_scales(self) -> ScaleTable:
        """Those of the second checkpoint that are a few numbers. Asked for where there is one."""
        assert self.other is not None
        return read_scales(self.other, False, self.steps("reading scales of the other"))

    @cached_property
    def reach(self) -> Reach:
        """How large the weights are that scales can hold."""
        return reach_of(self.fmt, self.scales)

    @cached_property
    def originals(self) -> Originals:
        """The same beside the weights of the base model. Asked for where there is one."""
        assert self.base is not None
        return originals(self.fmt, self.base, self.reach, self.steps("reading the original"))

    @cached_property
    def experts(self) -> Coverage:
        """What is known of the experts of a mixture."""
        return coverage(self.fmt, self.scales)

    @cached_property
    def named(self) -> Sequence[NamedModules]:
        """For which modules the names in its settings are."""
        return self.fmt.named_modules()

    @cached_property
    def by_tensors_alone(self) -> Format | None:
        """What it is without its settings, where no weight is understood with them."""
        from qinspect.inspector.formats.mistaken import understood_without_settings

        return understood_without_settings(self.fmt)

    @cached_property
    def quantized(self) -> tuple[str, ...]:
        """The modules that hold codes, by their names in the file, each once."""
        return tuple(dict.fromkeys(key.rpartition(".")[0] for key in column(self.fmt.weights(), "codes_key")))

    @cached_property
    def plain_linears(self) -> tuple[str, ...]:
        """The modules with a matrix in full precision, by their names in the file."""
        return tuple(
            name.removesuffix(".weight")
            for name, (dtype, shape) in self.fmt.other_forms()
            if name.endswith(".weight") and len(shape) == 2 and dtype.is_float and dtype.bits >= 16
        )

    @cached_property
    def holders_of_experts(self) -> frozenset[str]:
        """The modules that hold experts, by their names in the file: `model.layers.3.mlp`."""
        found = {name.partition(".experts.")[0] for name in self.fmt.checkpoint.entries if ".experts." in name}
        return frozenset(found)

    @cached_property
    def cache_scales(self) -> CacheScales:
        """Scales of the KV cache, by attention module."""
        return cache_scales(self.fmt.checkpoint)

    @cached_property
    def comparison(self) -> Comparison:
        """This checkpoint as A, the other as B; with codes, where they are read at all and are not too many. Noise is
        that of the run's samples, where there is one."""
        from qinspect.inspector.compare import compare
        from qinspect.inspector.noise.sources import NOTHING, Sources

        assert self.other is not None
        sources = NOTHING if self.run is None else Sources((), self.run, self.run.folder.name)
        return compare(self.fmt, self.other, False if self.fast else None, self.meter, sources=sources)

    @cached_property
    def claim(self) -> Claim:
        """What is said of its alpha, and what the run says of it. Raises as `claims` does."""
        from qinspect.inspector.explain.claims import claim_of

        assert self.run is not None
        return claim_of("A", self.fmt, (self.run,), self.meter)

    @cached_property
    def input_scales(self) -> dict[str, int]:
        """Module to the place of the one static scale of what goes into it."""
        return {
            module_of(record): place
            for place, record in enumerate(self.scales.records)
            if record.kind is Kind.ACTIVATION and record.role.endswith(":input") and record.quantity is Quantity.SCALE
        }


def subjects_of(
    a: Format,
    b: Format | None,
    run: Calibration | None,
    *,
    fast: bool = False,
    meter: Callable[[str, int, int], None] | None = None,
    opened: Mapping[str, OpenedSound] | None = None,
    engines: Mapping[str, EnginesSaid] | None = None,
) -> list[tuple[str, Subject]]:
    """What there is to check: A, held against B and a run where they are given; and B by itself, unless it is in full
    precision, which is what A was made of. opened: what is wrong with the files of `A` and of `B`. engines: of each
    what was asked before, where it is checked a second time."""
    files, said = opened or {}, engines or {}
    of_a = said.get("A") or EnginesSaid(a)
    subject = Subject(a, b, run, fast=fast, meter=meter, engines=of_a, opened=files.get("A"))
    found = [("A", subject)]
    if b is not None and subject.base is None:
        of_b = said.get("B") or EnginesSaid(b)
        found.append(("B", Subject(b, fast=fast, meter=meter, engines=of_b, opened=files.get("B"))))
    return found


def module_of(record: ScaleRecord) -> str:
    """The module that a record is of: `layers.3.mlp.up_proj` of `layers.3.mlp.up_proj.weight#global`."""
    return record.role.partition("#")[0].partition(":")[0].removesuffix(".weight")
