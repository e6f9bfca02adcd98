"""What a quantized tensor is made of: integers, and the scales and zero points of its channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.node import Array, Constant, Op
from kcompiler.graph.operators import Cast, Dequantize, Mul, Quantize
from kcompiler.graph.types import F32, I32, is_integer
from kcompiler.kernel.views import is_movement

I8 = np.dtype(np.int8)
U8 = np.dtype(np.uint8)


@dataclass(frozen=True)
class Quantized:
    """Integers or 8-bit floats, and arrays that broadcast: number = (value - zero) * scale."""

    value: Op
    scale: Array
    zero: Array

    @property
    def by_tensor(self) -> bool:
        """Whether one scale and one zero point hold for all elements."""
        return self.scale.size == 1 and self.zero.size == 1

    @property
    def whole(self) -> bool:
        """Whether they are integers."""
        return is_integer(self.value.dtype)

    @property
    def one_zero(self) -> int:
        """The zero point of the whole tensor."""
        return int(self.zero.reshape(-1)[0])


def dequantized(x: Op, scale: Array | float, zero: Array | int) -> Dequantize:
    """The numbers that integers stand for."""
    return Dequantize(x, constant(scale, F32), constant(zero, x.dtype))


def quantized(op: Op) -> Quantized | None:
    """The parts of a dequantized tensor with known parameters; constants may have been moved."""
    if isinstance(op, Dequantize):
        if not (isinstance(op.scale, Constant) and isinstance(op.zero, Constant)):
            return None
        return Quantized(op.x, op.scale.value, op.zero.value)
    if not is_movement(op):
        return None
    below = quantized(op.operands[0])
    if below is None or not isinstance(below.value, Constant):
        return None
    moved = Constant(op.evaluate(below.value.value))
    scale, zero = (_moved(op, p) for p in (below.scale, below.zero))
    return Quantized(moved, scale, zero)


def _moved(op: Op, parameter: Array) -> Array:
    """A parameter that broadcasts to the operand of a movement, as one that does to its result."""
    if parameter.size == 1:
        return parameter.reshape((1,) * op.type.rank)
    full = op.evaluate(np.broadcast_to(parameter, op.operands[0].shape))
    for axis in range(full.ndim):
        first = full.take([0], axis)
        full = first if (full == first).all() else full
    return np.asarray(full)


def scaled_sum(op: Op) -> tuple[Op, Constant] | None:
    """(sums, factor) of an int32 sum that was turned into numbers by one product."""
    if not isinstance(op, Mul):
        return None
    for sums, factor in (op.operands, op.operands[::-1]):
        integers = sums.x if isinstance(sums, Cast) and sums.dtype == F32 else None
        if integers is not None and integers.dtype == I32 and isinstance(factor, Constant):
            return integers, factor
    return None


def scaled(sums: Op, factor: Array) -> Op:
    """An int32 sum as numbers: what `scaled_sum` finds."""
    return Mul(Cast(sums, F32), constant(factor, F32))


def parameters(op: Quantize | Dequantize) -> tuple[Array, Array] | None:
    """(scale, zero) of an operator, if both are known and hold for the whole tensor."""
    if not (isinstance(op.scale, Constant) and isinstance(op.zero, Constant)):
        return None
    by_tensor = op.scale.type.size == 1 and op.zero.type.size == 1
    positive = by_tensor and bool(op.scale.value.reshape(-1)[0] > 0)
    return (op.scale.value, op.zero.value) if positive else None


def known_parameters(op: Quantize | Dequantize) -> tuple[Array, Array]:
    """(scale, zero) of an operator that a rule has checked."""
    found = parameters(op)
    if found is None:
        raise TypeError(f"{op!r} has no known parameters")
    return found


def scalars(op: Quantize | Dequantize) -> tuple[Constant, Constant]:
    """Scale and zero point of a whole tensor, without dimensions."""
    if not (isinstance(op.scale, Constant) and isinstance(op.zero, Constant)):
        raise TypeError(f"{op!r} has no known parameters")
    return _flat(op.scale), _flat(op.zero)


def _flat(value: Constant) -> Constant:
    return value if not value.type.rank else Constant(value.value.reshape(()))


def quantize_values(numbers: Array, scale: Array, zero: Array) -> Array:
    """The integers that stand for numbers, by the scale of a whole tensor; floats as float64."""
    given = np.asarray(numbers, scale.dtype)
    step, offset = scale.reshape(()), zero.reshape(())
    op = Quantize(Constant(given), Constant(step), Constant(offset))
    values = op.evaluate(given, step, offset)
    return values.astype(np.int64 if is_integer(zero.dtype) else np.float64)


def integers(values: Array, dtype: np.dtype[Any]) -> Constant:
    """A constant of integers that fit their type."""
    return Constant(np.asarray(values).astype(dtype))
