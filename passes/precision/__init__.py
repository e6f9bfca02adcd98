"""The pass precision: which element type each tensor has in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompiler.errors import UsageError
from kcompiler.graph.build import cast
from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import (
    Add,
    Cast,
    Contract,
    Conv,
    CumSum,
    Exp,
    Fused,
    Host,
    Item,
    Mul,
    Pow,
    Reduce,
    Window,
)
from kcompiler.graph.types import BF16, F16, F32, F64, is_float, is_integer
from kcompiler.passes.precision.bodies import (
    computes_double,
    ends_integers,
    masks,
    read_by_products,
    unmoved,
)
from kcompiler.passes.precision.logarithms import Delicate, before_logarithms
from kcompiler.passes.precision.losses import loss
from kcompiler.passes.precision.positions import positions
from kcompiler.passes.precision.retype import Retyper, largest, narrowed
from kcompiler.pattern import splat
from kcompiler.pipeline import Pass

DType = np.dtype[Any]
FLOATS = {"f16": F16, "bf16": BF16, "f32": F32}
# Constants up to this size stay float32 when float16 would lose them: they cost next to nothing.
SMALL = 1 << 16


class Precision(Pass):
    """Store float32 and float64 tensors between kernels as `float`: f16, bf16 or f32.

    Works on what `fuse` leaves. Inside a kernel products take operands of the stored type and add
    up in float32, everything else is float32, and the result is rounded once, when it is stored.
    Inputs, outputs and what the host reads and writes keep their types; casts stand at the border.
    Narrower floats and integers stay. A result stays float32 where the stored type is known to fail
    it: sums over a tensor that nothing scales down and what is added to them, powers, what comes
    from wide integers or becomes some (indices), what is computed with numbers beyond the range,
    and for f32 what is float64. Float64 stays too where the host computes anyhow: in what reads it
    from the outside, unless a product does, and in what makes an output of it; elsewhere it is
    computed in float32.
    Constants are rounded, small ones only where that keeps their size, and those of kernels that
    make integers or 8-bit floats, or numbers of them, not at all. Sums that lead to a logarithm,
    which magnifies what rounding leaves of them where they cancel, have operands of float32
    (`logarithms.py`), unless `logarithms` is off, as for a chip whose array does not multiply
    float32. Sentences for the user about what that changes are appended to `log`.
    """

    float: str = "f16"
    logarithms: bool = True
    log: list[str] | None = None

    def run(self, ir: Graph) -> Graph:
        if self.float not in FLOATS:
            raise UsageError(f"there is no precision {self.float!r}", fix="f16, bf16 or f32")
        delicate = before_logarithms(ir) if self.logarithms else Delicate()
        conversion = _Conversion(ir, FLOATS[self.float], delicate)
        found = conversion.run()
        if self.log is not None:
            self.log.extend(conversion.notes())
        return found


class _Conversion:
    """One run of the pass: old node -> new node, and its conversions to other types."""

    def __init__(self, graph: Graph, stored: DType, delicate: Delicate) -> None:
        self.graph = graph
        self.delicate = delicate
        self.stored = stored
        self.positions = positions(graph)
        self.new: dict[int, Op] = {}
        self.casts: dict[tuple[int, DType], Op] = {}
        self.shortened: list[Fused] = []  # kernels of float64 that became float32
        self.lost: dict[int, str] = {}  # what constants lose, by their ids

    def notes(self) -> list[str]:
        """What the user should know was changed."""
        found = list(self.lost.values())
        if self.shortened:
            names = dict.fromkeys(name for kernel in self.shortened for name in kernel.origin)
            first = next(iter(names), "the first")
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            found.append(f"float64 is computed in float32: {first}{more}")
        return found

    def run(self) -> Graph:
        """The graph in its new types."""
        for node in self.graph.nodes:
            self.new[id(node)] = self._converted(node)
        outputs = tuple((name, self._as(value, value.dtype)) for name, value in self.graph.outputs)
        return Graph(self.graph.name, self.graph.inputs, outputs)

    def _converted(self, node: Op) -> Op:
        match node:
            case Input() | Constant():
                return node
            case Host():
                return node.with_operands([self._as(x, x.dtype) for x in node.xs])
            case Item():
                return node.with_operands([self.new[id(node.host)]])
            case Fused():
                return self._kernel(node)
        raise ValueError(f"precision works on fused graphs, and {node!r} is outside of any kernel")

    def _kernel(self, node: Fused) -> Op:
        products, hiding = read_by_products(node.body), masks(node.body)
        if self._stays_double(node, products):
            return node.with_operands([self._as(x, x.dtype) for x in node.xs])
        if computes_double(node.body):
            self.shortened.append(node)
        exact = any(map(ends_integers, node.body.nodes))
        stored = F32 if id(node) in self.delicate.multiplies else self.stored
        operands = [
            self._operand(
                x,
                id(i) in (products if isinstance(x, Constant) else products - hiding),
                exact,
                stored,
            )
            for x, i in zip(node.xs, node.body.inputs, strict=True)
        ]
        retyped = Retyper(node.body, stored, [x.dtype for x in operands])
        body = retyped.finished(self._result(node, retyped.root))
        self._note_losses(node, operands, hiding)
        return Fused(tuple(operands), body).with_origin(node.origin)

    def _stays_double(self, node: Fused, products: set[int]) -> bool:
        """Whether a kernel is the host's for its float64, and so may as well be exact."""
        if self.stored == F32:
            return any(n.dtype == F64 for n in node.body.nodes)
        if not computes_double(node.body):
            return False
        reads = (
            x
            for x, i in zip(node.xs, node.body.inputs, strict=True)
            if isinstance(x, Input | Item) and id(i) not in products
        )
        return (node.dtype == F64 and self._leaves(node)) or any(x.dtype == F64 for x in reads)

    def _leaves(self, node: Fused) -> bool:
        """Whether a result is an output of the model and nothing else."""
        made = any(value is node for _, value in self.graph.outputs)
        return made and not self.graph.users[id(node)]

    def _note_losses(self, node: Fused, operands: list[Op], hiding: set[int]) -> None:
        """Remember what constants lose in a narrow type, except masks, which hide as before."""
        for x, new, i in zip(node.xs, operands, node.body.inputs, strict=True):
            if isinstance(x, Constant) and isinstance(new, Constant) and id(i) not in hiding:
                text = "" if id(x) in self.lost else loss(x.value, new.value)
                if text:
                    self.lost[id(x)] = f"a weight of {', '.join(node.origin)}: {text}"

    def _operand(self, x: Op, product: bool, exact: bool, stored: DType) -> Op:
        """What a kernel reads for an operand of the old graph; quantized ones keep factors."""
        if isinstance(x, Constant):
            if not _is_wide(x.dtype):
                return x
            small = x.type.size <= SMALL and not product
            keeps = small and (exact or not _representable(x, stored))
            return self._as(x, F32 if keeps else stored)
        new = self.new[id(x)]
        if product and _is_wide(new.dtype):
            return self._as(x, stored)
        return self._as(x, F32) if isinstance(new, Fused) and new.dtype == F64 else new

    def _result(self, node: Fused, root: Op) -> DType:
        """The element type in which a kernel stores its result."""
        if self._leaves(node):
            return node.dtype
        if not _is_wide(root.dtype) or self.stored == F32:
            return root.dtype
        wide = stays_wide(node, self.stored) or self._continues(node)
        exact = id(node) in self.positions or id(node) in self.delicate.stores
        return F32 if wide or exact else self.stored

    def _continues(self, node: Fused) -> bool:
        """Whether a kernel adds to a sum that another one keeps in float32."""
        root = unmoved(node.body.outputs[0][1])
        if not isinstance(root, Add):
            return False
        read = {id(i): self.new[id(x)] for x, i in zip(node.xs, node.body.inputs, strict=True)}
        made = (read.get(id(unmoved(operand))) for operand in root.operands)
        return any(isinstance(x, Fused) and x.dtype == F32 for x in made)

    def _as(self, x: Op, dtype: DType) -> Op:
        """The new node of `x` as an element type: a converted constant, or a kernel that casts."""
        new = self.new[id(x)]
        if new.dtype == dtype:
            return new
        key = (id(x), dtype)
        if key not in self.casts:
            if isinstance(new, Constant):
                self.casts[key] = narrowed(new, dtype)
            else:
                self.casts[key] = cast_kernel(new, dtype)
        return self.casts[key]


