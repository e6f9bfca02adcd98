"""matrix.contract against plain loops over every product, written from its line in the manual."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph.types import F32, I32, is_float, parse_dtype
from kcompiler.machine.simulator import contraction
from kcompiler.machine.simulator.memories import Machine
from kcompiler.targets.rebel import TARGET, isa
from kcompiler.targets.rebel.isa import Loop, MatrixContract
from tests.targets.rebel_programs import element, machine, run

FLOATS = ("f16", "bf16", "f32", "f8e4m3fn", "f8e5m2")
SUMS = 3000  # where the sums lie: beyond what factors of these tests can reach


def fill(m: Machine, *factors: tuple[int, str]) -> None:
    """Ordinary numbers where random bytes might be NaN."""
    chance = np.random.default_rng(1)
    for address, name in factors:
        dtype = parse_dtype(name)
        count = 900 // dtype.itemsize
        for core in range(m.cores):
            values = chance.standard_normal(count).astype(dtype).view(np.uint8)
            m.stores["l1"].data[core, address : address + len(values)] = values
    m.stores["l1"].data[:, SUMS:].view(F32)[...] = 0.5


def expected(m: Machine, each: MatrixContract) -> list[dict[int, tuple[Any, float]]]:
    """For each core: address of a sum -> (its exact value, sum of absolute products)."""
    types = parse_dtype(each.type_a), parse_dtype(each.type_b)
    floats = is_float(types[0])
    number = float if floats else int
    found = []
    for core in range(each.cores):
        sums: dict[int, tuple[Any, float]] = {}
        for point in product(*(range(x.extent) for x in each.loops)):
            a = each.a + sum(i * x.a for i, x in zip(point, each.loops, strict=True))
            b = each.b + sum(i * x.b for i, x in zip(point, each.loops, strict=True))
            to = each.acc + sum(i * x.acc for i, x in zip(point, each.loops, strict=True))
            term = number(element(m, core, a, types[0])) * number(element(m, core, b, types[1]))
            if to not in sums:
                old = number(element(m, core, to, F32 if floats else I32)) if each.accumulate else 0
                sums[to] = old, abs(old)
            sums[to] = sums[to][0] + term, sums[to][1] + abs(term)
        found.append(sums)
    return found


def check(each: MatrixContract, m: Machine) -> None:
    wanted = expected(m, each)
    before = m.stores["l1"].data.copy()
    run(each, m)
    terms = int(np.prod([x.extent for x in each.loops if x.acc == 0]))
    for core, sums in enumerate(wanted):
        for at, (value, size) in sums.items():
            got = element(m, core, at, F32 if each.type_a in FLOATS else I32)
            before[core, at : at + 4] = m.stores["l1"].data[core, at : at + 4]
            if each.type_a in FLOATS:
                assert abs(float(got) - value) <= (terms + 2) * 2.0**-24 * size
            else:
                assert int(got) == (value + 2**31) % 2**32 - 2**31
    assert (m.stores["l1"].data == before).all(), "other bytes changed"


ROLES = ("batch", "m", "n", "k", "window", "repeat", "twice")


@st.composite
def contractions(draw: st.DrawFn, floats: bool) -> MatrixContract:
    """Loops of all roles: windows overlap, some loops move one factor or none, some go back."""
    names = FLOATS if floats else ("i8", "u8")
    type_a, type_b = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    size_a, size_b = parse_dtype(type_a).itemsize, parse_dtype(type_b).itemsize
    reach_a, reach_b, reach = size_a, size_b, 4
    loops, back_a = [], 0
    for role in draw(st.lists(st.sampled_from(ROLES), max_size=5)):
        extent = draw(st.integers(1, 4))
        a, b = draw(st.sampled_from([0, size_a, reach_a])), draw(st.sampled_from([size_b, reach_b]))
        acc = reach
        match role:
            case "m" | "window":
                b, a = 0, a or size_a
            case "n":
                a = 0
            case "k":
                acc = 0
            case "repeat":
                a = b = 0
            case "twice":
                a = b = acc = 0
        if a and draw(st.booleans()):
            back_a -= a * (extent - 1)
            a = -a
        loops.append(Loop(extent=extent, a=a, b=b, acc=acc))
        reach_a, reach_b = reach_a + abs(a) * (extent - 1), reach_b + b * (extent - 1)
        reach *= extent if acc else 1
    if not reach <= 1000 or max(reach_a, reach_b) > 900:
        loops, back_a = [], 0
    shuffled = draw(st.permutations(loops))
    return MatrixContract(
        cores=draw(st.integers(1, 3)), a=draw(st.integers(0, 3)) * size_a - back_a, b=1000,
        acc=SUMS, type_a=type_a, type_b=type_b, loops=tuple(shuffled),
        accumulate=draw(st.integers(0, 1)),
    )  # fmt: skip


@given(contractions(floats=True))
def test_floats(each: MatrixContract) -> None:
    m = machine()
    fill(m, (0, each.type_a), (each.b, each.type_b))
    check(each, m)


@given(contractions(floats=False), st.integers(0, 9))
def test_integers(each: MatrixContract, seed: int) -> None:
    check(each, machine(seed=seed))


@given(contractions(floats=False))
def test_addresses_need_not_be_aligned(each: MatrixContract) -> None:
    moved = MatrixContract(**{**vars(each), "a": each.a + 1, "b": each.b + 3, "acc": each.acc + 1})
    check(moved, machine())


def product_of(type_a: str, type_b: str, terms: int, **more: Any) -> MatrixContract:
    """A dot product of so many terms."""
    loops = (Loop(extent=terms, a=1, b=1, acc=0),)
    return MatrixContract(
        cores=1, a=0, b=0x20000, acc=0x40000, type_a=type_a, type_b=type_b, loops=loops, **more
    )


@pytest.mark.parametrize("type_a", ["i8", "u8"])
@pytest.mark.parametrize("type_b", ["i8", "u8"])
@pytest.mark.parametrize("terms", [1, 257, 259, 512, 513, 1024, 1025, 65536])
def test_long_integer_sums_are_exact(type_a: str, type_b: str, terms: int) -> None:
    """The largest products there are, one of them odd, so that any rounding shows."""
    m = machine(1, 0x40010)
    ends = {"i8": -128, "u8": 255}
    x = np.full(terms, ends[type_a], np.int64)
    y = np.full(terms, ends[type_b], np.int64)
    y[-1] += 1 if type_b == "i8" else -1
    m.stores["l1"].data[0, :terms] = x.astype(np.uint8)
    m.stores["l1"].data[0, 0x20000 : 0x20000 + terms] = y.astype(np.uint8)
    run(product_of(type_a, type_b, terms), m)
    wrapped = (int(x @ y) + 2**31) % 2**32 - 2**31
    assert int(element(m, 0, 0x40000, I32)) == wrapped


@pytest.mark.parametrize("types", [("i8", "i8"), ("u8", "i8"), ("u8", "u8")])
def test_the_bound_of_exact_sums_is_tight(types: tuple[str, str]) -> None:
    """As many largest products as allowed fit into float32's 24 bits, one more does not."""
    a, b = map(parse_dtype, types)
    most = contraction.exact_terms(a, b, F32)
    largest = max(abs(int(np.iinfo(a).min)), int(np.iinfo(a).max))
    largest *= max(abs(int(np.iinfo(b).min)), int(np.iinfo(b).max))
    assert most * largest <= 2**24 < (most + 1) * largest


