"""Operands and nests of a region in the making: what lies in memory, and what nests write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators.movement import Broadcast, Reshape, Transpose
from kcompiler.kernel.expr import Acc, Apply, Const, Expr
from kcompiler.kernel.loops import At, Cut, Loops, NotAffineError, Place, Scope, Split, Unsupported
from kcompiler.kernel.nest import Access, Affine, Combine, Nest, Operand, Role
from kcompiler.kernel.views import View, is_movement, moved
from kcompiler.scalar import convert, working_dtype

Body: TypeAlias = Callable[[Scope, At], Expr]
Result: TypeAlias = Callable[[Scope, At, Expr], Expr]


def cast(expr: Expr, dtype: np.dtype[Any]) -> Expr:
    """The expression converted to an element type; a detour through a wider type is left out."""
    if expr.dtype == dtype:
        return expr
    inner = expr.arguments[0] if isinstance(expr, Apply) and expr.function == "cast" else None
    if inner is not None and inner.dtype == dtype and working_dtype(dtype) == expr.dtype:
        return inner
    return Apply(dtype, "cast", (expr,))


class Emitter:
    """Collects the operands and nests of one region.

    `bound` leads from the inputs of the body to the tensors outside; `inside` are the nodes of the
    body.
    """

    def __init__(self, body: Graph, xs: tuple[Op, ...], stop: Callable[[Op], bool]) -> None:
        self.bound = {id(i): x for i, x in zip(body.inputs, xs, strict=True)}
        self.inside = {id(n) for n in body.nodes if not isinstance(n, Input)}
        self.stop = stop
        self.operands: dict[str, Operand] = {}
        self.bases: dict[str, Op] = {}
        self.nests: list[Nest] = []
        self.views: dict[tuple[Any, ...], str] = {}
        self.stored: dict[int, Op] = {}  # id -> a node that a nest writes to a local

    def outer(self, op: Op) -> Op:
        """The tensor that an input of the body stands for; any other node is itself."""
        return self.bound.get(id(op), op)

    def literal(self, op: Op) -> Const | None:
        """A constant of one element as a literal."""
        op = self.outer(op)
        while isinstance(op, Reshape | Broadcast | Transpose):
            op = self.outer(op.x)
        if not isinstance(op, Constant) or op.type.size != 1:
            return None
        value = convert(op.value, working_dtype(op.dtype)).item()
        if isinstance(value, float) and value == 0 and math.copysign(1, value) < 0:
            return None  # as a literal it would compare equal to 0
        if isinstance(value, float) and math.isnan(value):
            value = math.nan  # one object for all: NaN equals nothing but itself
        return Const(working_dtype(op.dtype), value)

    def in_memory(self, op: Op) -> Place | None:
        """The operand of the region for a tensor that lies in memory, or is a view of one."""
        view = self.view(op)
        if view is None:
            return None
        key = (id(view.base), view.offset, view.shape, view.strides)
        name = self.views.get(key) or self.operand(view)
        self.views[key] = name
        return Place(name, tuple((extent,) for extent in view.shape))

    def operand(self, view: View) -> str:
        """A new operand of the region."""
        role: Role = "constant" if isinstance(view.base, Constant) else "input"
        name = f"{role}{len(self.bases)}"
        self.operands[name] = Operand(
            name, role, view.base.dtype, view.shape, view.strides, view.offset
        )
        self.bases[name] = view.base
        return name

    def view(self, op: Op) -> View | None:
        """The view that a tensor is, through the region's inputs down to what lies in memory."""
        chain: list[Op] = []
        op = self.outer(op)
        while is_movement(op) and id(op) not in self.stored and not self.stop(op):
            chain.append(op)
            op = self.outer(op.operands[0])
        if id(op) in self.inside and not isinstance(op, Constant):
            return None
        view: View | None = View.whole(op)
        for movement in reversed(chain):
            view = moved(view, movement) if view else None
        return view

    def emit(
        self,
        op: Op,
        loops: Loops,
        combine: Combine,
        body: Body,
        *,
        result: Result | None = None,
        dtype: np.dtype[Any] | None = None,
    ) -> Place:
        """Add a nest that writes a new local, indexed by the parallel dimensions in order."""
        while True:
            try:
                return self._emit(loops, combine, body, result, dtype)
            except Split as split:
                loops = self.split(op, loops, split)
            except Cut:
                raise Unsupported(op, "it reads a concatenation that is not in memory") from None

    def split(self, op: Op, loops: Loops, split: Split) -> Loops:
        """The loops with one axis more."""
        try:
            return loops.split(split.axis, split.inner)
        except NotAffineError as error:
            raise Unsupported(op, f"a reshape in it needs a copy of its own: {error}") from None

    def _emit(
        self,
        loops: Loops,
        combine: Combine,
        body: Body,
        result: Result | None,
        dtype: np.dtype[Any] | None,
    ) -> Place:
        axes = loops.axes()
        scope = Scope({a.name: a.extent for a in axes})
        at = loops.forms()
        value = body(scope, at)
        acc = Acc(value.dtype)
        end: Expr = acc if result is None else result(scope, at, acc)
        stored = dtype or end.dtype
        if combine == "none":
            value, end = cast(value, stored), Acc(stored)
        parallel = {n: f for n, f in loops.factors.items() if n not in loops.reduced}
        name = f"local{len(self.nests)}"
        shape = tuple(extent for parts in parallel.values() for extent in parts)
        self.operands[name] = Operand.dense(name, "local", stored, shape)
        write = Access(name, tuple(Affine.axis(a.name) for a in axes if not a.reduced))
        self.nests.append(Nest(axes, tuple(scope.reads), value, combine, cast(end, stored), write))
        return Place(name, tuple(parallel.values()))
