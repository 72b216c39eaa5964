"""One ONNX model: what its graph says is quantized, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sized
from dataclasses import dataclass, replace
from functools import cached_property

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.graph import Graph, Node
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.onnx.building import Builder, Named
from qinspect.inspector.formats.families.onnx.names import Names, names_of, without_additions
from qinspect.inspector.formats.families.onnx.operations import (
    DEQUANTIZE,
    GATHER_BLOCKS,
    INTEGER_PRODUCTS,
    N_BITS,
    POINTS,
    QUANTIZE,
    WEIGHTS,
    Operand,
    is_gemm_transposed,
)
from qinspect.inspector.formats.families.onnx.orientation import stored_by_columns
from qinspect.inspector.formats.families.onnx.others import foreign_said
from qinspect.inspector.formats.families.onnx.points import Points
from qinspect.inspector.formats.modular import Part, QuantizedModule, RearrangedFormat
from qinspect.inspector.formats.records import DynamicPoint, Kind, ScaleRecord
from qinspect.inspector.formats.said import commonest
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some, visible

_WEIGHT, _BIAS = ".weight", "bias"
_AS_BIAS = {"Gemm": 2, "Conv": 2, "ConvTranspose": 2, "FusedConv": 2, "FusedGemm": 2}
_LAYERS = frozenset(("MatMul", "Gemm", "Conv", "ConvTranspose", "Gather", "FusedMatMul", "FusedGemm", "FusedConv"))


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a node takes in the codes of a weight. operand: None of operations with rules of their own. gather: what
    takes rows out of it before that."""

    key: str
    node: Node
    operand: Operand | None
    gather: Node | None = None


