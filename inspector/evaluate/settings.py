"""What an evaluation was asked for. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.inspector.calibration.settings import check_alphas, check_counts, check_device, check_seed, options_of
from qinspect.inspector.errors import UsageError

THROUGH = ("transformers",)
"""Libraries that run a checkpoint by their own quantizers."""


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """reference: a model in full precision. models: checkpoints of it. alphas, run: of a calibration, without
    checkpoints. items: files of a task's items.
    data: as load_samples takes it, "" for the text that comes with the program. samples, seq_len: windows
    and their tokens. margin: of ln(perplexity ratio), within which two are called equivalent; margin_points: the same
    of accuracy, in percentage points. floor_seeds: how often rounding noise is tried on the reference. seed: of the
    bootstrap and of noise. device, dtype: "" for the model's own. limit: items of each file, 0 for all. through: the
    library that runs each checkpoint a second time, of THROUGH, "" for none. batch: windows of equal length that share
    a forward, 0 for as many as the device is best filled with."""

    reference: str
    models: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()
    run: str = ""
    items: tuple[str, ...] = ()
    data: str = ""
    samples: int = 128
    seq_len: int = 512
    margin: float = 0.01
    margin_points: float = 0.5
    floor_seeds: int = 3
    seed: int = 0
    device: str = ""
    dtype: str = ""
    limit: int = 0
    through: str = ""
    batch: int = 0

    def check(self) -> None:
        """Raises UsageError for a value that no evaluation can have."""
        check_counts(samples=self.samples, seq_len=self.seq_len)
        if self.seq_len < 2:
            raise UsageError("--seq-len must be at least 2", found="1", expected="a token that another one predicts")
        if not self.models and not self.alphas:
            raise UsageError("MODEL is missing", expected="a checkpoint of the reference, or --alpha with --run")
        if bool(self.alphas) != bool(self.run):
            raise UsageError("--alpha and --run belong together", expected="alphas, and the calibration they are of")
        check_alphas(self.alphas)
        if not self.margin > 0 or not self.margin_points > 0:
            raise UsageError("a margin must be more than 0", found=f"{self.margin}, {self.margin_points}")
        if not 0 <= self.floor_seeds <= 16:
            raise UsageError("--floor-seeds is from 0 to 16", found=str(self.floor_seeds))
        if self.limit < 0:
            raise UsageError("--limit must be at least 1", found=str(self.limit))
        if self.through and self.through not in THROUGH:
            raise UsageError("there is no such --through", expected=", ".join(THROUGH), found=self.through)
        if self.through and not self.models:
            raise UsageError("--through needs MODEL", expected="a checkpoint that a library can load")
        if self.batch < 0:
            raise UsageError("--batch must be at least 1", found=str(self.batch))
        check_seed(self.seed)
        check_device(self.device, "cpu", "cuda", "auto")

    def words(self) -> list[str]:
        """The command line of these settings, without those that are as they are by default."""
        return [self.reference, *self.models, *options_of(self, 2)]
