"""Names in ONNX graphs: who reads what, and an order in which nodes can be imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from onnx import AttributeProto, GraphProto, NodeProto

from kcompiler.errors import ModelError


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def reads(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, those that its sub-graphs take from outside included."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        yield from captured(graph)


def captured(graph: GraphProto) -> list[str]:
    """The names that a sub-graph takes from outside, each once."""
    own = {i.name for i in graph.initializer} | {i.name for i in graph.input}
    own |= {i.values.name for i in graph.sparse_initializer}
    own |= {name for node in graph.node for name in node.output}
    read = [name for node in graph.node for name in reads(node)]
    read += [o.name for o in graph.output]
    return [name for name in dict.fromkeys(read) if name not in own]


def in_order(graph: GraphProto, outputs: Iterable[str]) -> list[tuple[int, NodeProto]]:
    """The nodes that `outputs` need with their indices, each after those that it reads.

    Raises `ModelError` for a name that is given twice and for a cycle.
    """
    producers = _producers(graph)
    order: list[tuple[int, NodeProto]] = []
    done: dict[int, bool] = {}  # False while the nodes that it reads are visited
    for output in outputs:
        stack = [_visit(output, producers, done)]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
            elif isinstance(step, tuple):
                order.append(step)
            else:
                stack.append(_visit(step, producers, done))
    return order


def _visit(
    name: str, producers: Mapping[str, tuple[int, NodeProto]], done: dict[int, bool]
) -> Iterator[str | tuple[int, NodeProto]]:
    if name not in producers:
        return
    index, node = producers[name]
    if index in done:
        if not done[index]:
            raise ModelError(
                "the graph has a cycle",
                where=node.name or f"{node.op_type}_{index}",
                why=f"the value {name!r} depends on itself",
                fix="export the model again: repetition needs a Loop",
            )
        return
    done[index] = False
    yield from reads(node)
    done[index] = True
    yield index, node


def _producers(graph: GraphProto) -> dict[str, tuple[int, NodeProto]]:
    producers: dict[str, tuple[int, NodeProto]] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in producers:
                raise ModelError(
                    f"two nodes give a value to {name!r}",
                    where=node.name or f"{node.op_type}_{index}",
                    fix="export the model again: each name has one value",
                )
            producers[name] = (index, node)
    return producers
