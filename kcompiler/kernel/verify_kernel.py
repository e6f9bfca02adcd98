"""The verifier of kernels: buffers, copies, loops and what they write."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from kcompiler.graph.types import is_integer
from kcompiler.kernel.coverage import Reach, reach
from kcompiler.kernel.expr import Acc
from kcompiler.kernel.nest import Affine, Operand
from kcompiler.kernel.statements import Alloc, Box, Compute, Copy, For, Kernel, Statement
from kcompiler.kernel.verify import broken, require, verify_nest, verify_operands, verify_written


def verify_kernel(kernel: Kernel, memories: Collection[str] | None = None) -> None:
    """Raise `IRError` unless the kernel keeps every rule of `kcompiler.kernel.statements`.

    `memories` are the names that the chip has; None leaves them unchecked.
    """
    verify_operands(kernel.operands)
    for operand in kernel.operands:
        require(operand.role != "local", "locals are buffers in a kernel", operand.name)
    _verify_cores(kernel)
    check = _Check({o.name: o for o in kernel.operands}, memories)
    check.block(kernel.body, _Scope())
    output = next(o for o in kernel.operands if o.role == "output")
    verify_written(check.writes, output)


def _verify_cores(kernel: Kernel) -> None:
    """Core loops are the outermost ones, each the only statement of the one around it."""
    body = kernel.body
    while len(body) == 1 and isinstance(body[0], For) and body[0].kind == "core":
        body = body[0].body
    _no_cores(body)


def _no_cores(body: tuple[Statement, ...]) -> None:
    for statement in body:
        if isinstance(statement, For):
            outside = statement.kind != "core"
            require(outside, "core loops are the outermost ones", f"loop {statement.var}")
            _no_cores(statement.body)


@dataclass
class _Scope:
    """What is known at one place of a kernel: loops around it, buffers, and which hold values."""

    loops: dict[str, int] = field(default_factory=dict)
    buffers: dict[str, Operand] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def inner(self, loop: For) -> _Scope:
        """Inside a loop; values written there are seen outside as well."""
        extents = {**self.loops, loop.var: loop.extent}
        return _Scope(extents, dict(self.buffers), self.written)


class _Check:
    def __init__(self, operands: Mapping[str, Operand], memories: Collection[str] | None) -> None:
        self.operands = operands
        self.memories = memories
        self.writes: list[Reach] = []

    def block(self, body: tuple[Statement, ...], scope: _Scope) -> None:
        """Check statements in order."""
        own: set[str] = set()
        for statement in body:
            match statement:
                case Alloc():
                    self.alloc(statement, scope)
                    own.add(statement.name)
                case Copy():
                    self.copy(statement, scope)
                case Compute():
                    self.compute(statement, scope)
                case For():
                    self.loop(statement, scope)
        scope.written -= own

    def loop(self, loop: For, scope: _Scope) -> None:
        where = f"loop {loop.var}"
        require(loop.var not in scope.loops, "loops have distinct variables", where)
        require(loop.extent > 0, "extents are positive", where)
        self.block(loop.body, scope.inner(loop))

    def alloc(self, alloc: Alloc, scope: _Scope) -> None:
        where = f"buffer {alloc.name}"
        fresh = alloc.name not in scope.buffers and alloc.name not in self.operands
        require(fresh, "a buffer has a name of its own", where)
        require(all(n > 0 for n in alloc.shape), "extents are positive", where)
        known = self.memories is None or alloc.memory in self.memories
        require(known, "a buffer is in a memory of the chip", where, alloc.memory)
        buffer = Operand.dense(alloc.name, "local", alloc.dtype, alloc.shape)
        scope.buffers[alloc.name] = buffer

    def copy(self, copy: Copy, scope: _Scope) -> None:
        where = f"copy {copy.dst.tensor} = {copy.src.tensor}"
        load = copy.dst.tensor in scope.buffers
        buffer, tensor = (copy.dst, copy.src) if load else (copy.src, copy.dst)
        rule = "a copy is between a buffer and an operand"
        require(buffer.tensor in scope.buffers, rule, where)
        require(tensor.tensor in self.operands, rule, where)
        inside, outside = scope.buffers[buffer.tensor], self.operands[tensor.tensor]
        wanted = {"input", "constant"} if load else {"output"}
        rule = "copies read inputs and constants and write the output"
        require(outside.role in wanted, rule, where)
        require(_same_shape(copy), "both boxes of a copy have one shape", where)
        require(inside.dtype == outside.dtype, "both sides of a copy have one type", where)
        self.box(buffer, inside, scope, where)
        self.box(tensor, outside, scope, where)
        self.bounds(buffer, inside, scope, where)
        if load:
            self.gather(copy, scope, where)
            scope.written.add(buffer.tensor)
            return
        require(copy.indirect is None, "only reads gather", where)
        self.ready(buffer.tensor, scope, where)
        self.writes.append(_reach(copy.dst, outside, scope.loops))

    def box(self, box: Box, tensor: Operand, scope: _Scope, where: str) -> None:
        rank = len(tensor.shape)
        fits = len(box.origin) == len(box.shape) == len(box.step) == rank
        require(fits, "a box has the rank of its tensor", where, box.tensor)
        require(all(n > 0 for n in box.shape), "extents are positive", where, box.tensor)
        for form in box.origin:
            for name, _ in form.terms:
                require(name in scope.loops, "an origin uses the loops around it", where, name)

    def bounds(self, box: Box, buffer: Operand, scope: _Scope, where: str) -> None:
        parts = zip(box.origin, box.shape, box.step, buffer.shape, strict=True)
        for origin, length, step, extent in parts:
            low, high = origin.bounds(scope.loops)
            ends = (step * (length - 1), 0)
            inside = low + min(ends) >= 0 and high + max(ends) < extent
            why = f"{low + min(ends)}..{high + max(ends)} of {extent}"
            require(inside, "a box stays inside its buffer", where, why)

    def gather(self, copy: Copy, scope: _Scope, where: str) -> None:
        if copy.indirect is None:
            return
        dimension, name = copy.indirect
        rule = "a gather takes its indices from a buffer of integers of rank 1"
        require(name in scope.buffers, rule, where, name)
        indices = scope.buffers[name]
        require(is_integer(indices.dtype) and len(indices.shape) == 1, rule, where, name)
        self.ready(name, scope, where)
        require(0 <= dimension < len(copy.dst.shape), rule, where, f"dimension {dimension}")
        long = indices.shape[0] == copy.dst.shape[dimension]
        require(long, "a gather fills its destination", where, name)
        extent = self.operands[copy.src.tensor].shape[dimension]
        parts = (copy.src.origin[dimension], copy.src.shape[dimension], copy.src.step[dimension])
        rule = "a gather chooses from all of its dimension"
        require(parts == (Affine(), extent, 1), rule, where, copy.src.tensor)

    def ready(self, name: str, scope: _Scope, where: str) -> None:
        require(name in scope.written, "a buffer is written before it is read", where, name)

    def compute(self, compute: Compute, scope: _Scope) -> None:
        nest = compute.nest
        where = f"compute {nest.write.operand}"
        for access in (*nest.reads, nest.write):
            if access.operand not in scope.buffers:
                broken("a nest works on buffers defined before it", where, access.operand)
        verify_nest(nest, scope.buffers, where)
        for access in nest.reads:
            self.ready(access.operand, scope, where)
        if compute.carry is not None:
            require(compute.carry in scope.loops, "carry names a loop around", where)
            plain = nest.combine != "none" and nest.result == Acc(nest.body.dtype)
            require(plain, "a carried result is the combined value itself", where)
        scope.written.add(nest.write.operand)


def _same_shape(copy: Copy) -> bool:
    """Whether the boxes agree; the source's gathered dimension does not count."""
    gathered = -1 if copy.indirect is None else copy.indirect[0]
    src, dst = (
        tuple(n for d, n in enumerate(box.shape) if d != gathered) for box in (copy.src, copy.dst)
    )
    return src == dst


def _reach(box: Box, tensor: Operand, loops: Mapping[str, int]) -> Reach:
    """What a box reaches while the loops run."""
    names = [f"({d})" for d in range(len(box.shape))]
    lengths = dict(zip(names, box.shape, strict=True))
    index = [
        origin.plus(Affine.axis(name, step))
        for origin, name, step in zip(box.origin, names, box.step, strict=True)
    ]
    return reach(index, tensor.shape, {**loops, **lengths})
