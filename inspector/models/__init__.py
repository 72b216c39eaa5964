"""Forwards with named observation points.

huggingface.py any model of transformers, library.py a quantized one by the library's own modules, experts.py those of
its experts that are in one tensor, caches.py the keys and values that its attention sees. mamba.py Mamba and Mamba2,
written out so that what happens inside a mixer can be observed. scan.py their recurrences. numerics.py where values are
stored in 16 bits. rotation.py Hadamard rotations folded into weights.
"""
