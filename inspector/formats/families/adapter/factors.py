"""The factors of one adapted module: whether they fit each other, what they say of its weight, and rows of the update.

LoRA (arXiv 2106.09685): the update is `lora_B @ lora_A`; of a convolution over the flattened kernel, with `lora_mid`
between them where it is in Tucker form. LoHa (arXiv 2108.06098): the element-wise product of two such. LoKr (LyCORIS,
arXiv 2309.14859): the Kronecker product of w1 and w2, each of which may be a product itself. Each times alpha / rank.
DoRA (arXiv 2402.09353): rows of the changed weight scaled to the stored magnitudes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats.families.adapter import parts
from qinspect.inspector.formats.records import FloatArray

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the entries of one module, by what they are called."""
_TRANSPOSED = {parts.EMBEDDING_DOWN: parts.EMBEDDING_UP, parts.MLX_DOWN: parts.MLX_UP}


def pair_of(shapes: Shapes) -> tuple[str, str] | None:
    """What the two factors of a LoRA are called; None where one of them is not there."""
    both = ((parts.DOWN, parts.UP), *_TRANSPOSED.items())
    return next(((a, b) for a, b in both if a in shapes and b in shapes), None)


def rank_of(method: str, shapes: Shapes) -> int | None:
    """By the shapes; None where the method has no rank, or its factors are whole matrices."""
    if method == parts.LORA:
        found = pair_of(shapes)
        a = shapes[found[0]] if found else next((s for n, s in shapes.items() if n == parts.DOWN), None)
        along = -1 if found and found[0] == parts.MLX_DOWN else 0
        return a[along] if a else None
    ends = ("hada_w1_b",) if method == parts.LOHA else ("lokr_w1_b", "lokr_w2_b") if method == parts.LOKR else ()
    return next((shapes[end][0] for end in ends if shapes.get(end)), None)


def shape_of(method: str, shapes: Shapes) -> tuple[int, ...] | None:
    """The shape of the weight that is changed; None where factors are missing or do not fit each other. Of a LoHa or
    LoKr of a convolution that is not in Tucker form the kernel is flattened: [out, in * kernel]."""
    try:
        return {parts.LORA: _of_lora, parts.LOHA: _of_loha, parts.LOKR: _of_lokr}[method](shapes)
    except (KeyError, IndexError, ValueError):
        return None


def _of_lora(shapes: Shapes) -> tuple[int, ...] | None:
    found = pair_of(shapes)
    if found is None:
        return None
    a, b = shapes[found[0]], shapes[found[1]]
    if found[0] != parts.DOWN:  # numbers of an embedding's rows, or MLX's [in, r] and [r, out]
        if found[0] == parts.MLX_DOWN:
            (n_in, r), (r_b, n_out) = a, b
            return (n_out, n_in) if r == r_b else None
        (r, n), (dim, r_b) = a, b
        return (n, dim) if r == r_b else None
    kernel = a[2:]
    if a[0] != b[1] or math.prod(b[2:]) != 1:
        return None
    if mid := shapes.get(parts.MID):
        if math.prod(kernel) != 1 or mid[:2] != (a[0], a[0]):
            return None
        kernel = mid[2:]
    return (b[0], a[1], *kernel)


def _of_loha(shapes: Shapes) -> tuple[int, ...] | None:
    w1 = _product(shapes["hada_w1_a"], shapes["hada_w1_b"], shapes.get("hada_t1"))
    w2 = _product(shapes["hada_w2_a"], shapes["hada_w2_b"], shapes.get("hada_t2"))
    return w1 if w1 == w2 else None


def _of_lokr(shapes: Shapes) -> tuple[int, ...] | None:
    w1 = shapes.get("lokr_w1") or _product(shapes["lokr_w1_a"], shapes["lokr_w1_b"], shapes.get("lokr_t1"))
    w2 = shapes.get("lokr_w2") or _product(shapes["lokr_w2_a"], shapes["lokr_w2_b"], shapes.get("lokr_t2"))
    if w1 is None or w2 is None or len(w1) != 2 or len(w2) < 2:
        return None
    return (w1[0] * w2[0], w1[1] * w2[1], *w2[2:])


