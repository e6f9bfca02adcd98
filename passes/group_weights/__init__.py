"""The pass group_weights: weights in 8 or 4 bits with a scale for each few of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from kcompiler.errors import UsageError
from kcompiler.graph.build import cast, constant, reshape
from kcompiler.graph.node import Array, Constant, Graph, Op, topological
from kcompiler.graph.operators import Cast, Concat, Contract, Floor, Mul, Sub
from kcompiler.graph.types import F32, is_float
from kcompiler.passes.group_weights.groups import KINDS, Groups, quantize_groups
from kcompiler.passes.quantize.measure import Ratio
from kcompiler.passes.quantize.report import Report
from kcompiler.passes.quantize.walk import LayerReport
from kcompiler.pipeline import Pass

_NIBBLE = 16


class GroupWeights(Pass):
    """Store constant weights of products as int8, int4 or fp8 (`kind`); products compute as before.

    Along the sum, `size` weights share a scale and, for 4 bits, a zero point, chosen for the least
    squared error; 8-bit floats are e4m3. Two 4-bit integers lie in a byte: the first half of a
    group in the low bits, the second half in the high ones. A kernel makes numbers of them before
    the product reads them. Sums that are no multiple of `size` keep their weights, and so do tables
    that something else reads too. What was done is appended to `log`.
    """

    kind: str = "int4"
    size: int = 32
    log: list[Report] | None = None

    def run(self, ir: Graph) -> Graph:
        if self.kind not in KINDS:
            fix = f"one of: {', '.join(KINDS)}"
            raise UsageError(f"there are no weights of the kind {self.kind!r}", fix=fix)
        if self.kind == "int4" and self.size % 2:
            fix = "give an even number: 32 is usual"
            raise UsageError(f"a group of {self.size} weights does not fill bytes", fix=fix)
        rows: list[LayerReport] = []
        done: dict[int, Op] = {}
        shared = _read_otherwise(ir)

        whys: Counter[str] = Counter()

        def narrowed(node: Op) -> Op:
            if not isinstance(node, Contract):
                return node
            made = self._product(node, rows, done, shared)
            whys.update([made] if isinstance(made, str) else [])
            return node if isinstance(made, str) else made

        made = ir.rewrite(narrowed)
        if self.log is not None:
            words = f"{self.kind} in groups of {self.size}"
            remarks = () if rows else (_nothing(words, whys),)
            report = Report(layers=tuple(rows), weights=words, remarks=remarks, kind=self.kind)
            self.log.append(report)
        return made

    def _product(
        self,
        op: Contract,
        rows: list[LayerReport],
        done: dict[int, Op],
        shared: set[tuple[int, int]],
    ) -> Op | str:
        """The product with weights that are made of integers, or why it keeps its own."""
        found = _weights(op)
        if found is None:
            return "no constant matrix of floats"
        if op.extents[found.summed] % self.size:
            return f"sums that are no multiple of {self.size}"
        if _memory(found.value) in shared:
            return "weights that something else reads too"
        if id(found.value) not in done:
            done[id(found.value)] = self._numbers(found, op, rows)
        operands = list(op.operands)
        operands[found.place] = done[id(found.value)]
        return op.with_operands(operands)

    def _numbers(self, found: _Weights, op: Contract, rows: list[LayerReport]) -> Op:
        """The weights as a computation on what is stored."""
        axis = found.letters.index(found.summed)
        grouped = _grouped(found.value.value.astype(np.float32), axis, self.size)
        groups = quantize_groups(grouped, axis + 1, self.kind)
        ratio = Ratio()
        ratio.add(grouped, groups.near)
        name = op.origin[0] if op.origin else "contract"
        rows.append(LayerReport(name, type(op).__name__, ratio.sqnr_db, ratio.cosine))
        packed = self.kind == "int4"
        whole = _spread(groups, axis + 1) if packed else Cast(Constant(groups.values), F32)
        if groups.zero.any():
            whole = Sub(whole, constant(groups.zero, F32))
        numbers = Mul(whole, constant(groups.scale, F32))
        origin = found.value.origin or op.origin
        made = cast(reshape(numbers, list(found.value.shape)), found.value.dtype)
        return _named(made, origin)


@dataclass(frozen=True)
class _Weights:
    """The constant operand of a product: where it is, its letters, and the one that is summed."""

    value: Constant
    place: int
    letters: str
    summed: str


def _nothing(words: str, whys: Counter[str]) -> str:
    """The sentence for a model of which nothing fits."""
    if not whys:
        return f"no weights are {words}: the model has no products of matrices"
    listed = ", ".join(f"{why} ({count})" for why, count in sorted(whys.items()))
    return f"no weights are {words}: of {whys.total()} products, {listed}"


def _read_otherwise(graph: Graph) -> set[tuple[int, int]]:
    """The memory of constants that others than products read: they have it all the same."""
    products = {id(n) for n in graph.nodes if isinstance(n, Contract)}
    readers = ((o, n) for n in graph.nodes for o in n.operands if isinstance(o, Constant))
    return {_memory(o) for o, n in readers if id(n) not in products}


def _memory(value: Constant) -> tuple[int, int]:
    """Where an array lies: views that only turn it have the same."""
    return value.value.__array_interface__["data"][0], value.value.nbytes


def _weights(op: Contract) -> _Weights | None:
    for place, value in enumerate(op.operands):
        if not isinstance(value, Constant) or not is_float(value.dtype):
            continue
        own, other = op.letters[place], op.letters[1 - place]
        summed = [c for c in own if c in other and c not in op.letters[2]]
        if value.type.rank == 2 and len(summed) == 1 and value.dtype.itemsize in {2, 4}:
            return _Weights(value, place, own, summed[0])
    return None


def _grouped(w: Array, axis: int, size: int) -> Array:
    """Weights with their summed dimension as (groups, size)."""
    shape = w.shape
    return w.reshape(*shape[:axis], shape[axis] // size, size, *shape[axis + 1 :])


def _spread(groups: Groups, axis: int) -> Op:
    """The integers of packed bytes, as floats."""
    first, second = np.split(groups.values, 2, axis)
    packed = Cast(Constant(first + second * np.uint8(_NIBBLE)), F32)
    high = Floor(Mul(packed, constant(1 / _NIBBLE, F32)))
    low = Sub(packed, Mul(high, constant(float(_NIBBLE), F32)))
    return Concat((low, high), axis)


def _named(root: Op, origin: tuple[str, ...]) -> Op:
    """The computation, with an origin."""
    new: dict[int, Op] = {}
    for op in topological([root]):
        moved = op.with_operands([new[id(o)] for o in op.operands])
        new[id(op)] = op if isinstance(op, Constant) else moved.with_origin(origin)
    return new[id(root)]
