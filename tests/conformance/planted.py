"""Faults planted in a target, one a mutant, each of a kind that compilers for NPUs have had.

A mutant changes what `lower` gives, what an instruction does, says or costs, or what the target
declares. What it is about stands in its name; `only` is the category that has to notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest import MonkeyPatch  # noqa: PT013 - a type

from kcompiler.kernel.statements import Kernel
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import Binding
from kcompiler.machine.target import Target
from kcompiler.registry import find_target

Addresses = Mapping[str, tuple[int, ...]]
Change = Callable[[list[Any], Addresses], Sequence[Any]]
Move = Callable[[Addresses], Addresses]


def unchanged(code: list[Any], _: Addresses) -> Sequence[Any]:
    return code


def unmoved(addresses: Addresses) -> Addresses:
    return addresses


@dataclass(frozen=True)
class Mutated(Target):
    """A target with other instructions than it would have, or at other addresses."""

    inner: Target = field(kw_only=True)
    change: Change = unchanged
    move: Move = unmoved
    awaited: Callable[[dict[str, Any]], None] | None = None

    def lower(
        self, kernel: Kernel, bindings: Mapping[str, Binding], addresses: Addresses
    ) -> Sequence[Isa]:
        """What the target gives, changed."""
        target = replace(self.inner, chip=self.chip)
        found = self.move(addresses)
        return tuple(self.change(list(target.lower(kernel, bindings, found)), addresses))

    def wait(self, queue: str, engine: str, count: int, all_cores: bool) -> Isa:
        """The target's wait, changed."""
        made: dict[str, Any] = {"queue": queue, "engine": engine, "count": count}
        made["all_cores"] = all_cores
        if self.awaited is not None:
            self.awaited(made)
        return self.inner.wait(**made)


def mutated(base: str | Target = "rebel", **how: Any) -> Target:
    """A target, rebel if nothing else is said, changed."""
    inner = find_target(base) if isinstance(base, str) else base
    own = {k: how.pop(k) for k in ("change", "move", "awaited") if k in how}
    names = ("chip", "isa", "precisions", "constraints", "integer_only")
    kept = {n: getattr(inner, n) for n in names}
    return Mutated("mutant", **{**kept, **how}, inner=inner, **own)


Build = Callable[[MonkeyPatch], Target]


@dataclass(frozen=True)
class Mutant:
    """A fault; `topic` names the cases of the operator suite that notice, the others too maybe."""

    name: str
    only: str
    build: Build
    topic: str = ""
    slow: bool = False


ALL: list[Mutant] = []


def mutant(
    name: str, only: str, topic: str = "", *, slow: bool = False
) -> Callable[[Build], Build]:
    """Register what builds a mutant."""

    def register(build: Build) -> Build:
        ALL.append(Mutant(name, only, build, topic, slow))
        return build

    return register


def each(*kinds: type[Isa]) -> Callable[[Callable[[Any], Any]], Change]:
    """A change of every instruction of some kinds; None removes it."""

    def made(step: Callable[[Any], Any]) -> Change:
        def change(code: list[Any], _: Addresses) -> Sequence[Any]:
            found = [step(item) if isinstance(item, kinds) else item for item in code]
            return [item for item in found if item is not None]

        return change

    return made
