"""Lining up two checkpoints by role: what a thing is, before what it is called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from qinspect.inspector.roles import common_spelling

T = TypeVar("T")
Pairs = list[tuple[str, T | None, T | None]]
"""(role, A's, B's), in A's order."""

_DIGITS = re.compile(r"\d+")
_VARIANT = re.compile(r"\[[^\]]*\]")


def by_unique_role(items: Sequence[T], role: Callable[[T], str], key: Callable[[T], str]) -> dict[str, T]:
    """Items by role; one whose role is taken goes by its key, so that nothing is lost."""
    made = dict(zip(map(role, items), items, strict=True))
    if len(made) == len(items):
        return made
    made = {}
    for item in items:
        name = role(item)
        if name in made:
            name = key(item)
            while name in made:
                name += "'"
        made[name] = item
    return made


def partners(
    a: Mapping[str, T],
    b: Mapping[str, T],
    key: Callable[[T], str] | None = None,
    fits: Callable[[T, T], bool] | None = None,
) -> dict[str, str]:
    """A's role to B's role of everything that has a partner.

    Roles that are equal pair first; with `key`, an entry that shares its role with others pairs with the one that is
    stored under the same key. What is left, and `fits`, pairs when one prefix was replaced by another throughout, and
    when a hybrid layer's variant, `mixer[W4A8]`, stands against a layer with one mixer.
    """
    if a.keys() == b.keys():  # two runs of one model
        return dict(zip(a, a, strict=True))
    partner: dict[str, str] = {}
    if key is not None:
        _pair_shared(a, b, key, partner)
    taken = set(partner.values())
    partner |= {role: role for role in a if role in b and role not in partner and role not in taken}
    taken = set(partner.values())
    free_a = [role for role in a if role not in partner]
    free_b = [role for role in b if role not in taken]
    if free_a and free_b:
        _pair_spelled(free_a, free_b, partner)
    if free_a and free_b:
        _pair_renamed(free_a, free_b, partner, lambda x, y: fits is None or fits(a[x], b[y]))
    if free_a and free_b:
        _pair_variants(free_a, free_b, partner)
    return partner


PartnerOf = Callable[[Mapping[str, T], Mapping[str, T]], Mapping[str, str]]
"""Of items by role, and those of another model: the role there of each that has a partner."""


def line_up(models: Sequence[Mapping[str, T]], partner_of: PartnerOf[T]) -> list[tuple[str, tuple[T | None, ...]]]:
    """(role, its item in each of the models or None), in the order of the first model; what later ones have besides
    stands after its predecessor there. An item pairs with the first model that has a partner for it."""
    if not models:
        return []
    if len(models) == 2:  # nearly always, and there may be 60,000 items
        first, second = models
        return [(role, (a, b)) for role, a, b in in_order(first, second, partner_of(first, second))]
    rows: dict[str, tuple[T | None, ...]] = {role: (item,) for role, item in models[0].items()}
    for n, other in enumerate(models[1:], 1):
        found = {role: next(x for x in row if x is not None) for role, row in rows.items()} if n > 1 else models[0]
        matched = in_order(found, other, partner_of(found, other), chr(ord("A") + n))
        nothing = (None,) * n
        rows = {role: (*(nothing if item is None else rows[role]), its) for role, item, its in matched}
    return list(rows.items())


def in_order(a: Mapping[str, T], b: Mapping[str, T], partner: Mapping[str, str], label: str = "B") -> Pairs[T]:
    """All items in A's order, what only B has placed after its predecessor in B. `partner`: A's role to B's. Each role
    occurs once: where both models have one under the same role that are no partners, B's is marked with its label."""
    if a.keys() == b.keys():  # then each is the partner of its own
        return [(role, item, b[role]) for role, item in a.items()]
    back = {v: k for k, v in partner.items()}
    rest: dict[str, list[str]] = {}
    anchor = ""
    for role in b:
        if role in back:
            anchor = back[role]
        else:
            rest.setdefault(anchor, []).append(role)

    def only_b(role: str) -> tuple[str, None, T]:
        return (f"{role} ({label})" if role in a else role, None, b[role])

    pairs: Pairs[T] = [only_b(role) for role in rest.get("", ())]
    for role, item in a.items():
        other = partner.get(role)
        pairs.append((role, item, None if other is None else b[other]))
        if role:
            pairs.extend(map(only_b, rest.get(role, ())))
    return pairs


