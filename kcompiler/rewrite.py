"""Rewriting of graphs: rules with a pattern, a check that gives its reason, and a replacement.

A rule replaces one node by another of equal value and type. It is right on its own: the order of
rules may improve the result, never its truth. The driver applies rules until none fits, operands
first, in sweeps of time linear in the size of the graph. What a rule sees of a node lies below it
and never changes, so a node that no rule fits is not tried again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np

from kcompiler.graph.node import Graph, Op, topological
from kcompiler.pattern import Bindings, Failure, Pattern

Node = TypeVar("Node", bound=Op)

# A sound set of rules settles in a few sweeps; these bounds turn an endless loop into an error.
MAX_SWEEPS = 100
MAX_STEPS_PER_NODE = 50


@dataclass(frozen=True)
class Match:
    """Where a pattern fits: the node at its root, the named parts, and the nodes it consumes."""

    root: Op
    bindings: Mapping[str, Op]
    inner: tuple[Op, ...]

    def __getitem__(self, name: str) -> Op:
        return self.bindings[name]

    def __contains__(self, name: str) -> bool:
        return name in self.bindings

    def node(self, kind: type[Node], name: str) -> Node:
        """The part with a name, known to be of an operator class."""
        found = self.root if name == "root" else self.bindings[name]
        if not isinstance(found, kind):
            raise TypeError(f"{name} is a {type(found).__name__}, not a {kind.__name__}")
        return found


@dataclass(frozen=True)
class NoMatch:
    """Why a rule does not apply to a node; `shared`: it may, once others stop reading its parts."""

    why: str | Failure
    shared: bool = field(default=False, compare=False)

    @property
    def reason(self) -> str:
        """The reason in words; few are ever asked for."""
        return self.why if isinstance(self.why, str) else self.why.reason


class Rule(ABC):
    """A replacement of a small graph by an equal one; the docstring says which and why.

    `exclusive` rules apply only when the consumed nodes have no other users, because otherwise work
    would be done twice. `exact` says that both sides agree bit for bit, not only up to rounding.
    Whether a rule applies depends on nothing else than the nodes below the root and these users.
    """

    pattern: ClassVar[Pattern]
    exclusive: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The name that reports use."""
        return type(self).__name__

    def check(self, match: Match) -> str | None:
        """Why a fitting pattern must stay as it is, or None to rewrite it."""
        del match
        return None

    @abstractmethod
    def build(self, match: Match) -> Op:
        """The replacement: of the type of `match.root`, made of its parts and new nodes."""

    @abstractmethod
    def example(self, rng: np.random.Generator) -> Op:
        """A random instance of the pattern that this rule rewrites, over `Input` nodes."""


@dataclass
class Uses:
    """How many readers a node has; operand positions and graph outputs count one each."""

    counts: dict[int, int] = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph) -> Uses:
        """The uses of every node of a graph."""
        uses = Uses()
        uses.add_edges(graph.nodes)
        for _, value in graph.outputs:
            uses.counts[id(value)] = uses.counts.get(id(value), 0) + 1
        return uses

    def __getitem__(self, node: Op) -> int:
        return self.counts.get(id(node), 0)

    def add_edges(self, nodes: Iterable[Op]) -> None:
        """Count the operands of these nodes as used."""
        for node in nodes:
            for operand in node.operands:
                self.counts[id(operand)] = self.counts.get(id(operand), 0) + 1


def find(
    rule: Rule, root: Op, uses: Uses | None = None, pattern: Pattern | None = None
) -> Match | NoMatch:
    """Where `rule` fits at `root`, or why it does not; without `uses` every node is unshared.

    `pattern` is what is left of the rule's for nodes like this (`Pattern.narrowed`).
    """
    failure = Failure()
    refused: str | None = None
    shared = False
    for found in (pattern or rule.pattern).match(root, Bindings(), failure):
        match = Match(root, found.named, tuple(n for n in found.inner if n is not root))
        refused = _shared(rule, match, uses)
        shared |= refused is not None
        refused = refused or rule.check(match)
        if refused is None:
            return match
    return NoMatch(failure if refused is None else refused, shared)


def _shared(rule: Rule, match: Match, uses: Uses | None) -> str | None:
    """The node that an exclusive rule would have to compute a second time."""
    if uses is None or not rule.exclusive:
        return None
    consumed = Uses()
    consumed.add_edges(_distinct([match.root, *match.inner]))
    for node in match.inner:
        if uses[node] > consumed[node]:
            name = ", ".join(node.origin) or repr(node)
            return f"{type(node).__name__} ({name}) is also used elsewhere"
    return None


def apply(rule: Rule, root: Op, uses: Uses | None = None) -> Op | NoMatch:
    """The replacement of `root` by `rule`, with the origins of all that it replaces."""
    match = find(rule, root, uses)
    if isinstance(match, NoMatch):
        return match
    return _built(rule, match, {id(n): n for n in topological([root])})


def _built(rule: Rule, match: Match, known: Mapping[int, Op]) -> Op:
    """The replacement at a match; `known` holds the nodes that its root needs, by id."""
    new = rule.build(match)
    if new.type != match.root.type:
        raise TypeError(f"rule {rule.name} turns {match.root!r} into {new!r}")
    return _with_origins(new, match, known)


