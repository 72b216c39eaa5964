"""Lint over many checkpoints, as the table in docs/lint.md: which rules fire on sound ones.

    python docs/make_lint_table.py FOLDER ...

Each folder is searched for checkpoints: files, and folders that have a config or an index. Of two of one name the first
counts: those in tests/data are parts of whole ones. Those in BROKEN were broken
on purpose, as their makers say, and what fires there is no false alarm. Those that are damaged or not all there (a
pointer of git-lfs, an index without its shards) are counted apart, by what the rules of files find.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.check import Lint, lint
from qinspect.inspector.lint.opening import opened_subjects
from qinspect.inspector.lint.rule import Theme
from qinspect.inspector.progress import unseen
from qinspect.inspector.text import some

PAGE = Path(__file__).parent / "lint.md"
MARKED = re.compile(r"(<!-- made by docs/make_lint_table.py -->\n)(.*?)(<!-- end -->)", re.DOTALL)
BROKEN = {
    "ct_nvfp4_unfused_globals": "q, k and v, and gate and up, have outer scales of their own",
    "ct_qwen3moe_nvfp4_cold_experts": "two experts saw no token, and have what memory held",
    "ct_qwen3moe_no_input_scale": "the input scales of two experts were taken out",
    "modelopt_nemotronh_badnames": "names that no loader finds",
    "gguf_unknown_type": "a type that ggml does not have",
}
SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
HEAD = "| rule | errors | warnings | notes | on |\n|---|---:|---:|---:|---|"


def checkpoints(folder: Path) -> Iterator[Path]:
    """Those in a folder. `expected...` beside one is the truth about it, and none."""
    if any(folder.glob("config.json")) or any(folder.glob("*.index.json")):
        yield folder
        return
    for inside in sorted(folder.iterdir()):
        if inside.is_dir():
            yield from checkpoints(inside)
        elif inside.suffix in SUFFIXES and not inside.name.startswith("expected"):
            yield inside


def name_of(path: Path, folder: Path) -> str:
    """Its name inside the folder that was searched: the folder that `model` stands in, or the first and the last."""
    parts = path.relative_to(folder).parts
    if "model" in parts:
        return "/".join(parts[: parts.index("model")])
    return "/".join(dict.fromkeys((parts[0], parts[-1])))


def linted(path: Path) -> Lint | None:
    """None where it is no checkpoint that is read."""
    try:
        return lint(opened_subjects(str(path), None, None, False, unseen))
    except QinspectError:
        return None


def is_whole(found: Lint) -> bool:
    """Whether the rules of files find nothing."""
    return not any(f.rule.theme is Theme.FILES for f in found.findings)


def table(found: Mapping[str, Lint]) -> str:
    """Of each rule that fired: on how many, how severely, on which."""
    fired: dict[str, dict[Severity, dict[str, None]]] = {}
    for name, of in found.items():
        for f in of.findings:
            rule = f"{f.rule.code} `{f.rule.name}`"
            fired.setdefault(rule, {}).setdefault(f.severity, {})[name] = None
    return "\n".join([HEAD, *(_row(rule, by) for rule, by in sorted(fired.items()))])


def _row(rule: str, by: Mapping[Severity, Mapping[str, None]]) -> str:
    names = list(dict.fromkeys(n for s in SEVERITIES for n in by.get(s, ())))
    shown = ", ".join(names[:3]) + (f", {len(names) - 3} more" if len(names) > 3 else "")
    return f"| {rule} | {' | '.join(str(len(by.get(s, ()))) for s in SEVERITIES)} | {shown} |"


def text(found: Mapping[str, Lint]) -> str:
    """What stands in the page."""
    broken = {name: of for name, of in found.items() if name in BROKEN}
    in_part = {name: of for name, of in found.items() if name not in BROKEN and not is_whole(of)}
    whole = {name: of for name, of in found.items() if name not in BROKEN and is_whole(of)}
    sound = {name: of for name, of in whole.items() if of.n_looked}
    why = "\n".join(f"- {name}: {BROKEN[name]}" for name in sorted(broken))
    plain, are = len(whole) - len(sound), "is" if len(in_part) == 1 else "are"
    return f"""
{some(len(sound), "sound checkpoint")} with scales or quantized weights, and {plain} without any. On these:

{table(whole)}

{some(len(broken), "checkpoint")} that {"was" if len(broken) == 1 else "were"} broken on purpose:

{why}

{table(broken)}

Damaged or not all there, as the rules of files say, {are} {some(len(in_part), "other")}:

{table(in_part)}

"""


def main() -> None:
    """Write the tables into the page."""
    found: dict[str, Lint] = {}
    for folder in map(Path, sys.argv[1:]):
        for path in checkpoints(folder):
            of = linted(path)
            if of is not None:
                found.setdefault(name_of(path, folder), of)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKED.sub(lambda m: m[1] + text(found) + m[3], page), encoding="utf-8")


if __name__ == "__main__":
    main()
