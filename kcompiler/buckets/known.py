"""What the analysis knows of a tensor, and the table of rules that carry it from node to node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kcompiler.buckets.layout import Dims, Layout, describe, dims_of, extents, padded
from kcompiler.buckets.spans import Span, join
from kcompiler.graph.node import Op

Place: TypeAlias = tuple[int, int]
"""An axis, and which of its padded segments."""


@dataclass(frozen=True)
class Known:
    """Kept elements have the values of the exact model; this is where they lie and what is beside.

    `core` spans the kept elements; `pads[axis, i]` those in the padding of that segment, at kept
    places along all other axes; `corner` those in the padding of two axes at once.
    """

    axes: tuple[Layout, ...]
    core: Span
    pads: Mapping[Place, Span] = field(default_factory=dict)
    corner: Span | None = None

    @property
    def everywhere(self) -> Span:
        """Spans all elements."""
        found = join(self.core, *self.pads.values())
        return found if self.corner is None else join(found, self.corner)

    @property
    def padded_axes(self) -> tuple[int, ...]:
        """The axes with padding."""
        return tuple(i for i, layout in enumerate(self.axes) if padded(layout))

    def places(self, axis: int) -> tuple[Place, ...]:
        """The padded segments of an axis."""
        return tuple((axis, i) for i in range(len(dims_of(self.axes[axis]))))

    def at(self, place: Place | None) -> Span:
        """The span in the padding of a segment, of the kept elements for None."""
        return self.core if place is None else self.pads[place]

    def mapped(self, function: Callable[[Span], Span]) -> Known:
        """The same places with other spans."""
        pads = {place: function(s) for place, s in self.pads.items()}
        corner = None if self.corner is None else function(self.corner)
        return Known(self.axes, function(self.core), pads, corner)

    def renamed(self, axes: tuple[Layout, ...], where: Callable[[Place], Sequence[Place]]) -> Known:
        """The same spans at other places; what two places become one is joined."""
        pads: dict[Place, Span] = {}
        for place, s in self.pads.items():
            for new in where(place):
                pads[new] = join(pads[new], s) if new in pads else s
        return Known(axes, self.core, pads, self.corner)


def built(axes: Sequence[Layout], at: Callable[[Place | None], Span], corner: Span) -> Known:
    """What is known where `at` tells the span of each place; `corner` counts where there is one."""
    axes = tuple(axes)
    places = [(a, i) for a, layout in enumerate(axes) for i in range(len(dims_of(layout)))]
    several = sum(map(padded, axes)) > 1
    return Known(axes, at(None), {p: at(p) for p in places}, corner if several else None)


class UnsafeError(Exception):
    """A rule does not hold; the text says for which numbers."""


@dataclass(frozen=True)
class Scene:
    """What rules may ask: the bucket, the least extents, and the same node of other imports.

    `others` are imports at other extents, with the nodes that stand for the one in question.
    """

    bucket: Dims
    least: Dims
    layouts: tuple[Layout, ...]
    others: tuple[tuple[Dims, Op], ...]

    def fits(self, axes: Sequence[Layout]) -> bool:
        """Whether the other imports have the shapes that a layout predicts."""
        return all(extents(axes, dims) == op.shape for dims, op in self.others)

    def layout_of(self, axis: int, size: int) -> Layout | None:
        """The layout of an axis that the model made itself, told from its extents."""
        sizes = [op.shape[axis] for _, op in self.others]
        if all(s == size for s in sizes):
            return None
        for layout in self.layouts:
            here = extents([layout], self.bucket) == (size,)
            there = [extents([layout], dims)[0] for dims, _ in self.others]
            if here and there == sizes:
                return layout
        found = ", ".join(map(str, sizes))
        raise UnsafeError(f"an extent is {size} here and {found} at other extents")


Rule: TypeAlias = Callable[..., Known]
RULES: dict[type[Op], Rule] = {}
"""Operator -> its rule; the docstring is the reason that users read."""


def rule(*operators: type[Op]) -> Callable[[Rule], Rule]:
    """Enter a rule `(op, scene, *what is known of the operands)` into the table."""

    def enter(function: Rule) -> Rule:
        for operator in operators:
            RULES[operator] = function
        return function

    return enter


def rule_for(op: Op) -> Rule | None:
    """The rule of an operator's class or of the nearest one above it."""
    return next((RULES[c] for c in type(op).__mro__ if c in RULES), None)


def reason_of(function: Rule) -> str:
    """A rule as a sentence."""
    return " ".join((function.__doc__ or function.__name__).split())


def agree(axes: Sequence[Layout]) -> Layout:
    """The one layout that several operands give an axis."""
    for layout in axes[1:]:
        if layout != axes[0]:
            raise UnsafeError(
                f"one operand has {describe(axes[0])} there, another {describe(layout)}"
            )
    return axes[0]


def refuse_padding(known: Known, axis: int, what: str) -> None:
    """Raise `UnsafeError` where an axis is padded."""
    if padded(known.axes[axis]):
        raise UnsafeError(f"{what} is {describe(known.axes[axis])}")


Attributes: TypeAlias = Mapping[str, Any]
