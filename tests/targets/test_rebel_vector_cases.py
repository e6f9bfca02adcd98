"""vector.nest case by case: conversions, bools, 64 bits, cycles, refusals, planted faults."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from kcompiler.graph.types import F32, is_float, parse_dtype
from kcompiler.machine.simulator.elementwise import immediate_bits, immediate_value
from kcompiler.machine.simulator.memories import Machine
from kcompiler.targets.rebel import TARGET
from kcompiler.targets.rebel.isa import TYPES, Micro, Read, VectorLoop, VectorNest
from tests.targets.rebel_programs import element, machine, run, step

OUT = 3000


def nest(body: Sequence[Micro], reads: Sequence[tuple[int, str]], **more: Any) -> VectorNest:
    """Four elements, side by side."""
    sizes = [parse_dtype(name).itemsize for _, name in reads]
    out_type = more.pop("out_type")
    out = parse_dtype(out_type).itemsize
    last = body[-1].dtype if body else out_type
    fields: dict[str, Any] = {
        "cores": 1,
        "sources": tuple(Read(address=at, dtype=name) for at, name in reads),
        "loops": (VectorLoop(extent=4, out=out, reads=tuple(sizes)),),
        "reduced": 0,
        "body": tuple(body),
        "combine": "none",
        "result": (step("acc", last),),
        "out": OUT,
        "out_type": out_type,
    }
    return VectorNest(**{**fields, **more})


def put(m: Machine, at: int, values: Any, name: str) -> None:
    data = np.asarray(values).astype(parse_dtype(name))
    m.write("l1", at, data.dtype, data.shape, (data.dtype.itemsize,))[...] = data


def got(m: Machine, name: str, count: int = 4) -> list[Any]:
    dtype = parse_dtype(name)
    found: list[Any] = m.read("l1", OUT, dtype, (count,), (dtype.itemsize,))[0].tolist()
    return found


@pytest.mark.parametrize(
    ("out_type", "wanted"),
    [
        ("i8", [2, -2, 127, -128]),
        ("u8", [2, 0, 255, 0]),
        ("i32", [2, -2, 2**31 - 1, -(2**31)]),
        ("i64", [2, -2, 2**63 - 1, -(2**63)]),
        ("bool", [True, True, True, True]),
        ("f16", [2.75, -2.75, float("inf"), float("-inf")]),
        ("f8e4m3fn", [2.75, -2.75, 448.0, -448.0]),
    ],
)
def test_float_results_convert_as_onnx_casts(out_type: str, wanted: list[Any]) -> None:
    """Toward zero and saturating; to a float rounded, 8-bit ones saturate."""
    m = machine()
    put(m, 0, [2.75, -2.75, 3e38, -3e38], "f32")
    run(nest([step("load", "f32", 0)], [(0, "f32")], out_type=out_type), m)
    assert got(m, out_type) == wanted


def test_a_nan_becomes_the_integer_zero() -> None:
    m = machine()
    put(m, 0, [np.nan] * 4, "f32")
    run(nest([step("load", "f32", 0)], [(0, "f32")], out_type="i32"), m)
    assert got(m, "i32") == [0] * 4


@pytest.mark.parametrize(
    ("combine", "wanted"), [("max", True), ("min", False), ("sum", True), ("prod", False)]
)
def test_bools_combine_as_logic(combine: str, wanted: bool) -> None:
    """A sum of bools is whether any holds, a product whether all do, accumulated ones too."""
    m = machine()
    m.stores["l1"].data[:, :4] = [0, 1, 1, 0]
    loops = (VectorLoop(extent=4, out=0, reads=(1,)),)
    more: dict[str, Any] = {"loops": loops, "reduced": 1, "combine": combine, "out_type": "bool"}
    run(nest([step("load", "bool", 0)], [(0, "bool")], **more), m)
    assert got(m, "bool", 1) == [wanted]
    m.stores["l1"].data[:, OUT] = 1
    run(nest([step("load", "bool", 0)], [(0, "bool")], accumulate=1, **more), m)
    assert got(m, "bool", 1) == [wanted]


def test_a_selection_reads_bools() -> None:
    m = machine()
    m.stores["l1"].data[0, :4] = [0, 1, 1, 0]
    put(m, 8, [1, 2, 3, 4], "i64")
    put(m, 40, [-1, -2, -3, -4], "i64")
    body = [step("load", "bool", 0), step("load", "i64", 1), step("load", "i64", 2),
            step("where", "i64", 0, 1, 2)]  # fmt: skip
    run(nest(body, [(0, "bool"), (8, "i64"), (40, "i64")], out_type="i64"), m)
    assert got(m, "i64") == [-1, 2, 3, -4]


def test_a_comparison_gives_a_bool() -> None:
    m = machine()
    put(m, 0, [1, 2, 3, np.nan], "f16")
    body = [step("load", "f32", 0), step("const", "f32", immediate=immediate_bits(2.0, F32)),
            step("less_equal", "bool", 0, 1), step("not", "bool", 2)]  # fmt: skip
    run(nest(body, [(0, "f16")], out_type="bool"), m)
    assert got(m, "bool") == [False, False, True, True]


def test_steps_round_to_their_type() -> None:
    """A value narrower than the type that computes it is rounded at its step."""
    m = machine()
    put(m, 0, [1, 2, 3, 4], "f32")
    third = immediate_bits(1 / 3, F32)
    body = [step("load", "f32", 0), step("const", "f32", immediate=third),
            step("mul", "f32", 0, 1), step("cast", "f16", 2), step("cast", "f32", 3)]  # fmt: skip
    run(nest(body, [(0, "f32")], out_type="f32"), m)
    assert got(m, "f32") == [
        float(np.float16(np.float32(n) * np.float32(1 / 3))) for n in range(1, 5)
    ]


@pytest.mark.parametrize("name", TYPES)
def test_immediates_keep_their_value(name: str) -> None:
    dtype = parse_dtype(name)
    values: list[Any] = [0, 1]
    if is_float(dtype):
        values += [0.5, -2.0, 448.0] + ([] if name[:2] == "f8" else [math.inf, -math.inf])
    elif name != "bool":
        values += [np.iinfo(dtype).min, np.iinfo(dtype).max]
    for value in values:
        bits = immediate_bits(value, dtype)
        assert 0 <= bits < 2**64
        back = immediate_value(bits, dtype)
        assert back.dtype == dtype
        assert back == value


def test_a_sum_of_a_long_row_stays_within_the_bound_of_any_order() -> None:
    m = machine(1, 1 << 16)
    values = np.random.default_rng(0).standard_normal(10_000).astype(F32)
    m.write("l1", 0, F32, values.shape, (4,))[...] = values
    loops = (VectorLoop(extent=10_000, out=0, reads=(4,)),)
    each = nest([step("load", "f32", 0)], [(0, "f32")], loops=loops, reduced=1, combine="sum",
                out=50_000, out_type="f32")  # fmt: skip
    run(each, m)
    exact = math.fsum(values.tolist())
    bound = 10_000 * 2.0**-24 * math.fsum(np.abs(values).tolist())
    assert abs(float(element(m, 0, 50_000, F32)) - exact) <= bound


def test_cycles_count_operations_on_elements() -> None:
    """65 elements of two operations, one of them special: 2 rounds of 64 lanes of (1 + 4)."""
    body = [step("load", "f32", 0), step("exp", "f32", 0), step("neg", "f32", 1)]
    loops = (VectorLoop(extent=65, out=2, reads=(2,)),)
    each = nest(body, [(0, "f16")], loops=loops, out_type="f16")
    assert each.cycles(TARGET.chip) == TARGET.chip.vector.startup.value + 2 * 5
    wide = nest([step("load", "i64", 0), step("neg", "i64", 0)], [(0, "i64")], out_type="i64")
    assert wide.cycles(TARGET.chip) == TARGET.chip.vector.startup.value + 2


LOAD = step("load", "f32", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reduced": 2}, "2 reduced loops of 1"),
        ({"loops": (VectorLoop(extent=4, out=2, reads=()),)}, "every loop needs one stride"),
        ({"body": ()}, "an empty micro-program has no value"),
        ({"body": (step("load", "f32", 1),)}, r"step 0 \(load\) uses a value that does not exist"),
        ({"body": (LOAD, step("neg", "f32", 1))}, r"step 1 \(neg\) uses a value"),
        ({"body": (LOAD, step("add", "f32", 0))}, "step 1: add takes 2 arguments"),
        ({"body": (step("acc", "f32"),)}, "there is no acc before the reduction"),
        ({"accumulate": 1}, "nothing says how values are combined"),
        ({"reduced": 1}, "nothing says how values are combined"),
        ({"reduced": 1, "combine": "sum", "result": (LOAD,)}, "read 0 has many values"),
        (
            {"loops": (VectorLoop(extent=4, out=0, reads=(2,)),)},
            "a loop that is not reduced must move the result",
        ),
        ({"cores": 0}, "no core takes part"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^vector\.nest: " + message):
        nest(**{"body": [LOAD], "reads": [(0, "f16")], "out_type": "f16", **change})


@pytest.mark.parametrize(
    "fault", ["stride", "extent", "type", "combine", "accumulate", "arguments"]
)
def test_planted_faults_are_found(fault: str) -> None:
    """Not vacuous: each wrong field changes what is computed."""
    body = (step("load", "i8", 0), step("load", "i8", 1), step("sub", "i8", 0, 1))
    loops = (VectorLoop(extent=3, out=1, reads=(4, 0)), VectorLoop(extent=4, out=0, reads=(1, 1)))
    good: dict[str, Any] = {
        "loops": loops, "reduced": 1, "combine": "max", "accumulate": 1, "out_type": "i8",
    }  # fmt: skip
    changed: dict[str, dict[str, Any]] = {
        "stride": {"loops": (VectorLoop(extent=3, out=1, reads=(0, 4)), loops[1])},
        "extent": {"loops": (VectorLoop(extent=2, out=1, reads=(4, 0)), loops[1])},
        "type": {"reads": [(0, "u8"), (500, "i8")], "out_type": "u8"},
        "combine": {"combine": "min"},
        "accumulate": {"accumulate": 0},
        "arguments": {"body": (*body[:2], step("sub", "i8", 1, 0))},
    }
    one, other = machine(), machine()
    for m in (one, other):
        m.stores["l1"].data[:, OUT : OUT + 3] = [0x80, 127, 5]
    changes = {"body": body, "reads": [(0, "i8"), (500, "i8")], **good, **changed[fault]}
    run(nest(body=body, reads=[(0, "i8"), (500, "i8")], **good), one)
    run(nest(**changes), other)
    assert (one.stores["l1"].data != other.stores["l1"].data).any()
