"""Folders that a trainer wrote in a layout of its own: which of their files is the model, or why none is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qinspect.inspector.checkpoint.listing import Listing, listing, some_names
from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.text import some, visible

_STATES = re.compile(r"mp_rank_\d+_model_states\.pt")
_SPREAD_STATES = re.compile(r"((bf16_)?zero_pp_rank_\d+_mp_rank_\d+|layer_\d+-model_\d+)[_-]model_states\.pt")
_OPTIMIZER = re.compile(r"(bf16_)?zero_pp_rank_\d+_mp_rank_\d+_optim_states\.pt")
_RANK = re.compile(r"mp_rank_\d+(_\d+)*|tp_rank_\d+(_pp_rank_\d+)?")
_MEGATRON_FILES = ("model_optim_rng.pt", "model_rng.pt", "model_weights.ckpt")
DCP_METADATA = ".metadata"
"""What names and places the pieces of a distributed checkpoint."""
_MAX_POINTER_BYTES = 256


@dataclass(frozen=True, slots=True)
class Found:
    """file: what holds the weights. note: what the folder is, and what was left aside."""

    file: Path
    note: str


def trainer_layout(here: Listing) -> Found | None:
    """The weights of a folder that DeepSpeed or Megatron wrote; None where it is of neither.

    Raises CannotOpen where it is, or is one of torch's distributed checkpoints, and the weights are in pieces.
    """
    for recognise in _LAYOUTS:
        if found := recognise(here):
            return found
    return None


def is_distributed(here: Listing) -> bool:
    """Whether torch.distributed.checkpoint wrote the folder."""
    return any(n.endswith(".distcp") for n in here.files)


def _distributed(here: Listing) -> Found | None:
    if not is_distributed(here):
        return None
    pieces = sum(n.endswith(".distcp") for n in here.files)
    if DCP_METADATA not in here.files:
        raise CannotOpen(
            "is a torch distributed checkpoint without its .metadata",
            file=here.path,
            expected="a file .metadata beside the pieces",
            found=some(pieces, ".distcp file"),
            cure="Copy the whole folder again: without .metadata nobody can say what the pieces are.",
        )
    return Found(
        here.path / DCP_METADATA,
        f"a torch distributed checkpoint, in {some(pieces, 'file')} of pieces; to make one file of it: "
        f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {visible(str(here.path))} model.pt",
    )


def _deepspeed(here: Listing) -> Found | None:
    step = here
    if not _has_deepspeed(here):
        name = _pointer(here, "latest")
        if name is None:
            return None
        step = _step(here, name, "DeepSpeed", "step", "the file latest")
        if not _has_deepspeed(step):
            return None
    whole = [n for n in step.files if _STATES.fullmatch(n)]
    spread = [n for n in step.files if _SPREAD_STATES.fullmatch(n)]
    optimizer = [n for n in step.files if _OPTIMIZER.fullmatch(n)]
    if len(whole) != 1 or spread:
        pieces = whole + spread or optimizer
        raise CannotOpen(
            f"is a DeepSpeed checkpoint whose weights are in {some(len(pieces), 'piece')}",
            file=step.path,
            expected="one mp_rank_00_model_states.pt that holds them all",
            found=some_names(pieces),
            cure=f"`python zero_to_fp32.py {here.path} OUT` makes one model of them (DeepSpeed puts that script into "
            "the folder); or name one file.",
        )
    others = [n for n in here.folders if n != step.path.name and n.startswith("global_step")]
    note = f"a DeepSpeed checkpoint; opened {_from(here, step.path / whole[0])}"
    if optimizer:
        note += f", not opened: {some(len(optimizer), 'file')} of optimizer states"
    if others:
        note += f"; other steps here: {some_names(others)}"
    return Found(step.path / whole[0], note)


def _has_deepspeed(here: Listing) -> bool:
    return any(p.fullmatch(n) for n in here.files for p in (_STATES, _SPREAD_STATES, _OPTIMIZER))


def _megatron(here: Listing) -> Found | None:
    step = here
    if (text := _pointer(here, "latest_checkpointed_iteration.txt")) is not None:
        name = f"iter_{int(text):07d}" if re.fullmatch(r"\d{1,9}", text) else text
        step = _step(here, name, "Megatron", "iteration", "latest_checkpointed_iteration.txt")
        if found := _distributed(step):
            return Found(found.file, f"a Megatron checkpoint; opened {name}, {found.note}")
    ranks = [step.path / n for n in step.folders if _RANK.fullmatch(n)]
    pieces = [r / f for r in ranks for f in _MEGATRON_FILES if (r / f).is_file()]
    if not pieces:
        return None
    if len(pieces) > 1:
        raise CannotOpen(
            f"is a Megatron checkpoint in {some(len(pieces), 'piece')}, one per rank",
            file=step.path,
            expected="one rank",
            found=some_names([_from(step, p) for p in pieces]),
            cure="Name one file, or join them (Megatron's tools/checkpoint/convert.py writes another layout).",
        )
    others = [n for n in here.folders if n.startswith("iter_") and n != step.path.name]
    note = f"a Megatron checkpoint; opened {_from(here, pieces[0])}"
    return Found(pieces[0], note + (f"; other iterations here: {some_names(others)}" if others else ""))


_LAYOUTS: tuple[Callable[[Listing], Found | None], ...] = (_distributed, _deepspeed, _megatron)


def _step(here: Listing, name: str, trainer: str, step: str, pointer: str) -> Listing:
    """The folder `name` of a step, which the file `pointer` names. Raises CannotOpen where it is not here."""
    if name not in here.folders:
        raise CannotOpen(
            f"is a {trainer} checkpoint whose last {step} is not here",
            file=here.path,
            expected=f"the folder {name}, which {pointer} names",
            found=some_names(here.folders) or "no folders",
            cure=f"Copy it here, or name the folder of another {step}.",
        )
    return listing(here.path / name)


def _pointer(here: Listing, name: str) -> str | None:
    """What a small file that names a folder says. Only a plain name counts."""
    if name not in here.files:
        return None
    with (here.path / name).open("rb") as f:
        text = f.read(_MAX_POINTER_BYTES).decode("utf-8", "replace").strip()
    return text if re.fullmatch(r"[\w.-]+", text) and text not in (".", "..") else None


def _from(here: Listing, path: Path) -> str:
    return visible(str(path.relative_to(here.path)))
