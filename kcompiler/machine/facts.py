"""Facts: numbers about a chip that carry where they come from."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, Literal, TypeVar

Tag = Literal["P", "P2", "M3", "D", "F", "R", "A", "U"]

TAGS: dict[Tag, str] = {
    "P": "published by the vendor or by MLCommons",
    "P2": "published, read through a secondary text that cites the vendor",
    "M3": "measured by a third party and published by them",
    "D": "derived from published or measured figures",
    "F": "fitted: chosen so that predictions come near published latencies; not public",
    "R": "from general knowledge, not re-read at the source: unverified",
    "A": "not public: assumed, so that the published figures close",
    "U": "unknown: no public source; a free parameter",
}
UNCERTAIN: frozenset[Tag] = frozenset({"F", "R", "A", "U"})

T = TypeVar("T", int, float, str)


@dataclass(frozen=True)
class Fact(Generic[T]):
    """A value with its tag (`TAGS`) and its source or derivation."""

    value: T
    tag: Tag
    source: str

    def __post_init__(self) -> None:
        if self.tag not in TAGS:
            raise ValueError(f"unknown tag {self.tag!r}; known: {', '.join(TAGS)}")
        if not self.source:
            raise ValueError("a fact without a source is a guess: name one")

    @property
    def uncertain(self) -> bool:
        """Whether an estimate that uses this fact must say that it stands on an unknown."""
        return self.tag in UNCERTAIN


def facts(description: Any, path: str = "") -> dict[str, Fact[Any]]:
    """All facts of a tree of dataclasses, by dotted path."""
    if isinstance(description, Fact):
        return {path: description}
    if isinstance(description, tuple):
        found: dict[str, Fact[Any]] = {}
        for item in description:
            found |= facts(item, f"{path}.{getattr(item, 'name', '')}".strip("."))
        return found
    if not is_dataclass(description):
        return {}
    found = {}
    for field in fields(description):
        found |= facts(getattr(description, field.name), f"{path}.{field.name}".strip("."))
    return found
