"""Where the user's config file is. What it may hold: docs/screen.md (keys) and docs/logs.md (log patterns)."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_config_path


def config_path() -> Path:
    """`config.toml` in the user's config folder."""
    return user_config_path("qinspect", appauthor=False) / "config.toml"
