"""One command of the command line, run in this process; its JSON is held against its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qinspect.inspector.cli import main


class OneCommand:
    """`qinspect NAME ...`."""

    def __init__(self, capsys: pytest.CaptureFixture[str], source_root: Path, name: str) -> None:
        self._capsys = capsys
        self._name = name
        self._schema = json.loads((source_root / "docs" / "schema" / f"{name}.json").read_text(encoding="utf-8"))

    def __call__(self, *words: str | Path, code: int = 0) -> tuple[str, str]:
        """What it prints to stdout and stderr."""
        self._capsys.readouterr()
        assert main([self._name, *map(str, words)]) == code
        return self._capsys.readouterr()

    def json(self, *words: str | Path, code: int = 0) -> Any:
        """What it prints with --json."""
        out, err = self(*words, "--json", code=code)
        assert err == ""
        content = json.loads(out)
        jsonschema.Draft202012Validator(self._schema).validate(content)
        return content

    def error(self, *words: str | Path) -> str:
        """The one line of its error."""
        out, err = self(*words, code=2)
        assert (out, err.count("\n")) == ("", 1)
        return err
