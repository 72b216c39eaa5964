"""config.json of a model that is to run: read strictly, and asked key by key.

A checkpoint that is only looked at may have no config or a broken one. A forward may not: an epsilon or a number of
groups that nobody declared changes every table, and nothing in the result would show it. So what is absent and has a
default of the format's own is noted with the value that is used, and what contradicts the tensors is refused. No torch
in here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.text import brief

CONFIG = "config.json"
_SIZES = ("hidden_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "num_heads", "head_dim", "n_embd",
          "n_head", "n_heads", "d_model", "d_kv", "d_ff")  # fmt: skip
_CURE = "Take the config.json that was saved with these weights."


@dataclass(frozen=True, slots=True)
class Declared:
    """What a config says. file: where it was read. within: what stands before a key, for one nested in another
    (`ssm_cfg.`). assumed: key to the value that is used where the config is silent, filled while it is asked."""

    file: Path
    content: Mapping[str, Any]
    within: str = ""
    assumed: dict[str, Any] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def get(self, key: str) -> Any:
        """What is declared, None where nothing is."""
        return self.content.get(key)

    def inside(self, key: str) -> Declared:
        """The object at `key`, an empty one where there is none; what it lacks is noted here too."""
        found = self.get(key)
        if found is not None and not isinstance(found, Mapping):
            raise self.refused(key, "an object", found)
        return replace(self, content=found or {}, within=f"{self.within}{key}.")

    def number(self, key: str, default: float, above: float = -math.inf) -> float:
        """A finite number larger than `above`. Raises CannotOpen for anything else."""
        found = self._or_default(key, default)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not above < found < math.inf:
            raise self.refused(key, "a number" if above == -math.inf else f"a number above {above:g}", found)
        return float(found)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        found = self._or_default(key, default)
        if not isinstance(found, bool):
            raise self.refused(key, "true or false", found)
        return found

    def one_of(self, key: str, default: str, values: tuple[str, ...]) -> str:
        """A text of `values`: others stand for another model than the forward's."""
        found = self._or_default(key, default)
        if found not in values:
            raise self.refused(key, " or ".join(filter(None, values)), found, "asks for a model other than Mamba")
        return str(found)

    def agree(self, key: str, found: int | bool, read_off: str) -> None:
        """Raises CannotOpen where the config declares another value than the tensors have; silence is agreement.
        read_off: which tensor, or what of them, says so."""
        declared = self.get(key)
        if declared is None or (declared == found and isinstance(declared, bool) == isinstance(found, bool)):
            return
        raise CannotOpen(
            "contradicts the tensors", file=self.file, key=self.within + key, expected=f"{brief(found)}, by {read_off}",
            found=brief(declared), cure=_CURE,
        )  # fmt: skip

    def _or_default(self, key: str, default: Any) -> Any:
        found = self.get(key)
        if found is None:
            self.assumed[self.within + key] = default
            return default
        return found

    def refused(self, key: str, expected: str, found: object, problem: str = "has no usable value") -> CannotOpen:
        """The error about a key."""
        return CannotOpen(
            problem, file=self.file, key=self.within + key, expected=expected, found=brief(found), cure=_CURE
        )


def declared_of(checkpoint: Checkpoint) -> Declared:
    """The config.json beside the files of a checkpoint. Raises CannotOpen where there is none, BrokenFile where it is
    no JSON object or names a key twice."""
    path = checkpoint.files[0].path.parent / CONFIG
    if not path.is_file():
        raise CannotOpen(
            "is missing: a model cannot run by its tensors alone", file=path, expected="the model's config", cure=_CURE
        )
    return Declared(path, read_json(path, unique=True))


def check_numbers(declared: Declared) -> None:
    """Raises CannotOpen for numbers that are none, wherever they stand, and sizes below 1: libraries divide by them."""
    for key, value in _leaves(declared.content, ""):
        limit = key.rpartition(".")[0].endswith("_limit")
        if isinstance(value, float) and not math.isfinite(value) and not (limit and value == math.inf):
            raise declared.refused(key, "a finite number", value)
    for key in (k for k in _SIZES if k in declared):
        n = declared.get(key)
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise declared.refused(key, "a whole number from 1", n)


def check_layers(declared: Declared, stored: int, keys: tuple[str, ...], most: int) -> None:
    """Raises CannotOpen where a number of layers is none, or more than there are in the files: a model of a
    million layers would be built for minutes before anything else is noticed. stored: how many those are; 0 where
    layers share tensors and no file tells: `most` is the limit then."""
    for key in (k for k in keys if k in declared):
        n = declared.get(key)
        is_number = isinstance(n, int) and not isinstance(n, bool)
        if not is_number or n < 1 or (not stored and n > most):
            raise declared.refused(key, f"a number of layers, at most {most}", n)
        if stored and n > stored:
            raise CannotOpen(
                "contradicts the tensors", file=declared.file, key=key, expected=f"{stored}, as many as the files have",
                found=brief(n), cure=_CURE,
            )  # fmt: skip


def blamed(declared: Declared, said: str) -> str | None:
    """The key of a config that an error of somebody else's is about: the one that it names, or whose text it is."""
    named = [k for k in declared.content if f"'{k}'" in said]
    quoted = [k for k, v in declared.content.items() if isinstance(v, str) and v and said == repr(v)]
    inside = [k for k, v in _leaves(declared.content, "") if isinstance(v, str) and v and said == repr(v)]
    return next(iter((*named, *quoted, *inside)), None)


def _leaves(value: object, key: str) -> Iterator[tuple[str, object]]:
    """Every value that is no container, with the path to it."""
    stack: list[tuple[str, object]] = [(key, value)]
    while stack:
        at, found = stack.pop()
        if isinstance(found, Mapping):
            stack += [(f"{at}.{k}" if at else str(k), v) for k, v in found.items()]
        elif isinstance(found, list):
            stack += [(f"{at}.{i}", v) for i, v in enumerate(found)]
        else:
            yield at, found
