"""The pass partition: what runs on the NPU and what on the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Cast, Fused, Host, Item
from kcompiler.machine.crossing import BESIDE
from kcompiler.pipeline import Pass

Kind = Literal["npu", "host"]


@dataclass(frozen=True)
class Segment:
    """A part of the model that runs in one place without a break.

    Inputs and outputs of its graph are values of the whole model by name: outputs of earlier
    segments or inputs of the model. `refused` says which ONNX nodes are on the host, and why;
    `beside` are those reasons that follow from what is next to the nodes.
    """

    kind: Kind
    graph: Graph
    refused: tuple[tuple[tuple[str, ...], str], ...] = ()
    beside: frozenset[str] = frozenset()


def accept(_: Op) -> None:
    """The refusal of a target that takes every kernel."""


Island: TypeAlias = Callable[[Sequence[Op], Sequence[int], Sequence[int]], str | None]


def worthwhile(_: Sequence[Op], __: Sequence[int], ___: Sequence[int]) -> None:
    """The answer of a link that costs nothing."""


class Partition(Pass):
    """Cut a graph of kernels into segments, in the order to run them; greedily as few as can be.

    `refusal(kernel)` is the reason why the target does not take a kernel, or None. Host operators
    and refused kernels make host segments, the rest NPU segments. `island(kernels, moved, spared)`
    is asked about connected kernels beside something on the host: the reason why they stay there,
    or None; `moved` are the bytes of each value that crosses only because of them, `spared` of each
    that would cross if the host had them. `later` names outputs that something on the host reads,
    behind the graph. Segments meet by name: each value that one makes and
    another reads has one name. What the model passes through unchanged is a host segment.
    """

    refusal: Callable[[Op], str | None] = accept
    island: Island = worthwhile
    later: Collection[str] = ()

    def run(self, ir: Graph) -> tuple[Segment, ...]:
        plan = _Plan(ir, self.refusal, self.later)
        runs = plan.shortest()
        while plan.leave_islands(runs, self.island):  # fewer kernels of the NPU each time
            runs = plan.shortest()
        return _segments(ir, runs, plan)


class _Plan:
    """The units of work of a graph, and where each runs."""

    def __init__(
        self, graph: Graph, refusal: Callable[[Op], str | None], later: Collection[str]
    ) -> None:
        self.graph = graph
        self.reasons: dict[int, str] = {}
        self.beside: set[str] = set()  # those that follow from neighbours
        self.units = [n for n in graph.nodes if not isinstance(n, Input | Constant | Item)]
        for node in self.units:
            reason = node.reason if isinstance(node, Host) else refusal(node)
            if reason is not None:
                self.reasons[id(node)] = reason
        self.wanted = {id(value) for _, value in graph.outputs}
        self.late = {id(value) for name, value in graph.outputs if name in later}
        users = graph.users.items()
        self.readings = {key: Counter(self.kind(u) for u in found) for key, found in users}

    def kind(self, node: Op) -> Kind:
        """Where a unit runs."""
        return "host" if id(node) in self.reasons else "npu"

    def shortest(self) -> list[tuple[Kind, list[Op]]]:
        """The better of the two orders."""
        return min((self.ordered("npu"), self.ordered("host")), key=len)

    def leave_islands(self, runs: Sequence[tuple[Kind, list[Op]]], island: Island) -> bool:
        """Give to the host what lies beside parts of it and is not worth the way."""
        left = False
        for kind, run in runs:
            if kind == "host":
                continue
            for part in (*_connected(run), run):
                left |= self._leave([n for n in part if self.kind(n) == "npu"], island)
        return left

    def _leave(self, part: Sequence[Op], island: Island) -> bool:
        beside = _Beside(self, part)
        reason = island(part, beside.moved, beside.spared) if beside.where else None
        if reason is not None:
            because = f"{beside.where}: {reason}"
            self.beside.add(because)
            self.reasons |= {id(node): because for node in part}
            for value, times in beside.read.items():
                moved: dict[Kind, int] = {"npu": -times, "host": times}
                self.readings[value] += Counter(moved)
        return reason is not None

    def made_by_host(self, value: Op) -> bool:
        """Whether a value is there without the NPU: a constant is on either side."""
        unit = value.host if isinstance(value, Item) else value
        return isinstance(unit, Input) or self.kind(unit) == "host"

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


class _Beside:
    """What lies around some kernels of the NPU, and what crosses because of them.

    `moved` are bytes of values that cross only while the kernels are on the NPU, `spared` of
    values that would cross only if the host had them. `where` is empty where no part of the host
    is next to them.
    """

    def __init__(self, plan: _Plan, part: Sequence[Op]) -> None:
        self.plan = plan
        self.inside = {id(node) for node in part}
        self.read = Counter(id(o) for n in part for o in n.operands)
        values = {id(o): o for n in part for o in n.operands if not isinstance(o, Constant)}
        before = [value for key, value in values.items() if key not in self.inside]
        self.moved: list[int] = []
        self.spared: list[int] = []
        for value in before:
            self._read(value)
        for node in part:
            self._made(node)
        self.where = BESIDE[self._follows(before), self._leads(part)]

    def _follows(self, before: Sequence[Op]) -> bool:
        """Whether the host has made a value that is read, otherwise than by casting an input."""
        units = [v.host if isinstance(v, Item) else v for v in before if not isinstance(v, Input)]
        return any(self.plan.kind(u) == "host" and not self._at_the_border(u) for u in units)

    def _leads(self, part: Sequence[Op]) -> bool:
        """Whether the host reads a result, otherwise than to cast an output."""
        users = [u for n in part for u in self.plan.graph.users[id(n)]]
        others = [u for u in users if id(u) not in self.inside and not self._at_the_border(u)]
        return any(id(n) in self.plan.late for n in part) or any(
            self.plan.kind(u) == "host" for u in others
        )

    def _at_the_border(self, unit: Op) -> bool:
        """Whether a unit casts an input, or an output: every model may need that."""
        body = unit.body.nodes if isinstance(unit, Fused) else (unit,)
        if not all(isinstance(n, Cast | Input) for n in body):
            return False
        return isinstance(unit.operands[0], Input) or id(unit) in self.plan.wanted

    def _read(self, value: Op) -> None:
        """A value from outside crosses for these kernels, unless others take it along."""
        readers = self._readers(value)
        if self.plan.made_by_host(value):
            if "npu" not in readers:
                self.moved.append(value.type.nbytes)
        elif "host" not in readers and id(value) not in self.plan.wanted:
            self.spared.append(value.type.nbytes)

    def _made(self, node: Op) -> None:
        """A result crosses back if the host wants it; if the host had it, where the NPU does."""
        readers = self._readers(node)
        if "host" in readers or id(node) in self.plan.wanted:
            self.moved.append(node.type.nbytes)
        if "npu" in readers:
            self.spared.append(node.type.nbytes)

    def _readers(self, value: Op) -> set[Kind]:
        """Where others read a value."""
        mine: dict[Kind, int] = {"npu": self.read[id(value)]}
        found = self.plan.readings[id(value)]
        return {kind for kind, times in found.items() if times > mine.get(kind, 0)}


def _connected(run: Sequence[Op]) -> list[list[Op]]:
    """The parts of a run that share no value made in it, in its order."""
    part = {id(node): {id(node)} for node in run}
    for node in run:
        for operand in node.operands:
            if id(operand) in part and part[id(operand)] is not part[id(node)]:
                small, large = sorted((part[id(operand)], part[id(node)]), key=len)
                large |= small
                part |= dict.fromkeys(small, large)
    found: dict[int, list[Op]] = {}
    for node in run:
        found.setdefault(id(part[id(node)]), []).append(node)
    return list(found.values())


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
    graph: Graph, runs: Sequence[tuple[Kind, list[Op]]], plan: _Plan
) -> tuple[Segment, ...]:
    reasons = plan.reasons
    where = {id(n): i for i, (_, run) in enumerate(runs) for n in run}
    names = _Names(graph, where)
    found: list[Segment] = []
    for i, (kind, run) in enumerate(runs):
        refused = tuple((n.origin, reasons[id(n)]) for n in run if id(n) in reasons)
        beside = frozenset(why for _, why in refused if why in plan.beside)
        found.append(Segment(kind, names.graph(i, run), refused, beside))
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
        self.crossing: dict[int | None, list[Op]] = {}
        for node in graph.nodes:
            if id(node) in self.names:
                self.crossing.setdefault(self.segment(node), []).append(node)

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
        mine = self.crossing.get(number, ())
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
