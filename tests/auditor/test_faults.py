"""Faults planted in the bytes of real programs: the auditor finds each, or it changes nothing.

Waits are placed anew after a change, as a compiler that makes the mistake would place them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import pytest
from onnx import TensorProto

import kcompiler
from kcompiler.machine.auditor import Property
from kcompiler.machine.simulator.function import SimulationError
from tests.auditor.programs import Parts, net, outputs, parts, properties
from tests.runtime.models import model, node
from tests.targets.rebel_programs import small

Faults: TypeAlias = Callable[[Parts], Iterator[Parts]]

NETS = ("convolutional", "small_transformer", "integer", "deep")


def few(faults: Iterator[Parts], most: int = 2) -> list[Parts]:
    """Some of them, evenly."""
    every = list(faults)
    return every[:: len(every) // most + 1]


def dropped(mnemonic: str) -> Faults:
    """Without one instruction."""
    return lambda p: (p.without(k, i).waiting() for k, i in p.places(mnemonic))


def doubled(mnemonic: str) -> Faults:
    """With one instruction twice."""

    def faults(p: Parts) -> Iterator[Parts]:
        for k, i in p.places(mnemonic):
            block = p.blocks[k]
            yield p.changed(k, (*block[: i + 1], *block[i:])).waiting()

    return faults


def shifted(mnemonic: str, field: str, size: int = 2) -> Faults:
    """With one address an element further."""
    return lambda p: (
        p.put(k, i, **{field: getattr(p.blocks[k][i], field) + size}).waiting()
        for k, i in p.places(mnemonic)
    )


def resized(mnemonic: str, field: str, extent: str, by: int) -> Faults:
    """With one extent changed."""

    def faults(p: Parts) -> Iterator[Parts]:
        for k, i in p.places(mnemonic):
            records = getattr(p.blocks[k][i], field)
            for d, record in enumerate(records):
                size = getattr(record, extent) + by
                if size > 0:
                    new = (*records[:d], replace(record, **{extent: size}), *records[d + 1 :])
                    yield p.put(k, i, **{field: new}).waiting()

    return faults


def swapped(p: Parts) -> Iterator[Parts]:
    """With the addresses of the two factors exchanged."""
    for k, i in p.places("matrix.contract"):
        item = p.blocks[k][i]
        yield p.put(k, i, a=item.b, b=item.a).waiting()


def flagged(p: Parts) -> Iterator[Parts]:
    """Sums that begin anew where they should go on, or the other way round."""
    for k, i in p.places("matrix.contract"):
        yield p.put(k, i, accumulate=1 - p.blocks[k][i].accumulate).waiting()


def misplaced(p: Parts) -> Iterator[Parts]:
    """With a store into another kernel's output."""
    for k, i in p.places("ndma.store"):
        other = p.program.kernels[k - 1].output
        if other.memory == p.blocks[k][i].memory:
            yield p.put(k, i, base=other.address).waiting()


FAULTS: dict[str, tuple[Faults, Property]] = {
    "a load dropped": (dropped("ndma.load"), "reads"),
    "a store dropped": (dropped("ndma.store"), "writes"),
    "a store doubled": (doubled("ndma.store"), "writes"),
    "a slice of the sums dropped": (dropped("matrix.contract"), "macs"),
    "a slice of the sums doubled": (doubled("matrix.contract"), "macs"),
    "vector work dropped": (dropped("vector.nest"), "reads"),
    "a load from the next element": (shifted("ndma.load", "base"), "reads"),
    "a load to the next element": (shifted("ndma.load", "local"), "reads"),
    "a store to the next element": (shifted("ndma.store", "base"), "writes"),
    "a store from the next element": (shifted("ndma.store", "local"), "reads"),
    "the first factor shifted": (shifted("matrix.contract", "a"), "buffers"),
    "the second factor shifted": (shifted("matrix.contract", "b"), "reads"),
    "the sums shifted": (shifted("matrix.contract", "acc", 4), "reads"),
    "a result shifted": (shifted("vector.nest", "out"), "reads"),
    "buffers swapped": (swapped, "buffers"),
    "a store in another's place": (misplaced, "writes"),
    "the wrong accumulate flag": (flagged, "macs"),
    "a loop once too often": (resized("matrix.contract", "loops", "extent", 1), "macs"),
    "a loop once too seldom": (resized("matrix.contract", "loops", "extent", -1), "macs"),
    "a larger box stored": (resized("ndma.store", "dims", "box", 1), "writes"),
}

