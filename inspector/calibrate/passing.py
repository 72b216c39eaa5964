"""The pass: every sample through the model once, and the tables of all points in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.calibrate.engine import Pass, Progress
from qinspect.inspector.calibrate.grouped import GroupedAbsmax
from qinspect.inspector.calibrate.opening import Opened
from qinspect.inspector.calibrate.records import Bar, LivePoints, log
from qinspect.inspector.calibrate.shards import Shards
from qinspect.inspector.calibration.settings import fingerprint
from qinspect.inspector.models.load import MambaModel


@dataclass(frozen=True, eq=False)
class Passed:
    """tables: the file with those of every point. largest: of points that are divided into groups, each group's largest
    |x|. timing: samples and seconds."""

    opened: Opened
    tables: Path
    largest: Mapping[str, NDArray[np.float32]]
    timing: Mapping[str, float]


def passed(opened: Opened) -> Passed:
    """Make every table that the folder does not have yet. Raises CannotRead where the device has no room at all."""
    settings, mark = opened.plan.settings, fingerprint(dict(opened.decides))
    n = len(opened.samples.ids)
    shards = Shards(opened.plan.state, mark, n, grouped=any(opened.groupings.values()))
    timing = _run(opened, shards)
    order = [p.name for p in opened.points]
    metadata = {"settings": mark, "samples": str(n), "recipe": settings.recipe}
    path = shards.join(Bar("joining shards", after_s=1).over(order), metadata)
    log.info("The distributions are stored at %s", path)
    return Passed(opened, path, shards.largest(), timing)


def _run(opened: Opened, shards: Shards) -> dict[str, float]:
    settings, model = opened.plan.settings, opened.model
    live = LivePoints(opened.plan.state, opened.points, settings.recipe, settings.alphas[0])
    for of_samples, pooled in shards.stored():
        for tables in of_samples:
            live.sample(tables)
        live.pooled(pooled)
    live.write()
    bar = Bar("calibration")
    log.info("Run calibration")
    progress = Progress(
        n_done=bar.show, say=lambda text: log.warning("%s", text), sample=live.sample, shard=live.pooled,
        restart=live.restart,
    )  # fmt: skip
    head = model.mamba if isinstance(model, MambaModel) else None
    grouped = GroupedAbsmax(opened.groupings, head.n_groups if head else 1, head.head_dim if head else 1)
    Pass(model, opened.points, opened.apart, grouped, progress, settings.batch).run(opened.samples.ids, shards)
    timing = progress.timing
    return {"samples": timing.samples, "forward_s": timing.forward, "packing_s": timing.packing}
