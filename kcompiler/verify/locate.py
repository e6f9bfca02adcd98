"""From a wrong element to the instruction that stored it, and to the level that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kcompiler.graph.node import Array, Constant
from kcompiler.machine.queues import is_wait
from kcompiler.machine.touch import Touch
from kcompiler.verify.result import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kcompiler.build import Part
    from kcompiler.graph.bounded import Bounded
    from kcompiler.machine.program import KernelInfo
    from kcompiler.machine.simulator.boxes import CoreBox
    from kcompiler.machine.simulator.function import Simulation


@dataclass(frozen=True)
class Wrong:
    """A kernel of a segment, whose result is outside its bound, first at `element`."""

    segment: int
    kernel: KernelInfo
    element: tuple[int, ...]
    found: Array
    expected: Bounded


def explain(wrong: Wrong, part: Part | None, machine: Simulation) -> Failure:
    """The failure with its instruction and tile; `part` tells which level is to blame."""
    output = wrong.kernel.output
    flat = int(np.ravel_multi_index(wrong.element, output.shape)) if output.shape else 0
    address = output.address + flat * output.dtype.itemsize
    place, indices = writer(machine, wrong.kernel, address)
    tile = tile_of(machine.code[place], indices) if place >= 0 else ""
    level = _level(wrong, part, machine)
    return Failure(
        rung="kernels",
        text=_text(wrong, machine, place, tile, level),
        segment=wrong.segment,
        kernel=wrong.kernel.name,
        origins=wrong.kernel.origins,
        element=wrong.element,
        instruction=place,
        tile=tile,
        level=level,
    )


def unwritten(segment: int, kernel: KernelInfo, machine: Simulation) -> Failure:
    """The failure of a kernel that leaves a part of its result as it was."""
    output = kernel.output
    written = machine.machine.stores[output.memory].written
    element: tuple[int, ...] = ()
    if written is not None:
        part = written[0, output.address : output.address + output.nbytes]
        holes = ~part.reshape(-1, output.dtype.itemsize).all(axis=1)
        element = tuple(map(int, np.unravel_index(int(holes.argmax()), output.shape)))
    text = f"kernel {kernel.name} writes nothing to element {list(element)} of {list(output.shape)}"
    return Failure("kernels", text, segment, kernel.name, kernel.origins, element)


def _text(wrong: Wrong, machine: Simulation, place: int, tile: str, level: str) -> str:
    at = wrong.element
    got, value, bound = wrong.found[at], wrong.expected.value[at], wrong.expected.error[at]
    expected = f"{value:.9g}" + (f" ± {bound:.2g}" if bound else "")
    shape = list(wrong.kernel.output.shape)
    wrong_is = f"kernel {wrong.kernel.name} computes {got:.9g} for element {list(at)} of {shape}"
    lines = [f"{wrong_is}, expected is {expected}"]
    if place < 0:
        lines.append("no instruction of the kernel writes this element")
    else:
        # Whole instructions can be long; the disassembly has them.
        lines.append(
            f"instruction {place} ({machine.code[place].mnemonic}) writes it{tile and ', '}{tile}"
        )
    blame = {
        "kernel": "the tiled kernel, run as written, is wrong too: fusing or tiling is at fault",
        "program": "the tiled kernel, run as written, is right: lowering or placing is at fault",
    }
    return "\n".join([*lines, *([blame[level]] if level else [])])


def writer(machine: Simulation, kernel: KernelInfo, address: int) -> tuple[int, tuple[int, ...]]:
    """The last instruction of a kernel that writes a byte of its output, and its indices there.

    (-1, ()) when there is none.
    """
    for place in range(kernel.first + kernel.count - 1, kernel.first - 1, -1):
        instruction: Any = machine.code[place]
        if is_wait(instruction):
            continue
        for touch in instruction.writes(machine.target.chip):
            if touch.memory == kernel.output.memory:
                found = indices_of(touch, address)
                if found is not None:
                    return place, found
    return -1, ()


def indices_of(touch: Touch, address: int) -> tuple[int, ...] | None:
    """The index in each dimension at which a touch reaches a byte, or None."""
    order = sorted(range(len(touch.dims)), key=lambda d: -abs(touch.dims[d][0]))
    found = _search(touch, order, address - touch.base)
    return None if found is None else tuple(found[d] for d in range(len(touch.dims)))


def _search(touch: Touch, order: Sequence[int], rest: int) -> dict[int, int] | None:
    """Indices of the dimensions in `order` (widest stride first) that leave `rest` inside a run."""
    if not order:
        return {} if 0 <= rest < touch.run else None
    (stride, own), inner = touch.dims[order[0]], order[1:]
    if stride == 0:
        below = _search(touch, inner, rest) if own else None
        return None if below is None else {order[0]: own.low, **below}
    low, high = _reach(touch, inner)
    # stride * i must be in (rest - high, rest - low]
    ends = sorted(((rest - low) / stride, (rest - high) / stride))
    first, last = (
        max(0, int(np.floor(ends[0])) - 1),
        min(own.high if own else -1, int(np.ceil(ends[1])) + 1),
    )
    for index in range(first, last + 1):
        if index in own:
            below = _search(touch, inner, rest - stride * index)
            if below is not None:
                return {order[0]: index, **below}
    return None


def _reach(touch: Touch, dims: Sequence[int]) -> tuple[int, int]:
    """Lowest and highest byte offset of some dimensions together, the run included."""
    spans = [(s * i.low, s * i.high) for s, i in (touch.dims[d] for d in dims)]
    return sum(min(span) for span in spans), sum(max(span) for span in spans) + touch.run - 1


def tile_of(instruction: Any, indices: Sequence[int]) -> str:
    """Which core's box holds the element, where the instruction moves one box for each core."""
    box: CoreBox | None = getattr(instruction, "core_box", None)
    if box is None or len(indices) != len(box.dims):
        return ""
    grid = np.indices(box.grid).reshape(len(box.grid), -1)
    inside = np.ones(box.cores, bool)
    origins = []
    for dim, index in zip(box.dims, indices, strict=True):
        steps = np.asarray(dim.core_steps, np.int64)
        origin = dim.origin + (steps @ grid if len(steps) else np.zeros(box.cores, np.int64))
        offset = index - origin
        inside &= (offset >= 0) & (offset % dim.step == 0) & (offset < dim.step * dim.box)
        origins.append(origin)
    if not inside.any():
        return ""
    core = int(inside.argmax())
    parts = (
        f"{int(o[core])}:{int(o[core]) + d.box * d.step}"
        for o, d in zip(origins, box.dims, strict=True)
    )
    return f"tile [{', '.join(parts)}] of core {core}"


def _level(
    wrong: Wrong, part: Part | None, machine: Simulation
) -> Literal["", "kernel", "program"]:
    """Which level is wrong; empty where the kernel is not at hand."""
    from kcompiler.kernel.interpreter import run_kernel

    if part is None:
        return ""
    places = zip(part.bound.operands, wrong.kernel.inputs, strict=True)
    values = [o.value if isinstance(o, Constant) else machine.get(place) for o, place in places]
    result = run_kernel(part.kernel, dict(zip(part.operand_names, values, strict=True)))
    right = wrong.expected.contains(result.reshape(wrong.found.shape)).all()
    return "program" if right else "kernel"
