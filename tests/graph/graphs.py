"""Hypothesis strategies for whole graphs, for laws about texts and interpreters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.types import F32, TensorType
from tests.graph.instances import Draw, Instance, instances, kinds

_NAMES = st.text(max_size=8)


@dataclass(frozen=True)
class Sample:
    """A graph and inputs for it."""

    graph: Graph
    inputs: dict[str, Array]


@st.composite
def samples(draw: Draw) -> Sample:
    """Graphs of operators of all kinds, some on constants, some fused, some on the host."""
    found = draw(st.lists(st.sampled_from(kinds()).flatmap(instances), min_size=1, max_size=4))
    inputs: list[Input] = []
    values: dict[str, Array] = {}
    outputs: list[tuple[str, Op]] = []
    for index, instance in enumerate(found):
        own: list[Input] = []
        operands: list[Op] = []
        for value in instance.values:
            if draw(st.booleans()):
                operands.append(Constant(value))
                continue
            name = f"{draw(_NAMES)}{len(inputs) + len(own)}"
            own.append(Input(name, TensorType(value.dtype, value.shape)))
            operands.append(own[-1])
            values[name] = value
        inputs += own
        node = instance.op.with_operands(operands)
        wrapped = draw(st.sampled_from([_as_is, _fused, _hosted]))(node, instance)
        origin = draw(st.lists(_NAMES, max_size=2))
        outputs.append((f"out{index}", wrapped.with_origin(origin)))
    order = draw(st.permutations(inputs))
    return Sample(Graph(draw(_NAMES), tuple(order), tuple(outputs)), values)


def _as_is(node: Op, _: Instance) -> Op:
    return node


def _fused(node: Op, instance: Instance) -> Op:
    inner = tuple(Input(f"in{i}", o.type) for i, o in enumerate(node.operands))
    body = Graph("body", inner, (("out", instance.op.with_operands(inner)),))
    return ops.Fused(node.operands, body)


def _hosted(node: Op, _: Instance) -> Op:
    model = repr(node).encode()
    host = ops.Host((node,), model, (TensorType(F32, (1,)), node.type), "for a test")
    return ops.Item(host, 1)


def pass_through(host: ops.Host, operands: Sequence[Array]) -> list[Array]:
    """What the host operators of `samples` do: hand their operand on as their second result."""
    assert host.reason == "for a test"
    return [np.zeros(1, np.float32), operands[0]]
