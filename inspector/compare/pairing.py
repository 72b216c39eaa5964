"""Lining up two checkpoints by role: what a thing is, before what it is called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
_DIGITS = re.compile(r"\d+")
_VARIANT = re.compile(r"\[[^\]]*\]")


def pair_by_role(a: Mapping[str, T], b: Mapping[str, T]) -> list[tuple[str, T | None, T | None]]:
    """(role, A's, B's) in A's order, what only B has placed after its predecessor in B.

    Roles that are equal pair first. What is left pairs when one prefix was replaced by another throughout, and when
    a hybrid layer's variant, `mixer[W4A8]`, stands against a layer with one mixer.
    """
    if a.keys() == b.keys():  # two runs of one model
        return [(role, item, b[role]) for role, item in a.items()]
    partner = {role: role for role in a if role in b}
    free_a = [role for role in a if role not in partner]
    free_b = [role for role in b if role not in a]
    if free_a and free_b:
        _pair_renamed(free_a, free_b, partner)
    if free_a and free_b:
        _pair_variants(free_a, free_b, partner)
    taken = set(partner.values())
    rest: dict[str, list[str]] = {}
    anchor = ""
    back = {v: k for k, v in partner.items()}
    for role in b:
        if role in taken:
            anchor = back[role]
        else:
            rest.setdefault(anchor, []).append(role)
    pairs: list[tuple[str, T | None, T | None]] = [(role, None, b[role]) for role in rest.get("", ())]
    for role, item in a.items():
        other = partner.get(role)
        pairs.append((role, item, None if other is None else b[other]))
        pairs.extend((only, None, b[only]) for only in rest.get(role, ()))
    return pairs


def _pair_renamed(free_a: list[str], free_b: list[str], partner: dict[str, str]) -> None:
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
            if other and _numbers(role, suffix) == _numbers(other, suffix):
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
        if role.startswith(prefix_a) and other in candidates:
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
    taken = set(partner.values())
    free_a[:] = [r for r in free_a if r not in partner]
    free_b[:] = [r for r in free_b if r not in taken]
