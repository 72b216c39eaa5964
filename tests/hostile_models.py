"""Checkpoints, logs and names full of what a terminal would obey. Each payload ends in MARK, so that a test can see
that the text itself came through."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from hostile import HOSTILE_CHARACTERS, entry, write_safetensors

MARK = "pwned"
PAYLOADS = {
    "title": f"\x1b]0;{MARK}\x07",
    "title until ST": f"\x1b]2;{MARK}\x1b\\",
    "clipboard": f"\x1b]52;c;{MARK}\x07",
    "hyperlink": f"\x1b]8;;http://x\x1b\\{MARK}\x1b]8;;\x1b\\",
    "notification": f"\x1b]9;{MARK}\x07",
    "pointer": f"\x1b]22;default\x07{MARK}",
    "colour": f"\x1b[31m{MARK}",
    "clear": f"\x1b[2J{MARK}",
    "move": f"\x1b[1;1H{MARK}",
    "report": f"\x1b[6n{MARK}",
    "other screen": f"\x1b[?1049l{MARK}",
    "save": f"\x1b7{MARK}",
    "reset": f"\x1bc{MARK}",
    "device control": f"\x1bP{MARK}\x1b\\",
    "application": f"\x1b_{MARK}\x1b\\",
    "C1 CSI": f"\x9b2J{MARK}",
    "C1 OSC": f"\x9d0;{MARK}\x9c",
    "next line": f"\x85{MARK}",
    "return": f"x\r{MARK}",
    "feed": f"x\n{MARK}",
    "tab": f"x\t{MARK}",
    "form feed": f"\x0c{MARK}",
    "backspace": f"x\x08{MARK}",
    "bell": f"\x07{MARK}",
    "delete": f"\x7f{MARK}",
    "override": f"\u202e{MARK}",
    "isolate": f"\u2066{MARK}",
    "arabic mark": f"\u061c{MARK}",
    "nothing": f"\u200b{MARK}",
    "byte order": f"\ufeff{MARK}",
    "separator": f"\u2028{MARK}",
    "tag": f"\U000e0041{MARK}",
    "private": f"\ue000{MARK}",
    "markup": f"[bold red]{MARK}[/bold red]",
    "link markup": f"[link=http://x]{MARK}[/link]",
    "click markup": f"[@click=app.quit]{MARK}[/]",
}
EVERY = "".join(PAYLOADS.values())
IN_A_NAME = {k: v.replace("/", ":") for k, v in PAYLOADS.items()}
"""As parts of file names."""


def hostile_model(path: Path, value: float = 1.0) -> Path:
    """A folder of a model in which every payload is a name of a layer, of a scale, in metadata and in the config."""
    header: dict[str, Any] = {"__metadata__": {f"{k}{p}": p for k, p in PAYLOADS.items()}}
    data = b""
    names = [f"model.layers.{i}.{p}.weight" for i, p in enumerate(PAYLOADS.values())]
    names += [f"model.layers.{i}.{p}.scale" for i, p in enumerate(PAYLOADS.values())]
    names += [HOSTILE_CHARACTERS.replace("\ud800", "") + ".scale"]
    for name in names:
        header[name] = entry("F32", [2, 2], len(data), len(data) + 16)
        data += struct.pack("<4f", 1, 2, 3, value)
    path.mkdir(parents=True)
    write_safetensors(path / "model.safetensors", header, data)
    quantized = {"quant_method": EVERY, "bits": EVERY, "format": EVERY}
    config = {"architectures": [EVERY], "model_type": EVERY, "quantization_config": quantized, EVERY: EVERY}
    (path / "config.json").write_text(json.dumps(config))
    return path


def hostile_log() -> str:
    """Lines that are understood, with payloads in what is understood of them."""
    flat = EVERY.replace("\n", "").replace("\r", "")
    lines = [
        EVERY,
        f"2026-01-01 12:00:00,000 INFO     [x.py:1] Effective: recipe={flat}, {flat}",
        f"WARNING {flat}",
        f"ERROR: {flat}",
        f'Traceback (most recent call last):\n  File "{flat}", line 1, in x\nValueError: {flat}',
        f" 10%|#  | 1/10 [00:01<00:09, 1.00it/s]{flat}",
        f"2026-01-01:12:00,000 DEBUG [o:1] PerTensorPercentileObserver: percentile_alpha=0.9, w_max=1.0, point={flat}",
        json.dumps({EVERY: EVERY, "acc": 0.5}),
    ]
    return "\n".join(lines)