class OnnxFormat(RearrangedFormat):
    """A weight is [out, in] where what multiplies it says which of its axes is that of the outputs."""

    family = "onnx"
    loaded_as_one = False
    own_names = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.graph is not None  # it was recognised
        self._graph: Graph = checkpoint.graph
        self._builder = Builder(checkpoint, self._graph)
        self._sites = self._find_sites()
        self._turned: dict[str, bool] = {}
        self._names, self._users = self._named()
        self._quantized_later: list[str] = []
        self._bases: dict[int, str] = {}
        self._points = Points(self._builder, self._bases)
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        return "it is an ONNX model" if checkpoint.graph is not None else None

    def _find_sites(self) -> list[_Site]:
        """Each stored weight that an operation takes for codes, once, in the order in which the file has these."""
        found: dict[str, _Site] = {}
        for node in self._graph.nodes:
            if node.op in (DEQUANTIZE, GATHER_BLOCKS) and not self._makes_scales(node):
                self._site(found, node, 0, None)
            elif node.op == N_BITS:
                self._site(found, node, 1, None)
            for operand in WEIGHTS.get(node.op, ()):
                self._site(found, node, operand.codes, operand)
            for point in POINTS.get(node.op, ()):
                if point.value >= 0:
                    self._site(found, node, point.value, Operand(point.value, point.scale, point.zero, 0, False))
        return list(found.values())

    def _makes_scales(self, node: Node) -> bool:
        """Whether what comes out is the scales of another: those of two levels."""
        users = self._graph.users.get(node.output, ())
        return bool(users) and all(user.op == DEQUANTIZE and at == 1 for user, at in users)

    def _site(self, found: dict[str, _Site], node: Node, at: int, operand: Operand | None) -> None:
        key, gather = self._builder.stored(node.input(at)), None
        if not key and (node.op == DEQUANTIZE or operand is not None):
            scale = operand.scale if operand is not None else 1
            gather = self._gathered_first(node.input(at), node.input(scale) if scale >= 0 else "")
            key = self._builder.stored(gather.input(0)) if gather is not None else ""
        tensor = self.checkpoint_tensor(key)
        if tensor is not None and tensor.nbytes:
            found.setdefault(key, _Site(key, node, operand, gather))

    def _gathered_first(self, name: str, scale: str) -> Node | None:
        """What looks rows of a stored tensor up before they are dequantized: with one scale for all, that is the
        same."""
        maker = self._graph.makers.get(name)
        numbers = self._builder.checkpoint.entries.get(self._builder.stored(scale))
        one = numbers is not None and (not isinstance(numbers, Tensor) or numbers.n_elements == 1)
        return maker if one and maker is not None and maker.op == "Gather" else None

    def checkpoint_tensor(self, key: str) -> Tensor | None:
        """A tensor by its key; None where there is none, or it is a number or words."""
        return self._builder.checkpoint.tensor(key) if key else None

    def _named(self) -> tuple[Names, dict[str, Node | None]]:
        """What weights are called, and the node that each goes into in the end."""
        used: dict[str, tuple[Node | None, str]] = {}
        for site in self._sites:
            node: Node | None = site.gather or site.node
            part = _WEIGHT[1:]
            if site.node.op == DEQUANTIZE and site.gather is None:
                self._turned[site.key], use = stored_by_columns(self._graph, site.node.output)
                node = use.node if use is not None else None
                part = _BIAS if use is not None and _AS_BIAS.get(use.node.op) == use.at else part
            used[site.key] = node, part
        place = {id(node): i for i, node in enumerate(self._graph.nodes)}
        self._sites.sort(key=lambda site: place[id(used[site.key][0] or site.node)])
        self._plain_weights(used)
        return names_of(used, self._builder.checkpoint.entries), {key: node for key, (node, _) in used.items()}

    def _plain_weights(self, used: dict[str, tuple[Node | None, str]]) -> None:
        """Weights in full precision that something multiplies, or quantizes when the model runs."""
        entries = self._builder.checkpoint.entries
        for key in entries:
            users = self._graph.users.get(key, ())
            if key in used or not users:
                continue
            name = key
            for user, at in users:
                if user.op == QUANTIZE and at == 0:
                    of = self._graph.users.get(user.output, ())
                    name = (of[0][0].output if of and of[0][0].op == DEQUANTIZE else "") or key
            columns, use = stored_by_columns(self._graph, name)
            if use is None or use.node.op not in _LAYERS:
                continue
            tensor = entries.tensor(key)
            if tensor is None or not tensor.dtype.is_float:
                continue
            bias = _AS_BIAS.get(use.node.op) == use.at
            if bias or (len(tensor.shape) > 1 and (use.at == 1 or use.node.op == "Gather")):
                self._turned[key] = columns and len(tensor.shape) == 2
                used[key] = use.node, _BIAS if bias else _WEIGHT[1:]

    def role_of(self, name: str) -> str:
        return self._own_roles.get(name) or super().role_of(name)

    @cached_property
    def _own_roles(self) -> dict[str, str]:
        """Of entries that are called otherwise than the parameter that they hold: its role, or its whole name where
        another entry has that role."""
        originals = self._names.originals
        claims = Counter(strip_root(name) for name in originals.values())
        claims.update(role for name, role in self._roles.by_name.items() if name not in originals)
        roles = ((key, name, strip_root(name)) for key, name in originals.items())
        return {key: role if claims[role] == 1 else name for key, name, role in roles}

    def place_of(self, name: str) -> str:
        original = self._names.originals.get(name) or self._beside.get(name)
        return strip_root(original) if original else super().place_of(name)

    @cached_property
    def _beside(self) -> dict[str, str]:
        """Where scales and zero points stand of weights that are called otherwise than their entries: beside these."""
        found: dict[str, str] = {}
        for module in self._modules.values():
            name = module.weight.name
            for record in module.records:
                if record.key.rpartition(".")[0] != name.rpartition(".")[0]:
                    found.setdefault(record.key, f"{name}_{record.quantity.value.replace(' ', '_')}")
        return found

    def _find(self) -> Iterator[Part]:
        for site in self._sites:
            part = self._or_problem(site.key, lambda s=site: self._weight(s))  # type: ignore[misc]
            self._note_base(site.key)
            yield part
        for key in self._users:
            self._note_base(key)
        yield from self._later()
        yield from self._points.records()

    def _note_base(self, key: str) -> None:
        role, node = self.role_of(key), self._users.get(key)
        if node is not None and role.endswith(_WEIGHT):
            self._bases.setdefault(id(node), role.removesuffix(_WEIGHT))

    def _weight(self, site: _Site) -> QuantizedModule:
        """Raises CannotDequantize where the entries that a node names do not fit each other."""
        node, operand = site.node, site.operand
        if node.op == N_BITS:
            return self._n_bits(site)
        if node.op == GATHER_BLOCKS:
            return self._gathered(site)
        if operand is None:
            named = self._two_level(self._entries(site.key, node.input(1), node.input(2)), node.input(1))
            turned, axis, block = self._turned.get(site.key, False), node.integer("axis", 1), node.integer("block_size")
            return self._typed(named, turned, axis, block, node.integer("output_dtype"))
        scale = node.input(operand.scale) if operand.scale >= 0 else self._scale_behind(node)
        named = self._entries(site.key, scale, node.input(operand.zero))
        turned = operand.columns and not is_gemm_transposed(node, operand)
        axis = operand.axis if turned or not operand.columns else 0
        return self._typed(named, turned, axis, 0, None)

    def _entries(self, key: str, scale: str, zero: str) -> Named:
        stored = self._builder.stored(zero) if zero else ""
        if zero and not stored:
            raise CannotDequantize(
                "has zero points that the graph calculates", file=self.checkpoint.path, key=key,
                expected="an initializer or a constant", found="the output of a node",
            )  # fmt: skip
        return Named(self._names.of(key), self.role_of(key), key, self._builder.stored(scale), stored)

    def _two_level(self, named: Named, scale: str) -> Named:
        """With the scales that are codes themselves, and the scale of these, where that is how it is stored."""
        maker = self._graph.makers.get(scale)
        if named.scale or maker is None or maker.op != DEQUANTIZE or maker.input(2):
            return named
        inner, outer = self._builder.stored(maker.input(0)), self._builder.stored(maker.input(1))
        return replace(named, scale=inner, outer=outer) if inner and outer else named

    def _typed(self, named: Named, turned: bool, axis: int, block: int, rounded: int | None) -> QuantizedModule:
        tensor = self.checkpoint_tensor(named.key)
        assert tensor is not None  # it is a site
        element = self._builder.element(tensor.dtype.name, bool(named.zero))
        if element is None or not tensor.shape:
            raise CannotDequantize(
                "cannot be the codes of a weight", file=self.checkpoint.path, key=named.key,
                expected="integers of up to 32 bits or floats of up to 8, of one dimension or more",
                found=f"{tensor.dtype.name} {list(tensor.shape)}",
            )  # fmt: skip
        layout, shape = self._builder.layout(named, tensor, turned, axis, block, rounded)
        return self._builder.typed(named, layout, element, shape)

    def _n_bits(self, site: _Site) -> QuantizedModule:
        node = site.node
        named = self._entries(site.key, node.input(2), node.input(3))
        index = self._builder.stored(node.input(4))
        shape = node.integer("N"), node.integer("K")
        return self._builder.in_blocks(named, node, shape, node.integer("bits", 4), node.integer("block_size"), index)

    def _gathered(self, site: _Site) -> QuantizedModule:
        node, tensor = site.node, self.checkpoint_tensor(site.key)
        assert tensor is not None  # it is a site
        named = self._entries(site.key, node.input(2), node.input(3))
        axis, block = node.integer("quantize_axis", 1), node.integer("block_size", 128)
        if tensor.dtype.name != "uint8":
            return self._typed(named, False, axis, block, 0)
        bits, n = node.integer("bits", 4), len(tensor.shape)
        if n != 2 or axis % n != 1 or not 2 <= bits <= 8:
            raise CannotDequantize(
                "is packed along another axis than its last, or is no matrix", file=self.checkpoint.path, key=site.key,
                expected="uint8 [rows, bytes], quantize_axis 1", found=f"{list(tensor.shape)}, quantize_axis {axis}",
            )  # fmt: skip
        shape = tensor.shape[0], tensor.shape[1] * 8 // bits
        return self._builder.in_blocks(named, node, shape, bits, block)

    def _scale_behind(self, node: Node) -> str:
        """The scale of a weight whose codes are multiplied as integers: what comes out is cast, and multiplied by it or
        by its product with the scale of the input."""
        name = node.output
        for _ in range(3):
            users = self._graph.users.get(name, ())
            if len(users) != 1:
                return ""
            user, at = users[0]
            if user.op == "Cast":
                name = user.output
            elif user.op == "Mul":
                other = user.input(1 - at)
                maker = self._graph.makers.get(other)
                candidates = maker.inputs if maker is not None and maker.op == "Mul" else (other,)
                found = [key for key in map(self._builder.stored, candidates) if key]
                own = f"{without_additions(node.input(1))}_scale"  # that of the input may be stored too
                return found[0] if len(found) == 1 else own if own in found else ""
            else:
                return ""
        return ""

    def _later(self) -> Iterator[ScaleRecord]:
        """Scales of weights that are stored in full precision and quantized when the model runs."""
        entries = self.checkpoint.entries
        for node in self._graph.nodes:
            key = node.input(0)
            tensor = entries.tensor(key) if node.op == QUANTIZE else None
            scale, zero = self._builder.stored(node.input(1)), self._builder.stored(node.input(2))
            if tensor is None or not scale or key in self._quantized_later:
                continue
            self._quantized_later.append(key)
            role, of = self.role_of(key), f"the weight {self.role_of(key)}"
            element = self._builder.element(self._dtype_of(zero) if zero else "uint8", bool(zero))
            if element is not None:
                axis = node.integer("axis", 1) % max(1, len(tensor.shape))
                if self._turned.get(key):
                    axis = 1 - axis
                yield from self._builder.point(role, of, scale, zero, element, axis, Kind.WEIGHT)

    def _dtype_of(self, key: str) -> str:
        tensor = self.checkpoint_tensor(key)
        return tensor.dtype.name if tensor is not None else "uint8"

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        return tuple({p.role: p for p in self._points.dynamic()}.values())

    def _as_original(self, tensor: Tensor) -> Tensor:
        """[out, in] of a matrix that what multiplies it takes the other way round."""
        turned = self._turned.get(tensor.name, False) and not tensor.dtype.packed and len(tensor.shape) == 2
        return tensor.transposed() if turned and tensor.strides is None else tensor

    @property
    def description(self) -> str:
        told = commonest(Counter(w.stored_as for w in self.weights()))
        points = [r for r in self.scales() if r.kind is Kind.ACTIVATION] or self.dynamic()
        inputs = sorted({r.element.name for r in points})
        how = self._how()
        said = ", ".join(filter(None, (*told, f"{' or '.join(inputs)} activations" if inputs else "")))
        return f"ONNX{f' {how}' if how else ''}{f': {said}' if said else ', no scales'}"

    def _how(self) -> str:
        """By which operations it is quantized, in a few words."""
        ops = {site.node.op for site in self._sites}
        words = [
            ("QDQ", bool({DEQUANTIZE} & ops) or bool(self._quantized_later)),
            ("MatMulNBits", N_BITS in ops), (GATHER_BLOCKS, GATHER_BLOCKS in ops),
            ("integer products", bool({*INTEGER_PRODUCTS} & ops)),
            ("QLinear operators", any(op.startswith("QLinear") for op in ops)),
            ("dynamic operators", any(op.startswith("DynamicQuantize") for op in ops)),
        ]  # fmt: skip
        return " and ".join(word for word, there in words if there)

    def notes(self) -> tuple[str, ...]:
        return (*self._own_notes(), *super().notes())

    def _own_notes(self) -> Iterator[str]:
        by_scope = self._names.by_scope
        if by_scope:
            key, name = next(iter(by_scope.items()))
            yield (
                f"{some(len(by_scope), 'weight')} that the file only numbers {_are(by_scope)} called after the module "
                f"that the node is from that uses it, first {visible(key, 120)} as {visible(name, 120)}"
            )
        if later := self._quantized_later:
            yield (
                f"{some(len(later), 'weight')} {_are(later)} stored in full precision and quantized when the model "
                f"runs, first {visible(later[0], 120)}: its scale is stored, its codes are not"
            )
        if n := sum(node.op == "QLinearConv" and bool(node.input(8)) for node in self._graph.nodes):
            yield (
                f"{some(n, 'bias', 'biases')} of QLinearConv {'is' if n == 1 else 'are'} shown as stored: int32, in "
                "steps of the input's scale times the weight's"
            )
        if n := self._points.calculated:
            yield f"{some(n, 'activation')} {'is' if n == 1 else 'are'} quantized by a scale that the graph calculates"
        yield from foreign_said(self._graph)


def _are(found: Sized) -> str:
    return "is" if len(found) == 1 else "are"
