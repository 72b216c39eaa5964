"""Prints what Quamba's main.py prints while it calibrates, at its pace: for trying the runs without a GPU.

qinspect run --name try -- python docs/print_like_quamba.py MODEL --quantize --percentile_alpha 0.9995
"""

from __future__ import annotations

import argparse
import os
import sys
import time

SAMPLES = int(os.environ.get("SAMPLES", "512"))
LAYERS = 24


def say(level: str, place: str, text: str) -> None:
    """A line of lm_eval's logger, which Quamba uses."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d:%H:%M:%S", time.localtime(now))
    sys.stderr.write(f"{stamp},{int(now * 1000) % 1000:03} {level:<8} [{place}] {text}\n")
    sys.stderr.flush()


def bar(total: int, seconds: float) -> None:
    """A tqdm bar."""
    start = time.time()
    for i in range(total + 1):
        took = max(1e-6, time.time() - start)
        left = took / i * (total - i) if i else 0
        clock = f"{int(took) // 60:02}:{int(took) % 60:02}<{int(left) // 60:02}:{int(left) % 60:02}"
        full = "#" * (10 * i // total)
        sys.stderr.write(f"\r{100 * i // total:3}%|{full:<10}| {i}/{total} [{clock}, {i / took:5.2f}it/s]")
        sys.stderr.flush()
        time.sleep(seconds)
    sys.stderr.write("\n")


def main() -> None:
    """Create, calibrate, quantize, store: in that order."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--quantize", action="store_true")
    parser.add_argument("--percentile_alpha", type=float, default=0.9995)
    given, _ = parser.parse_known_args()
    say("INFO", "main.py:18", f"Creating Model:{given.model.rpartition('/')[2]}")
    say("WARNING", "modelutils_mamba.py:871", "Runing calibration and quantization from scratch")
    say("INFO", "modelutils_mamba.py:876", "Target bit-width W8A8")
    say("INFO", "modelutils_mamba.py:212", "Calibrate with monology/pile-uncopyrighted")
    say("INFO", "modelutils_mamba.py:231", "Run calibration")
    bar(SAMPLES, 0.05)
    for i in range(2 * LAYERS):
        w_max = (2.0 + i / 20) if i % 2 else (18.0 - i / 3)
        text = f"percentile_alpha={given.percentile_alpha:.5f}, w_max={w_max:.6f}, clip_ratio=1.0"
        say("DEBUG", "observer.py:174", f"PerTensorPercentileObserver: {text}")
    say("INFO", "modelutils_mamba.py:666", "Applying quantized layers")
    bar(LAYERS, 0.02)
    say("INFO", "modelutils_mamba.py:905", "The quantized model is stored at pretrained_models/quamba-130m-w8a8")


if __name__ == "__main__":
    main()
