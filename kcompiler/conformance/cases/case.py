"""One case of the operator suite: an operator on inputs and constants, and values for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kcompiler.graph.bounded import Bounded, exact
from kcompiler.graph.bounds import bound_graph
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.types import TensorType, dtype_name, is_float
from kcompiler.machine.chip import Chip


@dataclass(frozen=True)
class Sizes:
    """The numbers of a chip around which shapes are odd."""

    rows: int  # of the array
    lanes: int  # of the vector unit

    @classmethod
    def of(cls, chip: Chip) -> Sizes:
        """Those of a chip, capped so that cases stay small."""
        rows = max(chip.matrix.rows.value, chip.matrix.columns.value)
        return cls(min(rows, 64), min(chip.vector.lanes.value, 128))


@dataclass(frozen=True)
class Case:
    """A small graph with one output; `values` are those of its inputs by name."""

    name: str
    root: Op
    values: Mapping[str, Array]

    def renamed(self, name: str) -> Case:
        """The same under another name."""
        return replace(self, name=name, root=self.root.with_origin((name,)))

    @property
    def graph(self) -> Graph:
        """The case alone; its output has its name."""
        return together((self,))

    def expected(self) -> Bounded:
        """What the graph means: the bits of integers, a bound for floats."""
        if any(is_float(n.dtype) for n in self.graph.nodes):
            given = {i.name: exact(self.values[i.name], i.dtype) for i in self.graph.inputs}
            return bound_graph(self.graph, given)[self.name]
        return exact(run_graph(self.graph, self.values)[self.name])

    def floats(self) -> set[str]:
        """The names of the float types in it."""
        nodes = self.graph.nodes
        return {dtype_name(n.dtype) for n in nodes if is_float(n.dtype)}


def together(cases: Collection[Case]) -> Graph:
    """A graph of several cases, which share nothing."""
    inputs: dict[int, Input] = {}
    for case in cases:
        nodes = Graph("case", (), ((case.name, case.root),)).nodes
        inputs |= {id(n): n for n in nodes if isinstance(n, Input)}
    outputs = tuple((case.name, case.root) for case in cases)
    return Graph("conformance", tuple(inputs.values()), outputs)


def case(
    make: Callable[..., Op], *values: Array, what: str = "", constant: Collection[int] = ()
) -> Case:
    """`make` of operands with these values; those at the positions `constant` are constants.

    The name says operator, operands and attributes; `what` what else is special.
    """
    # Names of inputs are made of the case's name, which the operator has to be known for.
    draft = make(*(Input("", TensorType(v.dtype, v.shape)) for v in values))
    name = " ".join(part for part in (describe(draft), what) if part)
    operands = tuple(
        Constant(v) if i in constant else Input(f"{name} x{i}", TensorType(v.dtype, v.shape))
        for i, v in enumerate(values)
    )
    given = {o.name: v for o, v in zip(operands, values, strict=True) if isinstance(o, Input)}
    return Case(name, make(*operands), given).renamed(name)


def describe(op: Op) -> str:
    """An operator with the types of its operands and its attributes, in a line."""
    operands = ", ".join(str(o.type) for o in op.operands)
    attributes = " ".join(f"{k}={_short(v)}" for k, v in op.attributes.items())
    return f"{type(op).__name__}({operands}){attributes and ' '}{attributes}"


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(_short, value)) or "()"
    return dtype_name(value) if hasattr(value, "itemsize") else str(value)
