"""Padding of sliding windows: explicit, SAME, VALID, and rounding up."""

from __future__ import annotations

from dataclasses import dataclass

from kcompiler.frontend.node import Node


@dataclass(frozen=True)
class Windows:
    """Sizes, steps and pads of a window, one entry a spatial dimension."""

    window: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """How many elements each window spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.window, self.dilations, strict=True))


def read_windows(node: Node, extents: tuple[int, ...], window: tuple[int, ...]) -> Windows:
    """The windows that a node's attributes ask for, over spatial extents."""
    rank = len(extents)
    if len(window) != rank:
        raise ValueError(f"a window of {len(window)} dimensions over {rank}")
    strides = node.integers("strides", (1,) * rank)
    dilations = node.integers("dilations", (1,) * rank)
    pads = node.integers("pads", (0,) * (2 * rank))
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        raise ValueError(f"strides, dilations or pads do not have {rank} dimensions")
    if min((*strides, *dilations, *window), default=1) < 1:
        raise ValueError("windows, strides and dilations must be positive")
    plain = Windows(window, strides, dilations, pads[:rank], pads[rank:])
    auto = node.string("auto_pad", "NOTSET")
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        return _same(plain, extents, upper=auto == "SAME_UPPER")
    if auto == "VALID":
        plain = Windows(window, strides, dilations, (0,) * rank, (0,) * rank)
    return _rounded_up(plain, extents) if node.flag("ceil_mode") else plain


def _same(plain: Windows, extents: tuple[int, ...], upper: bool) -> Windows:
    """As many results as the input divided by the stride, rounded up."""
    low, high = [], []
    for extent, reach, stride in zip(extents, plain.reach, plain.strides, strict=True):
        total = max(0, (-(-extent // stride) - 1) * stride + reach - extent)
        small, large = total // 2, total - total // 2
        low.append(small if upper else large)
        high.append(large if upper else small)
    return Windows(plain.window, plain.strides, plain.dilations, tuple(low), tuple(high))


def _rounded_up(plain: Windows, extents: tuple[int, ...]) -> Windows:
    """A last window may hang over the end, but must start inside."""
    high = []
    for extent, reach, stride, low, after in zip(
        extents, plain.reach, plain.strides, plain.low, plain.high, strict=True
    ):
        count = -(-(extent + low + after - reach) // stride) + 1
        if (count - 1) * stride >= extent + low:
            count -= 1
        high.append(max(after, (count - 1) * stride + reach - extent - low))
    return Windows(plain.window, plain.strides, plain.dilations, plain.low, tuple(high))
