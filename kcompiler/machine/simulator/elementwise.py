"""The vector engine's meaning: a micro-program at each point of strided loops, then a reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import F64, I64, compute_dtype, is_float, parse_dtype
from kcompiler.machine.simulator.memories import Machine
from kcompiler.scalar import apply, convert

REDUCE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


class Micro(Protocol):
    """One step: `function` of earlier steps `args`; `load` takes a read, `const` an immediate."""

    @property
    def function(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def args(self) -> tuple[int, ...]: ...
    @property
    def immediate(self) -> int: ...


class VectorLoop(Protocol):
    """One loop: its extent and the byte strides of the result and of every read."""

    @property
    def extent(self) -> int: ...
    @property
    def out(self) -> int: ...
    @property
    def reads(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Place:
    """Where a vector operand lies and what its elements are."""

    address: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class VectorWork:
    """What one vector instruction does; the last `reduced` loops are combined."""

    reads: tuple[Place, ...]
    loops: tuple[VectorLoop, ...]
    reduced: int
    body: tuple[Micro, ...]
    combine: str
    result: tuple[Micro, ...]
    out: Place
    accumulate: bool


def vector_nest(m: Machine, scratchpad: str, cores: int, work: VectorWork) -> None:
    """Run the work in each of the first `cores` cores, as whole arrays."""
    values = [_operand(m, scratchpad, cores, work, i) for i in range(len(work.reads))]
    extents = [loop.extent for loop in work.loops]
    kept = len(extents) - work.reduced
    with np.errstate(all="ignore"):
        value = run_micro(work.body, values, None)
        if work.reduced:
            value = np.broadcast_to(value, (cores, *extents))
            axes = tuple(range(1 + kept, 1 + len(extents)))
            value = _combine(work.combine, value, axes)
        outer = [v.reshape(v.shape[: 1 + kept]) if _constant_over(v, kept) else v for v in values]
        value = run_micro(work.result, outer, value)
    shape, strides = extents[:kept], [loop.out for loop in work.loops[:kept]]
    out = (scratchpad, work.out.address, work.out.dtype, shape, strides)
    if work.accumulate:
        with np.errstate(all="ignore"):
            value = REDUCE[work.combine](m.read(*out, cores=cores), value)
    m.write(*out, cores=cores)[...] = convert(np.asarray(value), work.out.dtype)


def run_micro(steps: Sequence[Micro], reads: Sequence[Array], acc: Array | None) -> Array:
    """The value of the last step of a micro-program."""
    values: list[Array] = []
    for step in steps:
        dtype = parse_dtype(step.dtype)
        match step.function:
            case "load":
                value = reads[step.args[0]]
            case "const":
                value = immediate_value(step.immediate, dtype)
            case "acc" if acc is not None:
                value = acc
            case name:
                value = apply(name, dtype, *(values[a] for a in step.args))
        values.append(convert(value, dtype))
    return values[-1]


def immediate_bits(value: float, dtype: np.dtype[Any]) -> int:
    """A literal as the 64 bits of an instruction: a float64, or an integer in two's complement."""
    if is_float(dtype):
        return int(np.array(value, np.float64).view(np.uint64))
    return int(value) & ((1 << 64) - 1)


def immediate_value(bits: int, dtype: np.dtype[Any]) -> Array:
    """The inverse of `immediate_bits`, as a rank-0 array."""
    return convert(np.array(bits, np.uint64).view(F64 if is_float(dtype) else I64), dtype)


def _operand(m: Machine, scratchpad: str, cores: int, work: VectorWork, read: int) -> Array:
    """A read in its compute type, with extent 1 along loops that it does not depend on."""
    place = work.reads[read]
    strides = [loop.reads[read] for loop in work.loops]
    shape = [loop.extent if s else 1 for loop, s in zip(work.loops, strides, strict=True)]
    view = m.read(scratchpad, place.address, place.dtype, shape, strides, cores=cores)
    return view.astype(compute_dtype(place.dtype))


def _constant_over(value: Array, kept: int) -> bool:
    return all(n == 1 for n in value.shape[1 + kept :])


def _combine(combine: str, value: Array, axes: tuple[int, ...]) -> Array:
    """A reduction in the type of its operands (sums of float32 are numpy's pairwise ones)."""
    result: Array = REDUCE[combine].reduce(value, axis=axes, dtype=value.dtype)
    return result
