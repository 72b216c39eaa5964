"""What a file is that cannot be opened, and what its owner can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qinspect.inspector.errors import CannotOpen


@dataclass(frozen=True, slots=True)
class FileKind:
    """what: a noun phrase, `a GGUF file`. cure: how to get something that opens, one or two sentences. found: what of
    the file says so, where that helps. weak: on little evidence, a name or a few bytes that others may have too."""

    what: str
    cure: str | None = None
    found: str | None = None
    weak: bool = False

    @property
    def sentence(self) -> str:
        """`is a GGUF file`, or `looks like ...` on weak evidence."""
        return f"{'looks like' if self.weak else 'is'} {self.what}"

    def error(self, path: Path) -> CannotOpen:
        """The refusal."""
        return CannotOpen(self.sentence, file=path, found=self.found, cure=self.cure)


SAVE_ARRAYS = "`safetensors.numpy.save_file` writes a dictionary of numpy arrays as a file that qinspect reads."
DOWNLOAD_AGAIN = (
    "Download it again: from an address with /resolve/ and not /blob/, and after `hf auth login` where the model asks "
    "for a login."
)
GIVE_MODEL = "Give the checkpoint's file or folder."
