"""Codes and unquantized tensors of two models whose headers are the same, where no bytes are read: nothing is to be
decided for any of them."""

from __future__ import annotations

import math
from itertools import compress

from qinspect.inspector.compare.items import stored_plainly
from qinspect.inspector.compare.results import Status, WeightPair
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.signs import Modules
from qinspect.inspector.rows import Rows


def unread_alike(a: Format, b: Format) -> tuple[Rows[WeightPair], int] | None:
    """What `compare_weights` says without reading, and the `weight_bytes` of both together, of two models whose tensors
    are all in columns, of the same names and forms, and compared as they are stored. None where they are not: then
    there are items to look at one by one."""
    if not (_as_stored(a) and _as_stored(b)):
        return None
    modules = Modules.of(a.checkpoint.entries)
    if Modules.of(b.checkpoint.entries) is not modules or (taken := a.taken()) != b.taken():
        return None
    of_id = dict(zip(map(id, modules.forms), modules.forms, strict=True))  # few, and a DType takes long to hash
    sizes = {i: math.prod(form[1]) for i, form in of_id.items() if form is not None}
    stored = {i: form and stored_plainly(form) for i, form in of_id.items()}
    left = [name not in taken for name in modules.names]
    names, forms = list(compress(modules.names, left)), list(map(id, compress(modules.forms, left)))
    roles = a.roles_of(names)
    if len(set(roles)) < len(roles):
        return None

    def make(row: int) -> WeightPair:
        name, form = names[row], forms[row]
        said = stored[form]
        return WeightPair(roles[row], name, name, Status.NOT_COMPARED, sizes[form], stored_a=said, stored_b=said)

    pairs = Rows({"role": roles}, forms, make)
    nbytes = sum(forms.count(i) * form[0].nbytes(sizes[i]) for i, form in of_id.items() if form is not None)
    return pairs, 2 * nbytes


def _as_stored(fmt: Format) -> bool:
    """Whether its tensors are compared as they are stored, by their names."""
    of_all = (Format.role_of, Format.derived, Format.other_forms)
    own = (type(fmt).role_of, type(fmt).derived, type(fmt).other_forms)
    return own == of_all and fmt.checkpoint.entries.untied and not fmt.weights()
