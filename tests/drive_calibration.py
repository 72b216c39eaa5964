"""Drives the real screen through a pseudo-terminal: starts a calibration, is killed, comes back, sees it end, compares.

    python tests/drive_calibration.py [--model DIR] [--samples N] [--seq-len N] [--device cuda] [--mamba2 WIDTH LAYERS]

Prints what was on the screen at each step, and how long it took. Without --model, the small model that comes along;
with --mamba2 one of random weights is made, on random tokens: 2560 64 for the size of Mamba2-2.7B.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import tempfile
import time
from pathlib import Path

import terminals
from terminals import PROGRAM, Terminal

SIZE = (120, 40)
VOCABULARY = 50_288
NEXT_TEMPLATE, DOWN, EMPTY = "\x0e", "\x1b[B", "\x15"


def drive(
    model: str,
    samples: int,
    seq_len: int,
    device: str,
    folder: Path,
    data: str = "",
    seen: dict[str, str] | None = None,
) -> dict[str, str]:
    """What the screen showed at each step, by the step's name, also in `seen` as it comes. Raises AssertionError where
    something does not come."""
    env = {"QINSPECT_STATE_DIR": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config"), "LANG": "C.UTF-8"}
    seen = {} if seen is None else seen
    first = Terminal([*PROGRAM], SIZE, env)
    try:
        first.see("no run yet: ! starts one")
        first.press("!", "Start a run: command")
        first.press(NEXT_TEMPLATE, "Start a run: calibrate")
        for _ in range(5):
            first.until(first.is_quiet, "its fields")
        filled = (0, model), (3, str(folder / "out")), (2, data), (1, str(samples)), (1, str(seq_len)), (1, device)
        for way, text in filled:
            first.send(way * DOWN + EMPTY)
            for _ in range(5):  # Textual empties a field after the letters that follow too closely
                first.until(first.is_quiet, "an empty field")
            first.send(text)
        first.until(lambda: f"--device {device}" in _flat(first.screen), "the command")
        seen["the form"] = first.screen
        first.send("\r")
        first.until(lambda: "running" in first.screen or "enter once more" in first.screen, "the run, or a warning")
        if "enter once more" in first.screen:
            first.press("\r", "running")
        first.see("Run calibration")
        first.until(lambda: re.search(r"[1-9]\d*/\d+ it", first.screen), "its progress")
        seen["its log"] = first.screen
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    finally:
        first.close()
    second = Terminal([*PROGRAM], SIZE, env)
    try:
        second.see("running")
        second.until(lambda: re.search(r"[1-9]\d*/\d+ it", second.screen), "its progress")
        seen["after the screen was killed"] = second.screen
        second.see("finished")
        second.press("v", "running layers.0")
        second.until(second.is_quiet, "a whole frame")
        seen["its points"] = second.screen
        second.press("a", "A  stored")
        second.until(second.is_quiet, "a whole frame")
        seen["a distribution"] = second.screen
        second.close_over("exact |x|")
        second.press("I", "alpha-sensitive")
        second.see("0 overview")
        second.until(second.is_quiet, "a whole frame")
        seen["its two checkpoints"] = second.screen
        second.send("q")
        second.until(lambda: "finished" in second.screen, "the runs")
        second.send("q")
        assert second.leave() == 0
    finally:
        second.close()
    return seen


def _flat(screen: str) -> str:
    """Its words in one line: a command folds."""
    return " ".join(re.sub("[│▁-▏]", " ", screen).split())


def random_mamba2(folder: Path, width: int, n_layers: int) -> Path:
    """A Mamba2 in float16 with random weights, in the layout of state-spaces."""
    import torch
    from safetensors.torch import save_file

    from qinspect.inspector.models.mamba import MambaLM
    from qinspect.inspector.models.mamba_config import MambaConfig
    from qinspect.inspector.models.numerics import Numerics

    config = MambaConfig(
        version=2, d_model=width, n_layers=n_layers, vocab_size=VOCABULARY, d_inner=2 * width, d_state=128, chunk=256
    )
    torch.manual_seed(0)
    # on the CPU: a GPU that this process holds would be one in use, of which the form warns
    lm = MambaLM(config, Numerics(torch.float16, torch.float16)).half()
    for block in lm.backbone.blocks:
        torch.nn.init.uniform_(block.mixer.get_parameter("A_log"), 0, 2.7)
        torch.nn.init.uniform_(block.mixer.get_parameter("dt_bias"), -6, -2)
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in lm.state_dict().items()}, folder / "model.safetensors")
    ssm = {"layer": "Mamba2", "d_state": 128, "headdim": 64, "ngroups": 1}
    (folder / "config.json").write_text(json.dumps({"d_model": width, "n_layer": n_layers, "ssm_cfg": ssm}))
    return folder


def main() -> None:
    """Drive it, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--mamba2", type=int, nargs=2)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--patience", type=float, default=120, help="seconds that a step may take")
    args = parser.parse_args()
    terminals.PATIENCE_S = args.patience
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, data = args.model, ""
        if args.mamba2:
            model, data = str(random_mamba2(folder / "model", *args.mamba2)), str(folder / "ids.json")
            ids = [[random.randrange(VOCABULARY) for _ in range(args.seq_len)] for _ in range(args.samples)]
            Path(data).write_text(json.dumps({"vocab": VOCABULARY, "samples": ids}))
        start = time.monotonic()
        seen: dict[str, str] = {}
        try:
            drive(model, args.samples, args.seq_len, args.device, folder, data, seen)
        finally:
            report(seen, time.monotonic() - start, folder)


def report(seen: dict[str, str], seconds: float, folder: Path) -> None:
    """Print the screens, and the log but for what repeats in it."""
    for step, screen in seen.items():
        print(f"--- {step}\n{screen}")
    print(f"--- {seconds:.1f} s in all")
    for log in sorted((folder / "state" / "runs").glob("*/log")):
        lines = log.read_text().splitlines()
        print("".join(f"{line}\n" for line in lines if " DEBUG " not in line and "it/s" not in line))


if __name__ == "__main__":
    main()
