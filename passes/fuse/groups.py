"""Which nodes of a graph become one kernel.

An anchor (a contraction, a reduction, a norm…) takes the element-wise operators after it as long as
they end in one tensor; reductions and norms take those before them too. What is left of the
element-wise operators makes groups of its own.

No two groups wait for each other: every group is read through its root alone, so a group that needs
another comes after it in topological order of the roots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import (
    Add,
    ArgReduce,
    Attention,
    Cast,
    Concat,
    Contract,
    Conv,
    CumSum,
    Elementwise,
    Fused,
    Gather,
    Host,
    Item,
    LayerNorm,
    Mul,
    Pad,
    Reduce,
    RmsNorm,
    Softmax,
    Sub,
    TopKIndices,
    TopKValues,
    Window,
)
from kcompiler.graph.operators.movement import Reshape
from kcompiler.graph.types import F64, is_float, is_integer
from kcompiler.kernel.views import is_movement
from kcompiler.passes.fuse.numbers import is_byte

# Kernels of their own: what follows and precedes them is not part of them.
ALONE = (CumSum, TopKIndices, TopKValues)
# Copies that an element-wise group may read through.
COPIES = (Pad, Concat)
WITH_EPILOGUE = (
    Contract,
    Conv,
    Attention,
    Window,
    Reduce,
    ArgReduce,
    Softmax,
    LayerNorm,
    RmsNorm,
    Gather,
)
# Anchors whose first operand may be computed on the way in: each element is read by one core.
WITH_PROLOGUE = (Reduce, Softmax, LayerNorm, RmsNorm)
OUTSIDE = (Input, Constant, Host, Item, Fused)


@dataclass
class Group:
    """Nodes that become one kernel: all users of all of them but the root are among them.

    `checkpoints` are smaller groups to fall back to, the largest last.
    """

    members: list[Op]
    root: Op
    checkpoints: list[tuple[tuple[Op, ...], Op]] = field(default_factory=list)

    def __contains__(self, op: Op) -> bool:
        return any(m is op for m in self.members)


@dataclass(frozen=True)
class Limits:
    """What one kernel may have at most; `supported` says whether it can be made.

    With `integer`, bytes and other numbers do not meet in a kernel's operands and result.
    """

    inputs: int
    members: int
    supported: Callable[[Group], bool]
    integer: bool = False


class Grouping:
    """The groups of a graph in the making."""

    def __init__(self, graph: Graph, limits: Limits) -> None:
        self.graph = graph
        self.limits = limits
        self.position = {id(n): i for i, n in enumerate(graph.nodes)}
        self.outputs = {id(value) for _, value in graph.outputs}
        self.owner: dict[int, Group] = {}
        self.groups: list[Group] = []

    def run(self) -> list[Group]:
        """All groups, in topological order of their roots."""
        backwards = self.graph.nodes[::-1]
        for node in backwards:
            if isinstance(node, WITH_EPILOGUE):
                self._claim(self._grown(node))
        for group in list(self.groups):
            self._absorb(group)
        for node in backwards:
            if isinstance(node, Elementwise) and id(node) not in self.owner:
                group = self._claim(Group([node], node))
                self._absorb(group)
        for node in backwards:
            if isinstance(node, (*COPIES, *ALONE)) and id(node) not in self.owner:
                group = self._claim(Group([node], node))
                if isinstance(node, COPIES):
                    self._absorb(group)
        return sorted(self.groups, key=lambda g: self.position[id(g.root)])

    def _claim(self, group: Group) -> Group:
        self.groups.append(group)
        for member in group.members:
            self.owner[id(member)] = group
        return group

    def users(self, op: Op) -> tuple[Op, ...]:
        """Who reads a node."""
        return self.graph.users[id(op)]

    # ---- growing forwards ---------------------------------------------------------------------

    def _grown(self, anchor: Op) -> Group:
        """The anchor with what follows it, as far as it comes together in one tensor."""
        members, inside = [anchor], {id(anchor)}
        group = Group([anchor], anchor)
        found: list[tuple[tuple[Op, ...], Op]] = [((anchor,), anchor)]
        while len(members) < self.limits.members:
            following = self._next(members, inside)
            if following is None or not self._continues(following, members, inside):
                break
            members.append(following)
            inside.add(id(following))
            leaving = [m for m in members if self._leaves(m, inside)]
            if len(leaving) == 1:
                found.append((tuple(members), leaving[0]))
        self._stop_at_bytes(found)
        while True:
            chosen, root = found.pop()
            group = Group(list(chosen), root)
            moved = any(is_movement(m) for m in chosen)
            if not found or not moved or self.limits.supported(group):
                return group

    def _stop_at_bytes(self, found: list[tuple[tuple[Op, ...], Op]]) -> None:
        """Leave making numbers of stored bytes to a reader that can do it on its way in."""
        members, root = found[-1]
        if self.limits.integer:
            bytes_ = [i for i, (_, stored) in enumerate(found) if is_byte(stored)]
            sums = [i for i, (_, stored) in enumerate(found) if is_integer(stored.dtype)]
            del found[max(bytes_ or sums or [len(found)]) + 1 :]
            return
        readers = self.users(root)
        if id(root) in self.outputs or not all(
            isinstance(r, (*WITH_PROLOGUE, Elementwise)) for r in readers
        ):
            return
        for position in range(len(found) - 2, -1, -1):
            before, stored = found[position]
            tail = members[len(before) :]
            if not all(_only_numbers(m) for m in tail):
                return
            if stored.dtype.itemsize == 1 < root.dtype.itemsize:
                del found[position + 1 :]
                return

    def _next(self, members: Sequence[Op], inside: set[int]) -> Op | None:
        """The first node after the group that reads it: no other operand of it depends on it."""
        outside = (u for m in members for u in self.users(m) if id(u) not in inside)
        return min(outside, key=lambda u: self.position[id(u)], default=None)

    def _leaves(self, member: Op, inside: set[int]) -> bool:
        outside = any(id(u) not in inside for u in self.users(member))
        return outside or id(member) in self.outputs

    def _continues(self, op: Op, members: Sequence[Op], inside: set[int]) -> bool:
        """Whether a node works on the elements of the group, one by one and in their order."""
        if id(op) in self.owner:
            return False
        own = [o for o in op.operands if id(o) in inside]
        if isinstance(op, Reshape):
            leaving = [m for m in members if self._leaves(m, inside)]
            return len(leaving) == 1 and len(set(map(id, self.users(leaving[0])))) == 1
        if not isinstance(op, Elementwise) or any(o.shape != op.shape for o in own):
            return False
        if _wide(op) != _wide(members[0]):
            return False
        return len(inputs_of([*members, op])) <= self.limits.inputs

    # ---- absorbing backwards ------------------------------------------------------------------

    def _absorb(self, group: Group) -> None:
        """Take in producers that only this group reads, where it reads all their elements once."""
        pending = list(group.members)
        while pending:
            reader = pending.pop()
            for producer in reader.operands:
                if self._absorbable(producer, reader, group):
                    group.members.append(producer)
                    self.owner[id(producer)] = group
                    pending.append(producer)
        group.members.sort(key=lambda m: self.position[id(m)])

    def _absorbable(self, producer: Op, reader: Op, group: Group) -> bool:
        if id(producer) in self.owner or id(producer) in self.outputs:
            return False
        if len(group.members) >= self.limits.members:
            return False
        if not isinstance(producer, Elementwise | Pad | Concat) or _wide(producer) != _wide(reader):
            return False
        windowed = isinstance(producer, Pad) and _pads_window(reader, producer)
        repeated = self._repeats(reader, producer)
        if not (windowed or repeated or _reads_once(reader, producer)):
            return False
        if any(u not in group for u in self.users(producer)):
            return False
        if self.limits.integer and is_byte(producer) and isinstance(producer, Elementwise):
            return False
        larger = Group([*group.members, producer], group.root)
        if len(inputs_of(larger.members)) > max(self.limits.inputs, len(inputs_of(group.members))):
            return False
        # What joins later may read in a way that a copy among the members cannot serve.
        copies = any(isinstance(m, COPIES) for m in larger.members)
        takes = windowed or isinstance(reader, Elementwise) or not isinstance(producer, COPIES)
        return takes and (not (copies or repeated) or self.limits.supported(larger))

    def _repeats(self, reader: Op, producer: Op) -> bool:
        """Whether a reader repeats floats, which a chip of bytes cannot store for it."""
        both = isinstance(reader, Elementwise) and isinstance(producer, Elementwise)
        wider = both and producer.shape != reader.shape
        return self.limits.integer and wider and is_float(producer.dtype)


def _wide(op: Op) -> bool:
    """Whether an operator has to do with doubles: work of the host, which others must not join."""
    return any(o.dtype == F64 for o in (op, *op.operands))


def _only_numbers(op: Op) -> bool:
    """Whether an operator is of those that make numbers of integers: with constants alone."""
    known = [o for o in op.operands if isinstance(o, Constant)]
    return isinstance(op, Cast | Add | Sub | Mul) and len(op.operands) - len(known) == 1


def _pads_window(reader: Op, pad: Op) -> bool:
    """Whether a window slides over a padded tensor: its reads can be the padding.

    A tensor lies in memory under it, since engines compute elements and transfers pad them.
    """
    if not isinstance(reader, Conv | Window) or reader.x is not pad:
        return False
    return not any((*reader.pads_low, *reader.pads_high))


def _reads_once(reader: Op, producer: Op) -> bool:
    """Whether a node reads each element of an operand for one element of its own, or one row."""
    if isinstance(reader, Elementwise):
        return producer.shape == reader.shape
    if isinstance(reader, Pad):
        return False  # padding goes around a tensor in memory
    if isinstance(reader, WITH_PROLOGUE):
        return reader.operands[0] is producer and all(
            o is not producer for o in reader.operands[1:]
        )
    return isinstance(reader, COPIES)


def inputs_of(members: Iterable[Op]) -> list[Op]:
    """The tensors that nodes read from outside; numbers left out, movements looked through."""
    inside = {id(m) for m in members}
    found: dict[int, Op] = {}
    for member in members:
        for operand in member.operands:
            base = operand
            while is_movement(base) and id(base) not in inside:
                base = base.operands[0]
            number = isinstance(base, Constant) and base.type.size == 1
            if id(base) not in inside and not number:
                found[id(base)] = base
    return list(found.values())
