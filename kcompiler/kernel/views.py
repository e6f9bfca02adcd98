"""Movement operators as strided views: reshapes, transposes, slices, broadcasts that cost nothing.

A chain of them above a tensor reads the tensor's own dense buffer at other offsets and strides,
unless a reshape joins dimensions that do not lie together in memory; then a copy is needed, as in
numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kcompiler.graph.node import Op
from kcompiler.graph.operators.movement import Broadcast, Reshape, Slice, Transpose
from kcompiler.kernel.nest import row_major

MOVEMENTS = (Reshape, Transpose, Slice, Broadcast)


@dataclass(frozen=True)
class View:
    """Elements of the dense row-major buffer of `base`: at `offset` with `strides`, in elements."""

    base: Op
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @staticmethod
    def whole(base: Op) -> View:
        """All of a tensor, as it lies in memory."""
        return View(base, 0, base.shape, row_major(base.shape))

    @property
    def dense(self) -> bool:
        """Whether the view is the whole buffer in its own order, whatever its shape is called."""
        wanted = row_major(self.shape)
        moved = zip(self.shape, self.strides, wanted, strict=True)
        same = all(extent == 1 or have == want for extent, have, want in moved)
        return self.offset == 0 and same and math.prod(self.shape) == self.base.type.size


def is_movement(op: Op) -> bool:
    """Whether an operator only renames positions: its result may be a view of its operand."""
    return isinstance(op, MOVEMENTS)


def never(_: Op) -> bool:
    """The default of `stop`: no movement operator lies in memory of its own."""
    return False


def view_of(op: Op, stop: Callable[[Op], bool] = never) -> View | None:
    """A tensor as a view of the nearest one below that is no movement, or where `stop` holds.

    None when a reshape on the way needs a copy.
    """
    chain: list[Op] = []
    while is_movement(op) and not stop(op):
        chain.append(op)
        op = op.operands[0]
    view: View | None = View.whole(op)
    for movement in reversed(chain):
        if view is None:
            return None
        view = moved(view, movement)
    return view


def moved(view: View, op: Op) -> View | None:
    """A movement operator applied to a view; None when a reshape needs a copy."""
    match op:
        case Reshape():
            strides = reshaped(view.shape, view.strides, op.shape)
            return None if strides is None else View(view.base, view.offset, op.shape, strides)
        case Transpose(perm=perm):
            order = tuple(view.strides[p] for p in perm)
            return View(view.base, view.offset, op.shape, order)
        case Slice(starts=starts, steps=steps):
            offset = view.offset + sum(
                start * stride for start, stride in zip(starts, view.strides, strict=True)
            )
            scaled = tuple(k * s for k, s in zip(steps, view.strides, strict=True))
            return View(view.base, offset, op.shape, scaled)
        case Broadcast():
            return View(view.base, view.offset, op.shape, spread(view, op.shape))
        case _:
            raise ValueError(f"{op!r} is no movement operator")


def spread(view: View, shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a view broadcast to `shape`: 0 where an extent of 1 is repeated."""
    lead = len(shape) - len(view.shape)
    kept = zip(view.shape, view.strides, shape[lead:], strict=True)
    return (0,) * lead + tuple(0 if have != want else stride for have, stride, want in kept)


def reshaped(
    shape: Sequence[int], strides: Sequence[int], wanted: Sequence[int]
) -> tuple[int, ...] | None:
    """Strides of the same elements under another shape, or None when only a copy has that shape.

    numpy's rule: extents of 1 aside, both shapes fall into runs of equal size; within a run of the
    old shape each stride must be the next one times its extent.
    """
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    if 0 in wanted:
        return row_major(wanted)
    found: list[int] = []
    position = 0
    while position < len(wanted):
        start, size, new_size, taken = position, 1, 1, 0
        while position == start or new_size != size:
            if new_size <= size and position < len(wanted):
                new_size *= wanted[position]
                position += 1
            else:
                size *= old[taken][0]
                taken += 1
        if not _together(old[:taken]):
            return None
        step = old[taken - 1][1] if taken else 1
        found += [step * s for s in row_major(wanted[start:position])]
        old = old[taken:]
    return tuple(found)


def _together(run: Sequence[tuple[int, int]]) -> bool:
    """Whether dimensions (extent, stride) lie in memory as one."""
    return all(s == n1 * s1 for (_, s), (n1, s1) in pairwise(run))
