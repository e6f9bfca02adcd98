"""Every rule of the verifiers fails for a planted fault, by its name."""

import pytest

from kcompiler.errors import IRError
from kcompiler.kernel.text import parse_kernel, parse_region
from kcompiler.kernel.verify import verify_region
from kcompiler.kernel.verify_kernel import verify_kernel
from tests.kernel.kernels import GATHER, MATMUL

REGION = """
region {
  in0: input f32[4,6]
  c0: constant i64[2]
  t0: local f32[4]
  out: output f32[4,3]
  for i<4, reduce r<6 {
    %0 = in0[i, r]
    acc = sum %0:f32
    t0[i] = acc:f32
  }
  for i<4 {
    %0 = t0[i]
    out[i, 0] = %0:f32
  }
  for i<4, j<2 {
    %0 = c0[j]
    %1 = in0[i, %0]
    out[i, j + 1] = neg:f32(%1:f32)
  }
}
"""

LAST = REGION[REGION.index("  for i<4, j<2") :]

REGION_FAULTS = {
    "an operand is declared once": ("c0: constant", "in0: constant"),
    "a dimension has one stride": ("in0: input f32[4,6]", "in0: input f32[4,6] strides(6)"),
    "extents are positive": ("out: output f32[4,3]", "out: output f32[4,0]"),
    "locals and the output are dense": ("t0: local f32[4]", "t0: local f32[4] strides(2)"),
    "a view begins inside its buffer": ("in0: input f32[4,6]", "in0: input f32[4,6] strides(6,-1)"),
    "exactly one operand is the output": ("out: output", "out: input"),
    "an axis is declared once": ("for i<4, j<2", "for i<4, j<2, j<2"),
    "what is combined runs over reduced axes": ("acc = sum", "acc = none"),
    "an access names a declared operand": ("%0 = in0[i, r]", "%0 = in1[i, r]"),
    "an index has one form a dimension": ("in0[i, r]", "in0[i]"),
    "an index uses axes of its nest": ("in0[i, r]", "in0[i, q]"),
    "an index without fill stays in bounds": ("in0[i, r]", "in0[i, r + 1]"),
    "a gather takes its indices from a plain read of integers": ("%0 = c0[j]", "%0 = in0[i, j]"),
    "a nest writes a local or the output": ("out[i, 0]", "in0[i, 0]"),
    "a write is a plain access": ("out[i, 0] =", "out[i, 0] else 0 ="),
    "the write moves along the parallel axes and no others": ("t0[i] =", "t0[0] ="),
    "a write is injective": (LAST, LAST.replace("i<4", "i<3").replace("i, j + 1", "i + j, 1")),
    "writes are disjoint": ("out[i, j + 1]", "out[i, j]"),
    "every element is written": ("out: output f32[4,3]", "out: output f32[5,3]"),
    "an expression loads a read of its nest": ("neg:f32(%1:f32)", "neg:f32(%2:f32)"),
    "a function exists and has its arguments": ("neg:f32(%1:f32)", "add:f32(%1:f32)"),
    "only the result knows the combined value": ("sum %0:f32", "sum acc:f32"),
    "the combined value has the type of the body": ("t0[i] = acc:f32", "t0[i] = acc:f16"),
    "the result has the element type of what it is written to": ("t0: local f32", "t0: local f16"),
    "the result reads at parallel axes only": ("t0[i] = acc:f32", "t0[i] = %0:f32"),
    "the output is not read": ("%0 = t0[i]", "%0 = out[i, 0]"),
    "a local is written before it is read": ("%0 = in0[i, r]", "%0 = t0[i]"),
    "a local is indexed by the parallel axes in order": ("t0[i] =", "t0[-1*i + 3] ="),
    "every operand is used": ("t0: local", "x: input f32[1]\n  t0: local"),
}


def test_the_region_is_right_before_the_fault() -> None:
    verify_region(parse_region(REGION))


