"""A command of qinspect asked by tests: its output, its exit code, and its JSON held against the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qinspect.inspector.cli import main


class Command:
    """`qinspect NAME`, whose schema is docs/schema/NAME.json, or another one that is named."""

    def __init__(
        self, name: str, capsys: pytest.CaptureFixture[str], source_root: Path, schema: str | None = None
    ) -> None:
        self._name = name
        self._capsys = capsys
        schema_file = source_root / "docs" / "schema" / f"{schema or name}.json"
        self._schema = json.loads(schema_file.read_text(encoding="utf-8"))

    def __call__(self, *words: str | Path, code: int = 0) -> tuple[str, str]:
        """(stdout, stderr) of a call that ends with this code."""
        self._capsys.readouterr()
        assert main([self._name, *map(str, words)]) == code, self._capsys.readouterr()
        return self._capsys.readouterr()

    def json(self, *words: str | Path, code: int = 0) -> Any:
        """What it prints with --json, and nothing on stderr."""
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
