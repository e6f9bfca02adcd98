"""Element-wise operators and activations."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.fuzz.maker import BOOL, F32, FLOATS, INTEGERS, Discarded, Maker, Value
from tests.fuzz.recipe import recipe

_FLOAT_ATTRIBUTES = ("alpha", "beta", "gamma", "lambd", "bias")


_UNARY = """
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Cos Cosh Erf Exp Floor HardSwish Identity
    IsNaN Log Mish Neg Not Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan
    Tanh
"""
_BINARY = """
    Add And BitwiseAnd BitwiseOr BitwiseXor Equal Greater GreaterOrEqual Less LessOrEqual Mul Or Sub
    Xor
"""


@recipe(*_UNARY.split())
def unary(m: Maker, operator: str) -> None:
    m.emit(operator, [m.pick(m.allowed(operator))])


@recipe("Celu", "Elu", "HardSigmoid", "LeakyRelu", "Selu", "Shrink", "ThresholdedRelu", "Swish")
def parametric(m: Maker, operator: str) -> None:
    attributes = {
        name: m.number(0.1, 2)
        for name in _FLOAT_ATTRIBUTES
        if name in m.schema(operator).attributes and m.flip()
    }
    m.emit(operator, [m.pick(m.allowed(operator))], attributes)


@recipe("Gelu")
def gelu(m: Maker, operator: str) -> None:
    m.emit(operator, [m.pick(m.allowed(operator))], m.maybe(approximate=m.one("none", "tanh")))


@recipe("IsInf")
def is_inf(m: Maker, operator: str) -> None:
    flags = m.maybe(detect_negative=m.below(0, 1), detect_positive=m.below(0, 1))
    m.emit(operator, [m.pick(m.allowed(operator))], flags)


@recipe(*_BINARY.split())
def binary(m: Maker, operator: str) -> None:
    x, y = _two(m, m.pick(m.allowed(operator)))
    m.emit(operator, [x, y])


@recipe("Div", "Mod")
def divide(m: Maker, operator: str) -> None:
    """A divisor of zero means nothing among integers."""
    x = m.pick(m.allowed(operator))
    y = m.fresh(x.dtype, m.broadcastable(x.shape), "positive" if x.dtype in INTEGERS else "")
    fmod = {"fmod": 1} if x.dtype in FLOATS or m.flip(0.3) else {}
    m.emit(operator, [x, y], fmod if operator == "Mod" else {})


@recipe("Pow")
def power(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    other = m.allowed(operator, 1) if m.opset >= 12 else [x.dtype]
    dtype = m.dtype(other) if m.flip(0.4) else x.dtype
    exponent = m.one(0, 1, 2, 3, -1, 0.5) if dtype in FLOATS else m.below(0, 3)
    y = m.known(np.array(exponent, dtype)) if m.flip() else None
    m.emit(operator, [x, y or m.fresh(dtype, m.broadcastable(x.shape), "positive")])


@recipe("BitShift")
def shift(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    y = m.fresh(x.dtype, m.broadcastable(x.shape), "positive")
    m.emit(operator, [x, y], direction=m.one("LEFT", "RIGHT"))


@recipe("Max", "Min", "Sum", "Mean")
def variadic(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    others = [m.like(x, m.broadcastable(x.shape)) for _ in range(m.below(0, 3))]
    m.emit(operator, m.some([x, *others], low=1))


@recipe("PRelu")
def prelu(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    m.emit(operator, [x, m.like(x, m.broadcastable(x.shape, longer=False))])


@recipe("Where")
def where(m: Maker, operator: str) -> None:
    x, y = _two(m, m.pick(m.allowed(operator, 1)))
    shape = m.broadcastable(m.one(x, y).shape)
    there = [v for v in m.values if v.dtype == BOOL and v.shape == shape]
    m.emit(operator, [there[-1] if there and m.flip() else m.fresh(BOOL, shape), x, y])


@recipe("Clip")
def clip(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    if m.opset < 11:
        m.emit(operator, [x], m.maybe(min=-0.5, max=m.number(-1, 2)))
        return
    bounds = [m.like(x, ()) if m.flip(0.7) else None for _ in range(2)]
    m.emit(operator, [x, *bounds])


@recipe("Cast")
def cast(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    to = m.dtype(m.allowed(operator, output=True))
    m.emit(operator, [x], to=helper.np_dtype_to_tensor_dtype(to))


@recipe("CastLike")
def cast_like(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    m.emit(operator, [x, m.pick(m.allowed(operator, 1))])


@recipe("Dropout")
def dropout(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    operands: list[Value | None] = [x]
    if m.opset >= 12 and m.flip():
        operands.append(m.known(np.array(0.3, np.float32)))
        if m.flip():
            operands.append(m.known(np.array(False)))
    m.emit(operator, operands, {"ratio": 0.3} if m.flip() else {}, outputs=m.below(1, 2))


@recipe("BiasGelu", "FastGelu", "QuickGelu", "com.microsoft.Gelu")
def microsoft(m: Maker, operator: str) -> None:
    x = m.pick([F32], (1, 3))
    bias = operator == "BiasGelu" or (operator == "FastGelu" and m.flip())
    operands = [x, *([m.fresh(F32, x.shape[-1:])] if bias else [])]
    attributes = {"alpha": 1.5} if operator == "QuickGelu" and m.flip() else {}
    name = operator.rpartition(".")[2]
    m.emit_microsoft(name, operands, [(F32, x.shape)], **attributes)


def _two(m: Maker, x: Value) -> tuple[Value, Value]:
    """A value and one that broadcasts with it, in any order."""
    y = x if m.flip(0.05) else m.like(x, m.broadcastable(x.shape))
    if not _broadcast(x, y):
        raise Discarded("shapes do not broadcast")
    return (x, y) if m.flip() else (y, x)


def _broadcast(x: Value, y: Value) -> bool:
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return False
    return True
