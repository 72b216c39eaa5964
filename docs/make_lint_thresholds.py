"""Writes docs/lint-thresholds.md: what rules of codes measure in weights that libraries quantized, beside the limits.

    QINSPECT_FIXTURES=FOLDER python docs/make_lint_thresholds.py

FOLDER holds a folder for each checkpoint, with the checkpoint in `model`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import format_of
from qinspect.inspector.lint.code_facts import CodeFacts, read_codes
from qinspect.inspector.lint.code_reference import group_of, usual_ends
from qinspect.inspector.lint.code_shape import enough, entropy_bits, left_out, share_at_ends
from qinspect.inspector.lint.rules.codes import common_word, few_effective_bits, levels_left_out, saturated_codes
from qinspect.inspector.text import count

PAGE = Path(__file__).parent / "lint-thresholds.md"
TEXT = """# Where the limits of lint's rules of codes come from

Made by `docs/make_lint_thresholds.py` of {n} weights in {n_models} checkpoints that libraries wrote: none of them is
broken, so no limit may lie within what they show. Weights with fewer than 1,024 codes are left out, and types that a
rule says nothing of.

- **saturated-codes**: the share of codes at the ends of the range. *usual* is what normally distributed weights have
  that are scaled by the largest of each group; the *limit* is what they have where scales are {clip} of that. Searches
  for the best clip (AWQ, minimum squared error) lie between.
- **few-effective-bits**: the entropy of the codes. The limit is {bits:g} of their width: a note. Ternary weights in two
  bits have 1.58 of them, and pass.
- **levels-left-out**: levels without a code among those in which nine tenths of the codes lie, next to levels with 30
  codes or more on average. The limit is {holes:g} of these levels; the largest share here is {most_holes:.2g}.
- **common-word**: the share of the commonest word of packed codes. The limits are {warning:g} and {error:g}; the
  largest share here is {most_word:.2g}.

| codes | elements of a group | weights | largest share at the ends | usual | limit | least entropy | limit |
|---|---:|---:|---:|---:|---:|---:|---:|
{rows}
"""


def measured(root: Path) -> Iterator[tuple[str, CodeFacts]]:
    """Every weight that has enough codes."""
    for folder in sorted({*root.glob("*/model"), *(p.parent for p in root.rglob("config.json"))}):
        try:
            table = read_codes(format_of(open_checkpoint(folder)))
        except QinspectError:  # no kind of file that is read
            continue
        yield from ((str(folder), f) for f in table.facts if enough(f, 4))


def main() -> None:
    """Write the page."""
    kinds: dict[tuple[str, int], list[CodeFacts]] = defaultdict(list)
    models = set()
    for name, facts in measured(Path(os.environ["QINSPECT_FIXTURES"])):
        kinds[facts.weight.element.name, group_of(facts.weight)].append(facts)
        models.add(name)
    every = [f for of_kind in kinds.values() for f in of_kind]
    holes = [n / of for f in every if f.weight.bits > 2 and enough(f) for n, of in [left_out(f)] if of]
    words = [f.word.share for f in every if f.word is not None]
    page = TEXT.format(
        n=count(len(every)), n_models=len(models), clip=saturated_codes.limits["clip"],
        bits=few_effective_bits.limits["share"], holes=levels_left_out.limits["share"], most_holes=max(holes),
        warning=common_word.limits["warning"], error=common_word.limits["error"], most_word=max(words, default=0.0),
        rows="\n".join(row(name, group, kinds[name, group]) for name, group in sorted(kinds)),
    )  # fmt: skip
    PAGE.write_text(page, encoding="utf-8")


def percent(share: float) -> str:
    """`11.65 %`."""
    return f"{100 * share:.2f} %"


def row(name: str, group: int, of_kind: list[CodeFacts]) -> str:
    """One line of the table."""
    element = of_kind[0].weight.element
    ends = max(map(share_at_ends, of_kind))
    entropy = min(entropy_bits(f.counts) for f in of_kind)
    cells = [name, count(group), count(len(of_kind)), percent(ends)]
    if element.bits > 2:
        clip = saturated_codes.limits["clip"]
        cells += [percent(usual_ends(element, group)), percent(usual_ends(element, group, clip))]
    else:
        cells += ["", ""]
    cells += [f"{entropy:.2f}", f"{few_effective_bits.limits['share'] * element.bits:.2f}" if element.bits > 1 else ""]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
