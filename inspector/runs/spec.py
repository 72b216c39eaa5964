"""What a run is: the command, where and with what it was started. Enough to say what changed since the last one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import UsageError
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.identity import boot_id, host_name
from qinspect.inspector.runs.stored import Moment, fields_of
from qinspect.inspector.withheld import WITHHELD, withhold, withhold_value, withhold_words

INHERITED = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH_BLOCKING",
    "CUBLAS_WORKSPACE_CONFIG",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_DATASETS_CACHE",
    "TRANSFORMERS_OFFLINE",
    "OMP_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTHONHASHSEED",
    "PYTHONPATH",
    "CONDA_PREFIX",
    "VIRTUAL_ENV",
)
"""Variables of the surroundings that are kept in spec.json: they decide what a run computes, and none is a secret."""

NOT_STORED = WITHHELD
"""What spec.json holds in place of a secret."""

_OURSELVES = ("-P", "-m", "qinspect.inspector")
_GIT_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A command and its surroundings.

    env: variables set for this run, on top of those that it inherits. inherited: those of `INHERITED` that were set.
    git_commit: of the repository that cwd is in, "" for none. git_dirty: tracked files differ from it, None: unknown.
    created: seconds since the epoch.
    """

    argv: tuple[str, ...] = ()
    name: str = ""
    cwd: str = ""
    env: dict[str, str] = field(default_factory=dict)
    inherited: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""
    git_dirty: bool | None = None
    host: str = ""
    boot_id: str = ""
    created: Moment = 0.0
    version: str = ""

    @property
    def command(self) -> str:
        """The command as one would type it."""
        return typed(self.argv)

    def variable(self, name: str) -> str | None:
        """What the command sees of one of the stored variables."""
        return self.env.get(name, self.inherited.get(name))

    def withheld(self) -> RunSpec:
        """The same without secrets: as it is stored and shown."""
        return replace(
            self,
            argv=withhold_words(self.argv),
            name=withhold(self.name),
            cwd=withhold(self.cwd),
            env={k: withhold_value(k, v) for k, v in self.env.items()},
            inherited={k: withhold_value(k, v) for k, v in self.inherited.items()},
        )

    def as_dict(self) -> dict[str, Any]:
        """For spec.json, without the values of secrets."""
        made = asdict(self.withheld())
        made["argv"] = list(made["argv"])
        return made


def ourselves(*words: str) -> tuple[str, ...]:
    """A command of this very program, whatever is in PATH."""
    # -P: a file named like a module of ours in the current folder must not be imported
    return (sys.executable, *_OURSELVES, *words)


def our_words(argv: Sequence[str]) -> tuple[str, ...] | None:
    """What this very program was told by a command: the words after it, by whatever path it was called; None for a
    command of another program."""
    words = tuple(argv)
    if words[1 : 1 + len(_OURSELVES)] == _OURSELVES:
        return words[1 + len(_OURSELVES) :]
    return words[1:] if words and Path(words[0]).name == "qinspect" else None


def typed(argv: Sequence[str]) -> str:
    """A command as one would type it in a shell: this program by its name."""
    words = tuple(argv)
    is_ours = words[1 : 1 + len(_OURSELVES)] == _OURSELVES
    return shlex.join(("qinspect", *words[1 + len(_OURSELVES) :]) if is_ours else words)


def make_spec(
    argv: Sequence[str], *, name: str = "", env: Mapping[str, str] | None = None, cwd: str | Path | None = None
) -> RunSpec:
    """A spec of this command in the surroundings of now. Raises UsageError for what no command can be."""
    from qinspect.inspector import __version__

    words = tuple(argv)
    if not words or not words[0]:
        raise UsageError("the command is missing", expected="a program and its words", cure="qinspect run -- CMD ...")
    where = Path(cwd if cwd is not None else Path.cwd()).expanduser().absolute()
    if not where.is_dir():
        raise UsageError(
            "the working folder is not a folder", found=str(where), cure="Create it, or give another --cwd."
        )
    chosen = dict(env or {})
    for key, value in chosen.items():
        if not key or "=" in key:
            raise UsageError("a variable needs a name without '='", found=repr(key))
        _refuse_nul(value, f"the value of {key}")
        _refuse_withheld(value, key)
    for word in words:
        _refuse_nul(word, "the command")
        _refuse_withheld(word, "a word of the command")
    commit, dirty = _git(where)
    return RunSpec(
        argv=words,
        name=withhold(name.strip() or _default_name(words)),
        cwd=str(where),
        env=chosen,
        inherited={k: os.environ[k] for k in INHERITED if k in os.environ and k not in chosen},
        git_commit=commit,
        git_dirty=dirty,
        host=host_name(),
        boot_id=boot_id(),
        created=time.time(),
        version=__version__,
    )


