"""What Quamba does to a model before it observes it: norms folded into the weights after them, everything rotated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from qinspect.inspector.models.rotation import hadamard


def fold_and_rotate(weights: Mapping[str, Tensor], store: torch.dtype) -> dict[str, Tensor]:
    """The same function of tokens, with the residual stream and the input of every out_proj in Hadamard space.

    weights: state-spaces keys, any floating dtype; computed in float32 on their device and rounded to `store` where
    Quamba stores. Weights of the norms become ones; lm_head is no longer tied to the embedding. in_proj = W diag(norm)
    H^T, out_proj = H W H^T, embedding = E H^T, lm_head = E diag(norm_f) H^T.
    """
    made = dict(weights)

    def rounded(x: Tensor) -> Tensor:
        return x.to(store).float()

    def rotated(name: str, norm: str) -> None:
        w = rounded(weights[name].float() * weights[norm].float())
        made[name] = _on_right(w).to(store)
        made[norm] = torch.ones_like(weights[norm])

    for name in weights:
        if name.endswith(".mixer.in_proj.weight"):
            rotated(name, name.replace(".mixer.in_proj.", ".norm."))
        elif name.endswith(".mixer.out_proj.weight"):
            made[name] = _on_right(rounded(_on_left(weights[name].float()))).to(store)
    rotated("lm_head.weight", "backbone.norm_f.weight")
    made["backbone.embedding.weight"] = _on_right(weights["backbone.embedding.weight"].float()).to(store)
    return made


def _on_right(w: Tensor) -> Tensor:
    return w @ hadamard(w.shape[-1], w.device).mT


def _on_left(w: Tensor) -> Tensor:
    return hadamard(w.shape[0], w.device) @ w
