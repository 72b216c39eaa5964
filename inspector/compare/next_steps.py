"""What to do after each rule's finding: one sentence, or nothing. docs/verdicts.md lists the rules with these."""

from __future__ import annotations

from qinspect.inspector.finding import NOWHERE, Finding, Numbers, Severity, Where

NEXT_STEPS = {
    "same-file": "Name two different checkpoints.",
    "bit-identical": "If they should differ: `qinspect logs` on the second run's log says whether it calibrated.",
    "models-inside": "Name the folder of each model that is meant, such as `qinspect A/FOLDER B/FOLDER`.",
    "same-values": "",
    "no-difference-read": "`--codes` reads the weights too.",
    "broken-scale": "Make the broken one again; `qinspect show` prints what is stored.",
    "denormal-scale": "Store these scales in float32, or check what they scale: it is nearly zero.",
    "nothing-compared": "Name two checkpoints that hold tensors.",
    "copies-disagree": "Do not use it before it is saved again; `qinspect show MODEL ROLE` lists all copies.",
    "copies-missing": "Save it again; a loader that reads the missing entry fails, or takes a default.",
    "only-weights": "Compare how the weights were quantized: method, its data, its order, its seed.",
    "alpha-signature": "`qinspect whence MODEL --run RUN` gives the alpha of each from a calibration's distributions.",
    "mixed-signs": "Compare the other settings of the observers, and the order of the samples.",
    "repeat-noise": "Treat both as repeats of one calibration.",
    "data-differ": "Calibrate both on the same samples, in the same order, before their settings are compared.",
    "claim-agrees": "",
    "claim-contradicted": "`qinspect whence MODEL --run RUN` finds the alpha that each was really made with.",
    "alpha-is-dead": "Leave percentile_alpha out of this comparison; vary a setting that reaches these scales.",
    "reordered": "Compare with a model whose heads are in the same order to see it cell by cell.",
    "head-order-differs": "",
    "weights-differ": "Find out what else was changed: an activation setting leaves weights alone.",
    "weights-not-compared": "`--codes` reads them.",
    "renamed": "A loader that goes by names finds no entry under another name: rename them before it is used.",
    "same-under-other-names": "A loader that goes by names finds no entry under another name: rename them first.",
    "rounded": "",
    "other-dtype": "`--codes` reads the values and says whether they are the same.",
    "adapter-and-model": "Merge it into the model with the library that trained it, then compare the two models.",
    "no-common-names": "Rename one of them, or convert both to the names of one library, to compare number by number.",
    "config-differs": "",
    "one-quantized": "`qinspect fidelity A B` says how far what the codes stand for is from the original.",
    "two-schemes": "`qinspect fidelity A B` says how far the values of the two are apart.",
    "joined": "A loader of the one layout does not read the other: convert it before it is used.",
    "other-structure": "Compare like with like, or only the activation points.",
    "no-common-roles": "Check the two paths.",
    "several-differences": "Change one setting at a time; `n` on the screen walks the differences.",
    "noise-bands": "`--noise RUN1 RUN2 ...` measures your own repeats, `--run RUN` resamples a calibration.",
    "rule-of-thumb": "",
    "effective": "Find out whether it helps: `qinspect accuracy` on the results of both.",
    "within-noise": "Treat the two as equal in this setting, or widen the gap between the settings.",
    "dead-parameter": "Vary a setting that reaches these scales, or calibrate without what overrides it.",
    "not-as-declared": "`qinspect whence MODEL --run RUN` finds the alpha that each was really made with.",
}
"""By the name of the rule."""

_SEVERITIES = {
    **dict.fromkeys(("broken-scale", "copies-disagree", "copies-missing"), Severity.ERROR),
    **dict.fromkeys(
        ("claim-contradicted", "dead-parameter", "denormal-scale", "mixed-signs", "models-inside",
         "not-as-declared", "nothing-compared",
         "same-file"), Severity.WARNING,
    ),
}  # fmt: skip
"""Of what is more than worth knowing: a difference between two models is nothing wrong."""


def reason(rule: str, text: str, where: Where = NOWHERE, numbers: Numbers | None = None) -> Finding:
    """What a rule of a comparison says, with its next step."""
    return Finding(
        rule, text, _SEVERITIES.get(rule, Severity.NOTE), where, numbers or {}, next=NEXT_STEPS.get(rule, "")
    )
