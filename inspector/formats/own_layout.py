"""The layout of the checkpoints that qinspect writes, for whoever writes or changes one (docs/formats.md)."""

QUANT_METHOD = "qinspect"
FORMAT_VERSION = 1
METADATA_KEY = "qinspect"
"""The safetensors metadata entry that repeats quantization_config and provenance as one JSON object."""

SCALE_SUFFIX = "_scale"
"""Added to a weight's key, it is the key of its scale."""


def groups_of(n_in: int, bits: int, group_size: int) -> int:
    """Scales of one output channel: one for 8 bits, one a group for 4; the last group may be shorter."""
    return 1 if bits == 8 else -(-n_in // group_size)
