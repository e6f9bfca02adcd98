"""Logic, bits, comparison and choice."""

from __future__ import annotations

from kcompiler.graph.node import Tensor
from kcompiler.graph.operators.check import require
from kcompiler.graph.operators.elementwise import Binary, Elementwise, Unary
from kcompiler.graph.types import BOOL, TensorType


class And(Binary):
    """`x and y`."""

    function = "and"


class Or(Binary):
    """`x or y`."""

    function = "or"


class Xor(Binary):
    """Exactly one of x and y."""

    function = "xor"


class Not(Unary):
    """Not x."""

    function = "not"


class BitAnd(Binary):
    """The bits set in both x and y."""

    function = "bitand"


class BitOr(Binary):
    """The bits set in x or y."""

    function = "bitor"


class BitXor(Binary):
    """The bits set in exactly one of x and y."""

    function = "bitxor"


class BitNot(Unary):
    """The bits not set in x."""

    function = "bitnot"


class Shl(Binary):
    """`x` shifted left by y bits."""

    function = "shl"


class Shr(Binary):
    """`x` shifted right by y bits; signed types keep their sign."""

    function = "shr"


class Equal(Binary):
    """Whether x = y."""

    function = "equal"


class Less(Binary):
    """Whether x < y."""

    function = "less"


class LessEqual(Binary):
    """Whether x <= y."""

    function = "less_equal"


class Where(Elementwise):
    """`x` where cond holds, else y."""

    cond: Tensor
    x: Tensor
    y: Tensor
    function = "where"

    def infer(self) -> TensorType:
        require(self.cond.dtype == BOOL, self, "cond must be bool")
        return super().infer()


class IsNan(Unary):
    """Whether x is not a number."""

    function = "isnan"


class IsInf(Unary):
    """Whether x is infinite, of either sign."""

    function = "isinf"
