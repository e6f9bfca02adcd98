"""vector.nest against plain loops over every point, written from its line in the manual."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph.types import is_float, parse_dtype
from kcompiler.machine.simulator.elementwise import immediate_bits, immediate_value
from kcompiler.machine.simulator.memories import Machine
from kcompiler.targets.rebel.isa import TYPES, Micro, Read, VectorLoop, VectorNest
from tests.targets.rebel_programs import element, machine, run, step

OUT = 3000
INTEGERS = [t for t in TYPES if t[0] in "iu"]

# What each function is, on Python's numbers; the machine rounds to 32 bits once an operation.
FLOAT: dict[str, Callable[..., float]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "max": max,
    "min": min,
    "neg": lambda x: -x,
    "abs": abs,
    "exp": math.exp,
    "tanh": math.tanh,
    "erf": math.erf,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "relu": lambda x: max(x, 0.0),
    "floor": math.floor,
    "round": round,
}
INTEGER: dict[str, Callable[..., int]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "max": max,
    "min": min,
    "neg": lambda x: -x,
    "bitand": lambda x, y: x & y,
    "bitxor": lambda x, y: x ^ y,
    "bitnot": lambda x: ~x,
}
COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda _, y: y,
    "sum": lambda x, y: x + y,
    "prod": lambda x, y: x * y,
    "max": max,
    "min": min,
}


def wrap(value: int, dtype: np.dtype[Any]) -> int:
    """The low bits of an integer, as a type reads them."""
    low = int(np.iinfo(dtype).min)
    return (value - low) % int(2 ** (8 * dtype.itemsize)) + low


def micro(steps: Sequence[Micro], reads: Sequence[Any], acc: Any, table: Any) -> Any:
    """The value of a micro-program at one point."""
    values: list[Any] = []
    for each in steps:
        dtype = parse_dtype(each.dtype)
        if each.function == "load":
            value = reads[each.args[0]]
        elif each.function == "acc":
            value = acc
        elif each.function == "const":
            value = immediate_value(each.immediate, dtype)[()].item()
        else:
            value = table[each.function](*(values[a] for a in each.args))
        values.append(float(value) if is_float(dtype) else wrap(int(value), dtype))
    return values[-1]


def expected(m: Machine, each: VectorNest, table: Any) -> list[dict[int, Any]]:
    """For each core: address of a result -> its value."""
    kept = len(each.loops) - each.reduced
    found = []
    number = float if each.out_type[0] in "bf" else int
    for core in range(each.cores):
        sums: dict[int, Any] = {}
        last: dict[int, list[Any]] = {}
        for point in product(*(range(x.extent) for x in each.loops)):
            to = each.out + sum(
                i * x.out for i, x in zip(point[:kept], each.loops[:kept], strict=True)
            )
            reads = [
                element(
                    m,
                    core,
                    r.address + sum(i * x.reads[n] for i, x in zip(point, each.loops, strict=True)),
                    parse_dtype(r.dtype),
                ).item()
                for n, r in enumerate(each.sources)
            ]
            value = micro(each.body, reads, None, table)
            sums[to] = COMBINE[each.combine](sums[to], value) if to in sums else value
            last[to] = reads
        for to, combined in sums.items():
            acc = wrapped(combined, each.body[-1].dtype)
            value = micro(each.result, last[to], acc, table)
            if each.accumulate:
                old = number(element(m, core, to, parse_dtype(each.out_type)))
                value = COMBINE[each.combine](old, value)
            sums[to] = value
        found.append(sums)
    return found


def wrapped(value: Any, dtype: str) -> Any:
    return value if is_float(parse_dtype(dtype)) else wrap(value, parse_dtype(dtype))


@st.composite
def programs(draw: st.DrawFn, reads: int, dtype: str, table: dict[str, Any], acc: bool) -> Any:
    """A micro-program of one type, whose last step may be any of them."""
    leaves = [step("load", dtype, i) for i in range(reads)] + ([step("acc", dtype)] if acc else [])
    kind = parse_dtype(dtype)
    value = draw(st.floats(-3, 3, width=32) if is_float(kind) else st.integers(-99, 99))
    steps = [
        draw(st.sampled_from(leaves)),
        step("const", dtype, immediate=immediate_bits(value, kind)),
    ]
    for _ in range(draw(st.integers(0, 4))):
        function = draw(st.sampled_from(sorted(table)))
        count = table[function].__code__.co_argcount if hasattr(table[function], "__code__") else 0
        count = count or (2 if function in {"max", "min"} else 1)
        args = [draw(st.integers(0, len(steps) - 1)) for _ in range(count)]
        steps.append(step(function, dtype, *args))
    return tuple(steps)


@st.composite
def nests(draw: st.DrawFn, types: Sequence[str], table: dict[str, Any]) -> VectorNest:
    """Broadcast reads, strides that skip and go back, reductions, accumulation."""
    name = draw(st.sampled_from(types))
    working = "f32" if is_float(parse_dtype(name)) else name
    size = parse_dtype(name).itemsize
    count = draw(st.integers(1, 3))
    out_type = draw(st.sampled_from(types)) if working == "f32" else name
    reduced = draw(st.integers(0, 2))
    rank = draw(st.integers(reduced, 4))
    kept = rank - reduced
    extents = [draw(st.integers(1, 4)) for _ in range(rank)]
    combine = draw(st.sampled_from(["sum", "max", "min", "prod"] if reduced else list(COMBINE)))
    result = draw(programs(count, working, table, acc=True))
    outside = {s.args[0] for s in result if s.function == "load"}
    loops, reach = [], parse_dtype(out_type).itemsize
    for i, extent in enumerate(extents):
        strides = tuple(
            0 if i >= kept and n in outside else draw(st.sampled_from([0, 1, -1, 3, 10])) * size
            for n in range(count)
        )
        loops.append(VectorLoop(extent=extent, out=reach if i < kept else 0, reads=strides))
        reach *= extent + draw(st.integers(0, 1))
    sources = tuple(
        Read(address=1000 + 400 * n + draw(st.integers(0, 3)), dtype=name) for n in range(count)
    )
    return VectorNest(
        cores=draw(st.integers(1, 3)),
        sources=sources,
        loops=tuple(loops),
        reduced=reduced,
        body=draw(programs(count, working, table, acc=False)),
        combine=combine,
        result=result,
        out=OUT,
        out_type=out_type,
        accumulate=draw(st.integers(0, 1)) if combine != "none" else 0,
    )


@given(nests(INTEGERS, INTEGER), st.integers(0, 9))
def test_integers(each: VectorNest, seed: int) -> None:
    m = machine(size=1 << 14, seed=seed)
    wanted = expected(m, each, INTEGER)
    before = m.stores["l1"].data.copy()
    run(each, m)
    dtype = parse_dtype(each.out_type)
    for core, values in enumerate(wanted):
        for at, value in values.items():
            assert int(element(m, core, at, dtype)) == wrap(value, dtype)
            before[core, at : at + dtype.itemsize] = m.stores["l1"].data[
                core, at : at + dtype.itemsize
            ]
    assert (m.stores["l1"].data == before).all(), "other bytes changed"


@given(nests(["f16", "bf16", "f32"], FLOAT), st.integers(0, 9))
def test_floats(each: VectorNest, seed: int) -> None:
    m = machine(size=1 << 14)
    chance = np.random.default_rng(seed)
    for read in each.sources:
        dtype = parse_dtype(read.dtype)
        data = chance.standard_normal((3, 120 if dtype.itemsize == 2 else 60)).astype(dtype)
        low = read.address - 30 * dtype.itemsize
        m.stores["l1"].data[:, low : low + data.nbytes // 3] = data.view(np.uint8)
    m.stores["l1"].data[:, OUT:] = np.tile(
        np.array([1.5], parse_dtype(each.out_type)).view(np.uint8), (1 << 14) // 2
    )[: (1 << 14) - OUT]
    try:
        wanted = expected(m, each, FLOAT)
    except (OverflowError, ValueError):
        return  # Python's functions raise where floats are infinite or no numbers
    run(each, m)
    dtype = parse_dtype(each.out_type)
    for core, values in enumerate(wanted):
        for at, value in values.items():
            close(float(element(m, core, at, dtype)), float(value), each)


def close(found: float, wanted: float, each: VectorNest) -> None:
    """Loose where a program is long: one lost read or term is far outside all the same."""
    if not math.isfinite(wanted) or abs(wanted) > 1e4 or not math.isfinite(found):
        return
    if {s.function for s in (*each.body, *each.result)} & {"floor", "round"}:
        assert abs(found - wanted) <= 1e-2 * abs(wanted) + 64
        return
    assert abs(found - wanted) <= 2e-2 * abs(wanted) + 0.1