def _product(a: tuple[int, ...], b: tuple[int, ...], tucker: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape of a @ b, or of what a core makes of them: then the rank is the first of each."""
    if len(a) != 2 or len(b) != 2:
        return None
    if tucker is None:
        return (a[0], b[1]) if a[1] == b[0] else None
    return (a[1], b[1], *tucker[2:]) if tucker[:2] == (a[0], b[0]) else None


class Update:
    """The update of one weight, in float32 rows, without its factor. Reads the factors when it is made; they are small.

    Raises CannotRead. tensors: by what they are called, of shapes that `shape_of` found to fit.
    """

    def __init__(self, method: str, tensors: Mapping[str, Tensor]) -> None:
        self._method = method
        self._of = {name: tensor.read().astype(np.float32) for name, tensor in tensors.items()}

    def rows(self, start: int, stop: int) -> FloatArray:
        """Rows `start` to `stop` of the update, [rows, all that is behind the first axis]."""
        make = {parts.LORA: self._lora, parts.LOHA: self._loha, parts.LOKR: self._lokr}[self._method]
        return make(start, stop).reshape(stop - start, -1)

    def _lora(self, start: int, stop: int) -> FloatArray:
        of = self._of
        if parts.EMBEDDING_DOWN in of:
            transposed: FloatArray = of[parts.EMBEDDING_DOWN].T[start:stop] @ of[parts.EMBEDDING_UP].T
            return transposed
        if parts.MLX_DOWN in of and parts.MLX_UP in of:
            mlx: FloatArray = of[parts.MLX_UP].T[start:stop] @ of[parts.MLX_DOWN].T
            return mlx
        a, b = of[parts.DOWN], of[parts.UP]
        b = b.reshape(b.shape[0], -1)[start:stop]
        if parts.MID in of:
            return _tucker(of[parts.MID], b.T, a.reshape(a.shape[0], -1))
        product: FloatArray = b @ a.reshape(a.shape[0], -1)
        return product

    def _loha(self, start: int, stop: int) -> FloatArray:
        w1, w2 = (self._factor(f"hada_w{i}", f"hada_t{i}", start, stop) for i in (1, 2))
        product: FloatArray = w1 * w2
        return product

    def _lokr(self, start: int, stop: int) -> FloatArray:
        w1, w2 = (self._factor(f"lokr_w{i}", f"lokr_t{i}") for i in (1, 2))
        outer, inner = np.divmod(np.arange(start, stop), w2.shape[0])
        w2 = w2.reshape(w2.shape[0], -1)
        product: FloatArray = w1[outer][:, :, None] * w2[inner][:, None, :]
        return product

    def _factor(self, name: str, core: str, start: int = 0, stop: int | None = None) -> FloatArray:
        of = self._of
        if name in of:
            return of[name][start:stop]
        a, b = of[f"{name}_a"], of[f"{name}_b"]
        if core in of:
            return _tucker(of[core], a[:, start:stop], b)
        product: FloatArray = a[start:stop] @ b
        return product


def _tucker(core: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """core [r, r, kernel], a [r, out], b [r, in]: the weight [out, in, kernel]."""
    made: FloatArray = np.einsum("ij...,ip,jq->pq...", core, a, b)
    return made


def changed(weight: FloatArray, update: FloatArray, factor: float, magnitude: FloatArray | None) -> FloatArray:
    """float64 rows of the weight with the update in it. magnitude: of each of these rows, of a DoRA."""
    made: FloatArray = weight.astype(np.float64) + factor * update.astype(np.float64)
    if magnitude is None:
        return made
    norms = np.sqrt((made * made).sum(axis=1, keepdims=True))
    scaled: FloatArray = made * (magnitude.astype(np.float64).reshape(-1, 1) / norms)
    return scaled
