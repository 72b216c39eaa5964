"""Adapters: the factors of updates to the weights of another model."""

from qinspect.inspector.formats.families.adapter.family import AdapterFormat

__all__ = ["AdapterFormat"]
