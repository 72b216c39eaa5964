"""Screenshots of the real program over the fixtures in the repository: `python docs/make_screens.py`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from qinspect.tui.app import QinspectApp

HERE = Path(__file__).parent
DATA = HERE.parent / "tests" / "data" / "quamba"
EVALUATION = HERE.parent / "tests" / "data" / "evaluations" / "alphas.json"
ALPHA = ("m1_w8a8_pa0.9995/quamba-tiny-w8a8", "m1_w8a8_pa0.99999/quamba-tiny-w8a8")
ORDER = ("m2_w4a8_gh_pa0.9995/quamba2-tiny-w4a8", "m2_w8a8_gh/quamba2-tiny-w8a8")
SHOTS = (
    ("overview", ALPHA, (120, 30), ("M",)),
    ("compare", ALPHA, (120, 36), ("2", "n", "d")),
    ("weight", ALPHA, (120, 36), ("2", *"jjjjjj", "w", "3", *"llllllll")),
    ("distribution", ORDER, (120, 36), ("2", "j", "j", "a", *(3 * ("left_curly_bracket",)))),
    ("light", ORDER, (120, 36), ("T", "2", "n", "o")),
)
"""(name, models, size, keys)."""
OPENED_WITHIN_S = 60


async def shoot(name: str, models: tuple[str, str], size: tuple[int, int], keys: tuple[str, ...]) -> None:
    """One SVG: the screen after the keys."""
    app = QinspectApp(*models, theme="qinspect-dark")
    async with app.run_test(size=size) as pilot:
        async with asyncio.timeout(OPENED_WITHIN_S):  # a comparison that failed never comes
            while app.session.comparison is None:
                await pilot.pause(0.02)
        for key in keys:
            await pilot.press(key)
            await app.workers.wait_for_complete()
            await pilot.pause(0.3)
        (HERE / "screens" / f"{name}.svg").write_text(app.export_screenshot(title=f"qinspect {' '.join(models)}"))


async def shoot_alphas() -> None:
    """The demo's calibration, made in the user's own folder where it is not there yet."""
    from qinspect.inspector.demo.prepare import prepared
    from qinspect.tui.alpha.alpha_words import AlphaWords

    first, _ = prepared()
    app = QinspectApp(None, theme="qinspect-dark", alphas=AlphaWords("demo", checkpoint=str(first)))
    async with app.run_test(size=(120, 36)) as pilot:
        while getattr(app.screen, "explorer", None) is None:
            await pilot.pause(0.05)
        for key in (*"jjjjjjj", "full_stop", "L"):
            await pilot.press(key)
            await pilot.pause(0.2)
        (HERE / "screens" / "alpha.svg").write_text(app.export_screenshot(title="qinspect alpha demo"))


async def shoot_runs() -> None:
    """Two runs that print a log of Quamba's, one of them up to now."""
    from qinspect.inspector.runs import make_spec, start

    folder = Path(tempfile.mkdtemp())
    for name, alpha in (("pa0.9995", "0.9995"), ("pa0.99999", "0.99999")):
        script = folder / "main.py"
        script.write_text((HERE / "print_like_quamba.py").read_text())
        words = ["python3", "main.py", "state-spaces/mamba-130m", "--quantize", "--percentile_alpha", alpha]
        run = start(make_spec(words, name=name, cwd=folder, env={"SAMPLES": "512" if name == "pa0.99999" else "16"}))
        while name == "pa0.9995" and run.state().state.is_live:
            await asyncio.sleep(0.1)
    app = QinspectApp(None, theme="qinspect-dark")
    async with app.run_test(size=(120, 30)) as pilot:
        while app.runs.looked is None or not any(s.progress for s in app.runs.looked.runs if s.state.state.is_live):
            await pilot.pause(0.05)
        await pilot.pause(4)
        (HERE / "screens" / "runs.svg").write_text(app.export_screenshot(title="qinspect"))
    run.cancel(grace_s=1)
    shutil.rmtree(folder)


async def shoot_figures() -> None:
    """What an evaluation of the demo found, as the tests have it, as a run that has ended."""
    from qinspect.inspector.runs import make_spec, start

    folder = Path(tempfile.mkdtemp())
    program = folder / "qinspect"
    program.write_text(f"#!/bin/sh\ncp '{EVALUATION}' figures/evaluation.json\n")
    program.chmod(0o700)
    (folder / "figures").mkdir()
    words = ["./qinspect", "evaluate", "demo", "--alpha", "0.99", "--alpha", "0.9995", "--run", "demo"]
    run = start(make_spec([*words, "--state", "figures"], name="alphas", cwd=folder))
    while run.state().state.is_live:
        await asyncio.sleep(0.1)
    app = QinspectApp(None, theme="qinspect-dark")
    async with app.run_test(size=(120, 46)) as pilot:
        while app.runs.looked is None or not app.runs.looked.runs:
            await pilot.pause(0.05)
        for key in "H2z":
            await pilot.press(key)
            await pilot.pause(0.5)
        (HERE / "screens" / "figures.svg").write_text(app.export_screenshot(title="qinspect"))
    shutil.rmtree(folder)


def main() -> None:
    """All of SHOTS, with nothing of the user's own settings."""
    asyncio.run(shoot_alphas())
    os.chdir(DATA)
    os.environ["XDG_STATE_HOME"] = os.environ["XDG_CONFIG_HOME"] = str(HERE / "nowhere")
    for shot in SHOTS:
        asyncio.run(shoot(*shot))
    asyncio.run(shoot_figures())
    asyncio.run(shoot_runs())
    shutil.rmtree(HERE / "nowhere" / "qinspect" / "runs")
    (HERE / "nowhere" / "qinspect" / "screen.json").unlink(missing_ok=True)
    for folder in (HERE / "nowhere" / "qinspect", HERE / "nowhere"):
        if folder.exists():
            folder.rmdir()


if __name__ == "__main__":
    main()
