"""What an adapter tells of one module of another model: how its weight is changed, and by how much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdaptedModule:
    """A module of a base model whose weight an adapter changes.

    module: its name without the words of savers, dots put back where that could be told. flat: the same with each dot
    as an underscore, by which it is found where it could not. branch: of several models that one adapter is for, which
    (`text_encoder`); "" for the one that is not named. method: `LoRA`, `DoRA`, `LoHa`, ... rank: of its factors, None
    where it has none. alpha: stored, or of the settings beside; None where neither says. factor: what the product of
    its factors is multiplied by; None where that is not known. shape: of the weight that is changed, [out, in] or as of
    a convolution; None where the factors do not say. keys: its entries. why_not: why the changed weight cannot be
    calculated, "" where it can.
    """

    module: str
    flat: str
    branch: str
    method: str
    rank: int | None
    alpha: float | None
    factor: float | None
    shape: tuple[int, ...] | None
    keys: tuple[str, ...]
    why_not: str = ""

    @property
    def calculated(self) -> bool:
        """Whether the changed weight can be calculated from the entries and the weight of the base."""
        return not self.why_not
