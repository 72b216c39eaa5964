"""Damages checkpoints for as long as it is told to and says what happened: `python tests/fuzz/fuzz.py --seconds 300`.

Fixtures of the repository and, where QINSPECT_FIXTURES names a folder, those. A failure prints the fixture and the
seed that makes it again (`--seed N --only FIXTURE --seconds 0`), and the damaged file is kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fixture_files import Case, cases
from hostile import survey
from mutations import mutate

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, format_of


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first mutation; the next ones count up")
    parser.add_argument("--only", default="", help="fixtures whose name contains this")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    counts: Counter[str] = Counter()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        chosen = [c for c in cases(Path(made)) if arguments.only in c.name]
        formats = [_format(c) for c in chosen]
        seed = arguments.seed
        while True:
            i = seed % len(chosen)
            _one(chosen[i], formats[i], seed, Path(made) / "work", counts)
            seed += 1
            if time.monotonic() - start >= arguments.seconds:
                break
    print(
        f"{seed - arguments.seed} mutations of {len(chosen)} files in {time.monotonic() - start:.0f} s:", dict(counts)
    )
    return 1 if counts["FAILED"] else 0


def _format(case: Case) -> Format | None:
    try:
        return format_of(open_checkpoint(case.path))
    except QinspectError:
        return None


def _one(case: Case, original: Format | None, seed: int, folder: Path, counts: Counter[str]) -> None:
    damaged = mutate(case.target.read_bytes(), Random(seed))
    path = case.place(folder, damaged)
    before = time.monotonic()
    try:
        counts["opened" if survey(path, original, as_a=seed % 2 == 0) else "refused"] += 1
    except Exception:  # whatever gets out is what this program looks for
        counts["FAILED"] += 1
        kept = Path(tempfile.gettempdir()) / f"qinspect-fuzz-{seed}{case.target.suffix}"
        kept.write_bytes(damaged)
        print(f"--- {case.name} --seed {seed}, kept as {kept}")
        traceback.print_exc(limit=-6, file=sys.stdout)
    if time.monotonic() - before > 10:
        counts["over 10 s"] += 1
        print(f"--- {case.name} --seed {seed} took {time.monotonic() - before:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
