"""The pass partition: what runs on the NPU and what on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Host, Item
from kcompiler.pipeline import Pass

Kind = Literal["npu", "host"]


@dataclass(frozen=True)
class Segment:
    """A part of the model that runs in one place without a break.

    Inputs and outputs of its graph are values of the whole model by name: outputs of earlier
    segments or inputs of the model. `refused` says which ONNX nodes are on the host, and why.
    """

    kind: Kind
    graph: Graph
    refused: tuple[tuple[tuple[str, ...], str], ...] = ()


def accept(_: Op) -> None:
    """The refusal of a target that takes every kernel."""


def worthwhile(_: Sequence[Op], __: Sequence[int]) -> None:
    """The answer of a link that costs nothing."""


class Partition(Pass):
    """Cut a graph of kernels into segments, in the order to run them; greedily as few as can be.

    `refusal(kernel)` is the reason why the target does not take a kernel, or None. Host operators
    and refused kernels make host segments, the rest NPU segments. `island(kernels, bytes)` is asked
    about kernels between two host segments: the reason why they stay on the host, or None; `bytes`
    are those of each value that would cross. Segments meet by name: each value that one makes and
    another reads has one name. What the model passes through unchanged is a host segment.
    """

    refusal: Callable[[Op], str | None] = accept
    island: Callable[[Sequence[Op], Sequence[int]], str | None] = worthwhile

    def run(self, ir: Graph) -> tuple[Segment, ...]:
        plan = _Plan(ir, self.refusal)
        runs = plan.shortest()
        while plan.leave_islands(runs, self.island):  # fewer kernels of the NPU each time
            runs = plan.shortest()
        return _segments(ir, runs, plan.reasons)


class _Plan:
    """The units of work of a graph, and where each runs."""

    def __init__(self, graph: Graph, refusal: Callable[[Op], str | None]) -> None:
        self.graph = graph
        self.reasons: dict[int, str] = {}
        self.units = [n for n in graph.nodes if not isinstance(n, Input | Constant | Item)]
        for node in self.units:
            reason = node.reason if isinstance(node, Host) else refusal(node)
            if reason is not None:
                self.reasons[id(node)] = reason

    def kind(self, node: Op) -> Kind:
        """Where a unit runs."""
        return "host" if id(node) in self.reasons else "npu"

    def shortest(self) -> list[tuple[Kind, list[Op]]]:
        """The better of the two orders."""
        return min((self.ordered("npu"), self.ordered("host")), key=len)

    def leave_islands(
        self,
        runs: Sequence[tuple[Kind, list[Op]]],
        island: Callable[[Sequence[Op], Sequence[int]], str | None],
    ) -> bool:
        """Give to the host what lies between two of its parts and is not worth the way."""
        left = False
        for kind, run in runs[1:-1]:
            reason = island(run, self._moved(run)) if kind == "npu" else None
            if reason is not None:
                self.reasons |= {id(node): reason for node in run}
                left = True
        return left

    def _moved(self, run: Sequence[Op]) -> list[int]:
        """The bytes of the values that a run reads from others and makes for others."""
        inside = {id(node) for node in run}
        read = {id(o): o for n in run for o in n.operands if not isinstance(o, Constant)}
        made = {id(value) for _, value in self.graph.outputs}
        made |= {id(o) for n in self.graph.nodes if id(n) not in inside for o in n.operands}
        taken = [o.type.nbytes for key, o in read.items() if key not in inside]
        return taken + [node.type.nbytes for node in run if id(node) in made]

    def ordered(self, first: Kind) -> list[tuple[Kind, list[Op]]]:
        """Runs of units of one kind: as many as can follow, then a change of place."""
        missing = {id(n): len(_needs(n)) for n in self.units}
        users: dict[int, list[Op]] = {id(n): [] for n in self.units}
        for node in self.units:
            for need in _needs(node):
                users[id(need)].append(node)
        order = {id(n): i for i, n in enumerate(self.units)}
        ready: dict[Kind, list[Op]] = {"npu": [], "host": []}
        for node in self.units:
            if not missing[id(node)]:
                ready[self.kind(node)].append(node)
        runs: list[tuple[Kind, list[Op]]] = []
        here: Kind = first if ready[first] else _other(first)
        while ready[here]:
            run: list[Op] = []
            while ready[here]:
                node = ready[here].pop(0)
                run.append(node)
                for user in users[id(node)]:
                    missing[id(user)] -= 1
                    if not missing[id(user)]:
                        ready[self.kind(user)].append(user)
            runs.append((here, sorted(run, key=lambda n: order[id(n)])))
            here = _other(here)
        return runs


def _other(kind: Kind) -> Kind:
    return "host" if kind == "npu" else "npu"


def _needs(node: Op) -> list[Op]:
    """The units whose results a unit reads, each once."""
    found: dict[int, Op] = {}
    for operand in node.operands:
        unit = operand.host if isinstance(operand, Item) else operand
        if not isinstance(unit, Input | Constant):
            found[id(unit)] = unit
    return list(found.values())


def _segments(
    graph: Graph, runs: Sequence[tuple[Kind, list[Op]]], reasons: dict[int, str]
) -> tuple[Segment, ...]:
    where = {id(n): i for i, (_, run) in enumerate(runs) for n in run}
    names = _Names(graph, where)
    found: list[Segment] = []
    for i, (kind, run) in enumerate(runs):
        refused = tuple((n.origin, reasons[id(n)]) for n in run if id(n) in reasons)
        found.append(Segment(kind, names.graph(i, run), refused))
    passed = [(name, v) for name, v in graph.outputs if isinstance(v, Input | Constant)]
    if passed:
        inputs = tuple({id(v): v for _, v in passed if isinstance(v, Input)}.values())
        found.append(Segment("host", Graph(f"{graph.name}.{len(runs)}", inputs, tuple(passed))))
    return tuple(found)


class _Names:
    """Names of the values that cross from one segment to another, and the graphs between them."""

    def __init__(self, graph: Graph, where: dict[int, int]) -> None:
        self.model = graph
        self.where = where
        self.names: dict[int, list[str]] = {}
        taken = {i.name for i in graph.inputs} | {name for name, _ in graph.outputs}
        for name, value in graph.outputs:
            if self.segment(value) is not None:
                self.names.setdefault(id(value), []).append(name)
        count = 0
        for node in graph.nodes:
            home = self.segment(node)
            abroad = any(self.segment(user) != home for user in self._readers(node))
            if home is None or not abroad or id(node) in self.names:
                continue
            while f"value{count}" in taken:
                count += 1
            self.names[id(node)] = [f"value{count}"]
            count += 1

    def segment(self, node: Op) -> int | None:
        """The segment that computes a value; None for inputs and constants."""
        return self.where.get(id(node.host if isinstance(node, Item) else node))

    def _readers(self, node: Op) -> list[Op]:
        return [u for u in self.model.users[id(node)] if not isinstance(u, Item)]

    def graph(self, number: int, run: Sequence[Op]) -> Graph:
        """The graph of a segment."""
        made: dict[int, Op] = {}
        inputs: list[Input] = []

        def operand(node: Op) -> Op:
            if id(node) not in made:
                made[id(node)] = self._outside(node, number, made, inputs)
            return made[id(node)]

        for node in run:
            made[id(node)] = node.with_operands([operand(o) for o in node.operands])
        mine = [n for n in self.model.nodes if id(n) in self.names and self.segment(n) == number]
        outputs = tuple((name, operand(node)) for node in mine for name in self.names[id(node)])
        return Graph(f"{self.model.name}.{number}", tuple(inputs), outputs)

    def _outside(self, node: Op, number: int, made: dict[int, Op], inputs: list[Input]) -> Op:
        """A value of another segment as an input; constants and items as they are."""
        if isinstance(node, Constant):
            return node
        if isinstance(node, Item) and self.segment(node) == number:
            return node.with_operands([made[id(node.host)]])
        if isinstance(node, Input):
            inputs.append(node)
            return node
        name = self.names[id(node)][0]
        inputs.append(Input(name, node.type).with_origin(node.origin))
        return inputs[-1]
