"""A command with `--run` as a test asks it: what it prints, and its JSON, held against its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qinspect.inspector.cli import main


class Command:
    """`command(words)` gives stdout and stderr, `command.json(words)` the object."""

    def __init__(self, name: str, capsys: pytest.CaptureFixture[str], source_root: Path) -> None:
        self.name = name
        self._capsys = capsys
        self._schema = json.loads((source_root / "docs" / "schema" / f"{name}.json").read_text(encoding="utf-8"))

    def __call__(self, *words: str | Path, code: int = 0) -> tuple[str, str]:
        self._capsys.readouterr()
        assert main([self.name, *map(str, words)]) == code
        return self._capsys.readouterr()

    def json(self, *words: str | Path) -> Any:
        out, err = self(*words, "--json")
        assert err == ""
        content = json.loads(out)
        jsonschema.Draft202012Validator(self._schema).validate(content)
        return content
