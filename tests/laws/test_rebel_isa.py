"""The laws of instruction sets, on rebel's.

Random fields hardly ever go together (every dim needs a core step for each axis of the grid), so
what depends on other fields is drawn to fit.
"""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcompiler.machine.fields import Many
from kcompiler.machine.generic import touches
from kcompiler.machine.manual import manual
from kcompiler.targets.rebel.isa import (
    FUNCTIONS,
    Dim,
    Micro,
    NdmaGather,
    NeuralDma,
    Rebel,
    SyncWait,
    VectorLoop,
    VectorNest,
)
from tests.laws import isa_strategies as laws


def field(cls: type[Any], name: str) -> st.SearchStrategy[Any]:
    """Any legal value of one field."""
    return laws.values(next(o.kind for o in cls.operands if o.name == name))


def element(cls: type[Any], name: str) -> st.SearchStrategy[Any]:
    """Any legal element of a field of many."""
    kind = next(o.kind for o in cls.operands if o.name == name)
    assert isinstance(kind, Many)
    return laws.values(kind.element)


@st.composite
def transfers(draw: st.DrawFn, cls: type[NeuralDma]) -> NeuralDma:
    """Any transfer."""
    fields = {o.name: draw(field(cls, o.name)) for o in cls.operands if o.name != "dims"}
    fields["itemsize"] = draw(st.sampled_from([1, 2, 4, 8]))
    fields["grid"] = tuple(max(n, 1) for n in fields["grid"])
    steps = st.tuples(*(element(Dim, "core_steps") for _ in fields["grid"]))
    rest = {o.name: field(Dim, o.name) for o in Dim.operands if o.name != "core_steps"}
    rest["step"] = rest["step"].map(lambda n: max(n, 1))
    dim = st.builds(Dim, **rest, core_steps=steps)
    fields["dims"] = tuple(draw(st.lists(dim, min_size=1, max_size=15)))
    if cls is NdmaGather:
        fields["axis"] = draw(st.integers(0, len(fields["dims"]) - 1))
    return cls(**fields)


@st.composite
def micro(draw: st.DrawFn, reads: int, *, acc: bool) -> tuple[Micro, ...]:
    """Any micro-program without loads of too many reads, and without an acc where there is none."""
    steps: list[Micro] = []
    for i in range(draw(st.integers(1, 5))):
        fits = [f for f in FUNCTIONS if f not in {"load", "acc"} and touches.arity(f) <= 3 * i]
        fits += ["load"] * bool(reads) + ["acc"] * acc
        function = draw(st.sampled_from(fits))
        limit = (reads if function == "load" else i) - 1
        args = [draw(st.integers(0, limit)) for _ in range(touches.arity(function))]
        dtype, bits = draw(field(Micro, "dtype")), draw(field(Micro, "immediate"))
        steps.append(Micro(function=function, dtype=dtype, args=tuple(args), immediate=bits))
    return tuple(steps)


@st.composite
def nests(draw: st.DrawFn) -> VectorNest:
    """Any vector nest."""
    sources = draw(st.lists(element(VectorNest, "sources"), max_size=15))
    reads = st.tuples(*(element(VectorLoop, "reads") for _ in sources))
    loop = st.builds(
        VectorLoop, extent=st.integers(1, (1 << 24) - 1), out=st.integers(1, 99), reads=reads
    )
    result = draw(micro(len(sources), acc=True))
    loads = any(s.function == "load" for s in result)
    loops = draw(st.lists(loop, max_size=15))
    return VectorNest(
        cores=draw(st.integers(1, 1023)),
        sources=tuple(sources),
        loops=tuple(loops),
        reduced=0 if loads else draw(st.integers(0, len(loops))),
        body=draw(micro(len(sources), acc=False)),
        combine=draw(st.sampled_from(["sum", "max", "min", "prod"])),
        result=result,
        out=draw(field(VectorNest, "out")),
        out_type=draw(field(VectorNest, "out_type")),
        accumulate=draw(st.integers(0, 1)),
    )


def any_of(cls: type[Rebel]) -> st.SearchStrategy[Rebel]:
    if issubclass(cls, NeuralDma):
        return transfers(cls)
    return nests() if cls is VectorNest else laws.packed(cls)


instructions = st.sampled_from(Rebel.instructions()).flatmap(any_of)
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("cls", Rebel.instructions(), ids=lambda c: c.mnemonic)
@given(data=st.data())
@SLOW
def test_bytes_and_text_round_trip(cls: type[Rebel], data: st.DataObject) -> None:
    each = data.draw(any_of(cls))
    laws.bytes_round_trip(Rebel, each)
    laws.text_round_trip(Rebel, each)


@given(instructions, instructions)
@SLOW
def test_equal_means_equal_bytes(one: Rebel, other: Rebel) -> None:
    laws.equal_means_equal_bytes(Rebel, (one, other))
    laws.equal_means_equal_bytes(Rebel, (one, Rebel.decode(Rebel.encode(one))[0]))


@given(laws.headed(Rebel))
def test_any_bytes_are_refused_or_canonical(data: bytes) -> None:
    laws.bytes_are_canonical(Rebel, data)


@given(st.lists(instructions, min_size=1, max_size=3), st.data())
@SLOW
def test_damaged_programs_are_refused_or_canonical(
    program: list[Rebel], data: st.DataObject
) -> None:
    code = Rebel.encode_program(program)
    bits = int.from_bytes(code, "little")
    for place in data.draw(st.lists(st.integers(0, 8 * len(code) - 1), max_size=3)):
        bits ^= 1 << place
    laws.bytes_are_canonical(Rebel, bits.to_bytes(len(code), "little"))


def test_the_laws_see_damage() -> None:
    """Not vacuous: most single bits matter, and some damage decodes."""
    code = Rebel.encode(SyncWait(queue="matrix", on="ndma_load", count=3, all_cores=0))
    results = [
        laws.bytes_are_canonical(
            Rebel, (int.from_bytes(code, "little") ^ 1 << i).to_bytes(len(code), "little")
        )
        for i in range(8 * len(code))
    ]
    assert results.count("decoded") > 32
    assert len(results) - results.count("decoded") > 8


def test_a_wait_in_bytes() -> None:
    """The oracle, by hand: opcode 8 bits, length 12, then queue 3, on 3, count 32, all_cores 1."""
    wait = SyncWait(queue="matrix", on="ndma_store", count=5, all_cores=1)
    bits = 0x01 | 1 << 8 | 2 << 20 | 1 << 23 | 5 << 26 | 1 << 58
    assert Rebel.encode(wait) == bits.to_bytes(8, "little")
    assert str(wait) == "sync.wait queue=matrix on=ndma_store count=5 all_cores=1"
    assert Rebel.encode(replace(wait, count=6)) != Rebel.encode(wait)


def test_every_instruction_explains_itself() -> None:
    text = manual(Rebel)
    for cls in Rebel.instructions():
        assert cls.mnemonic in text
        assert cls.meaning.splitlines()[0] in text
