"""From groups to `Fused` nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.operators import Fused, Host, Item, Slice
from kcompiler.graph.operators.movement import Broadcast, Gather
from kcompiler.kernel.from_graph import Unsupported, region_of
from kcompiler.kernel.views import is_movement, view_of
from kcompiler.passes.fuse.groups import Group


def fused(group: Group, stored: Callable[[Op], bool]) -> Fused:
    """The kernel of a group: its body holds the members and the movements above them.

    Numbers are part of the body; every other tensor that lies in memory is an operand.
    """
    inside = {id(m) for m in group.members}
    inner: dict[int, Op] = {}
    inputs: list[Input] = []
    operands: list[Op] = []
    nodes = _needed(group.root, lambda op: id(op) not in inside and stored(op))
    for node in nodes:
        if id(node) in inside or not stored(node):
            inner[id(node)] = node.with_operands([inner[id(o)] for o in node.operands])
        elif isinstance(node, Constant) and node.type.size == 1:
            inner[id(node)] = node
        else:
            inputs.append(Input(f"x{len(inputs)}", node.type))
            operands.append(node)
            inner[id(node)] = inputs[-1]
    body = Graph(_name(group), tuple(inputs), (("y", inner[id(group.root)]),))
    named = [n for n in nodes if id(n) in inside]
    origin = dict.fromkeys(name for n in named for name in n.origin)
    return Fused(tuple(operands), body).with_origin(tuple(origin))


def _needed(root: Op, leaf: Callable[[Op], bool]) -> list[Op]:
    """The nodes between leaves and a root, operands first."""
    order: dict[int, Op] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        missing = [] if leaf(node) else [o for o in node.operands if id(o) not in order]
        if id(node) in order:
            stack.pop()
        elif missing:
            stack.extend(reversed(missing))
        else:
            order[id(stack.pop())] = node
    return list(order.values())


def _name(group: Group) -> str:
    """What the kernel mainly does."""
    heavy = max(group.members, key=lambda m: m.macs())
    rest = [m for m in group.members if not is_movement(m)] or group.members
    chosen = heavy if heavy.macs() else rest[0]
    return type(chosen).__name__.lower()


def supported(group: Group) -> bool:
    """Whether the kernel level can express a group."""
    inside = {id(m) for m in group.members}

    def stored(op: Op) -> bool:
        return id(op) not in inside and not is_movement(op)

    try:
        region_of(fused(group, stored))
    except Unsupported:
        return False
    return True


class Materializer:
    """Makes movements that no kernel can read through tensors in memory."""

    def __init__(self, graph: Graph, groups: Sequence[Group]) -> None:
        self.graph = graph
        self.order = {id(n): i for i, n in enumerate(graph.nodes)}
        self.groups = list(groups)
        self.by_root = {id(g.root): g for g in groups}
        self.inside = {id(m) for g in groups for m in g.members}

    def stored(self, op: Op) -> bool:
        """Whether a node is a tensor in memory: not a movement, or the root of a group."""
        return id(op) in self.by_root or (not is_movement(op) and id(op) not in self.inside)

    def run(self) -> list[Group]:
        """The groups, with those that were added or grew, in topological order."""
        for node in self.graph.nodes:
            if id(node) in self.inside or isinstance(node, Host | Item):
                for operand in node.operands:
                    if id(operand) not in self.inside:
                        self._readable(operand, whole=self._wants_all(node, operand))
        for _, value in self.graph.outputs:
            if is_movement(value):
                self._readable(value, whole=True)
        return sorted(self.groups, key=lambda g: self.order[id(g.root)])

    def _wants_all(self, node: Op, operand: Op) -> bool:
        """Whether a reader takes a tensor as it lies in memory and no view of one."""
        if isinstance(node, Gather) and operand is node.indices:
            view = view_of(operand, self.stored)
            return view is None or not view.dense
        return isinstance(node, Host)

    def _readable(self, op: Op, *, whole: bool) -> None:
        """Store what a view cannot express; `whole` when the reader wants the tensor itself."""
        while not self.stored(op) and is_movement(op):
            chain = self._chain(op)
            broken = next((m for m in chain if view_of(m, self.stored) is None), None)
            if broken is None and not whole:
                return
            self._store(chain if broken is None else self._as_far_as(chain, broken))

    def _chain(self, op: Op) -> list[Op]:
        """The movements above the tensor in memory that `op` reads, lowest first."""
        chain = [op]
        while not self.stored(chain[-1].operands[0]):
            chain.append(chain[-1].operands[0])
        return chain[::-1]

    def _as_far_as(self, chain: list[Op], broken: Op) -> list[Op]:
        """The part of a chain to store: to where it breaks, and on if one kernel can.

        It does not go on beyond a node that somebody else reads too.
        """
        end = chain.index(broken) + 1
        last = end
        while last < len(chain) and len(self.graph.users[id(chain[last - 1])]) == 1:
            last += 1
        whole = Group(chain[:last], chain[last - 1])
        return chain[:last] if last > end and supported(whole) else chain[:end]

    def _store(self, chain: list[Op]) -> None:
        """Have the group below write its result moved, or else make a copy."""
        base = chain[0].operands[0]
        group = self.by_root.get(id(base))
        if group is not None and self._alone(base, chain):
            larger = Group([*group.members, *chain], chain[-1])
            if supported(larger):
                del self.by_root[id(base)]
                group.members, group.root = larger.members, larger.root
                self.by_root[id(group.root)] = group
                self.inside |= {id(m) for m in chain}
                return
        copy = Group(list(chain), chain[-1])
        self.groups.append(copy)
        self.by_root[id(copy.root)] = copy
        self.inside.add(id(copy.root))

    def _alone(self, base: Op, chain: Sequence[Op]) -> bool:
        """Whether all of a tensor is read through a chain of movements and in no other way."""
        if any(isinstance(m, Slice | Broadcast) for m in chain):
            return False
        links = [base, *chain[:-1]]
        outputs = {id(value) for _, value in self.graph.outputs}
        return all(len(self.graph.users[id(n)]) == 1 and id(n) not in outputs for n in links)
