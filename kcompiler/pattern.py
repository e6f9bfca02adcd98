"""Patterns: descriptions of small graphs that a rule looks for.

`node(Mul, Any("x"), Number(2))` fits a multiplication of anything by two, either way round.
Matching backtracks over the orders of operands and reports, when nothing fits, how far it came.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.types import is_float

Predicate: TypeAlias = Callable[[Op], bool]
Kind: TypeAlias = type[Op]
Kinds: TypeAlias = Sequence[Kind]

# Operators whose two operands may be given in either order.
COMMUTATIVE = frozenset(
    {"Add", "Mul", "Max", "Min", "And", "Or", "Xor", "BitAnd", "BitOr", "BitXor", "Equal"}
)


@dataclass(frozen=True)
class Bindings:
    """What a partial match has found: parts by name, and the operator nodes that it consumed."""

    named: Mapping[str, Op] = field(default_factory=dict)
    inner: tuple[Op, ...] = ()

    def bind(self, name: str | None, op: Op) -> Bindings | None:
        """With one more name; None if the name stands for another node already."""
        if name is None:
            return self
        if name in self.named:
            return self if same(self.named[name], op) else None
        return Bindings({**self.named, name: op}, self.inner)

    def consume(self, op: Op) -> Bindings:
        """With one more consumed node."""
        return Bindings(self.named, (*self.inner, op))


@dataclass
class Failure:
    """The mismatch that lies deepest: the most useful one to tell."""

    parts: tuple[object, ...] = ("no pattern was tried",)
    depth: int = -1

    def note(self, depth: int, *parts: object) -> None:
        """Remember a mismatch if it is deeper than those before; few are ever put into words."""
        if depth > self.depth:
            self.depth, self.parts = depth, parts

    @property
    def reason(self) -> str:
        """The mismatch in words."""
        return " ".join(map(str, self.parts))


Matches: TypeAlias = Iterator[Bindings]


def same(one: Op, other: Op) -> bool:
    """Whether two nodes are one, or equal small constants."""
    if one is other:
        return True
    if not (isinstance(one, Constant) and isinstance(other, Constant)) or one.type.size > 64:
        return False
    return one.type == other.type and one.value.tobytes() == other.value.tobytes()


class Pattern(ABC):
    """A description of a node and of what it reads."""

    @abstractmethod
    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        """Every way in which the pattern fits at `op`, continuing from `found`."""

    def narrowed(self, kind: Kind, operands: Kinds | None = None) -> Pattern | None:
        """What is left of it for nodes of a class, whose operands are of some if they are told.

        None if it never fits them. Rules are looked up by this.
        """
        del kind, operands
        return self

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Any(Pattern):
    """Any tensor for which `where` holds."""

    name: str | None = None
    where: Predicate | None = None

    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        bound = found.bind(self.name, op)
        if bound is None:
            failure.note(depth, self, "stands for two different tensors")
        elif self.where is not None and not self.where(op):
            failure.note(depth, op, "is not what", self, "must be")
        else:
            yield bound

    def __str__(self) -> str:
        return self.name or "any tensor"


@dataclass(frozen=True)
class Const(Pattern):
    """A constant for whose value `where` holds."""

    name: str | None = None
    where: Callable[[Array], bool] | None = None

    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        bound = found.bind(self.name, op)
        if not isinstance(op, Constant):
            failure.note(depth, op, "is no constant")
        elif bound is None or (self.where is not None and not self.where(op.value)):
            failure.note(depth, op, "is not what", self, "must be")
        else:
            yield bound

    def narrowed(self, kind: Kind, operands: Kinds | None = None) -> Pattern | None:
        del operands
        return self if issubclass(kind, Constant) else None

    def __str__(self) -> str:
        return self.name or "a constant"


@dataclass(frozen=True)
class Number(Pattern):
    """A constant whose elements all have one value: `value` up to rounding, if it is given."""

    value: float | None = None
    name: str | None = None
    where: Callable[[float], bool] | None = None

    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        number = splat(op)
        if number is None:
            failure.note(depth, op, "is not one number")
            return
        bound = found.bind(self.name, op)
        fits = self.value is None or close(number, self.value, op)
        if bound is None or not fits or (self.where is not None and not self.where(number)):
            failure.note(depth, number, "is not", self)
        else:
            yield bound

    def narrowed(self, kind: Kind, operands: Kinds | None = None) -> Pattern | None:
        del operands
        return self if issubclass(kind, Constant) else None

    def __str__(self) -> str:
        return self.name or ("a number" if self.value is None else str(self.value))


@dataclass(frozen=True)
class Node(Pattern):
    """An operator of one of some classes, with patterns for its operands in field order.

    Operands of commutative operators are tried both ways round. Without operand patterns any
    operands fit. `where` looks at the attributes.
    """

    kinds: tuple[type[Op], ...]
    operands: tuple[Pattern, ...] | None
    name: str | None = None
    where: Predicate | None = None

    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        if not isinstance(op, self.kinds):
            failure.note(depth, op, "is not", self)
            return
        if self.where is not None and not self.where(op):
            failure.note(depth, "the attributes do not fit:", op)
            return
        bound = found.consume(op).bind(self.name, op)
        if bound is None:
            failure.note(depth, self, "stands for two different tensors")
            return
        if self.operands is None:
            yield bound
            return
        if len(op.operands) != len(self.operands):
            failure.note(depth, op, "has another number of operands")
            return
        for patterns in _orders(type(op), self.operands):
            yield from _match_all(patterns, op.operands, bound, failure, depth + 1)

    def narrowed(self, kind: Kind, operands: Kinds | None = None) -> Pattern | None:
        if not issubclass(kind, self.kinds):
            return None
        if operands is None or self.operands is None:
            return self
        if len(operands) != len(self.operands):
            return None
        fits = (
            all(p.narrowed(o) for p, o in zip(patterns, operands, strict=True))
            for patterns in _orders(kind, self.operands)
        )
        return self if any(fits) else None

    def __str__(self) -> str:
        return " or ".join(k.__name__ for k in self.kinds)


@dataclass(frozen=True)
class OneOf(Pattern):
    """The first of several alternatives, then the others."""

    choices: tuple[Pattern, ...]

    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        for choice in self.choices:
            yield from choice.match(op, found, failure, depth)

    def narrowed(self, kind: Kind, operands: Kinds | None = None) -> Pattern | None:
        left = tuple(c for choice in self.choices if (c := choice.narrowed(kind, operands)))
        return OneOf(left) if len(left) > 1 else next(iter(left), None)

    def __str__(self) -> str:
        return " or ".join(map(str, self.choices))


@dataclass(frozen=True)
class Chain(Pattern):
    """A tree of one commutative operator whose leaves fit some patterns, in any order and grouping.

    `Chain(Mul, (a, b, c))` fits a*(b*c), (c*a)*b and so on.
    """

    kind: type[Op]
    leaves: tuple[Pattern, ...]
    name: str | None = None

    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        if not isinstance(op, self.kind):
            failure.note(depth, op, "is not", self)
            return
        for nodes, leaves in _groupings(op, self.kind, len(self.leaves)):
            bound = found.bind(self.name, op)
            for node in nodes:
                bound = bound.consume(node) if bound else None
            if bound is None:
                failure.note(depth, self, "stands for two different tensors")
                continue
            for order in itertools.permutations(leaves):
                yield from _match_all(self.leaves, order, bound, failure, depth + 1)

    def narrowed(self, kind: Kind, operands: Kinds | None = None) -> Pattern | None:
        del operands
        return self if issubclass(kind, self.kind) else None

    def __str__(self) -> str:
        return f"a chain of {len(self.leaves)} {self.kind.__name__}"


def _orders(kind: type[Op], patterns: tuple[Pattern, ...]) -> Iterator[tuple[Pattern, ...]]:
    yield patterns
    if kind.__name__ in COMMUTATIVE and patterns[0] != patterns[1]:
        yield patterns[::-1]


@dataclass(frozen=True)
class Found(Pattern):
    """A pattern given by a function: the nodes that it consumes, or why it does not fit.

    For graphs of any size, which no fixed tree of patterns describes.
    """

    kinds: tuple[type[Op], ...]
    find: Callable[[Op], tuple[Op, ...] | str]

    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        if not isinstance(op, self.kinds):
            failure.note(depth, op, "is not", self)
            return
        consumed = self.find(op)
        if isinstance(consumed, str):
            failure.note(depth, consumed)
            return
        for inner in (op, *consumed):
            found = found.consume(inner)
        yield found

    def narrowed(self, kind: Kind, operands: Kinds | None = None) -> Pattern | None:
        del operands
        return self if issubclass(kind, self.kinds) else None

    def __str__(self) -> str:
        return " or ".join(k.__name__ for k in self.kinds)


@dataclass(frozen=True)
class Reading(Pattern):
    """A pattern whose root reads a node of some classes, or no others if it is for `every` one."""

    kinds: tuple[type[Op], ...]
    root: Pattern
    every: bool = False

    def match(self, op: Op, found: Bindings, failure: Failure, depth: int = 0) -> Matches:
        if self._reads([type(o) for o in op.operands]):
            yield from self.root.match(op, found, failure, depth)
        else:
            failure.note(depth, op, "does not read", self)

    def _reads(self, operands: Kinds) -> bool:
        right = [issubclass(o, self.kinds) for o in operands]
        return any(right) and (all(right) or not self.every)

    def narrowed(self, kind: Kind, operands: Kinds | None = None) -> Pattern | None:
        root = self.root.narrowed(kind, operands)
        if operands is None or root is None:
            return root and self
        return root if self._reads(operands) else None

    def __str__(self) -> str:
        return " or ".join(k.__name__ for k in self.kinds)


def node(
    kind: type[Op] | tuple[type[Op], ...],
    *operands: Pattern,
    name: str | None = None,
    where: Predicate | None = None,
) -> Node:
    """`Node` written shortly: no operand patterns means any operands."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return Node(kinds, operands or None, name, where)


