"""Costs: none is free, none beats the hardware, and more of it never makes anything slower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from kcompiler.conformance.bench import Assembled, Bench, assemble, resized, with_chip
from kcompiler.conformance.cases import Sizes
from kcompiler.conformance.score import Finding, judged
from kcompiler.conformance.witnesses import large
from kcompiler.errors import CapacityError
from kcompiler.kernel.from_graph import region_of
from kcompiler.kernel.nest import Region
from kcompiler.machine.instruction import Isa
from kcompiler.machine.queues import is_wait
from kcompiler.machine.simulator.time import simulate_time
from kcompiler.machine.target import Target
from kcompiler.tiling.find import find_plan
from kcompiler.tiling.search import Search

TITLE = "costs are positive and possible; more memory or bandwidth is never worse"
_BANDWIDTHS = (1 / 64, 0.25, 0.5, 1.0, 2.0, 8.0)
_SIZES = (1, 2, 3, 8, 64)  # times the small scratchpad
_CORES = 3  # in which a large product takes long
_SHARE = 0.5  # of a scratchpad, that a kernel may use
_COST = "cycles() and traffic() are what the engine and the memories are busy with"
_LESS = "a cost may only depend on a number of the chip so that more of it costs no more"


def findings(bench: Bench) -> Iterator[Finding]:
    """Instructions, programs and plans of the witnesses."""
    faster = False
    for name, target, made in bench.programs():
        yield judged(f"{name}: costs", _costs(made, target), _COST)
        yield judged(f"{name}: no faster than the hardware", _roofline(made, target), _COST)
        times = _times(made, target)
        faster |= times[0] > times[-1]
        yield judged(f"{name}: more bandwidth", _growing(times, _BANDWIDTHS, "bandwidth"), _LESS)
        if target is bench.small:
            yield judged(f"{name}: larger scratchpad", _plans(made, target), _LESS)
    yield from _large(bench)
    problem = None if faster else "no program gets faster with 512 times the bandwidth"
    yield judged("bandwidth matters", problem, _COST)


def _large(bench: Bench) -> Iterator[Finding]:
    """Where arithmetic alone takes long, no program may be through before."""
    target = with_chip(bench.target, cores=_CORES)
    for case in large(Sizes.of(target.chip).rows):
        made = assemble(case.graph, target, bench.precision(case.floats()))
        if made.compilation is not None:
            yield judged(
                f"{case.name}: no faster than the hardware", _roofline(made, target), _COST
            )


def _costs(made: Assembled, target: Target) -> str | None:
    for place, item in enumerate(target.isa.decode_program(made.segment.program.code)):
        if not is_wait(item):
            problem = _cost(item, target)
            if problem is not None:
                return f"instruction {place} ({item.mnemonic}) {problem}"
    return None


def _cost(item: Isa, target: Target) -> str | None:
    chip = target.chip
    cycles = item.cycles(chip)
    if int(cycles) != cycles or cycles <= 0:
        return f"takes {cycles} cycles"
    traffic = item.traffic(chip)
    if any(size < 0 for size in traffic.values()):
        return f"moves a negative number of bytes: {dict(traffic)}"
    shared = {m.name for m in chip.memories if not m.per_core}
    unknown = [name for name in traffic if name not in shared]
    if unknown:
        return f"moves bytes of {unknown[0]}, which is none of {', '.join(sorted(shared))}"
    touched = {t.memory for t in (*item.reads(chip), *item.writes(chip)) if not t.empty}
    free = sorted(m for m in touched & shared if not traffic.get(m, 0))
    return f"touches {free[0]}, but moves no bytes of it" if free else None


def _roofline(made: Assembled, target: Target) -> str | None:
    timing = simulate_time(made.segment.program, target)
    least = timing.bound.cycles
    if timing.cycles >= least:
        return None
    return f"it takes {timing.cycles:,} cycles, arithmetic and bytes alone take {least:,.0f}"


def _times(made: Assembled, target: Target) -> list[float]:
    program = made.segment.program
    chips = (with_chip(target, bandwidth=factor) for factor in _BANDWIDTHS)
    return [simulate_time(program, chip).cycles for chip in chips]


def _plans(made: Assembled, target: Target) -> str | None:
    """The tiler's estimates of each kernel on chips with larger and larger scratchpads."""
    for kernel in made.kernels:
        region = region_of(kernel).region
        costs = [_planned(region, target, n) for n in _SIZES]
        problem = _growing(costs, _SIZES, "scratchpad size")
        if problem is not None:
            return problem
    return None


def _planned(region: Region, target: Target, times: int) -> float:
    size = target.chip.memory(target.chip.scratchpad).size.value * times
    chip = resized(target.chip, scratchpad=size)
    try:
        # What plans are compared by: cycles, and a little for each tile, which is no time.
        return find_plan(region, Search(chip, int(size * _SHARE), "cycles", True)).cost.primary
    except CapacityError:
        return float("inf")


def _growing(costs: Sequence[float], given: Sequence[float], what: str) -> str | None:
    for (less, before), (more, after) in pairwise(zip(given, costs, strict=True)):
        if after > before:
            return f"{before:,.0f} cycles at {less:g} times the {what}, {after:,.0f} at {more:g}"
    return None
