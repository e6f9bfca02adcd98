"""Whether a model's outputs can be padded: a proof by rules, from node to node.

The graph of a bucket is walked beside imports of the model at other extents, which must have the
same nodes with the shapes that the layouts predict, and the same constants. For each tensor the
rules prove that its kept elements are those of the exact model, whatever the padding holds within
what is known of it. The first node where no rule holds makes the model one that cannot be padded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kcompiler.buckets import rules as _rules
from kcompiler.buckets.known import Known, Scene, UnsafeError, built, reason_of, rule_for
from kcompiler.buckets.layout import POSITIONS, Dims, Layout, describe, extents, padded, static
from kcompiler.buckets.rules.elementwise import counts_up
from kcompiler.buckets.spans import TRUTH, ZERO, Span, span, span_of_type
from kcompiler.errors import UnsupportedError
from kcompiler.graph.build import cast, reshape
from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Broadcast, Pad, Reshape, Slice
from kcompiler.graph.types import BOOL, I64, TensorType

__all__ = ["Padded", "analyse"]

del _rules  # imported for the table that it fills

# Attributes that follow the extents; the rules read them, and shapes are compared.
_SHAPED = (Broadcast, Pad, Reshape, Slice)


@dataclass(frozen=True)
class Padded:
    """A graph that may be padded: layouts of its inputs and outputs.

    `positions` are inputs that were added: the numbers 0, 1, 2… of the kept places of an axis.
    """

    graph: Graph
    inputs: Mapping[str, tuple[Layout, ...]]
    outputs: Mapping[str, tuple[Layout, ...]]
    positions: Mapping[str, Layout] = field(default_factory=dict)


def analyse(
    graph: Graph,
    inputs: Mapping[str, tuple[Layout, ...]],
    bucket: Dims,
    least: Dims,
    others: Sequence[tuple[Dims, Graph]],
    *,
    unknown: frozenset[str] = frozenset(),
) -> Padded:
    """Prove that a graph may be padded; raises `UnsupportedError` with the rule that fails.

    `bucket` and `least` are the extents of the padded dimensions; `others` are imports at other
    extents. Padding of inputs is zero, for `unknown` ones any finite number.
    """
    walk = _Walk(graph, inputs, bucket, least, unknown)
    walk.run(others)
    return walk.result()


class _Walk:
    """One analysis."""

    def __init__(
        self,
        graph: Graph,
        inputs: Mapping[str, tuple[Layout, ...]],
        bucket: Dims,
        least: Dims,
        unknown: frozenset[str],
    ) -> None:
        self.graph, self.inputs, self.bucket, self.least = graph, inputs, bucket, least
        self.unknown = unknown
        self.known: dict[int, Known] = {}
        self.layouts: dict[Layout, None] = {}
        self.positions: dict[int, tuple[str, Layout]] = {}

    def run(self, others: Sequence[tuple[Dims, Graph]]) -> None:
        """Prove it for every node, operands first."""
        for axes in self.inputs.values():
            self._learn(axes)
        partners = [_partners(self.graph, other) for _, other in others]
        for node in self.graph.nodes:
            twins = tuple((d, p[id(node)]) for (d, _), p in zip(others, partners, strict=True))
            scene = Scene(self.bucket, self.least, tuple(self.layouts), twins)
            try:
                known = self._node(node, scene)
                _check_shapes(known, scene)
            except UnsafeError as why:
                raise self._refused(node, str(why)) from None
            self.known[id(node)] = known
            self._learn(known.axes)

    def result(self) -> Padded:
        """The graph with inputs in the place of positions."""
        names = dict(self.positions.values())
        made = {
            name: Input(name, TensorType(I64, extents([layout], self.bucket)))
            for name, layout in names.items()
        }

        def step(node: Op) -> Op:
            if id(node) not in self.positions:
                return node
            given = made[self.positions[id(node)][0]]
            return reshape(cast(given, node.dtype), node.shape).with_origin(node.origin)

        graph = self.graph
        if made:
            graph = graph.rewrite(step)
            graph = Graph(graph.name, (*graph.inputs, *made.values()), graph.outputs)
        outputs = {name: self.known[id(value)].axes for name, value in self.graph.outputs}
        return Padded(graph, self.inputs, outputs, names)

    def _learn(self, axes: Sequence[Layout]) -> None:
        self.layouts |= dict.fromkeys(layout for layout in axes if padded(layout))

    def _node(self, node: Op, scene: Scene) -> Known:
        if isinstance(node, Input):
            return self._input(node)
        if isinstance(node, Constant) and (found := self._position(node, scene)) is not None:
            return found
        rule = rule_for(node)
        if rule is None:
            raise UnsafeError("there is no rule for it")
        if not isinstance(node, _SHAPED):
            _check_attributes(node, scene)
        return rule(node, scene, *(self.known[id(o)] for o in node.operands))

    def _input(self, node: Input) -> Known:
        axes = self.inputs[node.name]
        whole = TRUTH if node.dtype == BOOL else span_of_type(node.dtype)
        beside: Span = whole if node.name in self.unknown else ZERO
        return built(axes, lambda place: whole if place is None else beside, beside)

    def _position(self, node: Constant, scene: Scene) -> Known | None:
        """Positions along an axis of several segments: the session computes them."""
        if not counts_up(node.value) or not all(
            isinstance(o, Constant) and counts_up(o.value) for _, o in scene.others
        ):
            return None
        axes = [scene.layout_of(a, n) or static(n) for a, n in enumerate(node.shape)]
        mine = next((layout for layout in axes if padded(layout)), None)
        if mine is None or len(mine) == 1:
            return None
        self.positions[id(node)] = (f"{POSITIONS}({describe(mine)})", mine)
        whole = span(0.0, float(node.value.size - 1))
        return built(axes, lambda place: whole if place is None else ZERO, ZERO)

    def _refused(self, node: Op, why: str) -> UnsupportedError:
        rule = rule_for(node)
        reason = reason_of(rule) if rule is not None else "No rule says what padding does to it."
        dims = ", ".join(self.bucket)
        sizes = " ".join(f"--dim {name}={size}" for name, size in self.bucket.items())
        return UnsupportedError(
            f"the model's outputs cannot be padded along {dims}",
            ", ".join(node.origin) or repr(node),
            f"{reason} ({type(node).__name__}: {why})",
            f"compile it for fixed extents: {sizes}",
        )


def _check_shapes(known: Known, scene: Scene) -> None:
    for dims, other in scene.others:
        expected = extents(known.axes, dims)
        if expected != other.shape:
            at = ", ".join(f"{name}={size}" for name, size in dims.items())
            raise UnsafeError(f"its shape is {list(other.shape)} for {at}, not {list(expected)}")


def _check_attributes(node: Op, scene: Scene) -> None:
    for dims, other in scene.others:
        if isinstance(node, Input | Constant) or node.attributes == other.attributes:
            continue
        at = ", ".join(f"{name}={size}" for name, size in dims.items())
        raise UnsafeError(f"it has other attributes for {at}")


def _partners(graph: Graph, other: Graph) -> dict[int, Op]:
    """The node of another import for each node; raises `UnsupportedError` where they differ."""
    number = {id(n): i for i, n in enumerate(graph.nodes)}
    theirs = {id(n): i for i, n in enumerate(other.nodes)}
    for mine, yours in zip(graph.nodes, other.nodes, strict=False):
        same = type(mine) is type(yours) and mine.dtype == yours.dtype
        operands = [number[id(o)] for o in mine.operands] == [theirs[id(o)] for o in yours.operands]
        if not same or not operands or mine.type.rank != yours.type.rank:
            raise _other_graph(mine)
    if len(graph.nodes) != len(other.nodes):
        raise _other_graph(graph.outputs[0][1])
    return {id(m): y for m, y in zip(graph.nodes, other.nodes, strict=True)}


def _other_graph(node: Op) -> UnsupportedError:
    return UnsupportedError(
        "the model cannot be padded",
        ", ".join(node.origin) or repr(node),
        "at other extents it is another graph from this node on",
        "compile it for fixed extents: --dim NAME=EXTENT",
    )
