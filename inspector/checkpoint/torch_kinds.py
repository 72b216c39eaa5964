"""What a pickled object is, told by the names in it: for files that are no model's weights."""

from __future__ import annotations

from collections.abc import Collection

from qinspect.inspector.checkpoint.pickle_objects import Global, Opaque, Record

_DICTIONARIES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"state", "param_groups"}), "the state of a torch optimizer, not a model's weights"),
    (frozenset({"base_optimizer_state", "param_groups"}), "the state of an optimizer, not a model's weights"),
    (frozenset({"single_partition_of_fp32_groups"}), "one rank's part of DeepSpeed's optimizer, in flat fp32 groups"),
    (frozenset({"last_epoch", "_last_lr"}), "the state of a learning-rate scheduler, without weights"),
    (frozenset({"last_epoch", "base_lrs"}), "the state of a learning-rate scheduler, without weights"),
    (frozenset({"python", "numpy", "cpu"}), "states of random number generators (a trainer's rng_state), not weights"),
    (frozenset({"random_states", "numpy_random_seed"}), "states of random number generators, not weights"),
    (frozenset({"scale", "growth_factor", "backoff_factor"}), "the state of a gradient scaler, not weights"),
    (frozenset({"global_step", "log_history"}), "the state of a trainer, not weights"),
    (frozenset({"ds_version", "optimizer_state_dict"}), "one rank's optimizer states of DeepSpeed"),
    (frozenset({"ds_version", "module"}), "what DeepSpeed saved for one rank: the weights are under `module`"),
    (
        frozenset({"pytorch-lightning_version", "state_dict"}),
        "a checkpoint of PyTorch Lightning: the weights are under `state_dict`",
    ),
)
"""Keys that a dictionary has, and what it then is."""

_CLASSES: tuple[tuple[str, str], ...] = (
    ("TrainingArguments", "the arguments of a transformers Trainer"),
    ("SFTConfig", "the arguments of a trl trainer"),
    ("DPOConfig", "the arguments of a trl trainer"),
    ("Namespace", "the options of a command"),
    ("Tokenizer", "a tokenizer"),
    ("TokenizerFast", "a tokenizer"),
)
"""How the name of a class ends."""


def what_it_is(root: object) -> str:
    """A phrase for people; "" where the names tell nothing."""
    if isinstance(root, dict):
        return next((text for keys, text in _DICTIONARIES if keys <= root.keys()), "")
    if isinstance(root, Opaque):
        last = root.name.rpartition(".")[2]
        return next((text for end, text in _CLASSES if last.endswith(end)), "")
    return ""


def outline(root: object) -> str:
    """What a pickle holds, as one clause: its type, and the first keys."""
    if isinstance(root, Opaque):
        return f"an object of class {root.name[:200]}"
    if isinstance(root, Global):
        return f"the name {root.name[:200]}"
    if isinstance(root, dict):
        keys = [k for k in list(root)[:8] if isinstance(k, (str, int))]
        return f"a dictionary of {len(root)}" + (f": {', '.join(str(k)[:40] for k in keys)}" if keys else "")
    if isinstance(root, Collection) and not isinstance(root, (str, bytes)):
        return f"a {'set' if type(root).__name__ == 'SetItems' else type(root).__name__} of {len(root)}"
    return f"a {root.name[:200]}" if isinstance(root, Record) else f"a {type(root).__name__}"
