"""The one grammar of graph nodes: an operator is a frozen dataclass that is also its own node.

`Add(x, y)` is the operator *add* applied to two tensors, and it is the tensor that results. Fields
typed `Tensor`, `Tensor | None` or `tuple[Tensor, ...]` are operands; every other field is an
attribute.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import is_
from typing import Any, ClassVar, Self, TypeAlias, dataclass_transform

import numpy as np

from kcompiler.graph.types import TensorType

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


_OPERAND_HINTS = ("Tensor", "Tensor | None", "tuple[Tensor, ...]")


def _operand_fields(cls: type[Op]) -> tuple[str, ...]:
    fields = dataclasses.fields(cls)
    if any(not isinstance(f.type, str) for f in fields if f.name != "origin"):
        raise TypeError(f"the module of {cls.__name__} needs `from __future__ import annotations`")
    return tuple(f.name for f in fields if f.type in _OPERAND_HINTS)


# A class of its own, because type checkers take as dataclasses only what inherits from this one.
@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
class _Grammar:
    """Makes a frozen dataclass of every class below it."""

    def __init_subclass__(cls) -> None:
        cls.__annotations__ = inspect.get_annotations(cls)
        for name, hint in cls.__annotations__.items():
            # A field may be named like a property of Op (`Reshape.shape`), which is no default.
            if name not in cls.__dict__ and not str(hint).startswith("ClassVar"):
                setattr(cls, name, dataclasses.field())
        dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)


class Op(_Grammar):
    """An operator applied to its operands: a node of the graph and the tensor that it computes.

    Nodes compare by identity; `passes/cse.py` merges equal ones. `origin` names the ONNX nodes that
    a node came from; errors and reports speak in those names. Subclasses declare fields, `infer`
    and `evaluate`.
    """

    # Keyword-only with a default: subclasses may declare positional fields without one.
    origin: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    registry: ClassVar[dict[str, type[Op]]] = {}
    field_names: ClassVar[tuple[str, ...]] = ()
    operand_fields: ClassVar[tuple[str, ...]] = ()
    attribute_fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, abstract: bool = False) -> None:
        super().__init_subclass__()
        if "evaluate" in cls.__dict__:  # infinities and NaN are results, not news
            cls.evaluate = np.errstate(all="ignore")(cls.__dict__["evaluate"])  # type: ignore[method-assign]
        cls.field_names = tuple(f.name for f in dataclasses.fields(cls))
        cls.operand_fields = _operand_fields(cls)
        others = {"origin", *cls.operand_fields}
        cls.attribute_fields = tuple(n for n in cls.field_names if n not in others)
        if abstract:
            return
        if cls.__name__ in Op.registry:
            raise TypeError(f"operator {cls.__name__} is declared twice")
        if not cls.__doc__:
            raise TypeError(f"operator {cls.__name__} has no docstring")
        Op.registry[cls.__name__] = cls

    def __post_init__(self) -> None:
        _ = self.type  # an ill-typed node cannot be made

    def infer(self) -> TensorType:
        """The type of the result; raises `ValueError` when the operands do not fit."""
        raise NotImplementedError(type(self).__name__)

    def evaluate(self, *args: Any, **kwargs: Any) -> Array:
        """The result in numpy, from the values of `operands`, in order."""
        raise NotImplementedError(type(self).__name__)

    def macs(self) -> int:
        """Multiply-accumulates of a contraction; 0 for every other operator."""
        return 0

    @cached_property
    def type(self) -> TensorType:
        """Element type and shape of the result."""
        return self.infer()

    # Cached, not plain properties: a field of the same name (`Cast.dtype`) must override them.
    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return self.type.shape

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the result."""
        return self.type.dtype

    @cached_property
    def operands(self) -> tuple[Op, ...]:
        """The tensors that this node reads, in field order; absent optional ones are left out."""
        found: list[Op] = []
        for name in self.operand_fields:
            value = getattr(self, name)
            if isinstance(value, tuple):
                found.extend(value)
            elif value is not None:
                found.append(value)
        return tuple(found)

    @property
    def attributes(self) -> dict[str, Any]:
        """The fields that are no operands, `origin` left out."""
        return {name: getattr(self, name) for name in self.attribute_fields}

    def with_operands(self, operands: Sequence[Op]) -> Self:
        """The same operator on other operands (as many as `self.operands`)."""
        if len(operands) == len(self.operands) and all(map(is_, operands, self.operands)):
            return self
        same = [o.type for o in operands] == [o.type for o in self.operands]
        fresh = iter(operands)
        changed: dict[str, Any] = {}
        for name in self.operand_fields:
            value = getattr(self, name)
            if isinstance(value, tuple):
                changed[name] = tuple(next(fresh) for _ in value)
            elif value is not None:
                changed[name] = next(fresh)
        if not same:
            return dataclasses.replace(self, **changed)
        return self._copied(changed, tuple(operands))

    def with_origin(self, origin: Sequence[str]) -> Self:
        """The same node, remembered as coming from other ONNX nodes."""
        if tuple(origin) == self.origin:
            return self
        return self._copied({"origin": tuple(origin)}, self.operands)

    def _copied(self, changed: Mapping[str, Any], operands: tuple[Op, ...]) -> Self:
        """The node with other fields and the same type, which is not inferred again.

        Passes copy every node many times: most of what `dataclasses.replace` would do is that.
        """
        new = object.__new__(type(self))
        fields = {name: self.__dict__[name] for name in self.field_names}
        new.__dict__.update(fields, **changed)
        new.__dict__.update(type=self.type, operands=operands)
        return new

    def __repr__(self) -> str:
        return f"{type(self).__name__}:{self.type}"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """For IPython and Hypothesis, which would print every field of every node below."""
        printer.text(repr(self))