@pytest.mark.parametrize("rule", REGION_FAULTS)
def test_region_rules(rule: str) -> None:
    old, new = REGION_FAULTS[rule]
    assert old in REGION
    with pytest.raises(IRError) as error:
        verify_region(parse_region(REGION.replace(old, new, 1)))
    assert error.value.rule == rule


def test_a_local_is_written_by_one_nest() -> None:
    first = REGION[REGION.index("  for i<4, reduce") : REGION.index("  for i<4 {")]
    with pytest.raises(IRError) as error:
        verify_region(parse_region(REGION.replace(first, first + first)))
    assert error.value.rule == "a local is written by one nest"


KERNEL_FAULTS = {
    "locals are buffers in a kernel": ("c0: constant", "c0: local"),
    "core loops are the outermost ones": ("double n", "sequential q < 1 { core n"),
    "loops have distinct variables": ("double n < 2", "double m < 2"),
    "extents are positive": ("sequential k < 2", "sequential k < 0"),
    "a buffer has a name of its own": ("alloc y:", "alloc acc:"),
    "a buffer is in a memory of the chip": ("y: f32[3,4] in sram", "y: f32[3,4] in hbm"),
    "a copy is between a buffer and an operand": ("= in0[3*m +: 3,", "= acc[0 +: 3,"),
    "copies read inputs and constants and write the output": ("= in0[", "= out["),
    "both boxes of a copy have one shape": ("= in0[3*m +: 3,", "= in0[3*m +: 4,"),
    "both sides of a copy have one type": ("in0: input f32", "in0: input f16"),
    "a box has the rank of its tensor": ("in0: input f32[5,7]", "in0: input f32[5,7,1]"),
    "an origin uses the loops around it": ("in0[3*m +:", "in0[3*q +:"),
    "a box stays inside its buffer": ("copy a[0 +:", "copy a[1 +:"),
    "a buffer is written before it is read": ("%0 = acc[i, j]", "%0 = y[i, j]"),
    "a nest works on buffers defined before it": ("%1 = b[r, j]", "%1 = c0[r, j]"),
    "carry names a loop around": ("carry k", "carry q"),
    "a carried result is the combined value itself": ("j] = acc:f32", "j] = neg:f32(acc:f32)"),
    "an index without fill stays in bounds": ("b[r, j]", "b[r + 1, j]"),
    "a write is injective": ("copy out[3*m +: 3,", "copy out[2*m +: 3,"),
    "every element is written": ("double n < 2", "double n < 1"),
}


def test_the_kernels_are_right_before_the_fault() -> None:
    verify_kernel(parse_kernel(MATMUL), {"sram"})
    verify_kernel(parse_kernel(GATHER))


@pytest.mark.parametrize("rule", KERNEL_FAULTS)
def test_kernel_rules(rule: str) -> None:
    old, new = KERNEL_FAULTS[rule]
    assert old in MATMUL
    text = MATMUL.replace(old, new, 1) + ("}" if new.count("{") > old.count("{") else "")
    with pytest.raises(IRError) as error:
        verify_kernel(parse_kernel(text), {"sram"})
    assert error.value.rule == rule


STORE = "  copy out[0 +: 3, 0 +: 3] = rows[0 +: 3, 0 +: 3] else 0\n"

GATHER_FAULTS = {
    "a gather takes its indices from a buffer of integers of rank 1": ("by ids", "by rows"),
    "a gather chooses from all of its dimension": ("in1[0 +: 5", "in1[1 +: 4"),
    "a gather fills its destination": ("alloc ids: i64[3]", "alloc ids: i64[4]"),
    "a buffer is written before it is read": ("  copy ids[0 +: 3] = in0[0 +: 3] else 0\n", ""),
    "only reads gather": (STORE, STORE.replace("\n", " gather 0 by ids\n")),
    "writes are disjoint": (STORE, STORE + STORE),
}


@pytest.mark.parametrize("rule", GATHER_FAULTS)
def test_gather_rules(rule: str) -> None:
    old, new = GATHER_FAULTS[rule]
    assert old in GATHER
    with pytest.raises(IRError) as error:
        verify_kernel(parse_kernel(GATHER.replace(old, new, 1)))
    assert error.value.rule == rule
