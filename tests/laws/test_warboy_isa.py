"""The laws of instruction sets, on Warboy's, and its encodings by hand."""

from typing import Any

import pytest
from hypothesis import strategies as st

from kcompiler.machine.manual import manual
from kcompiler.targets.warboy.isa import SyncWait, Transfer, VectorNest, Warboy
from kcompiler.targets.warboy.units import Dot, Output, Requantize, Step, Table, TableLoop, Term
from tests.laws import isa_strategies as laws
from tests.laws.core_strategies import field, nests, transfers
from tests.laws.isa_laws import laws_of, single_bits

SOMEWHERE = st.integers(1, (1 << 19) - 1)


def loops(cls: type[Any], most: int, **strides: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    """Some loops of at least one iteration, with strides that go together."""
    rest = {o.name: field(cls, o.name) for o in cls.operands} | strides
    rest["extent"] = rest["extent"].map(lambda n: max(n, 1))
    return st.lists(st.builds(cls, **rest), max_size=most)


@st.composite
def dots(draw: st.DrawFn) -> Dot:
    """Any dot product."""
    groups = draw(loops(Step, 7, weights=SOMEWHERE, data=SOMEWHERE, sums=SOMEWHERE))
    stream = draw(loops(Step, 8, weights=st.just(0), sums=SOMEWHERE))
    fields = {o.name: draw(field(Dot, o.name)) for o in Dot.operands if o.name[0] in "cdwa"}
    return Dot(
        **fields | {"cores": max(fields["cores"], 1)},
        sums=draw(field(Dot, "sums")),
        sequence=(*groups, *stream),
        terms=tuple(draw(loops(Term, 15))),
        outputs=tuple(draw(loops(Output, 15, weights=SOMEWHERE, sums=SOMEWHERE))),
    )


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Any look-up."""
    return Table(
        cores=draw(st.integers(1, 255)),
        source=draw(field(Table, "source")),
        out=draw(field(Table, "out")),
        loops=tuple(draw(loops(TableLoop, 15, out=SOMEWHERE))),
        table=tuple(draw(st.binary(min_size=256, max_size=256))),
    )


def any_of(cls: type[Warboy]) -> st.SearchStrategy[Warboy]:
    if issubclass(cls, Transfer):
        return transfers(cls)
    if issubclass(cls, VectorNest):
        return nests(cls)
    if cls is Dot:
        return dots()
    return tables() if cls is Table else laws.packed(cls)


(
    test_bytes_and_text_round_trip,
    test_equal_means_equal_bytes,
    test_any_bytes_are_refused_or_canonical,
    test_damaged_programs_are_refused_or_canonical,
) = laws_of(Warboy, any_of)


def test_damage_decodes_or_is_refused() -> None:
    """Not vacuous: of all single bits of a dot product, some decode and some are refused."""
    decoded, refused = single_bits(Warboy, dot())
    assert decoded > 200
    assert refused > 40


def dot(**changes: Any) -> Dot:
    """Four outputs of 32 terms at 8 positions."""
    fields: dict[str, Any] = {
        "cores": 2, "data": 0x10, "weights": 0x200, "sums": 0x400,
        "data_type": "u8", "weight_type": "i8",
        "sequence": (Step(extent=8, data=32, weights=0, sums=4, out=0, channel=0),),
        "terms": (Term(extent=32, data=1, weights=1),),
        "outputs": (Output(extent=4, weights=32, sums=32, out=0, channel=0),),
        "accumulate": 1,
        "drain": (),
    }  # fmt: skip
    return Dot(**fields | changes)


def test_a_dot_product_in_bytes() -> None:
    """The oracle, by hand: opcode 8 bits, length 12, then the fields in their order."""
    parts = [(0x20, 8), (6, 12), (2, 8), (0x10, 18), (0x200, 18), (0x400, 18), (1, 1), (0, 1)]
    parts += [(1, 4), (8, 18), (32, 20), (0, 20), (4, 20), (0, 20), (0, 20)]  # sequence
    parts += [(1, 4), (32, 18), (1, 20), (1, 20)]  # terms
    parts += [(1, 4), (4, 18), (32, 20), (32, 20), (0, 20), (0, 20)]  # outputs
    parts += [(1, 1), (0, 1)]
    bits, at = 0, 0
    for value, width in parts:
        bits, at = bits | value << at, at + width
    assert Warboy.encode(dot()) == bits.to_bytes(-(-at // 64) * 8, "little")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cores": 0}, "no core takes part"),
        (
            {
                "sequence": (
                    Step(extent=2, data=1, weights=0, sums=4, out=0, channel=0),
                    Step(extent=2, data=1, weights=9, sums=4, out=0, channel=0),
                )
            },
            "outside of those that stream",
        ),
        (
            {"sequence": (Step(extent=2, data=0, weights=9, sums=4, out=0, channel=0),)},
            "one of outputs",
        ),
        (
            {"outputs": (Output(extent=2, weights=0, sums=4, out=0, channel=0),)},
            "weights of their own",
        ),
        (
            {"outputs": (Output(extent=2, weights=1, sums=0, out=0, channel=0),)},
            "a place of its own",
        ),
    ],
)
def test_what_a_dot_product_cannot_say(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        dot(**changes)


def test_a_drain_and_a_wait_in_text() -> None:
    how = Requantize(
        to="u8", out=0x800, bias_from="number", bias=-7, scale_from="buffers", scale=1.0,
        scales=0x900, zero=-3, low=0, high=255,
    )  # fmt: skip
    assert str(dot(drain=(how,))).endswith(
        "drain=[{to=u8 out=0x800 bias_from=number bias=-7 scale_from=buffers scale=1.0 "
        "scales=0x900 zero=-3 low=0 high=255}]"
    )
    wait = SyncWait(queue="te", on="fetch", count=5, all_cores=1)
    assert str(wait) == "sync.wait queue=te on=fetch count=5 all_cores=1"


def test_every_instruction_explains_itself() -> None:
    text = manual(Warboy)
    for cls in Warboy.instructions():
        assert cls.mnemonic in text
        assert cls.meaning.splitlines()[0] in text
