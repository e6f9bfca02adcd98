"""Instructions that a set takes over from the generic core: fields that go together.

Random fields hardly ever do (every dim needs a core step for each axis of the grid), so what
depends on other fields is drawn to fit.
"""

from typing import Any, TypeVar

from hypothesis import strategies as st

from kcompiler.machine.fields import Many, Nested
from kcompiler.machine.generic import touches
from kcompiler.machine.generic.transfers import BoxGather, Transfer
from kcompiler.machine.generic.vector import FUNCTIONS, Micro, VectorNest
from tests.laws import isa_strategies as laws

TransferT = TypeVar("TransferT", bound=Transfer)
NestT = TypeVar("NestT", bound=VectorNest)


def field(cls: type[Any], name: str) -> st.SearchStrategy[Any]:
    """Any legal value of one field."""
    return laws.values(next(o.kind for o in cls.operands if o.name == name))


def element(cls: type[Any], name: str) -> st.SearchStrategy[Any]:
    """Any legal element of a field of many."""
    return laws.values(_many(cls, name).element)


def record(cls: type[Any], name: str) -> type[Any]:
    """The record class of a field of many."""
    kind = _many(cls, name).element
    assert isinstance(kind, Nested)
    return kind.cls


def _many(cls: type[Any], name: str) -> Many:
    kind = next(o.kind for o in cls.operands if o.name == name)
    assert isinstance(kind, Many)
    return kind


@st.composite
def transfers(draw: st.DrawFn, cls: type[TransferT]) -> TransferT:
    """Any transfer."""
    dim = record(cls, "dims")
    fields = {o.name: draw(field(cls, o.name)) for o in cls.operands if o.name != "dims"}
    fields["itemsize"] = draw(st.sampled_from([1, 2, 4, 8]))
    fields["grid"] = tuple(max(n, 1) for n in fields["grid"])
    steps = st.tuples(*(element(dim, "core_steps") for _ in fields["grid"]))
    rest = {o.name: field(dim, o.name) for o in dim.operands if o.name != "core_steps"}
    rest["step"] = rest["step"].map(lambda n: max(n, 1))
    dims = st.lists(st.builds(dim, **rest, core_steps=steps), min_size=1, max_size=15)
    fields["dims"] = tuple(draw(dims))
    if issubclass(cls, BoxGather):
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
def nests(draw: st.DrawFn, cls: type[NestT]) -> NestT:
    """Any vector nest."""
    loops_of = record(cls, "loops")
    sources = draw(st.lists(element(cls, "sources"), max_size=15))
    reads = st.tuples(*(element(loops_of, "reads") for _ in sources))
    extents = field(loops_of, "extent").map(lambda n: max(n, 1))
    loop = st.builds(loops_of, extent=extents, out=st.integers(1, 99), reads=reads)
    result = draw(micro(len(sources), acc=True))
    loads = any(s.function == "load" for s in result)
    loops = draw(st.lists(loop, max_size=15))
    return cls(
        cores=draw(field(cls, "cores").map(lambda n: max(n, 1))),
        sources=tuple(sources),
        loops=tuple(loops),
        reduced=0 if loads else draw(st.integers(0, len(loops))),
        body=draw(micro(len(sources), acc=False)),
        combine=draw(st.sampled_from(["sum", "max", "min", "prod"])),
        result=result,
        out=draw(field(cls, "out")),
        out_type=draw(field(cls, "out_type")),
        accumulate=draw(st.integers(0, 1)),
    )
