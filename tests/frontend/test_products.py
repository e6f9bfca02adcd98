"""Matrix products, Einstein sums, reductions and normalizations against onnxruntime."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.frontend.oracle import MICROSOFT, agree, f32, floats, integers, one


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (1, 6, 4, 5)),
        ((6, 3, 4), (2, 6, 4, 5)),
        ((1, 3, 4), (1, 4, 5)),
        ((2, 3, 4), (4,)),
        ((2, 0, 4), (4, 5)),
    ],
)
def test_mat_mul(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    agree(*one("MatMul", [floats(*x), floats(*y, seed=1)]))


@pytest.mark.parametrize(("a", "b", "alpha"), list(product((0, 1), (0, 1), (1.0, 0.5))))
def test_gemm(a: int, b: int, alpha: float) -> None:
    x = floats(*((4, 3) if a else (3, 4)))
    y = floats(*((5, 4) if b else (4, 5)), seed=1)
    attributes: dict[str, Any] = {"transA": a, "transB": b, "alpha": alpha, "beta": 0.3}
    for c in (
        floats(3, 5, seed=2),
        floats(5, seed=2),
        floats(3, 1, seed=2),
        np.array(2, "float32"),
    ):
        agree(*one("Gemm", [x, y, c], **attributes))
    agree(*one("Gemm", [x, y], **attributes))


@pytest.mark.parametrize(("a", "b"), list(product((0, 1), (0, 1))))
def test_fused_mat_mul(a: int, b: int) -> None:
    x = floats(*((2, 4, 3) if a else (2, 3, 4)))
    y = floats(*((2, 5, 4) if b else (2, 4, 5)), seed=1)
    agree(*one("FusedMatMul", [x, y], transA=a, transB=b, alpha=0.5, domain=MICROSOFT))


EQUATIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("ij,jk", [(3, 4), (4, 5)]),
    ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
    ("...ij,jk->...ik", [(2, 6, 3, 4), (4, 5)]),
    ("ij->ji", [(3, 4)]),
    ("ij->", [(3, 4)]),
    ("ij->j", [(3, 4)]),
    ("ii->i", [(4, 4)]),
    ("ii", [(4, 4)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,i->", [(3,), (3,)]),
    ("ij,jk,kl->il", [(3, 4), (4, 5), (5, 2)]),
    ("bij,bjk,bkl->bil", [(2, 3, 4), (2, 4, 5), (2, 5, 2)]),
    ("ij,kl->jl", [(3, 4), (5, 6)]),
    ("b i j , b j k -> b i k", [(2, 3, 4), (2, 4, 5)]),
    ("bijj,bj->bi", [(2, 3, 4, 4), (2, 4)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    operands = [floats(*shape, seed=i) for i, shape in enumerate(shapes)]
    agree(*one("Einsum", operands, equation=equation))


REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_reductions(kind: str, keepdims: int) -> None:
    x = np.abs(floats(2, 3, 4, 5)) + 0.1
    op_type = f"Reduce{kind}"
    for axes in ([1], [-1, 1], [0, 1, 2, 3]):
        agree(*one(op_type, [x], opset=11, keepdims=keepdims, axes=axes))
        operands = [x, np.array(axes)]
        agree(*one(op_type, operands, [1], 18, keepdims=keepdims))
    agree(*one(op_type, [x], opset=11, keepdims=keepdims))
    agree(*one(op_type, [x], opset=18, keepdims=keepdims))
    agree(*one(op_type, [x], opset=18, keepdims=keepdims, noop_with_empty_axes=1), rtol=1e-4)


@pytest.mark.parametrize("kind", ["Max", "Min", "Sum", "Mean", "Prod"])
def test_reductions_of_integers(kind: str) -> None:
    x = integers(1, 5, 2, 3, 4, dtype="int32")
    agree(*one(f"Reduce{kind}", [x], opset=11, axes=[1]))


def test_reduction_of_logarithms_does_not_overflow() -> None:
    agree(*one("ReduceLogSumExp", [f32([[500, 501], [-900, -902]])], opset=11, axes=[1]))


@pytest.mark.parametrize("opset", [9, 11, 13])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax(op_type: str, axis: int | None, opset: int) -> None:
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    agree(*one(op_type, [floats(2, 3, 4, 5) * 3], opset=opset, **attributes))


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_batch_normalization(rank: int) -> None:
    x = floats(2, 3, *(4, 5, 2)[: rank - 2])
    scale, bias, mean = (floats(3, seed=i) for i in range(1, 4))
    variance = np.abs(floats(3, seed=4))
    imported = agree(*one("BatchNormalization", [x, scale, bias, mean, variance], range(1, 5), 15))
    assert [type(n).__name__ for n in imported.graph.nodes].count("Constant") == 2
    agree(*one("BatchNormalization", [x, scale, bias, mean, variance], opset=9))


def test_batch_normalization_in_training() -> None:
    x, scale, bias, mean = floats(3, 4, 5), floats(4, seed=1), floats(4, seed=2), floats(4, seed=3)
    operands = [x, scale, bias, mean, np.abs(floats(4, seed=4))]
    made = one("BatchNormalization", operands, opset=15, results=3, training_mode=1, momentum=0.7)
    agree(*made, 1e-4, 1e-5)


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_layer_normalization(axis: int) -> None:
    x = floats(2, 3, 4)
    scale, bias = (floats(*x.shape[axis:], seed=i) for i in (1, 2))
    agree(*one("LayerNormalization", [x, scale, bias], axis=axis, epsilon=1e-3))
    agree(*one("LayerNormalization", [x, scale], axis=axis))
    agree(*one("LayerNormalization", [x, scale, bias], results=3, axis=axis))


def test_rms_normalization() -> None:
    agree(*one("RMSNormalization", [floats(2, 3, 4), floats(4, seed=1)], opset=23, epsilon=1e-3))


@pytest.mark.parametrize("op_type", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
@pytest.mark.parametrize("bias", [False, True])
def test_skip_layer_normalization(op_type: str, bias: bool) -> None:
    operands = [floats(2, 3, 4), floats(2, 3, 4, seed=1), floats(4, seed=2)]
    if op_type == "SkipLayerNormalization":
        operands.append(floats(4, seed=3))
    if bias:
        operands.append(floats(4, seed=4))
    agree(*one(op_type, operands, epsilon=1e-3, domain=MICROSOFT))


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 2)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    operands = [floats(*shape), floats(3, seed=1), floats(3, seed=2)]
    agree(*one("InstanceNormalization", operands, epsilon=1e-3))


@pytest.mark.parametrize(("opset", "extent"), [(18, 2), (21, 4)])
def test_group_normalization(opset: int, extent: int) -> None:
    operands = [floats(2, 4, 3, 5), floats(extent, seed=1), floats(extent, seed=2)]
    agree(*one("GroupNormalization", operands, opset=opset, num_groups=2))


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization(p: int) -> None:
    x = floats(2, 3, 4)
    x[0, 0] = 0
    agree(*one("LpNormalization", [x], p=p, axis=-1))
    agree(*one("LpNormalization", [x], p=p, axis=1))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_lrn(size: int) -> None:
    x = floats(2, 6, 3, 4)
    if size % 2:  # onnxruntime has no even sizes
        agree(*one("LRN", [x], size=size, alpha=0.1, beta=0.7, bias=2.0))


def test_mean_variance_normalization() -> None:
    agree(*one("MeanVarianceNormalization", [floats(2, 3, 4, 5)]))
    agree(*one("MeanVarianceNormalization", [floats(2, 3, 4, 5)], axes=[0, 1, 2, 3]))