def test_sums_wrap_around_as_32_bits_do() -> None:
    m = machine(1, 0x40010)
    m.stores["l1"].data[0, :0x20002] = 0x80  # -128 in both factors
    m.write("l1", 0x40000, I32, (), ())[...] = 2**31 - 1
    run(product_of("i8", "i8", 1, accumulate=1), m)
    assert int(element(m, 0, 0x40000, I32)) == 2**31 - 1 + 16384 - 2**32


def test_infinities_and_nans_pass_silently() -> None:
    m = machine(1)
    m.write("l1", 0, F32, (4,), (4,))[...] = [np.inf, -np.inf, 3e38, np.nan]
    loops = (Loop(extent=4, a=4, b=4, acc=4),)
    f32 = {"type_a": "f32", "type_b": "f32"}
    run(MatrixContract(cores=1, a=0, b=0, acc=SUMS, loops=loops, **f32), m)  # type: ignore[arg-type]
    got = m.read("l1", SUMS, F32, (4,), (4,))[0]
    assert got[:3].tolist() == [np.inf] * 3
    assert np.isnan(got[3])


@pytest.mark.parametrize(
    ("loops", "macs_cycles"),
    [
        # A 64 x 64 array keeps 100 columns of 64 terms as two blocks: 64 + 2 * 64 + 64 + 1 - 2.
        ((Loop(extent=100, a=128, b=0, acc=256), Loop(extent=64, a=2, b=2, acc=0)), 255),
        ((), 191),
    ],
)
def test_cycles(loops: tuple[Loop, ...], macs_cycles: int) -> None:
    each = MatrixContract(cores=1, a=0, b=0, acc=0, type_a="f16", type_b="f16", loops=loops)
    assert each.cycles(TARGET.chip) == TARGET.chip.matrix.startup.value + macs_cycles


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type_b": "i8"}, "matrix.contract: the array multiplies no f16 with i8"),
        ({"cores": 0}, "matrix.contract: no core takes part"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    good = {"cores": 1, "a": 0, "b": 0, "acc": 0, "type_a": "f16", "type_b": "f16", "loops": ()}
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.") + "$"):
        MatrixContract(**{**good, **change})


def test_a_loop_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a loop of no iterations"):
        Loop(extent=0, a=0, b=0, acc=0)


@pytest.mark.parametrize("fault", ["a", "b", "acc", "accumulate", "extent", "type"])
def test_planted_faults_are_found(fault: str) -> None:
    """Not vacuous: swapped strides, a lost flag, one term less, another sign."""
    good = MatrixContract(
        cores=2, a=0, b=1000, acc=SUMS, type_a="i8", type_b="u8", accumulate=1,
        loops=(Loop(extent=3, a=7, b=0, acc=16), Loop(extent=4, a=0, b=1, acc=4),
               Loop(extent=5, a=1, b=4, acc=0)),
    )  # fmt: skip
    check(good, machine())
    m, k = good.loops[0], good.loops[2]
    changed: dict[str, dict[str, Any]] = {
        "a": {"loops": (isa.Loop(extent=3, a=k.a, b=0, acc=16), *good.loops[1:])},
        "b": {"loops": (*good.loops[:2], isa.Loop(extent=5, a=1, b=5, acc=0))},
        "acc": {"loops": (isa.Loop(extent=3, a=m.a, b=0, acc=12), *good.loops[1:])},
        "accumulate": {"accumulate": 0},
        "extent": {"loops": (*good.loops[:2], isa.Loop(extent=4, a=1, b=4, acc=0))},
        "type": {"type_b": "i8"},
    }
    one, other = machine(), machine()
    run(good, one)
    run(MatrixContract(**{**vars(good), **changed[fault]}), other)
    assert (one.stores["l1"].data != other.stores["l1"].data).any()


def test_slices_that_are_too_long_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not vacuous: 512 products of two u8 are too many for float32."""
    monkeypatch.setattr(contraction, "exact_terms", lambda *_: 512)
    with pytest.raises(AssertionError):
        test_long_integer_sums_are_exact("u8", "u8", 512)
