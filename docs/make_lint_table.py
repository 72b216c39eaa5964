"""Lint over many checkpoints, as the table in docs/lint.md: which rules fire on sound ones.

    python docs/make_lint_table.py FOLDER ...

Each folder is searched for checkpoints (a folder `model` in it, or files); those in BROKEN were broken on purpose, as
their makers say, and what fires there is no false alarm.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import format_of
from qinspect.inspector.lint.check import Lint, lint
from qinspect.inspector.lint.subject import subjects_of

PAGE = Path(__file__).parent / "lint.md"
MARKED = re.compile(r"(<!-- made by docs/make_lint_table.py -->\n)(.*?)(<!-- end -->)", re.DOTALL)
BROKEN = {
    "ct_nvfp4_unfused_globals": "global scales of q, k, v and gate, up are not fused",
    "ct_qwen3moe_nvfp4_cold_experts": "two experts saw no token in calibration",
    "modelopt_qwen3moe_cold_experts": "two experts saw no token in calibration",
    "ct_qwen3moe_no_input_scale": "input scales are missing",
    "modelopt_nemotronh_badnames": "names that a loader does not find",
    "gguf_unknown_type": "a type that ggml does not have",
}
SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def checkpoints(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each in a folder."""
    if (folder / "model").exists():
        yield folder.name, folder / "model"
        return
    for inside in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
        if inside.is_dir():
            yield from checkpoints(inside)
        elif inside.suffix in (".safetensors", ".gguf", ".bin", ".pt", ".pth"):
            yield f"{folder.name}/{inside.name}", inside


def linted(path: Path) -> Lint | None:
    """None where it is not a checkpoint that is read."""
    try:
        return lint(subjects_of(format_of(open_checkpoint(path)), None, None))
    except QinspectError:
        return None


def rows(found: dict[str, Lint]) -> Iterator[str]:
    """Of each rule that fired on a sound checkpoint: how often, how severely, where first."""
    fired: dict[str, dict[Severity, list[str]]] = {}
    for name, of in found.items():
        for f in of.findings:
            fired.setdefault(f"{f.rule.code} `{f.rule.name}`", {}).setdefault(f.severity, []).append(name)
    for rule, by in sorted(fired.items()):
        counts = [str(len(dict.fromkeys(by.get(s, [])))) for s in SEVERITIES]
        names = list(dict.fromkeys(n for s in SEVERITIES for n in by.get(s, [])))
        shown = ", ".join(names[:3]) + (f", {len(names) - 3} more" if len(names) > 3 else "")
        yield f"| {rule} | {' | '.join(counts)} | {shown} |"


def main() -> None:
    """Write the table into the page."""
    found: dict[str, Lint] = {}
    for folder in map(Path, sys.argv[1:]):
        for name, path in checkpoints(folder):
            of = linted(path)
            if of is not None:
                found[name] = of
    sound = {name: of for name, of in found.items() if name not in BROKEN}
    broken = {name: of for name, of in found.items() if name in BROKEN}
    head = "| rule | errors | warnings | notes | on |\n|---|---:|---:|---:|---|"
    text = (
        f"{len(sound)} sound checkpoints, made by the libraries of 30 families, and {len(broken)} that were broken on "
        f"purpose ({', '.join(broken)}).\n\nOn sound ones:\n\n{head}\n" + "\n".join(rows(sound))
        + f"\n\nOn broken ones:\n\n{head}\n" + "\n".join(rows(broken)) + "\n\n"
    )  # fmt: skip
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKED.sub(lambda m: m[1] + "\n" + text + m[3], page), encoding="utf-8")


if __name__ == "__main__":
    main()
