"""Names and what they stand for, while a graph is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from kcompiler.errors import ModelError
from kcompiler.frontend.pending import Pending
from kcompiler.graph.node import Op
from kcompiler.graph.types import TensorType

Value: TypeAlias = Op | Pending


@dataclass
class Scope:
    """The values of one graph, and of those around it.

    A function's body sees nothing of its caller: `parent` is None there. `prefix` names the call.
    `declared` are the types that the model states for values; only the host needs them.
    """

    opsets: Mapping[str, int]
    parent: Scope | None = None
    prefix: str = ""
    depth: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    declared: dict[str, TensorType] = field(default_factory=dict)

    def find(self, name: str) -> Value | None:
        """What a name stands for, here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return None

    def __getitem__(self, name: str) -> Value:
        """What a name stands for; raises `ModelError` when nothing gives it a value."""
        value = self.find(name)
        if value is None:
            raise ModelError(f"nothing gives {name!r} a value", fix="export the model again")
        return value

    def inner(self) -> Scope:
        """The scope of a sub-graph."""
        return Scope(self.opsets, self, self.prefix, self.depth + 1)
