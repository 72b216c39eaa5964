"""Names without what savers and wrappers put into them, and a role for every entry of a model.

One module is `model.layers.0.mlp` in one file, `module.layers.0.mlp` behind DDP, and
`_fsdp_wrapped_module.layers.0._checkpoint_wrapped_module.mlp` behind FSDP. Two models pair by what is left without
these words. What was undone is said by the comparison: a loader that goes by names does not undo it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from weakref import WeakValueDictionary

_ROOT = (
    r"(?:(?:module|model|backbone|transformer|language_model|base_model|_orig_mod|_forward_module"
    r"|diffusion_model|_fsdp_wrapped_module|_module)\.)+"
)
_ROOTS = re.compile(rf"{_ROOT}(?=.)", re.DOTALL)
_ROOT_OF_LINE = re.compile(rf"\n{_ROOT}(?=.)")

WRAPPERS = (
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",  # torch.distributed.fsdp
    "_fpw_module",  # the same, inner
    "_checkpoint_wrapped_module",  # torch.distributed.algorithms._checkpoint
    "_forward_module",  # Lightning's Fabric
    "_module",  # Opacus
    "module",  # DDP, DataParallel, AveragedModel
    "base_layer",  # PEFT, around the layer that it adapts
)
"""Parts of a name that stand for a wrapper wherever they are, and for no module of the model."""

_INSIDE = re.compile(rf"(?<=\.)(?:{'|'.join(WRAPPERS)})\.")


_EXPERT = re.compile(r"((?:^|\.)experts\.\d+\.)(w[123])(?=[.:]|$)")
_OF_EXPERT = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
"""What Mixtral calls the projections of an expert, in the words of all others: savers write the one or the other."""


_WORDS_INSIDE = ("_mod.", "module.", "base_layer.", ".w1", ".w2", ".w3")
"""One of these is in every name that has more to lose than its root. A root itself may end in some of them."""


def strip_root(name: str) -> str:
    """`name` without the words that savers put in front and wrappers anywhere: `model.backbone.layers.0` is `layers.0`,
    and so is `module.layers._orig_mod.0`; `experts.0.w1` is `experts.0.gate_proj`. Interned: the same 60,000 roles come
    from A, from B and from the tree."""
    wrappers = _ROOTS.match(name)
    if wrappers:
        name = name[wrappers.end() :]
    # Searching for what every wrapper ends in is twenty times faster than the expression.
    if "_mod." in name or "module." in name or "base_layer." in name:
        name = _INSIDE.sub("", name)
    if ".w1" in name or ".w2" in name or ".w3" in name:
        name = _EXPERT.sub(lambda found: found[1] + _OF_EXPERT[found[2]], name)
    return sys.intern(name) if wrappers else name


def without_roots(names: list[str]) -> list[str]:
    """`strip_root` of each. Mostly no name of a model has a word that stands inside, which one search tells."""
    text = "\n".join(["", *names])
    if any(word in text for word in _WORDS_INSIDE):
        return list(map(strip_root, names))
    without = _ROOT_OF_LINE.sub("\n", text).split("\n")[1:]
    return list(map(sys.intern, without)) if len(without) == len(names) else list(map(strip_root, names))


_SPELLINGS = (
    (".block_sparse_moe.", ".mlp."), (".switch_mlp.", ".experts."), (".attention.wo.", ".self_attn.o_proj."),
    (".feed_forward.w1.", ".mlp.gate_proj."), (".feed_forward.w2.", ".mlp.down_proj."),
    (".feed_forward.w3.", ".mlp.up_proj."), (".attention_norm.", ".input_layernorm."),
    (".ffn_norm.", ".post_attention_layernorm."),
)  # fmt: skip
_WHOLE_SPELLINGS = {"tok_embeddings.weight": "embed_tokens.weight", "output.weight": "lm_head.weight"}


def common_spelling(role: str) -> str:
    """A role in the words of most libraries: `block_sparse_moe`, as Mixtral was first saved, is `mlp`, InternLM2's
    `feed_forward.w1` is `mlp.gate_proj`. What the words of two models do not pair, pairs by these."""
    for own, common in _SPELLINGS:
        if own in role:
            role = role.replace(own, common)
    return _WHOLE_SPELLINGS.get(role, role)


_LAYER = re.compile(r"(?:^|\.)(\d+)\.(?=[^.])")


@lru_cache(maxsize=1 << 16)
def place_in_stack(name: str) -> tuple[str, int | None, str]:
    """(stack, layer, kind): `encoder.layers.3.mixer.x_proj:input` is (`encoder.layers`, 3, `mixer.x_proj:input`). The
    first number among the parts is the layer; a name without one is a kind of its own, in no stack."""
    found = _LAYER.search(name)
    return ("", None, name) if found is None else (name[: found.start()], int(found[1]), name[found.end() :])


def place(name: str) -> tuple[int | None, str]:
    """The layer and the kind of `place_in_stack`."""
    return place_in_stack(name)[1:]


def numberless(name: str) -> str:
    """A name with `#` for each number: what is called alike in every layer, and of every expert."""
    return ".".join("#" if part.isdecimal() else part for part in name.split("."))


class Roles:
    """The role of each entry of a model: its name as `strip_root` leaves it, or its whole name where another entry
    would get the same.

    by_name: name to role. shared: what several names come down to, with these names, in their order.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        roles = without_roots(names)
        self.by_name = dict(zip(names, roles, strict=True))
        self.shared: dict[str, list[str]] = {}
        if len(set(roles)) == len(roles):
            return
        claims = Counter(roles)
        for name, role in zip(names, roles, strict=True):
            if claims[role] > 1:
                self.by_name[name] = name
                self.shared.setdefault(role, []).append(name)

    @classmethod
    def of_names(cls, names: Iterable[str]) -> Roles:
        """Those that the last model got, where it is still open and has the same names: two models that are compared
        mostly do."""
        names = list(names)
        latest = _latest.get("roles")
        if latest is None or len(latest.by_name) != len(names) or list(latest.by_name) != names:
            latest = _latest["roles"] = cls(names)
        return latest

    def of(self, name: str) -> str:
        """The role of an entry, or of a name that is none."""
        return self.by_name.get(name) or strip_root(name)

    def of_each(self, names: Iterable[str]) -> list[str]:
        """`of` each."""
        known = self.by_name.get
        return [known(name) or strip_root(name) for name in names]


_latest: WeakValueDictionary[str, Roles] = WeakValueDictionary()
