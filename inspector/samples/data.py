"""The samples that a calibration runs on: which, in which order, and a hash that names them.

A source has documents (documents.py), a tokenizer makes ids of them (tokens.py), and a sample is the first `seq_len`
ids of one document: nothing is packed together, a short document stays short, one without ids is left out and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.errors import BrokenFile, UsageError
from qinspect.inspector.samples.documents import (
    Described,
    Document,
    Documents,
    TokenIds,
    encoded,
    no_tokenizer,
    open_documents,
)
from qinspect.inspector.samples.tokens import ByteTokenizer, Tokenizer, load_tokenizer
from qinspect.inspector.text import brief, some

__all__ = ["ByteTokenizer", "Samples", "Tokenizer", "load_samples", "load_tokenizer"]

Ids = NDArray[np.int64]
PERMUTATION = "numpy.random.default_rng(seed).permutation(documents): PCG64"


@dataclass(frozen=True, slots=True)
class Samples:
    """ids: of each sample, at most `seq_len`. order: the document that each sample is. n_seen: documents that were
    looked at, or all of them where they were shuffled. n_skipped: those without ids. source: what is known of it.
    tokenizer: name and hash, None for a source of ids. warnings: one sentence each."""

    ids: list[Ids]
    order: tuple[int, ...]
    n_asked: int
    n_seen: int
    n_skipped: int
    seq_len: int
    seed: int
    shuffled: bool
    source: Described
    tokenizer: dict[str, str | None] | None
    warnings: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of every sample in order: its length, then its ids, all as little-endian int64."""
        digest = hashlib.sha256()
        for ids in self.ids:
            digest.update(np.asarray([ids.size], "<i8").tobytes())
            digest.update(np.ascontiguousarray(ids, "<i8").tobytes())
        return digest.hexdigest()

    def describe(self) -> Described:
        """Everything that is recorded of them, as JSON."""
        return {
            "source": self.source,
            "tokenizer": self.tokenizer,
            "sha256": self.sha256,
            "samples": len(self.ids),
            "samples_asked": self.n_asked,
            "tokens": sum(ids.size for ids in self.ids),
            "seq_len": self.seq_len,
            "documents_seen": self.n_seen,
            "documents_skipped_as_empty": self.n_skipped,
            "shuffled": self.shuffled,
            "permutation": PERMUTATION if self.shuffled else None,
            "seed": self.seed,
            "order": list(self.order),
            "warnings": list(self.warnings),
        }


def load_samples(
    source: str | Path,
    tokenizer: Tokenizer | None,
    n_samples: int = 512,
    seq_len: int = 512,
    seed: int = 42,
    shuffle: bool = False,
    vocab_size: int | None = None,
    field: str = "text",
) -> Samples:
    """The first `n_samples` documents that have ids: as they come, or of a permutation by `seed` (PERMUTATION).

    source: as `open_documents` takes it. vocab_size: of the model; a file of ids may name its own. field: where JSON
    lines, parquet and data sets have the text. As they come, no more of the source is read than is needed.

    Raises UsageError for numbers below 1, CannotOpen for a source that is not there or needs what is not installed,
    BrokenFile for one that is damaged, has ids outside the vocabulary, or no sample at all.
    """
    if n_samples < 1 or seq_len < 1 or seed < 0:
        raise UsageError(
            "there is no such calibration",
            expected="samples and length from 1, a seed from 0",
            found=f"{n_samples} samples of {seq_len}, seed {seed}",
        )
    documents = open_documents(source, tokenizer, seq_len, field)
    if documents.needs_tokenizer and tokenizer is None:
        raise no_tokenizer(source)
    sizes = [n for n in (vocab_size, documents.vocab if isinstance(documents, TokenIds) else None) if n is not None]
    make = _Maker(source, tokenizer, seq_len, min(sizes, default=None))
    if shuffle:
        chosen, n_seen, n_skipped = _permuted(documents, make, n_samples, seed)
    else:
        chosen, n_seen, n_skipped = _as_they_come(documents, make, n_samples)
    if not chosen:
        raise BrokenFile(
            "has no sample", file=source, expected="at least one text with a token in it",
            found=f"{some(n_seen, 'document')}, all empty" if n_seen else "no document",
        )  # fmt: skip
    warnings = []
    if len(chosen) < n_samples:
        warnings.append(f"{some(n_samples, 'sample')} asked for, the source has {len(chosen)}")
    return Samples(
        [ids for _, ids in chosen], tuple(i for i, _ in chosen), n_samples, n_seen, n_skipped, seq_len, seed, shuffle,
        documents.describe(),
        {"name": tokenizer.name, "sha256": tokenizer.sha256} if tokenizer and documents.needs_tokenizer else None,
        tuple(warnings),
    )  # fmt: skip


