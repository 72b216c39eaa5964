"""What to do after each rule's finding: one sentence, or nothing. docs/verdicts.md lists the rules with these."""

from __future__ import annotations

NEXT_STEPS = {
    "same-file": "Name two different checkpoints.",
    "bit-identical": "If they should differ: `qinspect logs` on the second run's log says whether it calibrated.",
    "same-values": "",
    "no-difference-read": "`--codes` reads the weights too.",
    "broken-scale": "Make the broken one again; `qinspect show` prints what is stored.",
    "copies-disagree": "Do not use it before it is saved again; `qinspect show MODEL ROLE` lists all copies.",
    "copies-missing": "Save it again; a loader that reads the missing entry fails, or takes a default.",
    "only-weights": "Compare how the weights were quantized: method, its data, its order, its seed.",
    "alpha-signature": "`qinspect whence MODEL --run RUN` gives the alpha of each from a calibration's distributions.",
    "mixed-signs": "Compare the other settings of the observers, and the order of the samples.",
    "repeat-noise": "Take both for repeats of one calibration.",
    "data-differ": "Calibrate both on the same samples, in the same order, before their settings are compared.",
    "claim-agrees": "",
    "claim-contradicted": "`qinspect whence MODEL --run RUN` finds the alpha that each was really made with.",
    "alpha-is-dead": "Leave percentile_alpha out of this comparison; vary a setting that reaches these scales.",
    "reordered": "Compare with a model of the same order of heads to see cell by cell.",
    "head-order-differs": "",
    "weights-differ": "Find out what else was changed: an activation setting leaves weights alone.",
    "weights-not-compared": "`--codes` reads them.",
    "renamed": "",
    "config-differs": "",
    "other-structure": "Compare like with like, or only the activation points.",
    "no-common-roles": "Check the two paths: these are not two versions of one model.",
    "several-differences": "Change one setting at a time; `n` on the screen walks the differences.",
    "noise-bands": "`--noise RUN1 RUN2 ...` measures your own repeats, `--run RUN` resamples a calibration.",
    "rule-of-thumb": "",
    "effective": "Find out whether it helps: `qinspect accuracy` on the results of both.",
    "within-noise": "Take the two for equal in this setting, or widen the gap between the settings.",
    "dead-parameter": "Vary a setting that reaches these scales, or calibrate without what overrides it.",
    "not-as-declared": "`qinspect whence MODEL --run RUN` finds the alpha that each was really made with.",
}
"""By the name of the rule."""