VALUES = {
    "a load dropped",
    "a load from the next element",
    "the first factor shifted",
    "the second factor shifted",
    "buffers swapped",
}
"""What may stay inside its tensor and buffer: then the values alone are wrong, as a run shows."""


@pytest.mark.parametrize("name", NETS)
def test_a_sound_program_has_no_findings(name: str) -> None:
    assert net(name).audit() == ()
    assert net(name).waiting().audit() == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    faults, expected = FAULTS[fault]
    broken: set[Property] = set()
    for name in NETS:
        for faulty in few(faults(net(name))):
            found = faulty.audit()
            assert found or excused(fault, faulty, net(name))
            broken |= properties(found)
    assert expected in broken


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_wherever_it_is(fault: str) -> None:
    for name in NETS:
        for faulty in few(FAULTS[fault][0](net(name)), 40):
            assert faulty.audit() or excused(fault, faulty, net(name))


def test_two_buffers_at_one_address_are_found() -> None:
    """What was x - y becomes y - y, with every wait in its place."""
    ends = [(n, TensorProto.FLOAT, [20, 30]) for n in ("x", "y")]
    source = model([node("Sub", "x y", "z")], ends, [("z", TensorProto.FLOAT, None)])
    target = small(4, 16 << 10)
    (segment,) = kcompiler.compile(source, target).programs
    whole = parts(segment, target)
    assert whole.audit() == ()
    (one, two), ((k, i),) = whole.places("ndma.load"), whole.places("vector.nest")
    nest, local = whole.blocks[k][i], whole.blocks[k][one[1]].local
    sources = tuple(replace(s, address=local) for s in nest.sources)
    faulty = whole.put(*two, local=local).put(k, i, sources=sources).waiting()
    assert harm(faulty, whole) == "other results"
    (found,) = faulty.audit()
    assert (found.property, found.memory) == ("buffers", "l1")
    assert found.why.startswith("writes what nothing reads")


@pytest.mark.parametrize("name", NETS)
def test_a_row_too_many_loaded_is_found_or_harmless(name: str) -> None:
    """The last row of a box may go where nothing is."""
    whole = net(name)
    for k, i in list(whole.places("ndma.load"))[::16]:
        first, *dims = whole.blocks[k][i].dims
        more = (replace(first, box=first.box + 1), *dims)
        faulty = whole.put(k, i, dims=more).waiting()
        assert faulty.audit() or harm(faulty, whole) == "none"


@pytest.mark.parametrize("name", NETS)
def test_every_lost_wait_is_found(name: str) -> None:
    whole = net(name)
    waits = list(whole.places("sync.wait"))
    for k, i in waits[:: len(waits) // 5 + 1]:
        found = whole.put(k, i, count=0).audit()
        assert properties(found) == {"order"}


@pytest.mark.parametrize("name", NETS)
def test_a_wait_for_ever_is_found(name: str) -> None:
    whole = net(name)
    k, i = next(whole.places("sync.wait"))
    (found, *_) = whole.put(k, i, count=1000).audit()
    assert found.property == "order"
    assert found.why.endswith("its queue would stand still")


@pytest.mark.parametrize("name", NETS)
def test_two_instructions_swapped_are_found_or_harmless(name: str) -> None:
    whole = net(name)
    places = [(k, i) for k, block in enumerate(whole.blocks) for i in range(len(block) - 1)]
    for k, i in places[:: len(places) // 6 + 1]:
        block = whole.blocks[k]
        faulty = whole.changed(k, [*block[:i], block[i + 1], block[i], *block[i + 2 :]])
        assert faulty.audit() or harm(faulty, whole) == "none"


def excused(fault: str, faulty: Parts, right: Parts) -> bool:
    """Whether a fault that is not found is one of values alone, or none at all."""
    return fault in VALUES or harm(faulty, right) == "none"


def harm(faulty: Parts, right: Parts) -> str:
    """What a fault does to the results of a run in program order."""
    try:
        found = outputs(faulty.whole(), faulty.target)
    except SimulationError as error:
        return str(error)
    return "none" if found == outputs(right.whole(), right.target) else "other results"
