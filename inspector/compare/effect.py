"""What percentile_alpha did: effective, within noise, a dead parameter, or not what was declared."""

from __future__ import annotations

from collections.abc import Mapping

from qinspect.inspector.compare.chance import Beyond, beyond_noise
from qinspect.inspector.compare.evidence import Evidence
from qinspect.inspector.compare.next_steps import reason
from qinspect.inspector.compare.results import Effect, ScalePair, Status
from qinspect.inspector.formats import Kind
from qinspect.inspector.provenance import Declared
from qinspect.inspector.rows import how_many, some_fit
from qinspect.inspector.significance import sign_test
from qinspect.inspector.text import magnitude, some

SETTING = "percentile_alpha"


def effect_of(e: Evidence) -> Effect | None:
    """The effect, None where nothing is declared and nothing differs, or where what it reaches cannot be compared."""
    reached = e.points(True)
    roles = {p.role for p in reached}
    if any(p.difference is None and p.status is not Status.IDENTICAL for p in reached):
        return None
    if any(p.difference and (p.difference.n_bad_a or p.difference.n_bad_b) for p in reached):
        return None
    if any(c.role in roles for c in e.copies):
        return None
    n_known = sum(how_many(f.scales(), lambda r: r.alpha_sensitive) for f in (e.a, e.b))
    changed = [p for p in reached if p.status is Status.DIFFERENT]
    if not changed:
        return _dead(e, len(reached)) if n_known == 2 * len(reached) else None
    return _live(e, reached, changed)


def _dead(e: Evidence, n: int) -> Effect | None:
    """Two alphas are declared and nothing differs that one could make."""
    a, b = e.declared
    if a is None or b is None or a.value == b.value:
        return None
    if not n and not any(some_fit(f.scales(), lambda r: r.kind is Kind.ACTIVATION) for f in (e.a, e.b)):
        why = "there is no activation scale that it could set"
    else:
        why = "no scale that it should reach differs" if n else "no scale in these files can depend on it"
    text = f"{_declared(a, b)}, but {why}: the setting did not take effect."
    return Effect(reason("dead-parameter", text), e.declared, n)


def _live(e: Evidence, reached: list[ScalePair], changed: list[ScalePair]) -> Effect:
    a, b = e.declared
    up = [p for p in changed if p.difference and p.difference.direction == "up"]
    down = [p for p in changed if p.difference and p.difference.direction == "down"]
    beyond = beyond_noise(reached, e.noise)
    expected = 0 if a is None or b is None else (b.value > a.value) - (b.value < a.value)
    ways = e.asked_ways if all(p.role in e.asked_ways for p in changed) else {}
    if ways:
        n_asked = sum(p.difference is not None and p.difference.direction == ways[p.role] for p in changed)
        sign_p = sign_test(n_asked, len(changed) - n_asked)
    elif expected:
        sign_p = sign_test(len(up), len(down)) if expected > 0 else sign_test(len(down), len(up))
    else:
        sign_p = min(1.0, 2 * sign_test(max(len(up), len(down)), min(len(up), len(down))))
    against = _against(beyond, expected, ways)
    if not beyond.pairs:
        rule, text = "within-noise", _within(e, reached, changed)
    elif a and b and not expected:
        rule = "not-as-declared"
        text = f"Both are declared to have {SETTING} {a.text}, but {_found(beyond, e)}: something else differs."
    elif against:
        rule, text = "not-as-declared", _contradicted(e, beyond, against, expected, bool(ways))
    elif others := beyond_noise(e.points(False), e.noise).pairs:
        rule = "not-as-declared"
        text = (
            f"{_found(beyond, e)}, but so {'does' if len(others) == 1 else 'do'} {some(len(others), 'min-max point')}, "
            f"which {SETTING} cannot reach: something else differs."
        )
    else:
        rule = "effective"
        agrees = ", in the direction that the declared alphas ask for" if expected or ways else ""
        agrees += ", each point by its own" if ways else ""
        text = f"The setting took effect: {_found(beyond, e)}{agrees}."
    text += f" {_signs(up, down, changed, sign_p, bool(expected or ways))}"
    return Effect(
        reason(rule, text), e.declared, len(reached), len(changed), len(up), len(down),
        tuple(p.role for p in beyond.pairs), sign_p, beyond.p,
    )  # fmt: skip


