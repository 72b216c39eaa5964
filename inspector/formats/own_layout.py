"""The layout of the checkpoints that qinspect writes, for whoever writes or changes one (docs/formats.md)."""

from collections.abc import Mapping
from typing import Any

QUANT_METHOD = "qinspect"
FORMAT_VERSION = 1
PROVENANCE = "provenance"
"""Of config.json, and of the object in a file's metadata: where the checkpoint comes from."""
METADATA_KEY = "qinspect"
"""The safetensors metadata entry that repeats quantization_config and provenance as one JSON object."""

SCALE_SUFFIX = "_scale"
"""Added to a weight's key, it is the key of its scale."""


def provenance_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says of the making of its checkpoint; {} for others."""
    found = config.get(PROVENANCE)
    return found if isinstance(found, dict) else {}


def effective_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the config says took effect; {} where it does not say."""
    found = provenance_of(config).get("effective")
    return found if isinstance(found, dict) else {}


def groups_of(n_in: int, bits: int, group_size: int) -> int:
    """Scales of one output channel: one for 8 bits, one a group for 4; the last group may be shorter."""
    return 1 if bits == 8 else -(-n_in // group_size)
