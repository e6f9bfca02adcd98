"""Every rule of the verifier finds the fault planted for it, and names node and rule."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from kcompiler.errors import IRError
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Graph, Input, Op
from kcompiler.graph.types import F16, F32, TensorType
from kcompiler.graph.verify import RULES, verify_graph
from tests.graph.graphs import Sample, samples

X = Input("x", TensorType(F32, (2, 3)))
HOST = ops.Host((X,), b"", (TensorType(F32, (2, 3)),), "reason", origin=("LSTM_7",))


def graph(*outputs: Op, inputs: tuple[Input, ...] = (X,)) -> Graph:
    return Graph("g", inputs, tuple((f"y{i}", o) for i, o in enumerate(outputs)))


def tampered(node: Op, **fields: Any) -> Op:
    """A node changed behind its back, as no constructor allows."""
    other = dataclasses.replace(node)
    _ = other.shape, other.dtype
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other


class Unknown(Op, abstract=True):
    """Not in the registry."""

    x: Op

    def infer(self) -> TensorType:
        return self.x.type


def fused(inner: Op) -> Op:
    return ops.Fused((X,), graph(inner), origin=("conv",))


FAULTS: list[tuple[Graph, str, str, str]] = [
    (
        Graph("g", (X,), (("y", X), ("y", X))),
        "Inputs have distinct names, and outputs too",
        "y",
        "the name occurs twice",
    ),
    (
        graph(ops.Relu(X), inputs=()),
        "Every input that is read is an input of the graph",
        "x",
        "the graph does not list it",
    ),
    (
        graph(Unknown(X)),
        "Every node is a declared operator",
        "Unknown:f32[2,3]",
        "Unknown is not in the registry",
    ),
    (
        graph(ops.Reshape(X, (np.int64(3), 2))),  # type: ignore[arg-type]
        "Attributes are plain Python values, element types or tensor types",
        "Reshape:f32[3,2]",
        "shape is (np.int64(3), 2), a tuple",
    ),
    (
        graph(ops.RmsNorm(X, None, (1,), np.float64(0.1))),
        "Attributes are plain Python values, element types or tensor types",
        "RmsNorm:f32[2,3]",
        "epsilon is np.float64(0.1), a float64",
    ),
    (
        graph(tampered(ops.Relu(X), origin=["conv"])),
        "Origins are tuples of names",
        "Relu:f32[2,3]",
        "the origin is ['conv']",
    ),
    (
        graph(tampered(ops.Relu(X, origin=("relu_3",)), type=TensorType(F16, (2, 3)))),
        "The type of a node is what its operator infers",
        "relu_3",
        "the type is f16[2,3], but infer gives f32[2,3]",
    ),
    (
        graph(tampered(ops.Relu(X), shape=(3, 2))),
        "The type of a node is what its operator infers",
        "Relu:f32[2,3]",
        "the type is f32[2,3], but infer gives f32[2,3]",
    ),
    (
        graph(tampered(ops.Transpose(X, (1, 0)), perm=(0, 0))),
        "The type of a node is what its operator infers",
        "Transpose:f32[3,2]",
        "perm must be a permutation",
    ),
    (
        graph(ops.Relu(HOST)),
        "A host operator is read through items only",
        "Relu:f32[2,3]",
        "it reads a host operator itself",
    ),
    (
        graph(HOST),
        "A host operator is read through items only",
        "y0",
        "the output is a host operator itself",
    ),
    (
        graph(fused(fused(X))),
        "The body of a fused operator holds neither host operators nor fused ones",
        "conv",
        "its body holds Fused:f32[2,3]",
    ),
    (
        graph(fused(ops.Reshape(X, (np.int32(6),)))),  # type: ignore[arg-type]
        "Attributes are plain Python values, element types or tensor types",
        "Reshape:f32[6]",
        "np.int32(6)",
    ),
]


@pytest.mark.parametrize(("broken", "rule", "node", "why"), FAULTS)
def test_planted_faults(broken: Graph, rule: str, node: str, why: str) -> None:
    with pytest.raises(IRError) as caught:
        verify_graph(broken)
    assert (caught.value.level, caught.value.rule, caught.value.node) == ("graph", rule, node)
    assert why in caught.value.why


def test_every_rule_has_a_fault() -> None:
    assert {str(rule.__doc__).rstrip(".") for rule in RULES} == {rule for _, rule, _, _ in FAULTS}


@given(sample=samples())
def test_what_is_right_passes(sample: Sample) -> None:
    verify_graph(sample.graph)
