"""From operators to nests: every value is asked for at an index and answers with an expression.

Element-wise operators and movements answer in place, so chains of them become one expression over
reads. Other operators ("anchors": contractions, windows, reductions and what is made of them) first
emit nests that write locals. A reshape that an index cannot pass splits the axes of the nest in the
making (`Split`), and the nest is made again; a concatenation cuts the output into boxes (`Cut`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from kcompiler.graph.node import Graph, Op
from kcompiler.graph.operators.arithmetic import Add, Mul, Sub
from kcompiler.graph.operators.composite import Attention, LayerNorm, RmsNorm, Softmax
from kcompiler.graph.operators.elementwise import Cast, Elementwise
from kcompiler.graph.operators.movement import (
    Broadcast,
    Concat,
    Gather,
    Pad,
    Reshape,
    Slice,
    Transpose,
)
from kcompiler.graph.types import is_integer
from kcompiler.kernel.emitter import Emitter, cast
from kcompiler.kernel.expr import Acc, Apply, Expr, Load
from kcompiler.kernel.loops import (
    ZERO,
    At,
    Cut,
    Index,
    Loops,
    NotAffineError,
    Place,
    Scope,
    Split,
    Unsupported,
    unflatten,
)
from kcompiler.kernel.nest import Access, Affine, Axis, Nest, Operand, row_major
from kcompiler.kernel.views import is_movement
from kcompiler.scalar import working_dtype

Lazy: TypeAlias = Callable[[Scope, Index], Expr]
Value: TypeAlias = Place | Lazy
Anchors: TypeAlias = "Mapping[type[Op], Callable[[Lowering, Any], Value]]"

COMPOSITES = (Softmax, LayerNorm, RmsNorm, Attention)
CHEAP = 2  # applications of scalar functions that are repeated rather than stored
SPECIAL = 4  # what a function that is no simple arithmetic counts as
SIMPLE = frozenset(
    {
        *("add", "sub", "mul", "max", "min", "neg", "abs", "relu", "cast", "where"),
        *("and", "or", "xor", "not", "equal", "less", "less_equal"),
    }
)


class Lowering(Emitter):
    """One fused region on its way to nests; see the module's text."""

    def __init__(
        self, body: Graph, xs: tuple[Op, ...], anchors: Anchors, stop: Callable[[Op], bool]
    ) -> None:
        super().__init__(body, xs, stop)
        self.body = body
        self.anchors = anchors
        self.values: dict[int, Value] = {}
        self.weights: dict[int, int] = {}
        self.kept: list[Op] = []  # nodes made here live as long as their ids are keys

    # ---- values -----------------------------------------------------

    def expr(self, op: Op, scope: Scope, index: Index) -> Expr:
        """The value of `op` at an index, in the compute type of its element type."""
        literal = self.literal(op)
        if literal is not None:
            return literal
        if len(self.body.users.get(id(op), ())) > 1:
            self.settle(op)
        value = self.value(op)
        return self.inline(op, scope, index) if value is None else self.at(op, value, scope, index)

    def settle(self, op: Op) -> None:
        """Store a value that several nests or expressions use, unless repeating it costs little."""
        op = op if self.weight(op) <= CHEAP else self.byte_below(op)
        if self.weight(op) > CHEAP:
            self.store(op, working_dtype(op.dtype))

    def byte_below(self, op: Op) -> Op:
        """The byte that a value is the number of: a quarter of the room; readers make numbers."""
        below = self.outer(op)
        while isinstance(below, Cast | Add | Sub | Mul) and below.dtype.itemsize > 1:
            operands = [x for x in below.operands if self.literal(x) is None]
            if len(operands) != 1:
                return op
            below = self.outer(operands[0])
        return below if is_integer(below.dtype) and below.dtype.itemsize == 1 else op

    def value(self, op: Op) -> Value | None:
        """How to read `op` if it is in memory, stored, or an anchor (which is lowered now)."""
        op = self.outer(op)
        found = self.values.get(id(op))
        if found is None:
            found = self.in_memory(op)
        if found is None and type(op) in self.anchors:
            found = self.anchors[type(op)](self, op)
        if found is not None:
            self.values[id(op)] = found
            self.kept.append(op)
        return found

    def at(self, op: Op, value: Value, scope: Scope, index: Index) -> Expr:
        """A known value at an index."""
        if isinstance(value, Place):
            return cast(self.access(op, value, scope, index), working_dtype(op.dtype))
        return value(scope, index)

    def access(
        self, op: Op, place: Place, scope: Scope, index: Index, fill: float | None = None
    ) -> Load:
        """A stored value at an index, converted to its compute type."""
        try:
            found = place.index(index, scope)
        except NotAffineError as error:
            raise Unsupported(op, f"its index is not affine: {error}") from None
        operand = self.operands[place.operand]
        if fill is not None and operand.role == "local" and outside(found, operand.shape, scope):
            raise Unsupported(op, "padding around what the same kernel computes needs a tensor")
        dtype = working_dtype(self.operands[place.operand].dtype)
        return scope.load(Access(place.operand, found, fill), dtype)

    def inline(self, op: Op, scope: Scope, index: Index) -> Expr:
        """The value as an expression of the values of the operands."""
        op = self.outer(op)
        match op:
            case Elementwise():
                return self.elementwise(op, scope, index)
            case Pad(x=x, low=low, value=fill):
                return self.read(x, scope, shifted(index, low), fill)
            case Concat():
                return self.concatenation(op, scope, index)
            case Gather():
                return self.gather(op, scope, index)
            case _ if is_movement(op):
                return self.expr(op.operands[0], scope, self.through(op, scope, index))
            case _:
                raise Unsupported(op, "it is no loop nest with affine accesses")

    def elementwise(self, op: Elementwise, scope: Scope, index: Index) -> Expr:
        """An element-wise operator; operands that are repeated and costly are stored first."""
        for x in op.operands:
            if 2 * x.type.size <= op.type.size and self.weight(x) > 0:
                self.store(x, working_dtype(x.dtype))
        parts = [self.expr(x, scope, aligned(index, x.shape)) for x in op.operands]
        dtype = working_dtype(op.dtype)
        if isinstance(op, Cast):
            return cast(cast(parts[0], op.dtype), dtype)
        result = Apply(dtype, op.function, tuple(parts))
        wraps = is_integer(op.dtype) and dtype != op.dtype  # integers below a byte
        return cast(cast(result, op.dtype), dtype) if wraps else result

    def through(self, op: Op, scope: Scope, index: Index) -> Index:
        """The operand's index of a movement operator's index."""
        shape = op.operands[0].shape
        match op:
            case Transpose(perm=perm):
                return tuple(index[perm.index(d)] for d in range(len(perm)))
            case Slice(starts=starts, steps=steps):
                moves = zip(index, starts, steps, strict=True)
                return tuple(i.scaled(k).plus(Affine((), s)) for i, s, k in moves)
            case Broadcast():
                return aligned(index, shape)
            case _:
                return self.reshape(op, scope, index)

    def reshape(self, op: Op, scope: Scope, index: Index) -> Index:
        """The index before a reshape of an index after it."""
        position = ZERO
        for form, extent in zip(index, op.shape, strict=True):
            position = position.scaled(extent).plus(form)
        try:
            return tuple(unflatten(position, op.operands[0].shape, scope.extents))
        except NotAffineError as error:
            raise Unsupported(op, f"the reshape needs a copy of its own: {error}") from None

    def concatenation(self, op: Concat, scope: Scope, index: Index) -> Expr:
        """The part that the index lies in; raises `Cut` when it lies in several."""
        form = index[op.axis]
        low, high = form.bounds(scope.extents)
        begin = 0
        for x in op.xs:
            end = begin + x.shape[op.axis]
            if begin <= low and high < end:
                inner = (*index[: op.axis], form.plus(Affine((), -begin)), *index[op.axis + 1 :])
                return self.expr(x, scope, inner)
            if low < end:
                raise self.seam(op, form, end, scope)
            begin = end
        raise AssertionError("an index outside the concatenation")

    def seam(self, op: Op, form: Affine, end: int, scope: Scope) -> Cut:
        """Where to cut so that `form` stays on one side of `end`."""
        moving = [term for term in form.terms if scope.extents[term[0]] > 1]
        axis, c = max(moving, key=lambda term: abs(term[1]))
        position, rest = divmod(end - form.offset, c)
        if c < 0 or rest or not 0 < position < scope.extents[axis]:
            raise Unsupported(op, f"its seam at {end} cuts no axis in two")
        return Cut(axis, position)

    def gather(self, op: Gather, scope: Scope, index: Index) -> Expr:
        """An indirect access: rows that other data name."""
        rank, axis = len(op.indices.shape), op.axis
        named = self.flat(op.indices)
        x, indices = self.value(op.x), self.value(named)
        if not isinstance(x, Place) or self.operands[x.operand].role == "local":
            raise Unsupported(op, "it gathers from a tensor that is not in memory")
        if not isinstance(indices, Place) or self.operands[indices.operand].role == "local":
            raise Unsupported(op, "its indices are computed in the same kernel")
        where = index[axis : axis + rank]
        if named is not op.indices:
            steps = zip(where, row_major(op.indices.shape), strict=True)
            where = (reduce(Affine.plus, (form.scaled(step) for form, step in steps)),)
        chosen = self.access(named, indices, scope, where)
        place = x.index((*index[:axis], ZERO, *index[axis + rank :]), scope)
        access = Access(x.operand, place, None, (axis, chosen.read))
        return scope.load(access, working_dtype(op.dtype))

    def flat(self, indices: Op) -> Op:
        """Indices in one dimension, as a gather takes them."""
        if len(indices.shape) < 2 or not isinstance(self.value(indices), Place):
            return indices
        found = Reshape(indices, (indices.type.size,)).with_origin(indices.origin)
        if self.in_memory(found) is None:
            raise Unsupported(indices, "a gather takes indices in one dimension")
        self.kept.append(found)
        return found

    # ---- reads ------------------------------------------------------

    def read(self, op: Op, scope: Scope, index: Index, fill: float | None = None) -> Load:
        """The value of `op` as a plain read; what is no tensor in memory is stored first."""
        op = self.outer(op)
        value = self.value(op)
        if isinstance(value, Place) and (fill is None or value.whole):
            return self.access(op, value, scope, index, fill)
        if value is None and ((is_movement(op) and fill is None) or isinstance(op, Transpose)):
            return self.read(op.operands[0], scope, self.through(op, scope, index), fill)
        if value is None and is_conversion(op) and fill in {None, 0}:
            return self.read(op.operands[0], scope, index, fill)
        if value is None and isinstance(op, Pad) and fill in {None, op.value}:
            return self.read(op.x, scope, shifted(index, op.low), op.value)
        return self.access(op, self.store(op, op.dtype), scope, index, fill)

    # ---- nests ------------------------------------------------------

    def store(self, op: Op, dtype: np.dtype[Any]) -> Place:
        """Write `op` to a local of its own and read it from there from now on."""
        op = self.outer(op)
        value = self.value(op)
        if isinstance(value, Place) and value.whole:
            return value
        dims = {f"i{d}": extent for d, extent in enumerate(op.shape)}

        def body(scope: Scope, at: At) -> Expr:
            index = tuple(at[d] for d in dims)
            if value is None:
                return self.inline(op, scope, index)
            return self.at(op, value, scope, index)

        place = self.emit(op, Loops.over(dims), "none", body, dtype=dtype)
        self.values[id(op)] = place
        self.stored[id(op)] = op
        return place

    def output(self, op: Op) -> None:
        """Add the nests that write the region's result, an operand named ``out``."""
        loops = Loops.over({f"i{d}": extent for d, extent in enumerate(op.shape)})
        while True:
            try:
                parts = self._parts(op, loops)
                break
            except Split as split:
                loops = self.split(op, loops, split)
        shape = tuple(a.extent for a in loops.axes())
        self.operands["out"] = Operand.dense("out", "output", op.dtype, shape)
        self.nests += parts

    def _parts(self, op: Op, loops: Loops) -> list[Nest]:
        """One nest for each box that the concatenations cut the result into."""
        pending = [{a.name: (0, a.extent) for a in loops.axes()}]
        found: list[Nest] = []
        while pending:
            box = pending.pop()
            try:
                found.append(self._part(op, loops, box))
            except Cut as cut:
                low, extent = box[cut.axis]
                pending.append({**box, cut.axis: (low + cut.at, extent - cut.at)})
                pending.append({**box, cut.axis: (low, cut.at)})
        return found

    def _part(self, op: Op, loops: Loops, box: Mapping[str, tuple[int, int]]) -> Nest:
        scope = Scope({name: extent for name, (_, extent) in box.items()})
        begin = {name: low for name, (low, _) in box.items()}
        at = loops.forms(begin)
        value = cast(self.expr(op, scope, tuple(at.values())), op.dtype)
        axes = tuple(Axis(a.name, box[a.name][1]) for a in loops.axes())
        write = Access("out", tuple(Affine.axis(a.name, 1, begin[a.name]) for a in axes))
        return Nest(axes, tuple(scope.reads), value, "none", Acc(op.dtype), write)

    def weight(self, op: Op) -> int:
        """How much arithmetic a value costs each time that it is inlined."""
        op = self.outer(op)
        if id(op) in self.weights:
            return self.weights[id(op)]
        total = 0
        if id(op) not in self.inside:
            pass  # it lies in memory
        elif isinstance(op, Elementwise):
            total = cost(op) + sum(self.weight(x) for x in op.operands)
        elif is_movement(op) or isinstance(op, Concat):
            total = max(self.weight(x) for x in op.operands)
        elif isinstance(op, COMPOSITES):
            total = SPECIAL
        self.weights[id(op)] = total
        self.kept.append(op)
        return total


def cost(op: Elementwise) -> int:
    """What one application counts: nothing where a read converts anyway."""
    if is_conversion(op):
        return 0
    return 1 if op.function in SIMPLE else SPECIAL


def is_conversion(op: Op) -> bool:
    """Whether an operator does what a read does anyway: to the compute type of what it reads."""
    if not isinstance(op, Cast):
        return False
    return working_dtype(op.dtype) == op.dtype == working_dtype(op.x.dtype)


def outside(index: Index, shape: tuple[int, ...], scope: Scope) -> bool:
    """Whether an index may leave a tensor."""
    limits = (form.bounds(scope.extents) for form in index)
    return any(low < 0 or high >= n for (low, high), n in zip(limits, shape, strict=True))


def shifted(index: Index, low: tuple[int, ...]) -> Index:
    """The index in a tensor of an index in it after padding."""
    return tuple(i.plus(Affine((), -n)) for i, n in zip(index, low, strict=True))


def aligned(index: Index, shape: tuple[int, ...]) -> Index:
    """The index of a broadcast operand: trailing dimensions, 0 where the extent is 1."""
    kept = index[len(index) - len(shape) :]
    return tuple(ZERO if extent == 1 else form for form, extent in zip(kept, shape, strict=True))