def tokenizer_for(model: str | Path, vocab_size: int) -> Tokenizer | None:
    """That which lies beside a model; of one over 256 ids, bytes where there is none."""
    return load_tokenizer(Path(model)) or (ByteTokenizer() if vocab_size == 256 else None)


def samples_for(
    model: str | Path, vocab_size: int, max_length: int | None, source: str | Path, n_samples: int, seq_len: int,
    seed: int, shuffle: bool = False,
) -> Samples:  # fmt: skip
    """As `load_samples`, with the tokenizer that lies beside a model; of one over 256 ids, bytes where there is none.

    max_length: positions that the model has, None for any number. Raises UsageError for a sample that is longer.
    """
    tokenizer = tokenizer_for(model, vocab_size)
    samples = load_samples(source, tokenizer, n_samples, seq_len, seed, shuffle, vocab_size)
    longest = max(ids.size for ids in samples.ids)
    if max_length is not None and longest > max_length:
        raise UsageError(
            "a sample is longer than the model takes", file=model,
            expected=f"at most {max_length} tokens", found=f"{longest} tokens",
            cure=f"Choose --seq-len {max_length}.",
        )  # fmt: skip
    return samples


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes a sample of a document."""

    source: str | Path
    tokenizer: Tokenizer | None
    seq_len: int
    vocab_size: int | None

    def __call__(self, number: int, document: Document) -> Ids:
        """The first ids, all of the document's checked. Raises BrokenFile."""
        if isinstance(document, str):
            assert self.tokenizer is not None
            ids: Sequence[Any] = encoded(self.tokenizer, document, self.source)
        else:
            ids = document
        end = min(self.vocab_size or 1 << 62, 1 << 62)
        # A generator over all ids would take most of the time of loading them.
        if not set(map(type, ids)) <= {int} or (ids and (min(ids) < 0 or max(ids) >= end)):
            at = next(i for i, found in enumerate(ids) if type(found) is not int or not 0 <= found < end)
            limit = f"0 to {end - 1}" if self.vocab_size else "integers from 0"
            if type(ids[at]) is not int:
                raise BrokenFile(
                    f"an id of document {number} is no whole number", file=self.source, key=f"[{number}][{at}]",
                    expected=limit, found=brief(ids[at]), cure="Give ids as a tokenizer makes them.",
                )  # fmt: skip
            raise BrokenFile(
                f"an id of document {number} is outside the vocabulary", file=self.source, key=f"[{number}][{at}]",
                expected=limit, found=brief(ids[at]), cure="The ids are of another tokenizer than the model's.",
            )  # fmt: skip
        return np.array(ids[: self.seq_len], np.int64)


Chosen = tuple[list[tuple[int, Ids]], int, int]
"""(document number, ids) of each sample; documents seen; documents skipped."""


def _as_they_come(documents: Documents, make: _Maker, n_samples: int) -> Chosen:
    chosen: list[tuple[int, Ids]] = []
    n_seen = n_skipped = 0
    for number, document in enumerate(documents):
        n_seen += 1
        ids = make(number, document)
        if ids.size:
            chosen.append((number, ids))
            if len(chosen) == n_samples:
                break
        else:
            n_skipped += 1
    return chosen, n_seen, n_skipped


def _permuted(documents: Documents, make: _Maker, n_samples: int, seed: int) -> Chosen:
    """One pass to count, one for the samples, and more where they turn out empty."""
    permutation = np.random.default_rng(seed).permutation(documents.count()).tolist()
    chosen: list[tuple[int, Ids]] = []
    n_skipped = position = 0
    n_wanted = n_samples
    while position < len(permutation) and len(chosen) < n_samples:
        wanted = permutation[position : position + n_wanted]
        found = _at(documents, make, set(wanted))
        for number in wanted:
            if len(chosen) == n_samples:
                break
            ids = found.get(number)
            if ids is not None and ids.size:
                chosen.append((number, ids))
            else:
                n_skipped += 1
        position += len(wanted)
        n_wanted *= 2  # a source that is mostly empty takes few passes
    return chosen, len(permutation), n_skipped


def _at(documents: Documents, make: _Maker, wanted: set[int]) -> dict[int, Ids]:
    """Samples of these documents, in one pass."""
    found: dict[int, Ids] = {}
    for number, document in enumerate(documents):
        if number in wanted:
            found[number] = make(number, document)
            if len(found) == len(wanted):
                break
    return found
