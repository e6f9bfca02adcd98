"""What the caller asks for: `--dim seq=1..512:128`, and the buckets that follow."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kcompiler.buckets.layout import Layout, Segment, joined
from kcompiler.errors import UsageError

MOST = 64
"""Programs in a package: more take long to compile and nobody asked for them on purpose."""
FORMS = "128, 1..512:128 (buckets of up to 128, 256, 384, 512), 1,32,128, or a sum like past+seq"

Wish: TypeAlias = int | str | range | Sequence[int]


@dataclass(frozen=True)
class Extents:
    """The extents that a dimension may have: from `low` to the last bucket."""

    low: int
    buckets: tuple[int, ...]  # ascending

    def bucket(self, extent: int) -> int | None:
        """The smallest bucket that an extent fits into."""
        return next((b for b in self.buckets if self.low <= extent <= b), None)

    def least(self, bucket: int) -> int:
        """The smallest extent that falls into a bucket."""
        place = self.buckets.index(bucket)
        return self.buckets[place - 1] + 1 if place else self.low

    def __str__(self) -> str:
        return f"{self.low}..{self.buckets[-1]}"


@dataclass(frozen=True)
class Spec:
    """Dimensions with one extent, with buckets, and such as are sums of others."""

    fixed: Mapping[str, int]
    ranged: Mapping[str, Extents]
    sums: Mapping[str, Layout]

    def combinations(self) -> Iterator[dict[str, int]]:
        """The extents of the ranged dimensions in each bucket, smallest first."""
        every = [[(name, b) for b in e.buckets] for name, e in self.ranged.items()]
        return map(dict, itertools.product(*every))

    def all_dims(self, ranged: Mapping[str, int]) -> dict[str, int]:
        """The extent of every dimension, for extents of the ranged ones."""
        sums = {n: sum(s.extent(ranged) for s in layout) for n, layout in self.sums.items()}
        return {**self.fixed, **ranged, **sums}


def is_ranged(wishes: Mapping[str, Wish]) -> bool:
    """Whether any dimension is given more than one extent, or as a sum."""
    return any(not isinstance(w, int) for w in wishes.values())


def parse(wishes: Mapping[str, Wish]) -> Spec:
    """The meaning of `dims`; raises `UsageError`."""
    fixed: dict[str, int] = {}
    ranged: dict[str, Extents] = {}
    texts: dict[str, str] = {}
    for name, wish in wishes.items():
        match _parsed(name, wish):
            case int(extent):
                fixed[name] = extent
            case Extents() as extents if extents.buckets == (extents.low,):
                fixed[name] = extents.low
            case Extents() as extents:
                ranged[name] = extents
            case str(text):
                texts[name] = text
    sums = {name: _sum(name, text, fixed, ranged) for name, text in texts.items()}
    count = math.prod(len(e.buckets) for e in ranged.values())
    if count > MOST:
        sizes = " x ".join(f"{len(e.buckets)} for {name}" for name, e in ranged.items())
        raise UsageError(
            f"{count} buckets are more than {MOST}",
            why=f"each is a program of its own, and there are {sizes}",
            fix="take wider steps: --dim NAME=LOW..HIGH:STEP",
        )
    return Spec(fixed, ranged, sums)


_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})(?::(\d{1,18}))?")
_LIST = re.compile(r"\d{1,18}(?:,\d{1,18})+")
_WHOLE = re.compile(r"-?\d{1,18}")


def _parsed(name: str, wish: Wish) -> int | Extents | str:
    """A number, buckets, or the text of a sum."""
    if isinstance(wish, int):
        return wish
    if isinstance(wish, range):
        if not wish or wish.step < 1:
            raise _unclear(name, wish)
        return _buckets(name, wish.start, wish.stop - 1, wish.step)
    if not isinstance(wish, str):
        return _listed(name, [int(extent) for extent in wish])
    text = wish.replace(" ", "")
    if _WHOLE.fullmatch(text):
        return int(text)
    if found := _RANGE.fullmatch(text):
        low, high = int(found[1]), int(found[2])
        return _buckets(name, low, high, int(found[3]) if found[3] else max(high, 1))
    if _LIST.fullmatch(text):
        return _listed(name, [int(extent) for extent in text.split(",")])
    if not text:
        raise _unclear(name, wish)
    return text


def _buckets(name: str, low: int, high: int, step: int) -> Extents:
    """The multiples of `step`, and `high` at the end."""
    if high < low or step < 1 or low < 0:
        raise _unclear(name, f"{low}..{high}:{step}")
    first = max(-(-low // step), 1) * step
    if (high - first) // step > MOST:
        why = f"{low}..{high} in steps of {step} are {(high - first) // step + 1} buckets"
        raise UsageError(f"dimension {name!r} has more than {MOST} buckets", why=why)
    found = [*range(first, high, step), high]
    return Extents(low, tuple(found))


def _listed(name: str, extents: list[int]) -> Extents:
    if not extents or min(extents) < 0 or len(extents) > MOST:
        raise _unclear(name, extents)
    found = tuple(sorted(set(extents)))
    return Extents(min(1, found[0]), found)


def _sum(name: str, text: str, fixed: Mapping[str, int], ranged: Mapping[str, Extents]) -> Layout:
    """`past+seq`, in the order in which the model puts them one after the other."""
    segments = []
    for term in text.split("+"):
        if term in ranged:
            segments.append(Segment(term, 1))
        elif term in fixed or _WHOLE.fullmatch(term):
            segments.append(Segment(None, fixed[term] if term in fixed else int(term)))
        else:
            raise _unclear(name, text)
    return joined(segments)


def _unclear(name: str, wish: object) -> UsageError:
    return UsageError(
        f"--dim {name}={wish} is no extent, no range and no sum of dimensions given", fix=FORMS
    )
