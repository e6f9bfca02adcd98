"""Copies of nodes: what they share with the original, and what they must not."""

from __future__ import annotations

from kcompiler.graph.node import Input
from kcompiler.graph.operators import Add, Relu, Reshape
from kcompiler.graph.types import F16, F32, TensorType


def tensor(name: str, *shape: int, half: bool = False) -> Input:
    return Input(name, TensorType(F16 if half else F32, shape))


def test_other_operands_of_the_same_type() -> None:
    """The type is taken over; operands and attributes are the copy's own."""
    old = Reshape(tensor("a", 2, 3), (6,), origin=("r",))
    assert old.operands == (old.x,)
    new = old.with_operands([tensor("b", 2, 3)])
    assert new.operands == (new.x,)
    assert new.x is not old.x
    assert (new.type, new.shape, new.origin) == (old.type, (6,), ("r",))


def test_other_operands_of_another_type() -> None:
    """The type is inferred again."""
    old = Relu(tensor("a", 2, 3))
    assert old.type == TensorType(F32, (2, 3))
    assert old.with_operands([tensor("b", 4, half=True)]).type == TensorType(F16, (4,))


def test_the_same_operands_are_the_same_node() -> None:
    x, y = tensor("x", 3), tensor("y", 3)
    node = Add(x, y)
    assert node.with_operands([x, y]) is node
    assert node.with_operands([y, x]).operands == (y, x)


def test_another_origin() -> None:
    old = Relu(tensor("a", 2), origin=("one",))
    new = old.with_origin(["one", "two"])
    assert new.origin == ("one", "two")
    assert old.origin == ("one",)
    assert new.operands == old.operands
    assert new.type == old.type
    assert new.attributes == {}
