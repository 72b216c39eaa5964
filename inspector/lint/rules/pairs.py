"""What shows only beside another checkpoint: the verdicts of a comparison that say that something is wrong."""

from __future__ import annotations

from qinspect.inspector.compare.chance import activation_points, beyond_noise
from qinspect.inspector.compare.results import Comparison, Effect, ScalePair, Status, WeightPair
from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.rows import how_many, where
from qinspect.inspector.text import count, magnitude, share, some, visible


@rule(
    "P01", "dead-parameter", Severity.ERROR, Needs.OTHER, Needs.SCALES,
    why="A setting was changed and reached nothing: what was measured with the two checkpoints is a difference of "
    "other things, or none.",
    threads=("llm-compressor#2826", "OneTrainer#1707"),
    next="Look in the log and the code whether the setting is read on this path; `qinspect explain A B` says what it "
    "can reach.",
)  # fmt: skip
def dead_parameter(subject: Subject, limits: Limits) -> Checked:
    """Two percentile_alphas are declared, and every scale that one could make is the same in both checkpoints."""
    c = subject.comparison
    effect = c.effect
    found: tuple[Found, ...] = ()
    if effect is not None and effect.kind == "dead-parameter":
        places = tuple(Place(p.role, "the same in both") for p in activation_points(c.scales, True))
        found = (Found(effect.reason.text, places, {"scales": effect.n}, next=effect.reason.next or None),)
    declared = effect is not None and all(effect.declared)
    return Checked(1 if declared else 0, "declared setting", found)


@rule(
    "P02", "scales-against-alpha", Severity.ERROR, Needs.OTHER, Needs.SCALES,
    why="On the same inputs a quantile, and its moving average, rise with alpha. Where scales fall, or maxima move "
    "with them, something else made them: other data, another rule, another order.",
    next="`qinspect explain A B` lists the settings that differ; compare two checkpoints that differ in one alone.",
)  # fmt: skip
def scales_against_alpha(subject: Subject, limits: Limits) -> Checked:
    """Scales do not move as the declared alphas ask: some fall where all must rise, or more moves than alpha can."""
    c = subject.comparison
    said = _against(c, c.effect)
    n = len(activation_points(c.scales, True))
    return Checked(n, "scale that alpha reaches", () if said is None else (said,))


def _against(c: Comparison, effect: Effect | None) -> Found | None:
    contradicted = next((r for r in c.reasons if r.rule == "claim-contradicted"), None)
    moved = [p for p in activation_points(c.scales, True) if p.status is Status.DIFFERENT]
    places = tuple(map(_moved, moved))
    if effect is not None and effect.kind == "not-as-declared":
        numbers = {"scales": effect.n, "up": effect.n_up, "down": effect.n_down}
        declared = all(effect.declared) or contradicted is not None
        severity = None if declared else Severity.NOTE  # nobody said that it was alpha
        return Found(effect.reason.text, places, numbers, severity, effect.reason.next or None)
    if effect is not None and effect.kind == "within-noise" and _declared_apart(effect):
        numbers = {"scales": effect.n, "up": effect.n_up, "down": effect.n_down}
        return Found(effect.reason.text, places, numbers, Severity.NOTE, effect.reason.next or None)
    if contradicted is not None:
        return Found(contradicted.text, places, contradicted.numbers, next=contradicted.next or None)
    return None


def _declared_apart(effect: Effect) -> bool:
    a, b = effect.declared
    return a is not None and b is not None and a.value != b.value


def _moved(p: ScalePair) -> Place:
    d = p.difference
    if d is None:
        return Place(p.role)
    return Place(p.role, f"{d.direction}, {magnitude(abs(d.largest))}", value=d.largest, weight=abs(d.largest))


@rule(
    "P03", "codes-differ", Severity.WARNING, Needs.OTHER, Needs.CODES,
    why="An activation setting does not reach the codes of weights. Where they differ too, the weights' quantizer is "
    "not deterministic or was given something else, and what the setting did cannot be told from that.",
    threads=("GPTQModel#2602", "VPTQ#202", "mamba#573"),
    next="Quantize both from the same weights with a fixed seed, or take the weights of one for both.",
)  # fmt: skip
def codes_differ(subject: Subject, limits: Limits) -> Checked:
    """Codes of weights differ between two checkpoints that are said, or seen, to differ in an activation setting."""
    c = subject.comparison
    quantized = where(c.weights, lambda w: w.quantized and w.a and w.b)
    if not c.weights_compared:
        return Checked(0, "code tensor", (), len(quantized), "they are larger than is read without asking")
    changed = [w for w in quantized if w.status is Status.DIFFERENT]
    of_activation = (c.effect is not None and _declared_apart(c.effect)) or _only_sensitive_moved(c)
    if not of_activation:
        return Checked(0, "code tensor")
    found: tuple[Found, ...] = ()
    if changed:
        text = (
            f"the codes of {count(len(changed))} of {some(len(quantized), 'weight')} differ, first "
            f"{visible(changed[0].role, 120)}, though the checkpoints differ in an activation setting, which does not "
            "reach them."
        )
        found = (Found(text, tuple(map(_changed, changed)), {"weights": len(changed), "of": len(quantized)}),)
    return Checked(len(quantized), "code tensor", found)


def _changed(w: WeightPair) -> Place:
    if w.n_changed is None or not w.n:
        return Place(w.role)
    return Place(w.role, f"{share(w.n_changed, w.n)} of its codes", weight=w.n_changed / w.n)


def _only_sensitive_moved(c: Comparison) -> bool:
    """Whether scales that alpha reaches differ, and none that it does not reach."""
    fixed, moved = activation_points(c.scales, False), activation_points(c.scales, True)
    still = bool(fixed) and all(p.status.counts_as_same for p in fixed)
    return still and how_many(moved, lambda p: p.status is Status.DIFFERENT) > 0


@rule(
    "P07", "within-samples", Severity.NOTE, Needs.OTHER, Needs.RUN, Needs.SCALES,
    why="Other samples of the same kind, or another order of them, move a scale of activations without any setting. A "
    "difference that they make as well says nothing of a setting.",
    threads=("Quamba#24", "ONE#3047"),
    next="`qinspect diff A B --run RUN` shows the band of each scale; calibrate both with the same samples, or with "
    "more of them.",
)  # fmt: skip
def within_samples(subject: Subject, limits: Limits) -> Checked:
    """Scales of activations differ from those of the other checkpoint by no more than other samples of the run make
    them differ."""
    c = subject.comparison
    resampled = [p for p in c.scales if (band := c.noise.of(p.role)) and band.origin == "resampled"]
    moved = [p for p in resampled if p.status is Status.DIFFERENT]
    beyond = {p.role for p in beyond_noise(resampled, c.noise).pairs}
    within = [p for p in moved if p.role not in beyond]
    found: tuple[Found, ...] = ()
    if within:
        n = len(within)
        text = (
            f"{count(n)} of {some(len(moved), 'activation scale')} that {'differ' if len(moved) > 1 else 'differs'} "
            f"{'do' if n > 1 else 'does'} so by no more than other samples of the run would make, first "
            f"{visible(within[0].role, 120)}."
        )
        found = (Found(text, tuple(map(_moved, within)), {"scales": n, "of": len(moved)}),)
    return Checked(len(resampled), "activation scale", found)


RULES = (dead_parameter, scales_against_alpha, codes_differ, within_samples)
