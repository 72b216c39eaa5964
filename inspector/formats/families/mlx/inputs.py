"""How many inputs a module has, by what stands around it: where no settings are there, it tells how wide a code is."""

from __future__ import annotations

from collections.abc import Mapping

from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.roles import place_in_stack

_OF_STREAM = frozenset((
    "embed_tokens", "wte", "lm_head", "q_proj", "k_proj", "v_proj", "qkv_proj", "q_a_proj", "kv_a_proj_with_mqa",
    "in_proj", "in_proj_qkvz", "in_proj_ba", "gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "gate", "router",
    "shared_expert_gate",
))  # fmt: skip
"""Modules that read the residual stream, or, of embeddings, write it."""
_AFTER = {"down_proj": ("up_proj", "gate_proj"), "w2": ("w3", "w1")}
"""Modules whose inputs are the outputs of another beside them."""
_OF_HEADS = {"o_proj": ("q_proj",)}
"""The same where there is no gate in the other's outputs as well."""
_NORMS = ("input_layernorm", "post_attention_layernorm", "attention_norm", "ffn_norm", "ln_1", "ln_2")
_LAST_NORMS = ("norm", "norm_f", "ln_f")


class Inputs:
    """Of the modules of a checkpoint. forms: of its entries by name."""

    def __init__(self, forms: Mapping[str, Form | None]) -> None:
        self._forms = forms
        self._streams: dict[str, set[int]] = {}
        for name, form in forms.items():
            if form is None or len(form[1]) != 1 or not name.endswith(".weight"):
                continue
            module = name.removesuffix(".weight")
            last = module.rpartition(".")[2]
            if last in _NORMS or last in _LAST_NORMS:
                stack, layer, _ = place_in_stack(module)
                if last in _NORMS or layer is None:
                    self._streams.setdefault(stack, set()).add(form[1][0])

    def of(self, module: str) -> int | None:
        """How many a module has; None where nothing tells."""
        last = module.rpartition(".")[2]
        if last not in _OF_STREAM:
            return self._outputs(module, _AFTER.get(last, ()))
        stack, layer, _ = place_in_stack(module)
        every = self._streams.values() if layer is None else [self._streams.get(stack, set())]
        sizes = set().union(*every)
        return next(iter(sizes)) if len(sizes) == 1 else None

    def perhaps(self, module: str) -> int | None:
        """How many it has in most models, where `of` does not tell."""
        return self._outputs(module, _OF_HEADS.get(module.rpartition(".")[2], ()))

    def _outputs(self, module: str, others: tuple[str, ...]) -> int | None:
        parent = module.rpartition(".")[0]
        keys = [f"{parent}.{other}.weight" if parent else f"{other}.weight" for other in others]
        rows = {form[1][-2] for key in keys if (form := self._forms.get(key)) is not None and len(form[1]) > 1}
        return next(iter(rows)) if len(rows) == 1 else None
