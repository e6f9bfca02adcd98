"""Ill-typed nodes cannot be made; the error says which operator, which shapes and which rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kcompiler.graph import operators as ops
from kcompiler.graph.node import Graph, Input, Op
from kcompiler.graph.types import BOOL, F16, F32, I32, I64, TensorType


def tensor(*shape: int, dtype: np.dtype = F32) -> Input:
    return Input("x", TensorType(dtype, shape))


X = tensor(2, 3)
IMAGE = tensor(1, 4, 8, 8)
HOST = ops.Host((), b"", (TensorType(F32, ()),), "")
ONE = (1, 1)
NO_PAD = (0, 0)


def conv(x: Op, w: Op, groups: int = 1, **changed: tuple[int, ...]) -> Op:
    window = {"strides": ONE, "pads_low": NO_PAD, "pads_high": NO_PAD, "dilations": ONE} | changed
    return ops.Conv(
        x,
        w,
        window["strides"],
        window["pads_low"],
        window["pads_high"],
        window["dilations"],
        groups,
        F32,
    )


def attention(q: Op, k: Op, v: Op, mask: Op | None = None) -> Op:
    return ops.Attention(q, k, v, mask, 1.0)


CASES: list[tuple[Callable[[], Op], str]] = [
    (lambda: ops.Add(X, tensor(2, 4)), "Add(f32[2,3], f32[2,4]): shapes do not broadcast"),
    (
        lambda: ops.Add(X, tensor(2, 3, dtype=F16)),
        "Add(f32[2,3], f16[2,3]): operands must have one type",
    ),
    (lambda: ops.And(X, X), "And(f32[2,3], f32[2,3]): operands must be bool"),
    (lambda: ops.Exp(tensor(dtype=I32)), "Exp(i32[]): operands must be float"),
    (lambda: ops.BitNot(X), "BitNot(f32[2,3]): operands must be integer"),
    (lambda: ops.Add(tensor(dtype=BOOL), tensor(dtype=BOOL)), "operands must be number"),
    (lambda: ops.Where(X, X, X), "cond must be bool"),
    (
        lambda: ops.Reshape(X, (4, 2)),
        "Reshape(f32[2,3], shape=(4, 2)): the number of elements must stay",
    ),
    (
        lambda: ops.Transpose(X, (0, 0)),
        "Transpose(f32[2,3], perm=(0, 0)): perm must be a permutation of the dimensions",
    ),
    (lambda: ops.Slice(X, (0,), (1,), (1,)), "starts must have 2 entries"),
    (lambda: ops.Slice(X, (0, 1), (1, 3), (1, 1)), "elements 1..3 are outside 0..2"),
    (lambda: ops.Slice(X, (0, 0), (1, 1), (1, 0)), "steps must not be 0, sizes not negative"),
    (lambda: ops.Pad(X, (0, -1), (0, 0), 0), "pads must not be negative"),
    (lambda: ops.Concat((), 0), "Concat(axis=0): there must be an operand"),
    (lambda: ops.Concat((X, tensor(2, 4)), 0), "agree in type and in all other dimensions"),
    (lambda: ops.Concat((X,), 2), "axis 2 must be in 0..1"),
    (lambda: ops.Broadcast(X, (3, 3)), "shapes do not broadcast"),
    (lambda: ops.Broadcast(X, (3,)), "x must broadcast to the shape"),
    (lambda: ops.Gather(X, X, 0), "indices must be integers"),
    (lambda: ops.Contract(X, X, "ij,jk->ik", F32), "a letter must have one extent"),
    (lambda: ops.Contract(X, X, "ij,kj->iz", F32), "a letter of the result must be in an operand"),
    (lambda: ops.Contract(X, X, "ijk,kj->i", F32), "'ijk' needs a letter a dimension"),
    (lambda: ops.Contract(X, X, "ii,kj->i", F32), "'ii' needs distinct letters"),
    (lambda: ops.Contract(X, X, "ij,kj", F32), 'the equation must read "ab,bc->ac"'),
    (lambda: ops.Contract(X, X, "ij,kj->ik", I32), "sums in float32 cannot become int32"),
    (
        lambda: ops.Contract(X, tensor(3, dtype=I32), "ij,j->i", F32),
        "no products of float32 and int32",
    ),
    (lambda: conv(IMAGE, tensor(2, 3, 3, 3)), "C must be groups times w's second dimension"),
    (lambda: conv(IMAGE, tensor(3, 2, 3, 3), groups=2), "groups must divide M"),
    (lambda: conv(IMAGE, tensor(2, 4, 9, 3)), "a window of 9 is longer than 8"),
    (lambda: conv(IMAGE, tensor(2, 4, 3, 3), strides=(0, 1)), "strides must be positive"),
    (lambda: conv(IMAGE, tensor(2, 4, 3, 3), dilations=(1,)), "dilations must have 2 entries"),
    (lambda: conv(X, X), "x is [N,C,S…], w [M,C/groups,K…]"),
    (lambda: ops.Reduce(X, "sum", (1, 0)), "axes must ascend within 0..1"),
    (lambda: ops.Reduce(X, "mean", (0,)), "function is unknown"),  # type: ignore[arg-type]
    (lambda: ops.ArgReduce(tensor(0), "max", 0, last=False), "the axis must not be empty"),
    (lambda: ops.TopKValues(X, 4, 1, largest=True), "k must not exceed the axis"),
    (lambda: ops.CumSum(X, -1, exclusive=False, reverse=False), "axis -1 must be in 0..1"),
    (lambda: ops.Softmax(tensor(2, dtype=I32), 0), "operands must be floats of one type"),
    (lambda: ops.LayerNorm(X, tensor(2), None, (1,), 0.1), "shapes do not broadcast"),
    (lambda: ops.RmsNorm(X, tensor(4, 2, 3), (1,), 0.1), "scale must broadcast to x"),
    (lambda: attention(X, X, tensor(3, 3)), "k and v must have equal length"),
    (lambda: attention(X, tensor(2, 4), X), "q and k must have equal depth"),
    (lambda: attention(X, X, tensor(1, 2, 3)), "equal batch dimensions"),
    (lambda: attention(X, X, X, tensor(5, 2, 2)), "mask must broadcast to (2, 2)"),
    (lambda: ops.Item(X, 0), "only a Host has items"),
    (lambda: ops.Item(HOST, 1), "the Host has no such output"),
    (lambda: ops.Host((), b"", (), ""), "there must be an output"),
    (lambda: ops.Fused((X,), Graph("g", (), (("y", X),))), "the body's input types"),
    (lambda: ops.Fused((X,), Graph("g", (X,), ())), "the body must have one output"),
]


@pytest.mark.parametrize(("make", "message"), CASES, ids=[m for _, m in CASES])
def test_errors(make: Callable[[], Op], message: str) -> None:
    with pytest.raises(ValueError, match=r"^\w+\(.*\): ") as caught:
        make()
    assert message in str(caught.value)


def test_macs() -> None:
    assert ops.Contract(X, tensor(3, 5), "ij,jk->ik", F32).macs() == 30
    assert ops.Contract(X, tensor(7), "ij,k->i", F32).macs() == 42
    assert conv(IMAGE, tensor(6, 4, 3, 3)).macs() == 6 * 6 * 6 * 4 * 9
    assert conv(IMAGE, tensor(4, 1, 3, 3), groups=4).macs() == 6 * 6 * 4 * 9
    q, v = tensor(2, 5, 8), tensor(2, 7, 3)
    whole = attention(q, tensor(2, 7, 8), v)
    assert whole.macs() == 2 * 5 * 7 * (8 + 3)
    inner = tensor(2, 3)
    body = Graph("g", (inner,), (("y", ops.Contract(inner, inner, "ij,kj->ik", F32)),))
    assert ops.Fused((X,), body).macs() == 12
    assert ops.Add(X, X).macs() == 0


def test_fields_may_be_named_like_properties() -> None:
    reshape = ops.Reshape(X, (3, 2))
    assert (reshape.shape, reshape.type) == ((3, 2), TensorType(F32, (3, 2)))
    assert reshape.attributes == {"shape": (3, 2)}
    assert ops.Cast(X, I64).dtype == I64
    with pytest.raises(TypeError, match="shape"):
        ops.Reshape(X)  # type: ignore[call-arg]


def test_a_node_prints_short() -> None:
    assert repr(ops.Relu(X)) == "Relu:f32[2,3]"
