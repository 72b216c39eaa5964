"""The walk through in story.md, with the commands run again: `python docs/make_story.py`.

Calibrates the demo in a folder of its own, runs what stands behind each `$`, and writes story.md with what it printed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from qinspect.inspector.demo.prepare import prepared

HERE = Path(__file__).parent
FIRST, SECOND = "pa-0.9995-w8a8", "pa-0.99999-w8a8"


def story() -> str:
    """The text, `{{command}}` where a command and its output go."""
    return (HERE / "story.template.md").read_text(encoding="utf-8")


def output_of(command: str, folder: Path, env: dict[str, str]) -> str:
    """What a command prints in `folder`, paths there relative. Raises CalledProcessError where it fails."""
    found = subprocess.run(
        [shutil.which("bash") or "sh", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if found.returncode not in (0, 1):  # 1: `diff` found a difference
        raise subprocess.CalledProcessError(found.returncode, command, found.stdout, found.stderr)
    printed = found.stdout.replace(f"{folder}/", "")
    return re.sub(r"state/runs/\d{8}-\d{6}-[0-9a-f]{4}/calibration", "state/runs/demo/calibration", printed)


def main() -> None:
    """Write story.md."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        (bin_folder / "qinspect").write_text(f'#!/bin/sh\nexec {sys.executable} -m qinspect.inspector "$@"\n')
        (bin_folder / "qinspect").chmod(0o755)
        env = {**os.environ, "QINSPECT_STATE_DIR": str(folder / "state")}
        env["PATH"] = f"{bin_folder}:{env['PATH']}"
        output_of("qinspect demo --prepare", folder, env)
        os.environ["QINSPECT_STATE_DIR"] = env["QINSPECT_STATE_DIR"]
        for made, short in zip(prepared(), (FIRST, SECOND), strict=True):
            shutil.copytree(made, folder / short)

        def told(match: re.Match[str]) -> str:
            return f"```\n$ {match[1]}\n{output_of(match[1], folder, env).rstrip()}\n```"

        (HERE / "story.md").write_text(re.sub(r"\{\{(.*?)\}\}", told, story()), encoding="utf-8")


if __name__ == "__main__":
    main()
