"""The text forms of regions and kernels are exact, whatever they say: also for invalid ones."""

import math
from typing import Any, get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from kcompiler.graph.types import BOOL, F16, F32, I32, I64
from kcompiler.kernel.expr import Acc, Apply, Const, Expr, Load
from kcompiler.kernel.nest import Access, Affine, Axis, Combine, Nest, Operand, Region, Role
from kcompiler.kernel.statements import Alloc, Box, Compute, Copy, For, Kernel, Statement
from kcompiler.kernel.text import parse_kernel, parse_region, print_kernel, print_region

NAMES = st.from_regex(r"[a-z_][a-z0-9_.]{0,4}", fullmatch=True).filter(
    lambda name: (
        name
        not in {"acc", "carry", "else", "gather", "inf", "nan", "reduce", "step", "true", "false"}
    )
)
SMALL = st.integers(-5, 5)
DTYPES: SearchStrategy[np.dtype[Any]] = st.sampled_from([F16, F32, I32, I64, BOOL])
NUMBERS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False).filter(lambda x: x != 0 or math.copysign(1, x) > 0),
    st.just(math.nan),
)
FORMS = st.builds(Affine.of, st.dictionaries(NAMES, SMALL, max_size=3), SMALL)
SHAPES = st.lists(st.integers(0, 9), max_size=3).map(tuple)
LEAVES: SearchStrategy[Expr] = st.one_of(
    st.builds(Load, DTYPES, st.integers(0, 12)),
    st.builds(Const, DTYPES, NUMBERS),
    st.builds(Acc, DTYPES),
)
EXPRS: SearchStrategy[Expr] = st.recursive(
    LEAVES,
    lambda inner: st.builds(Apply, DTYPES, NAMES, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
FILLS = st.one_of(st.none(), NUMBERS)
ZERO = Affine()


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    index = draw(st.lists(FORMS, max_size=3))
    indirect = None
    if len(index) > 0 and draw(st.booleans()):
        indirect = (draw(st.integers(0, len(index) - 1)), draw(st.integers(0, 12)))
        index[indirect[0]] = ZERO
    return Access(draw(NAMES), tuple(index), draw(FILLS), indirect)


AXES = st.lists(st.builds(Axis, NAMES, st.integers(0, 99), st.booleans()), max_size=4).map(tuple)
NESTS = st.builds(
    Nest,
    AXES,
    st.lists(accesses(), max_size=12).map(tuple),
    EXPRS,
    st.sampled_from(get_args(Combine)),
    EXPRS,
    accesses(),
)


@st.composite
def operands(draw: st.DrawFn) -> Operand:
    shape = draw(SHAPES)
    name, role, dtype = draw(NAMES), draw(st.sampled_from(get_args(Role))), draw(DTYPES)
    if draw(st.booleans()):
        return Operand.dense(name, role, dtype, shape)
    return Operand(name, role, dtype, shape, tuple(draw(SMALL) for _ in shape), draw(SMALL))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    parts = draw(st.lists(st.tuples(FORMS, st.integers(0, 9), SMALL), max_size=3))
    origins, lengths, steps = (tuple(part[k] for part in parts) for k in range(3))
    return Box(draw(NAMES), origins, lengths, steps)  # type: ignore[arg-type]


STATEMENTS: SearchStrategy[Statement] = st.recursive(
    st.one_of(
        st.builds(Alloc, NAMES, DTYPES, SHAPES, NAMES),
        st.builds(
            Copy,
            boxes(),
            boxes(),
            NUMBERS,
            st.one_of(st.none(), st.tuples(st.integers(0, 3), NAMES)),
        ),
        st.builds(Compute, NESTS, st.one_of(st.none(), NAMES)),
    ),
    lambda inner: st.builds(
        For,
        NAMES,
        st.integers(0, 99),
        st.sampled_from(["core", "sequential", "double"]),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=4,
)
OPERANDS = st.lists(operands(), max_size=3).map(tuple)


@given(st.builds(Region, OPERANDS, st.lists(NESTS, max_size=2).map(tuple)))
def test_regions_print_and_parse(region: Region) -> None:
    text = print_region(region)
    assert parse_region(text) == region
    assert print_region(parse_region(text)) == text


@given(st.builds(Kernel, st.text(), OPERANDS, st.lists(STATEMENTS, max_size=3).map(tuple)))
def test_kernels_print_and_parse(kernel: Kernel) -> None:
    text = print_kernel(kernel)
    assert parse_kernel(text) == kernel
    assert print_kernel(parse_kernel(text)) == text
