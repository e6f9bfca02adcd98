"""Random valid ONNX models, put together node by node from one stream of random choices.

The stream is a `random.Random`: seeded for speed, or Hypothesis's own, which also shrinks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from onnx import ModelProto, TypeProto, checker, defs, helper, numpy_helper, shape_inference

from kcompiler.frontend.names import reads
from kcompiler.graph.node import Array

DType: TypeAlias = "np.dtype[Any]"
MICROSOFT = "com.microsoft"
OPSETS = range(7, defs.onnx_opset_version() + 1)
EXTENTS = (1, 2, 3, 4, 5, 7)
MOST = 4096  # elements of a tensor

F16, F32, F64, BF16 = (np.dtype(t) for t in ("f2", "f4", "f8", ml_dtypes.bfloat16))
BOOL, I8, I16, I32, I64 = (np.dtype(t) for t in ("?", "i1", "i2", "i4", "i8"))
U8, U16, U32, U64 = (np.dtype(t) for t in ("u1", "u2", "u4", "u8"))
FLOATS = (F32, F16, F64, BF16)
INTEGERS = (I64, I32, I8, U8, I16, U16, U32, U64)
LIKELY = {F32: 24, F16: 4, F64: 3, BF16: 2, I64: 4, I32: 4, I8: 2, U8: 2, BOOL: 3}
_ELEMENT_NAMES = {
    F16: "tensor(float16)",
    F32: "tensor(float)",
    F64: "tensor(double)",
    BF16: "tensor(bfloat16)",
    BOOL: "tensor(bool)",
    **{d: f"tensor({d.name})" for d in INTEGERS},
}


class Discarded(Exception):
    """A choice led to a model that is not valid, or that means nothing."""


@dataclass(frozen=True)
class Value:
    """A tensor of the model under construction; `known` is the value of an initializer."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    known: Array | None = field(default=None, compare=False)
    proto: TypeProto | None = field(default=None, compare=False)  # of what is no tensor

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Case:
    """A model with inputs for it."""

    model: ModelProto
    feeds: Mapping[str, Array]

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators of its nodes, each once."""
        return tuple(sorted({n.op_type for n in self.model.graph.node}))


class Maker:
    """A model under construction."""

    def __init__(self, random: random.Random, opset: int) -> None:
        self.random = random
        self.opset = opset
        self.values: list[Value] = []
        self.nodes: list[Any] = []
        self.inputs: dict[str, Array] = {}
        self.weights: dict[str, Array] = {}
        self.open: dict[str, TypeProto] = {}  # results whose shape a run decides
        self.opaque: set[str] = set()  # results that are no tensors
        self.prefix = ""  # of its names, in a sub-graph
        self.closed = False  # whether nothing can be given from outside

    # Choices

    def flip(self, probability: float = 0.5) -> bool:
        return self.random.random() < probability

    def below(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        if low > high:
            raise Discarded("no number is possible")
        return self.random.randint(low, high)

    def one(self, *options: Any) -> Any:
        if not options:
            raise Discarded("no choice is possible")
        return options[self.random.randrange(len(options))]

    def maybe(self, **attributes: Any) -> dict[str, Any]:
        """Each attribute with even odds."""
        return {name: value for name, value in attributes.items() if self.flip()}

    def number(self, low: float, high: float) -> float:
        return round(self.random.uniform(low, high), 3)

    def some(self, options: Sequence[Any], low: int = 0) -> list[Any]:
        """Some of the options, at least `low`, in any order."""
        return self.random.sample(list(options), self.below(low, len(options)))

    def extent(self) -> int:
        return 0 if self.flip(0.015) else int(self.one(*EXTENTS))

    def shape(self, low: int = 0, high: int = 4) -> tuple[int, ...]:
        return tuple(self.extent() for _ in range(self.below(low, high)))

    def broadcastable(self, shape: Sequence[int], longer: bool = True) -> tuple[int, ...]:
        """A shape that broadcasts with this one; unless `longer`, to this one."""
        found = [1 if self.flip(0.2) else n for n in shape]
        if longer:
            found = [self.extent() if n == 1 and self.flip(0.2) else n for n in found]
        if found and self.flip(0.3):
            found = found[self.below(0, len(found)) :]
        if longer and self.flip(0.1) and len(found) < 5:
            found = [self.extent(), *found]
        return tuple(found)

    def dtype(self, options: Sequence[DType]) -> DType:
        """A type, likely ones more often."""
        weights = [LIKELY.get(d, 1) for d in options]
        return self.random.choices(list(options), weights)[0]

    def allowed(self, operator: str, index: int = 0, output: bool = False) -> list[DType]:
        """The element types that an operand (or result) may have in this opset."""
        schema = self.schema(operator)
        ends = schema.outputs if output else schema.inputs
        if index >= len(ends):
            raise Discarded(f"{operator} has no operand {index} in opset {self.opset}")
        found = [d for d, name in _ELEMENT_NAMES.items() if name in ends[index].types]
        if not found:
            raise Discarded(f"{operator} takes none of the types")
        return found

    def schema(self, operator: str) -> Any:
        """What ONNX says of an operator in this opset."""
        try:
            schema = defs.get_schema(operator, self.opset, "")
        except defs.SchemaError:
            raise Discarded(f"no {operator} in opset {self.opset}") from None
        if schema.deprecated:
            raise Discarded(f"{operator} is deprecated in opset {self.opset}")
        return schema

    # Values

    def array(self, dtype: DType, shape: Sequence[int], kind: str = "") -> Array:
        """Random elements: "positive", "unit" (-1 to 1), "wild" (extremes), or small ones."""
        rng = np.random.default_rng(self.random.getrandbits(32))
        if dtype.kind == "b":
            return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
        if dtype in INTEGERS:
            return _integers(rng, dtype, shape, kind)
        return _floats(rng, shape, kind).astype(dtype)

    def fresh(
        self, dtype: DType, shape: Sequence[int], kind: str = "", weight: float = 0.3
    ) -> Value:
        """A new input, or with probability `weight` a new initializer."""
        if np.prod(shape, dtype=np.int64) > MOST or min(shape, default=0) < 0:
            raise Discarded("a tensor is too large, or its shape was inferred wrongly")
        known = self.flip(weight)
        if not kind and not known and self.flip(0.05):
            kind = "wild"
        data = self.array(dtype, tuple(shape), kind)
        return self.known(data) if known else self.given(data)

    def given(self, data: Array) -> Value:
        """An input."""
        if self.closed:
            self.values.append(self.known(data))
            return self.values[-1]
        name = f"x{len(self.inputs)}"
        self.inputs[name] = data
        value = Value(name, data.dtype, data.shape)
        self.values.append(value)
        return value

    def known(self, data: Array) -> Value:
        """An initializer."""
        data = np.asarray(data)
        name = f"{self.prefix}w{len(self.weights)}"
        self.weights[name] = data
        return Value(name, data.dtype, data.shape, data)

    def integers(self, *numbers: int, often: float = 0.97) -> Value:
        """A list of int64, known as a rule; an input otherwise."""
        data = np.array(numbers, np.int64)
        return self.known(data) if self.flip(often) else self.given(data)

    def pick(
        self,
        dtypes: Sequence[DType],
        ranks: tuple[int, int] = (0, 4),
        fits: Callable[[Value], bool] = lambda _: True,
        kind: str = "",
    ) -> Value:
        """A value that there is already, the newest most often, or a fresh one."""
        there = [v for v in self.values if v.dtype in dtypes and ranks[0] <= v.rank <= ranks[1]]
        there = [v for v in there if fits(v)]
        if there and self.flip(0.8):
            return there[-1] if self.flip(0.6) else self.random.choice(there)
        found = self.fresh(self.dtype(dtypes), self.shape(*ranks), kind, weight=0.05)
        if not fits(found):
            raise Discarded("a fresh value does not fit")
        return found

    def like(self, value: Value, shape: Sequence[int], kind: str = "") -> Value:
        """A value of the same type that has this shape, there already or fresh."""
        there = [v for v in self.values if v.dtype == value.dtype and v.shape == tuple(shape)]
        if there and self.flip(0.4):
            return self.random.choice(there)
        return self.fresh(value.dtype, shape, kind)

    # Nodes

    def emit(
        self,
        operator: str,
        operands: Sequence[Value | None],
        attributes: Mapping[str, Any] | None = None,
        outputs: int = 1,
        rank: int | None = None,
        **more: Any,
    ) -> list[Value]:
        """Add a node; `Discarded` unless ONNX finds its types sound.

        The values are those whose shape it knows; where it knows no rank either, this is it.
        """
        schema = self.schema(operator)
        wanted = {**(attributes or {}), **more}
        kept = {k: v for k, v in wanted.items() if k in schema.attributes}
        names = [f"{self.prefix}n{len(self.nodes)}_{i}" for i in range(outputs)]
        given = ["" if v is None else v.name for v in operands]
        while given and not given[-1]:
            given.pop()
        node = helper.make_node(operator, given, names)
        node.attribute.extend(
            helper.make_attribute(k, v, attr_type=int(schema.attributes[k].type.value))
            for k, v in kept.items()
        )
        types = self._infer(schema, node, [v for v in operands if v is not None])
        self.nodes.append(node)
        return self._results(names, types, rank)

    def emit_microsoft(
        self,
        operator: str,
        operands: Sequence[Value | None],
        results: Sequence[tuple[DType, Sequence[int]]],
        **attributes: Any,
    ) -> None:
        """Add a node of onnxruntime, of which ONNX knows no types."""
        self.emit_known(operator, operands, results, MICROSOFT, **attributes)

    def emit_known(
        self,
        operator: str,
        operands: Sequence[Value | None],
        results: Sequence[tuple[DType, Sequence[int]]],
        domain: str = "",
        **attributes: Any,
    ) -> None:
        """Add a node whose results have these types."""
        names = [f"{self.prefix}n{len(self.nodes)}_{i}" for i in range(len(results))]
        given = ["" if v is None else v.name for v in operands]
        self.nodes.append(helper.make_node(operator, given, names, domain=domain, **attributes))
        found = zip(names, results, strict=True)
        self.values += [Value(n, dtype, tuple(shape)) for n, (dtype, shape) in found]

    def emit_opaque(
        self, operator: str, operands: Sequence[Value], type_: TypeProto, **attributes: Any
    ) -> Value:
        """Add a node whose result is a sequence or an optional, for the nodes that read those."""
        self.schema(operator)
        name = f"{self.prefix}n{len(self.nodes)}_0"
        self.nodes.append(
            helper.make_node(operator, [v.name for v in operands], [name], **attributes)
        )
        self.opaque.add(name)
        return Value(name, np.dtype(object), (), proto=type_)

    def _infer(self, schema: Any, node: Any, operands: Sequence[Value]) -> dict[str, TypeProto]:
        types = {v.name: type_of(v) for v in operands}
        data = {
            v.name: numpy_helper.from_array(v.known, v.name)
            for v in operands
            if v.known is not None
        }
        opsets = [helper.make_opsetid("", self.opset)]
        try:
            found: dict[str, TypeProto] = shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=opsets
            )
        except (shape_inference.InferenceError, checker.ValidationError, RuntimeError) as error:
            raise Discarded(str(error)) from None
        return found

    def _results(
        self, names: Sequence[str], types: Mapping[str, TypeProto], rank: int | None
    ) -> list[Value]:
        found = []
        for name in names:
            tensor = types[name].tensor_type if name in types else None
            if rank is not None and tensor is not None and not tensor.HasField("shape"):
                kind = helper.make_tensor_type_proto(tensor.elem_type, [None] * rank)
                self.open[name] = kind
                continue
            if tensor is None or not tensor.elem_type or not tensor.HasField("shape"):
                raise Discarded(f"ONNX infers no type for {name}")
            dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
            if None in dims:
                self.open[name] = types[name]
                continue
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            value = Value(name, dtype, tuple(int(d or 0) for d in dims))
            if value.size > MOST:
                raise Discarded("a tensor is too large")
            self.values.append(value)
            found.append(value)
        return found

    # The whole

    def _output(self, name: str, types: Mapping[str, TypeProto]) -> Any:
        """An output with its shape or, now and then, without."""
        type_ = types.get(name) or self.open[name]
        if self.flip(0.7):
            return helper.make_value_info(name, type_)
        tensor = type_.tensor_type
        return helper.make_tensor_value_info(name, tensor.elem_type, [None] * len(tensor.shape.dim))

    def case(self) -> Case:
        """The model: what nobody reads is an output, and now and then something else too."""
        read = {name for node in self.nodes for name in reads(node)}
        made = [n for node in self.nodes for n in node.output if n and n not in self.opaque]
        outputs = [n for n in made if n not in read or self.flip(0.15)]
        if not outputs:
            raise Discarded("a model without outputs")
        types = {v.name: type_of(v) for v in self.values}
        ends = [self._output(n, types) for n in outputs]
        used = {k: v for k, v in self.inputs.items() if k in read or self.flip(0.5)}
        starts = [helper.make_value_info(n, types[n]) for n in used]
        weights = [numpy_helper.from_array(v, k) for k, v in self.weights.items() if k in read]
        graph = helper.make_graph(self.nodes, "random", starts, ends, weights)
        imports = [helper.make_opsetid("", self.opset)]
        if any(n.domain == MICROSOFT for n in self.nodes):
            imports.append(helper.make_opsetid(MICROSOFT, 1))
        version = min(helper.find_min_ir_version_for(imports[:1], ignore_unknown=True), 13)
        model = helper.make_model(graph, opset_imports=imports, ir_version=max(version, 8))
        return Case(model, used)


def type_of(value: Value) -> TypeProto:
    """The type in ONNX's form."""
    if value.proto is not None:
        return value.proto
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _integers(rng: np.random.Generator, dtype: DType, shape: Sequence[int], kind: str) -> Array:
    info = np.iinfo(dtype)
    if kind == "wild":
        return np.asarray(rng.integers(info.min, info.max, shape, dtype, endpoint=True))
    low = 1 if kind == "positive" else max(info.min, -5)
    return np.asarray(rng.integers(low, 6, shape)).astype(dtype)


def _floats(rng: np.random.Generator, shape: Sequence[int], kind: str) -> Array:
    if kind == "wild":
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-7, -60000.0, 300.5, 0.5, 2.5, -1.5]
        return np.where(
            rng.random(shape) < 0.3, rng.choice(special, shape), rng.standard_normal(shape)
        )
    if kind == "positive":
        return np.asarray(rng.uniform(0.1, 3, shape))
    if kind == "unit":
        return np.asarray(rng.uniform(-0.99, 0.99, shape))
    if rng.random() < 0.3:
        return np.asarray(rng.integers(-4, 5, shape) / 2)
    return np.asarray(rng.standard_normal(shape))
