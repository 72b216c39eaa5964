"""What a calibration was asked for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import UsageError
from qinspect.inspector.observers.recipes import short


def check_counts(**counts: int) -> None:
    """Raises UsageError for an option that counts something and is less than 1."""
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1", found=str(value))


def check_alphas(alphas: Sequence[float]) -> None:
    """Raises UsageError for a number that is no alpha."""
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise UsageError("--alpha must be from 0 to 1", found=str(alpha))


def check_device(device: str, *kinds: str) -> None:
    """Raises UsageError for a name that is neither empty nor of these kinds, `cuda` with or without a number."""
    if device and device not in kinds and not ("cuda" in kinds and re.fullmatch(r"cuda:\d{1,4}", device)):
        expected = ", ".join(["cpu", "cuda", "cuda:1", *(k for k in kinds if k not in ("cpu", "cuda"))])
        raise UsageError("there is no such --device", expected=expected, found=device)


def check_seed(seed: int) -> None:
    """Raises UsageError for one that no generator takes."""
    if seed < 0:
        raise UsageError("--seed must be at least 0", found=str(seed))


def options_of(settings: Any, n_arguments: int) -> list[str]:
    """The options of a command line, of a dataclass of settings without those that are as they are by default.
    n_arguments: fields that are no options, the first ones."""
    made: list[str] = []
    for field in fields(settings)[n_arguments:]:
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        option = "--" + {"alphas": "alpha"}.get(field.name, field.name.replace("_", "-"))
        if value is True:
            made.append(option)
        else:
            made += [w for v in (value if isinstance(value, tuple) else (value,)) for w in (option, str(v))]
    return made


@dataclass(frozen=True, slots=True)
class Settings:
    """One calibration.

    model: a checkpoint's path. recipe: of RECIPES, "" for the model's own. alphas: what percentile rules use, one
    checkpoint each. data: as data.load_samples takes it, "" for the text that comes with the program. batch: samples
    of equal length that share a forward. per_sample: globs of points that keep a table a sample besides those whose
    rule needs it. weights: schemes of the checkpoints.
    """

    model: str
    recipe: str = ""
    alphas: tuple[float, ...] = (0.9995,)
    data: str = ""
    samples: int = 512
    seq_len: int = 512
    seed: int = 0
    shuffle: bool = False
    device: str = ""
    dtype: str = ""
    batch: int = 1
    per_sample: tuple[str, ...] = ()
    out: str = ""
    weights: tuple[str, ...] = ("w8a8",)

    def check(self) -> None:
        """Raises UsageError for a value that no calibration can have."""
        check_counts(samples=self.samples, seq_len=self.seq_len, batch=self.batch)
        check_alphas(self.alphas)
        if len(set(self.alphas)) < len(self.alphas):
            raise UsageError("an --alpha is given twice", found=", ".join(map(str, self.alphas)))
        if len(set(self.weights)) < len(self.weights):
            raise UsageError("a scheme of --weights is given twice", found=", ".join(self.weights))
        check_device(self.device, "cpu", "cuda", "auto")
        check_seed(self.seed)

    def words(self) -> list[str]:
        """The command line of these settings, without those that are as they are by default."""
        return [self.model, *options_of(self, 1)]

    def targets_of(self, alpha: float) -> list[tuple[Path, str]]:
        """Where the checkpoints of an alpha go, and the scheme of each: `--out` itself for a single one, else a folder
        in it for each."""
        if not self.out:
            return []
        out = Path(self.out)
        if len(self.alphas) * len(self.weights) == 1:
            return [(out, self.weights[0])]
        return [(out / f"pa-{short(alpha)}-{scheme}", scheme) for scheme in self.weights]

    def targets(self) -> list[tuple[Path, str]]:
        """The checkpoints of all alphas."""
        return [target for alpha in self.alphas for target in self.targets_of(alpha)]

    def said(self) -> str:
        """For the log: what was asked for, in the names that Quamba has for it where it has one."""
        asked = {
            "recipe": self.recipe, "dtype": self.dtype, "device": self.device, "calib_data_num": self.samples,
            "calib_seqlen": self.seq_len, "batch": self.batch, "seed": self.seed, "shuffle": self.shuffle,
        }  # fmt: skip
        return ", ".join(f"{name}={value}" for name, value in asked.items() if value != "")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        made = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in made.items()}


def fingerprint(parts: dict[str, Any]) -> str:
    """sha256 of what decides every table: where it is equal, stored tables may be used again."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