def _with_origins(new: Op, match: Match, old: Mapping[int, Op]) -> Op:
    """`new`, where nodes made by the rule come from the ONNX nodes that the match consumed."""
    consumed = _distinct([*match.inner, match.root])
    origin = tuple(dict.fromkeys(name for node in consumed for name in node.origin))
    made = _above(new, old)
    kept = {name for node in made for name in node.origin}
    lost = tuple(name for name in origin if name not in kept)
    fresh: dict[int, Op] = {}
    for node in made:
        moved = node.with_operands([fresh.get(id(o), o) for o in node.operands])
        if not node.origin:
            moved = moved.with_origin(origin)
        elif node is new:
            moved = moved.with_origin((*node.origin, *lost))
        fresh[id(node)] = moved
    return fresh.get(id(new), new)


def _above(root: Op, known: Mapping[int, Op]) -> list[Op]:
    """The nodes that `root` needs and `known` lacks, operands first."""
    order: dict[int, Op] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        missing = [o for o in node.operands if id(o) not in known and id(o) not in order]
        if id(node) in known or id(node) in order:
            stack.pop()
        elif missing:
            stack.extend(reversed(missing))
        else:
            order[id(stack.pop())] = node
    return list(order.values())


def _distinct(nodes: Sequence[Op]) -> list[Op]:
    return list({id(n): n for n in nodes}.values())


def rewrite(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """The graph with `rules` applied until none fits; the same object when none does."""
    return Rewriter(rules).run(graph)


class Rewriter:
    """Applies rules to graphs that follow from each other; each node is tried in vain but once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self._tables: dict[tuple[type[Op], ...], list[tuple[Rule, Pattern]]] = {}
        # By id, with the node, which keeps its id taken.
        self._inert: dict[int, Op] = {}

    def run(self, graph: Graph) -> Graph:
        """The graph with the rules applied until none fits; the same object when none does."""
        for _ in range(MAX_SWEEPS):
            swept = _Sweep(graph, self).run()
            if swept is graph:
                return graph
            graph = swept
        raise _unsettled(self.rules)

    def step(self, node: Op, uses: Uses, known: Mapping[int, Op]) -> Op | None:
        """The replacement of a node by the first rule that applies, or None."""
        if id(node) in self._inert:
            return None
        shared = False
        for rule, pattern in self._rules_for(node):
            match = find(rule, node, uses, pattern)
            if isinstance(match, Match):
                return _built(rule, match, known)
            shared |= match.shared
        if not shared:
            self._inert[id(node)] = node
        return None

    def _rules_for(self, node: Op) -> list[tuple[Rule, Pattern]]:
        """The rules that may fit, as far as the classes of the node and of its operands tell."""
        kinds = (type(node), *map(type, node.operands))
        if kinds not in self._tables:
            left = ((r, r.pattern.narrowed(kinds[0], kinds[1:])) for r in self.rules)
            self._tables[kinds] = [(rule, pattern) for rule, pattern in left if pattern]
        return self._tables[kinds]


def _unsettled(rules: Sequence[Rule]) -> RuntimeError:
    return RuntimeError("these rules do not settle: " + ", ".join(r.name for r in rules))


class _Sweep:
    """One walk over a graph, operands first, that settles every node."""

    def __init__(self, graph: Graph, driver: Rewriter) -> None:
        self.graph = graph
        self.driver = driver
        self.uses = Uses.of(graph)
        self.settled: dict[int, Op] = {}
        # Nodes are known by id, so none that was seen may be freed before the sweep ends.
        self.alive: list[Op] = []
        self.steps = MAX_STEPS_PER_NODE * (len(graph.nodes) + 10)
        self.changed = False

    def run(self) -> Graph:
        """The graph after the sweep."""
        for node in self.graph.nodes:
            moved = node.with_operands([self.settled[id(o)] for o in node.operands])
            self._renamed(node, moved)
            self.settled[id(node)] = self._settle(moved)
        if not self.changed:
            return self.graph
        outputs = tuple((name, self.settled[id(value)]) for name, value in self.graph.outputs)
        return Graph(self.graph.name, self.graph.inputs, outputs)

    def _settle(self, node: Op) -> Op:
        """What rules make of a node whose operands are settled."""
        self.alive.append(node)
        while (new := self.driver.step(node, self.uses, self.settled)) is not None:
            self.changed = True
            self._renamed(node, new)
            node = self._settle_new(new)
        self.settled[id(node)] = node
        return node

    def _settle_new(self, root: Op) -> Op:
        """A node made by a rule, after what it is made of has been settled."""
        self.alive.append(root)
        fresh = _above(root, self.settled)
        self.uses.add_edges(fresh)
        self.steps -= len(fresh) + 1
        if self.steps < 0:
            raise _unsettled(self.driver.rules)
        for node in fresh[:-1]:
            moved = node.with_operands([self.settled[id(o)] for o in node.operands])
            self._renamed(node, moved)
            self.settled[id(node)] = self._settle(moved)
        moved = root.with_operands([self.settled[id(o)] for o in root.operands])
        self._renamed(root, moved)
        return moved

    def _renamed(self, old: Op, new: Op) -> None:
        """A new node is read by whoever read the old one; counts may only be too high."""
        if new is not old:
            self.alive += (old, new)
            self.uses.counts[id(new)] = self.uses[new] + self.uses[old]
