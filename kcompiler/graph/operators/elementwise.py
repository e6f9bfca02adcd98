"""Element-wise operators: one class a scalar function, operands broadcast as in numpy."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from kcompiler.graph.node import Array, Op, Tensor
from kcompiler.graph.operators.check import broadcast_shape, require
from kcompiler.graph.types import BOOL, TensorType, is_float, is_integer
from kcompiler.scalar import FUNCTIONS, ScalarFunction, apply


class Elementwise(Op, abstract=True):
    """A scalar function applied at every position; operands broadcast as in numpy.

    Floats narrower than 32 bits are computed in float32 and rounded once.
    """

    function: ClassVar[str]

    @property
    def scalar(self) -> ScalarFunction:
        """The scalar function that is applied."""
        return FUNCTIONS[self.function]

    def infer(self) -> TensorType:
        shape = broadcast_shape(self, *(o.shape for o in self.operands))
        last = self.operands[-1].dtype
        values = self.operands[1:] if self.function == "where" else self.operands
        require(len({o.dtype for o in values}) == 1, self, "operands must have one type")
        require(_accepts(self.scalar.domain, last), self, f"operands must be {self.scalar.domain}")
        return TensorType(BOOL if self.scalar.predicate else last, shape)

    def evaluate(self, *values: Array) -> Array:
        return apply(self.function, self.dtype, *values)


def _accepts(domain: str, dtype: np.dtype[Any]) -> bool:
    match domain:
        case "float":
            return is_float(dtype)
        case "integer":
            return is_integer(dtype)
        case "bool":
            return dtype == BOOL
        case "number":
            return is_float(dtype) or is_integer(dtype)
    return True


class Unary(Elementwise, abstract=True):
    """A function of one tensor."""

    x: Tensor


class Binary(Elementwise, abstract=True):
    """A function of two tensors of one element type."""

    x: Tensor
    y: Tensor


class Cast(Elementwise):
    """`x` as another element type; float to integer truncates toward zero and saturates."""

    x: Tensor
    dtype: np.dtype[Any]
    function = "cast"

    def infer(self) -> TensorType:
        return TensorType(self.dtype, self.x.shape)
