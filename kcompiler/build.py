"""A graph of `Fused` nodes to a program: regions, tiles, places, instructions, waits, bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kcompiler.errors import CapacityError, IRError
from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Fused
from kcompiler.kernel.from_graph import BoundRegion, region_of
from kcompiler.kernel.nest import Region
from kcompiler.kernel.statements import Kernel
from kcompiler.kernel.views import view_of
from kcompiler.machine.instruction import FieldError, Isa
from kcompiler.machine.place import Placement, Tensor
from kcompiler.machine.program import Binding, KernelInfo, Program
from kcompiler.machine.target import Target


@dataclass(frozen=True)
class Tools:
    """The passes below the graph; whoever composes the compiler hands them in."""

    tile: Callable[[Region], Kernel]
    place: Callable[[Sequence[Kernel], Sequence[Tensor]], Placement]
    synchronize: Callable[[Sequence[Sequence[Isa]]], Sequence[Sequence[Isa]]]


@dataclass(frozen=True)
class Part:
    """A fused node on its way down."""

    fused: Fused
    bound: BoundRegion
    kernel: Kernel

    @property
    def operand_names(self) -> tuple[str, ...]:
        """The kernel's names of `bound.operands`, in their order."""
        return tuple(o.name for o in self.kernel.operands if o.role in ("input", "constant"))

    @property
    def output_name(self) -> str:
        """The kernel's name of the result."""
        return next(o.name for o in self.kernel.operands if o.role == "output")


def parts_of(graph: Graph, tile: Callable[[Region], Kernel]) -> tuple[Part, ...]:
    """The kernels of a graph, in the order in which they run."""
    found: list[Part] = []
    for node in graph.nodes:
        if isinstance(node, Fused):
            bound = region_of(node)
            try:
                kernel = replace(tile(bound.region), name=f"k{len(found)}")
            except CapacityError as error:
                raise CapacityError(error.what, _title(node), error.why, error.fix) from error
            found.append(Part(node, bound, kernel))
    return tuple(found)


def build_program(graph: Graph, target: Target, tools: Tools) -> Program:
    """The program of a graph whose nodes are inputs, constants, movement and `Fused` ones."""
    parts = parts_of(graph, tools.tile)
    names = _tensor_names(graph, parts)
    tensors = _tensors(graph, parts, names, target)
    placement = tools.place([p.kernel for p in parts], tensors)
    where = {id(op): placement.bindings[name] for op, name in names.items_by_node()}
    blocks = [_lowered(p, i, where, placement, target) for i, p in enumerate(parts)]
    blocks = [tuple(b) for b in tools.synchronize(blocks)]
    constants = [op for op, _ in names.items_by_node() if isinstance(op, Constant)]
    return Program(
        target=target.name,
        code=target.isa.encode_program(i for block in blocks for i in block),
        inputs=tuple(
            replace(where[id(op)], name=op.name) for op in graph.inputs if id(op) in where
        ),
        outputs=tuple(_output(name, value, where) for name, value in graph.outputs),
        constants=tuple(where[id(op)] for op in constants),
        values={where[id(op)].name: np.asarray(op.value, order="C") for op in constants},
        kernels=tuple(_infos(parts, blocks, where)),
        used=placement.used,
    )


class _Names:
    """A name for every tensor that lies in memory, in the order in which the program meets them."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Op, str]] = {}

    def add(self, op: Op, name: str) -> None:
        self._found.setdefault(id(op), (op, name))

    def __getitem__(self, op: Op) -> str:
        return self._found[id(op)][1]

    def __contains__(self, op: Op) -> bool:
        return id(op) in self._found

    def items_by_node(self) -> Iterable[tuple[Op, str]]:
        """(node, name) pairs."""
        return self._found.values()


def _tensor_names(graph: Graph, parts: Sequence[Part]) -> _Names:
    names = _Names()
    for i, given in enumerate(graph.inputs):
        names.add(given, f"in{i}")
    constants = 0
    for i, part in enumerate(parts):
        for op in part.bound.operands:
            if isinstance(op, Constant) and op not in names:
                names.add(op, f"c{constants}")
                constants += 1
        names.add(part.fused, f"k{i}")
    for _, value in graph.outputs:
        base = _base(value)
        if isinstance(base, Constant) and base not in names:
            names.add(base, f"c{constants}")
            constants += 1
    return names


def _tensors(graph: Graph, parts: Sequence[Part], names: _Names, target: Target) -> list[Tensor]:
    """What has to lie somewhere, and from which kernel to which."""
    last = len(parts)
    ends: dict[int, int] = {}
    for i, part in enumerate(parts):
        for op in part.bound.operands:
            ends[id(op)] = i
    for _, value in graph.outputs:
        ends[id(_base(value))] = last
    starts = {id(part.fused): i for i, part in enumerate(parts)}
    outward = {id(_base(value)) for _, value in graph.outputs}
    found = []
    for op, name in names.items_by_node():
        lasting = not isinstance(op, Fused) or id(op) in outward
        found.append(
            Tensor(
                name=name, dtype=op.dtype, shape=op.shape,
                first=0 if not isinstance(op, Fused) else starts[id(op)],
                last=last if not isinstance(op, Fused) else ends.get(id(op), starts[id(op)]),
                memory=target.chip.dram if lasting else None,
                title=_title(op),
            )
        )  # fmt: skip
    return found


def _title(op: Op) -> str:
    """What a user calls a tensor: an input's own name, or the ONNX nodes that make it."""
    if isinstance(op, Input):
        return op.name
    return ", ".join(origins_of(op) if isinstance(op, Fused) else op.origin)


def _base(value: Op) -> Op:
    """The tensor whose dense buffer an output of the graph is; reshapes above it change nothing."""
    view = view_of(value)
    if view is None or not view.dense:
        raise IRError(
            "program",
            "an output is a dense tensor in memory",
            ", ".join(value.origin) or repr(value),
        )
    return view.base


def _output(name: str, value: Op, where: Mapping[int, Binding]) -> Binding:
    base = where[id(_base(value))]
    return Binding(name, value.dtype, value.shape, base.memory, base.address)


def _lowered(
    part: Part, index: int, where: Mapping[int, Binding], placement: Placement, target: Target
) -> tuple[Isa, ...]:
    bindings = {
        name: where[id(op)]
        for name, op in zip(part.operand_names, part.bound.operands, strict=True)
    }
    bindings[part.output_name] = where[id(part.fused)]
    try:
        return tuple(target.lower(part.kernel, bindings, placement.addresses[index]))
    except FieldError as error:
        what = f"a kernel is beyond what instructions of {target.name} can say"
        fix = "split the tensor, or compile for a smaller shape"
        raise CapacityError(what, ", ".join(part.fused.origin), str(error), fix) from error


def _infos(
    parts: Sequence[Part], blocks: Sequence[Sequence[Isa]], where: Mapping[int, Binding]
) -> Iterable[KernelInfo]:
    first = 0
    for part, block in zip(parts, blocks, strict=True):
        yield KernelInfo(
            name=part.kernel.name,
            origins=origins_of(part.fused),
            first=first,
            count=len(block),
            macs=part.bound.region.macs,
            inputs=tuple(where[id(op)] for op in part.bound.operands),
            output=where[id(part.fused)],
        )
        first += len(block)


def origins_of(fused: Fused) -> tuple[str, ...]:
    """The ONNX nodes that a kernel computes, in the order in which it meets them."""
    nodes = [n for n in fused.body.nodes if not isinstance(n, Input | Constant)]
    return tuple(dict.fromkeys(name for node in (*nodes, fused) for name in node.origin))
