"""What an importer sees of one ONNX node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from kcompiler.frontend.errors import NotKnown
from kcompiler.graph.node import Array, Constant, Op


@dataclass(frozen=True)
class Node:
    """One ONNX node: attributes by name, operands as graph nodes.

    `decode` turns a tensor attribute into an array. Function attributes are substituted already.
    """

    proto: NodeProto
    name: str
    opset: int
    operands: tuple[Op | None, ...]
    attributes: Mapping[str, AttributeProto]
    decode: Callable[[TensorProto], Array] = field(repr=False)

    @property
    def op_type(self) -> str:
        """The operator's name in ONNX."""
        return self.proto.op_type

    def __len__(self) -> int:
        """Number of operands, absent ones included."""
        return len(self.operands)

    def __getitem__(self, index: int) -> Op:
        """A required operand; raises `ValueError` when it is absent."""
        operand = self.get(index)
        if operand is None:
            raise ValueError(f"operand {index} is missing")
        return operand

    def get(self, index: int) -> Op | None:
        """An optional operand."""
        return self.operands[index] if index < len(self.operands) else None

    def wants(self, output: int) -> bool:
        """Whether the model names this output."""
        return output < len(self.proto.output) and bool(self.proto.output[output])

    def value(self, index: int) -> Array | None:
        """The value of an optional operand when it is known; None when it is absent."""
        operand = self.get(index)
        if operand is None:
            return None
        if not isinstance(operand, Constant):
            name = self.proto.input[index]
            raise NotKnown(f"{self.op_type} needs {name!r} to be known when compiling", operand)
        return operand.value

    def known(self, index: int) -> Array:
        """The value of a required operand; `NotExpressible` when it depends on the inputs."""
        value = self.value(index)
        if value is None:
            raise ValueError(f"operand {index} is missing")
        return value

    def integers_of(self, index: int, name: str = "") -> tuple[int, ...] | None:
        """Integers that newer opsets take as operand `index` and older ones as attribute `name`."""
        value = self.value(index)
        if value is None:
            return self.integers(name) if name in self.attributes else None
        if value.dtype.kind not in "iu" or value.ndim > 1:
            raise ValueError(f"operand {index} is no list of integers")
        return tuple(int(v) for v in value.reshape(-1))

    def has(self, name: str) -> bool:
        """Whether an attribute is given."""
        return name in self.attributes

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        return int(self._attribute(name, default, "i"))

    def flag(self, name: str, default: bool = False) -> bool:
        """An integer attribute that says yes or no."""
        return bool(self._attribute(name, default, "i"))

    def number(self, name: str, default: float | None = None) -> float:
        """A float attribute."""
        return float(self._attribute(name, default, "f"))

    def string(self, name: str, default: str | None = None) -> str:
        """A string attribute."""
        return _text(self._attribute(name, default, "s"))

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """A list of integers."""
        return tuple(self._attribute(name, default, "ints"))

    def numbers(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """A list of floats."""
        return tuple(self._attribute(name, default, "floats"))

    def strings(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(_text(v) for v in self._attribute(name, default, "strings"))

    def tensor(self, name: str) -> Array:
        """A tensor attribute."""
        return self.decode(self._attribute(name, None, "t"))

    def graph(self, name: str) -> GraphProto:
        """A sub-graph."""
        graph: GraphProto = self._attribute(name, None, "g")
        return graph

    def _attribute(self, name: str, default: Any, kind: str) -> Any:
        attribute = self.attributes.get(name)
        if attribute is not None:
            return getattr(attribute, kind)
        if default is None:
            raise ValueError(f"attribute {name!r} is missing")
        return default


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