def one_of(*choices: Pattern) -> OneOf:
    """`OneOf` written shortly."""
    return OneOf(choices)


def chain(kind: type[Op], *leaves: Pattern, name: str | None = None) -> Chain:
    """`Chain` written shortly."""
    return Chain(kind, leaves, name)


def reading(
    kind: type[Op] | tuple[type[Op], ...], root: Pattern, *, every: bool = False
) -> Reading:
    """`Reading` written shortly."""
    return Reading(kind if isinstance(kind, tuple) else (kind,), root, every)


def _match_all(
    patterns: Sequence[Pattern], ops: Sequence[Op], found: Bindings, failure: Failure, depth: int
) -> Matches:
    if not patterns:
        yield found
        return
    for first in patterns[0].match(ops[0], found, failure, depth):
        yield from _match_all(patterns[1:], ops[1:], first, failure, depth)


def _groupings(
    op: Op, kind: type[Op], leaves: int
) -> Iterator[tuple[tuple[Op, ...], tuple[Op, ...]]]:
    """Every (inner nodes, leaves) by which a tree of `kind` under `op` has so many leaves."""
    if leaves == 1:
        yield (), (op,)
    elif isinstance(op, kind):
        left, right = op.operands
        for count in range(1, leaves):
            for nodes, found in _groupings(left, kind, count):
                for more_nodes, more in _groupings(right, kind, leaves - count):
                    yield (op, *nodes, *more_nodes), (*found, *more)


def splat(op: Op) -> float | None:
    """The number that every element of a constant has, or None."""
    return op.number if isinstance(op, Constant) else None


def close(number: float, value: float, op: Op) -> bool:
    """Whether a number of the element type of `op` stands for `value`: equal up to rounding.

    Exporters write sqrt(2) with anything from four to sixteen digits; in float64 all of them count.
    """
    if not is_float(op.dtype):
        return number == value
    slack = {1: 2e-3, 2: 2e-3, 4: 2e-6}.get(op.dtype.itemsize, 1e-14)
    return number == value or abs(number - value) <= slack * abs(value) < math.inf
