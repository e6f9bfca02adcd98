"""Byte sets in different layouts: whether two boxes of strided runs have a byte in common.

One kernel may store as [64, 3136] what the next one loads as [64, 56, 56]. Strides of dense tensors
divide one another, so both sets are written in the digits of one mixed radix, whose weights are all
strides of the two: each byte has one such number. A box becomes a few products of digit sets (a
range that starts and ends inside rows is a tail, full rows and a head), and two products meet
exactly if they do in every digit. Where strides do not divide, or where there would be too many
products, nothing is proved.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise, product
from math import gcd
from typing import TypeAlias

from kcompiler.machine.indices import Indices

Dims: TypeAlias = tuple[tuple[int, Indices], ...]
"""(stride, indices) of each dimension."""
Masks: TypeAlias = tuple[tuple[int, int], ...]
"""The same as bit masks that begin at 0; of a box in units, the run is the last one."""
Products: TypeAlias = tuple[tuple[int, ...], ...]
"""Each a set of digits, as a bit mask, for every weight from 1 up."""

_MOST_BITS = 1 << 20  # of a mask
_MOST_PIECES = 64  # that a mask is cut or shifted into, and products of a box


def apart(a: tuple[int, int, Dims], b: tuple[int, int, Dims]) -> bool:
    """Whether two sets, each (base, run, dims) and none empty, surely have no byte in common."""
    if any(i.high - i.low >= _MOST_BITS for _, i in (*a[2], *b[2])):
        return False
    first, one = _positive(a[0], a[2])
    second, two = _positive(b[0], b[2])
    unit = gcd(a[1], b[1], first - second, *(stride for stride, _ in (*one, *two)))
    weights = tuple(sorted({stride // unit for stride, _ in (*one, *two)} | {1}))
    if any(large % small for small, large in pairwise(weights)):
        return False
    low = min(first, second)
    x = _products((first - low) // unit, _in_units(a[1], one, unit), weights)
    y = _products((second - low) // unit, _in_units(b[1], two, unit), weights)
    if x is None or y is None:
        return False
    return not any(all(s & t for s, t in zip(p, q, strict=True)) for p, q in product(x, y))


def _positive(base: int, dims: Dims) -> tuple[int, Masks]:
    """The same runs with positive strides from the lowest one on, without idle dimensions."""
    found = []
    for stride, own in dims:
        base += stride * (own.low if stride >= 0 else own.high)
        if stride and own.low < own.high:
            found.append((abs(stride), own.bits if stride > 0 else int(f"{own.bits:b}"[::-1], 2)))
    return base, tuple(found)


def _in_units(run: int, dims: Masks, unit: int) -> Masks:
    length = min(run // unit, _MOST_BITS + 1)  # one more is refused below
    return (*((stride // unit, mask) for stride, mask in dims), (1, (1 << length) - 1))


@lru_cache(maxsize=1 << 14)
def _products(base: int, dims: Masks, weights: tuple[int, ...]) -> Products | None:
    """A box in the digits of a mixed radix, carried through; None where that is too much work."""
    states: list[tuple[tuple[int, ...], int]] = [((), 1)]  # lower digits, and what they carry
    for weight, above in zip(weights, (*weights[1:], None), strict=True):
        digit = base // weight if above is None else base % above // weight
        own = [mask for stride, mask in dims if stride == weight]
        after: list[tuple[tuple[int, ...], int]] = []
        for digits, carry in states:
            total = _sums(carry << digit, own) if digit < _MOST_BITS else None
            cut = None if total is None else _cut(total, None if above is None else above // weight)
            if cut is None or len(after) + len(cut) > _MOST_PIECES:
                return None
            after += [((*digits, low), high) for low, high in cut]
        states = after
    return tuple(digits for digits, _ in states)


def _sums(total: int, masks: list[int]) -> int | None:
    """All sums of an index of each mask."""
    for mask in masks:
        if total.bit_length() + mask.bit_length() > _MOST_BITS:
            return None
        if _is_range(total) and _is_range(mask):
            low = _lowest(total) + _lowest(mask)
            high = total.bit_length() + mask.bit_length() - 1
            total = (1 << high) - (1 << low)
            continue
        few, many = sorted((total, mask), key=int.bit_count)
        if few.bit_count() > _MOST_PIECES:
            return None
        total = 0
        while few:
            total |= many << _lowest(few)
            few &= few - 1
    return total


def _cut(mask: int, radix: int | None) -> list[tuple[int, int]] | None:
    """(digits, carries) whose products are the indices of a mask; no radix: all are digits."""
    if radix is None or mask.bit_length() <= radix:
        return [(mask, 1)]
    row, carries = (1 << radix) - 1, dict[int, int]()
    first, last = _lowest(mask) // radix, (mask.bit_length() - 1) // radix
    whole = range(0)
    if _is_range(mask) and last > first + 1:
        whole = range(first + 1, last)
        carries[row] = (1 << last) - (1 << (first + 1))
    if last - first - len(whole) > _MOST_PIECES:
        return None
    for carry in range(first, last + 1):
        if carry not in whole:
            digits = mask >> carry * radix & row
            if digits:
                carries[digits] = carries.get(digits, 0) | 1 << carry
    return list(carries.items())


def _is_range(mask: int) -> bool:
    moved = mask >> _lowest(mask)
    return moved & (moved + 1) == 0


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