Tensor: TypeAlias = Op


class Input(Op):
    """A tensor that the caller provides."""

    name: str
    declared: TensorType

    def infer(self) -> TensorType:
        return self.declared


class Constant(Op):
    """A tensor known at compile time (a weight)."""

    value: Array

    def infer(self) -> TensorType:
        return TensorType(self.value.dtype, self.value.shape)

    def evaluate(self) -> Array:
        return self.value

    @cached_property
    def number(self) -> float | None:
        """The number that every element has, or None."""
        value = self.value
        if not value.size or value.dtype.kind == "c":
            return None
        first = value[(0,) * value.ndim]
        if value.ndim:
            # Most constants are weights: a few elements tell so without reading them all.
            if value[(-1,) * value.ndim] != first or (value[0] != value[0].flat[0]).any():
                return None
            if not (value == first).all():
                return None
        return float(first) if first == first else None  # noqa: PLR0124 - NaN


@dataclasses.dataclass(frozen=True)
class Graph:
    """A function: named inputs, named outputs, and the nodes between them."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, Op], ...]

    @cached_property
    def nodes(self) -> tuple[Op, ...]:
        """Every node that an output needs, operands first.

        The order depends on the structure alone, so that renamed or reordered models compile to the
        same program: a depth-first walk from the outputs, operands in field order. Unused inputs
        come first.
        """
        used = topological(value for _, value in self.outputs)
        present = set(map(id, used))
        return (*(i for i in self.inputs if id(i) not in present), *used)

    @cached_property
    def users(self) -> Mapping[int, tuple[Op, ...]]:
        """`id(node)` -> the nodes that read it (once per use)."""
        found: dict[int, list[Op]] = {id(n): [] for n in self.nodes}
        for node in self.nodes:
            for operand in node.operands:
                found[id(operand)].append(node)
        return {key: tuple(value) for key, value in found.items()}

    def macs(self) -> int:
        """Multiply-accumulates of the whole graph."""
        return sum(node.macs() for node in self.nodes)

    def rewrite(self, step: Callable[[Op], Op]) -> Graph:
        """The graph with `step` applied to every node, operands first; inputs stay inputs."""
        new: dict[int, Op] = {}
        for node in self.nodes:
            new[id(node)] = step(node.with_operands([new[id(o)] for o in node.operands]))
        inputs = tuple(new[id(i)] for i in self.inputs)
        if not all(isinstance(i, Input) for i in inputs):
            raise TypeError("a rewrite may not replace an input by something else")
        outputs = tuple((name, new[id(value)]) for name, value in self.outputs)
        return Graph(self.name, typing.cast("tuple[Input, ...]", inputs), outputs)


def topological(roots: typing.Iterable[Op]) -> list[Op]:
    """The nodes that `roots` need, operands before users, in depth-first order."""
    # Iterative, because graphs are deeper than Python's stack.
    order: list[Op] = []
    state: dict[int, bool] = {}  # False: entered, True: finished
    for root in roots:
        stack: list[tuple[Op, Iterator[Op]]] = [(root, iter(root.operands))]
        if state.get(id(root)) is not None:
            continue
        state[id(root)] = False
        while stack:
            node, rest = stack[-1]
            operand = next(rest, None)
            if operand is None:
                stack.pop()
                state[id(node)] = True
                order.append(node)
            elif id(operand) not in state:
                state[id(operand)] = False
                stack.append((operand, iter(operand.operands)))
    return order