def _pair_shared(a: Mapping[str, T], b: Mapping[str, T], key: Callable[[T], str], partner: dict[str, str]) -> None:
    """Entries that go by their whole name in one model, since another claims their role, and not in the other."""
    by_key = {key(item): role for role, item in b.items()}
    for role, item in a.items():
        name = key(item)
        other = by_key.get(name)
        if other is not None and other != role and name in (role, other):
            partner[role] = other


def _pair_spelled(free_a: list[str], free_b: list[str], partner: dict[str, str]) -> None:
    """What libraries have different words for, where it is one thing in each model."""
    spelled: list[dict[str, str]] = []
    for free in (free_a, free_b):
        found = {common_spelling(role): role for role in free}
        spelled.append(found if len(found) == len(free) else {})
    partner |= {role: spelled[1][name] for name, role in spelled[0].items() if name in spelled[1]}
    _drop_paired(free_a, free_b, partner)


def _drop_paired(free_a: list[str], free_b: list[str], partner: dict[str, str]) -> None:
    taken = set(partner.values())
    free_a[:] = [r for r in free_a if r not in partner]
    free_b[:] = [r for r in free_b if r not in taken]


def _pair_renamed(
    free_a: list[str], free_b: list[str], partner: dict[str, str], fits: Callable[[str, str], bool]
) -> None:
    """Find the one prefix replacement that pairs most of the rest, and apply it if it pairs at least half."""
    by_suffix: dict[str, str] = {}
    for role in free_b:
        for suffix in _suffixes(role):
            by_suffix[suffix] = "" if suffix in by_suffix else role  # ambiguous suffixes pair nothing
    votes: Counter[tuple[str, str]] = Counter()
    for role in free_a:
        for suffix in _suffixes(role):  # longest first
            other = by_suffix.get(suffix)
            # A number in a name is a layer or an expert: another number is another layer, never a renaming.
            if other and _numbers(role, suffix) == _numbers(other, suffix) and fits(role, other):
                votes[role[: -len(suffix)], other[: -len(suffix)]] += 1
                break
    if not votes:
        return
    (prefix_a, prefix_b), n = votes.most_common(1)[0]
    if 2 * n < min(len(free_a), len(free_b)):
        return
    candidates = set(free_b)
    for role in free_a:
        other = prefix_b + role[len(prefix_a) :]
        if role.startswith(prefix_a) and other in candidates and fits(role, other):
            partner[role] = other
            candidates.discard(other)
    free_a[:] = [r for r in free_a if r not in partner]
    free_b[:] = [r for r in free_b if r in candidates]


def _numbers(role: str, suffix: str) -> list[str]:
    return _DIGITS.findall(role[: len(role) - len(suffix)])


def _suffixes(role: str) -> list[str]:
    """The role and what is left of it without its first 1 to 4 parts, if at least two parts are."""
    parts = role.split(".")
    return [".".join(parts[i:]) for i in range(min(5, len(parts) - 1))]


def _pair_variants(free_a: list[str], free_b: list[str], partner: dict[str, str]) -> None:
    """A hybrid layer's mixers against a layer with one: the variant that has most of its roles there takes them."""
    for left, right, forward in ((free_a, free_b, True), (free_b, free_a, False)):
        there = set(right)
        variants: dict[str, list[str]] = {}
        for role in left:
            if match := _VARIANT.search(role):
                variants.setdefault(role[: match.end()], []).append(role)
        matches = {v: [r for r in roles if _VARIANT.sub("", r) in there] for v, roles in variants.items()}
        for variant in sorted(variants, key=lambda v: -len(matches[v]) / len(variants[v])):
            for role in matches[variant]:
                other = _VARIANT.sub("", role)
                if other in there:
                    there.discard(other)
                    partner[role if forward else other] = other if forward else role
    _drop_paired(free_a, free_b, partner)