def multiplies_f32(kernel: Fused) -> bool:
    """Whether a kernel takes products of float32."""
    products = (n for n in kernel.body.nodes if isinstance(n, Contract | Conv))
    return any(o.dtype == F32 for n in products for o in n.operands)


def cast_kernel(x: Op, dtype: DType) -> Fused:
    """A kernel that converts a tensor."""
    inner = Input("x0", x.type)
    body = Graph("cast", (inner,), (("y", cast(inner, dtype)),))
    return Fused((x,), body).with_origin(x.origin)


def _is_wide(dtype: DType) -> bool:
    return is_float(dtype) and dtype.itemsize >= F32.itemsize


def _representable(x: Constant, dtype: DType) -> bool:
    """Whether every number keeps its size and its digits in a narrow type."""
    size = np.abs(x.value[np.isfinite(x.value)])
    size = size[size > 0]
    tiny = 2.0**-14 if dtype == F16 else 2.0**-126
    return not size.size or bool(size.max() <= largest(dtype) and size.min() >= tiny)


def stays_wide(kernel: Fused, dtype: DType) -> bool:
    """Whether a narrow type is known to fail the result of a kernel."""
    root = unmoved(kernel.body.outputs[0][1])
    if isinstance(root, Exp | Pow | CumSum) or (isinstance(root, Mul) and root.x is root.y):
        return True
    if isinstance(root, Reduce | Window) and root.function in {"sum", "prod"}:
        return True
    return any(_leaves_range(node, dtype) for node in kernel.body.nodes)


def _leaves_range(node: Op, dtype: DType) -> bool:
    """A number beyond the range of a narrow type, or wide integers that become floats."""
    if isinstance(node, Constant) and is_float(node.dtype):
        number = splat(node)
        return number is not None and np.isfinite(number) and abs(number) > largest(dtype)
    if not isinstance(node, Cast) or not is_float(node.dtype):
        return False
    return is_integer(node.x.dtype) and node.x.dtype.itemsize > 1


__all__ = ["FLOATS", "Precision", "cast_kernel", "multiplies_f32", "stays_wide"]