def _against(beyond: Beyond, expected: int, asked: Mapping[str, str]) -> list[ScalePair]:
    """Those beyond noise that go the other way than the declared alphas ask for; undeclared, the fewer of both. asked:
    the way of each, where points have alphas of their own."""
    if asked:
        return [p for p in beyond.pairs if p.difference and p.difference.direction != asked[p.role]]
    directions = {way: [p for p in beyond.pairs if p.difference and p.difference.direction != way] for way in _WAYS}
    if expected:
        return directions["up" if expected > 0 else "down"]
    return min(directions.values(), key=len)


_WAYS = ("up", "down")


def _contradicted(e: Evidence, beyond: Beyond, against: list[ScalePair], expected: int, by_point: bool) -> str:
    a, b = e.declared
    of = f"{len(against)} of the {some(len(beyond.pairs), 'scale')} that {_differ(beyond)}"
    if by_point:
        return f"Points are declared to have alphas of their own, but {of} {_do(against)} not go as theirs ask."
    if expected and a and b:
        way = "up" if expected > 0 else "down"
        return f"{_declared(a, b)}; then every scale must go {way}, but {of} {_do(against)} not."
    return f"{of} {'goes' if len(against) == 1 else 'go'} against the others: no change of {SETTING} alone does that."


def _do(against: list[ScalePair]) -> str:
    return "does" if len(against) == 1 else "do"


def _differ(beyond: Beyond) -> str:
    return f"{'differs' if len(beyond.pairs) == 1 else 'differ'} by more than noise"


def _found(beyond: Beyond, e: Evidence) -> str:
    """`4 of 4 scales that percentile_alpha reaches differ by more than noise (...)`."""
    how = "" if beyond.p is None else f", p <= {beyond.p:.2g}, Holm-adjusted over {beyond.n_chances}"
    return (
        f"{len(beyond.pairs)} of {some(beyond.n, 'scale')} that {SETTING} reaches {_differ(beyond)} "
        f"({floor_said(e.noise.same_data)}{how})"
    )


def floor_said(same_data: bool | None) -> str:
    """Which floor applies, a clause."""
    if same_data:
        return "same data: repeat floor"
    return "other data: sample floor" if same_data is False else "data unknown: sample floor"


def _within(e: Evidence, reached: list[ScalePair], changed: list[ScalePair]) -> str:
    sizes = [abs(p.difference.largest) for p in changed if p.difference]
    return (
        f"No effect of {SETTING} beyond noise: of {some(len(reached), 'scale')} that it reaches, {len(changed)} "
        f"{'differs' if len(changed) == 1 else 'differ'}, by at most {magnitude(max(sizes))} "
        f"({floor_said(e.noise.same_data)})."
    )


def _signs(up: list[ScalePair], down: list[ScalePair], changed: list[ScalePair], p: float, one_sided: bool) -> str:
    mixed = len(changed) - len(up) - len(down)
    also = f", {mixed} both ways" if mixed else ""
    return (
        f"Signs: {len(up)} up, {len(down)} down{also}; exact sign test p = {p:.2g} "
        f"({'one' if one_sided else 'two'}-sided, n = {len(up) + len(down)}, taken as independent)."
    )


def _declared(a: Declared, b: Declared) -> str:
    """`The directory names claim percentile_alpha 0.9995 and 0.99999`."""
    if a.where == b.where == "directory name":
        return f"The directory names claim {SETTING} {a.text} and {b.text}"
    if a.where == b.where:
        return f"Their provenance declares {SETTING} {a.text} and {b.text}"
    return f"{SETTING} is declared as {a.text} (A's {a.where}) and {b.text} (B's {b.where})"