@dataclass(frozen=True, slots=True)
class StoredSpec:
    """What spec.json says. problems: sentences about what in it is not as it should be."""

    spec: RunSpec
    problems: tuple[str, ...] = ()


def spec_from_dict(content: Mapping[str, Any]) -> StoredSpec:
    """What `as_dict` wrote. A field that is missing gets its default, for the file may be older; so does one of another
    type, which is a problem. What an earlier version stored of secrets is withheld here."""
    from qinspect.inspector import __version__

    found, problems = fields_of(RunSpec, content, files.SPEC)
    spec = RunSpec(**found)
    if _version_key(spec.version) > _version_key(__version__):
        problems += (f"{files.SPEC}: was written by qinspect {spec.version}, newer than this one ({__version__})",)
    return StoredSpec(spec.withheld(), problems)


def _version_key(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version."""
    found = re.match(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def compare_specs(a: RunSpec, b: RunSpec) -> list[tuple[str, str | None, str | None]]:
    """What changed from a to b: (field, its text in a, in b), None where a side has none. Names and times are left out:
    they always differ. Words of the command are compared one by one, options by their name."""
    rows: list[tuple[str, str | None, str | None]] = []
    first, second = _words_by_name(a.argv), _words_by_name(b.argv)
    rows += [(f"argv {k}", first.get(k), second.get(k)) for k in {**first, **second}]
    for label, x, y in (("env", a.env, b.env), ("inherited", a.inherited, b.inherited)):
        rows += [(f"{label} {k}", x.get(k), y.get(k)) for k in {**x, **y}]
    for name in ("cwd", "git_commit", "git_dirty", "host", "boot_id", "version"):
        rows.append((name, _text(getattr(a, name)), _text(getattr(b, name))))
    return [row for row in rows if row[1] != row[2]]


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value).lower() if isinstance(value, bool) else str(value)


def _words_by_name(argv: Sequence[str]) -> dict[str, str]:
    """Options as their name to the words after it, other words by their place before the first option."""
    made: dict[str, str] = {}
    current = ""
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        # a negative number is a value, and so is everything that does not start like an option
        if word.startswith("-") and len(word) > 1 and not re.match(r"-[0-9.]", word):
            current = name
            while current in made:  # an option given twice is two rows
                current += " (again)"
            made[current] = value if equals else ""
        elif current:
            made[current] = f"{made[current]} {word}".strip()
        else:
            made[f"word {i}"] = word
    return made


def _default_name(argv: Sequence[str]) -> str:
    """The script where an interpreter runs one, the module after -m, else the program."""
    if tuple(argv[1 : 1 + len(_OURSELVES)]) == _OURSELVES:
        command, *others = argv[1 + len(_OURSELVES) :] or ("qinspect",)
        return " ".join([command, *(Path(word).name for word in others[:1])])
    program = Path(argv[0]).name
    if re.match(r"(python[0-9.]*|bash|sh)$", program):
        for i, word in enumerate(argv[1:], 1):
            if word in ("-m", "-c"):
                return argv[i + 1] if word == "-m" and i + 1 < len(argv) else program
            if not word.startswith("-"):
                return Path(word).name
    return program


def _refuse_nul(text: str, what: str) -> None:
    if "\0" in text:
        raise UsageError(f"{what} holds a NUL, which no program can be given")


def _refuse_withheld(text: str, what: str) -> None:
    if WITHHELD in text:
        raise UsageError(
            f"{what} is that of an earlier run, whose secret was not stored", found=text, cure="Type the secret again."
        )


def _git(cwd: Path) -> tuple[str, bool | None]:
    """Commit and dirty flag of the repository around cwd; ("", None) where there is none, or no git."""
    commit = _git_output(cwd, "rev-parse", "HEAD")
    if not commit:
        return "", None
    status = _git_output(cwd, "status", "--porcelain", "--untracked-files=no")
    return commit.strip(), None if status is None else bool(status.strip())


def _git_output(cwd: Path, *words: str) -> str | None:
    # a repository may name a program as its file monitor: looking at its state must not run it
    command = ["git", "-c", "core.fsmonitor=false", *words]
    try:
        found = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout if found.returncode == 0 else None
