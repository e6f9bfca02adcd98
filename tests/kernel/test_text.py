"""Golden texts, and the messages for texts that are none."""

import math

import pytest

from kcompiler.errors import UsageError
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Constant
from kcompiler.graph.types import F16, F32, TensorType
from kcompiler.kernel.expr import Const
from kcompiler.kernel.from_graph import region_of
from kcompiler.kernel.text import parse_kernel, parse_region, print_kernel, print_region, show_expr
from tests.conftest import Golden
from tests.kernel import bodies
from tests.kernel.kernels import GATHER, MATMUL


def half(*shape: int) -> TensorType:
    return TensorType(F16, shape)


def test_golden_conv(golden: Golden) -> None:
    w, b = (Constant(bodies.values(0, F16, s)) for s in ((8, 4, 3, 3), (8, 1, 1)))
    fused = bodies.fuse(
        lambda x: ops.Relu(ops.Add(ops.Conv(x, w, (2, 2), (1, 1), (1, 1), (1, 1), 1, F16), b)),
        half(1, 4, 16, 16),
    )
    golden("kernel/conv.region", print_region(region_of(fused).region))


def test_golden_softmax(golden: Golden) -> None:
    fused = bodies.fuse(lambda x, y: ops.Softmax(ops.Add(x, y), 2), half(1, 12, 32), half(32))
    golden("kernel/softmax.region", print_region(region_of(fused).region))


@pytest.mark.parametrize("text", [MATMUL, GATHER])
def test_kernels_print_and_parse(text: str) -> None:
    kernel = parse_kernel(text)
    assert print_kernel(kernel).strip() == text.strip()
    assert parse_kernel(print_kernel(kernel)) == kernel


@pytest.mark.parametrize("value", [0, -3, 1.5, -1e-30, math.inf, -math.inf, True, False])
def test_literals(value: float) -> None:
    assert show_expr(Const(F32, value)) == f"{str(value).lower()}:f32"
    text = REGION.replace("%0:f32", show_expr(Const(F32, value)))
    body = parse_region(text).nests[0].body
    assert isinstance(body, Const)
    assert (body.value, type(body.value)) == (value, type(value))


REGION = """region {
  in0: input f32[4] strides(-1) offset 3
  out: output f32[4]
  for i0<4 {
    %0 = in0[i0]
    out[i0] = %0:f32
  }
}
"""

WRONG = {
    "a mark": (("i0<4 {", "i0<4 ("), "line 4", "expected ',', found '('"),
    "a type": (("out: output f32", "out: output f33"), "line 3", "f33 is no element type"),
    "a role": (("input", "inputs"), "line 2", "expected input or constant or output or local"),
    "a number": (("[4]", "[4.5]"), "line 2", "4.5 is no integer"),
    "a character": (("%0 =", "@0 ="), "line 5", "unexpected '@'"),
    "an end": (("\n}\n", "\n"), "line 8", "expected '}', found 'the end'"),
    "two gathers": (("in0[i0]", "in0[%0, %0]"), "line 5", "only one dimension can be gathered"),
}


@pytest.mark.parametrize("name", WRONG)
def test_messages(name: str) -> None:
    (old, new), where, why = WRONG[name]
    assert print_region(parse_region(REGION)) == REGION
    with pytest.raises(UsageError) as error:
        parse_region(REGION.replace(old, new, 1))
    assert error.value.what == "the text is not a region"
    assert error.value.where == where
    assert why in error.value.why
