"""All GPUs of this host with their processes, asked gently while somebody looks."""

from __future__ import annotations

import time

from textual import on, work
from textual.message import Message

from qinspect.inspector.runs.gpus import GpuSample, GpuSampler
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.later import is_going
from qinspect.tui.runs.gpu_lines import gpu_lines
from qinspect.tui.runs.service import RunsService
from qinspect.tui.runs.view import Lines, TextView

LIVE_S, IDLE_S, NONE_S = 2.0, 20.0, 120.0
"""Between two looks at the GPUs: while a run goes on, while none does, where there is no driver."""


class GpusPane(TextView):
    """Samples also while another view is seen: the line at the bottom shows the same."""

    NAME = "gpus"

    class Sampled(Message):
        """What the GPUs do."""

        def __init__(self, sample: GpuSample) -> None:
            super().__init__()
            self.sample = sample

    def __init__(self, glyphs: Glyphs, service: RunsService) -> None:
        super().__init__(glyphs)
        self.service = service
        self.sample: GpuSample | None = None
        self._sampler: GpuSampler | None = None
        self._sampling = False
        self._sampled_at = -1e9

    def on_mount(self) -> None:
        self.set_interval(1.0, self._sample_when_due)

    def lines(self, width: int) -> Lines:
        return gpu_lines(self.sample, self.shown.seen.run.spec if self.shown else None)

    def _sample_when_due(self) -> None:
        if self._sampling or is_going(self.screen) or not self.screen.is_current:
            return
        has_gpus = self.sample is None or self.sample.gpus
        every = NONE_S if not has_gpus else LIVE_S if self.service.n_live else IDLE_S
        if time.monotonic() - self._sampled_at >= every:
            self._sampling = True
            self._sample()

    @work(thread=True, exit_on_error=False, group="gpu")
    def _sample(self) -> None:
        self._sampler = self._sampler or GpuSampler()
        self.post_message(self.Sampled(self._sampler.sample()))

    @on(Sampled)
    def _on_sampled(self, event: Sampled) -> None:
        self._sampling = False
        self._sampled_at = time.monotonic()
        self.sample = event.sample
        if self.display:
            self.fill()
