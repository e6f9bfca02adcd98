"""An ONNX graph in the making, with the types that onnxruntime lacks bridged by casts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from kcompiler.frontend.export_kernels import KERNELS
from kcompiler.graph.node import Array
from kcompiler.graph.types import I64

DType = np.dtype[Any]


class Net:
    """`net("Add", a, b)` adds a node and gives the name of its result.

    Values are names; a node that is there already is not added again. `origin` names the nodes that
    follow, for whoever reads the model.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.values: dict[str, Array] = {}  # of the initializers that are arrays
        self.dtypes: dict[str, DType] = {}
        self.origin = ""
        self._taken = set(taken)
        self._made: dict[object, tuple[str, ...]] = {}
        self._constants: dict[object, str] = {}
        self._counts: dict[str, int] = {}

    def fresh(self, prefix: str) -> str:
        """A name that no value has."""
        while True:
            count = self._counts[prefix] = self._counts.get(prefix, -1) + 1
            name = f"{prefix}{count}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def room(self) -> str:
        """A prefix that no name has."""
        prefix = self.fresh("host") + "/"
        return prefix if not any(t.startswith(prefix) for t in self._taken) else self.room()

    def __call__(self, op_type: str, *operands: str, **attributes: Any) -> str:
        """A node of one result, or of whose results only the first is wanted."""
        return self.results(op_type, *operands, **attributes)[0]

    def results(self, op_type: str, *operands: str, **attributes: Any) -> tuple[str, ...]:
        """A node's results, in the element type of its data where the operator keeps it."""
        kernel = KERNELS[op_type]
        places = kernel.data or tuple(range(len(operands)))
        dtype = self.dtypes[operands[places[0]]]
        run = kernel.runs_in(dtype)
        given = [self.cast(x, run) if i in places else x for i, x in enumerate(operands)]
        types = [run if t is None else t for t in kernel.results]
        found = self._node(op_type, given, types, attributes)
        kept = zip(found, kernel.results, strict=True)
        return tuple(self.cast(x, dtype) if t is None else x for x, t in kept)

    def typed(self, dtype: DType, op_type: str, *operands: str, **attributes: Any) -> str:
        """A node that onnxruntime has for these types, whose result is of another."""
        return self._node(op_type, operands, [dtype], attributes)[0]

    def cast(self, x: str, dtype: DType) -> str:
        """ONNX's own Cast, which leaves floats out of an integer's range open; none if needless."""
        if self.dtypes[x] == dtype:
            return x
        to = helper.np_dtype_to_tensor_dtype(dtype)
        return self._node("Cast", [x], [dtype], {"to": to})[0]

    def _node(
        self, op_type: str, operands: Sequence[str], types: Sequence[DType], attributes: Any
    ) -> tuple[str, ...]:
        key = (op_type, tuple(operands), repr(sorted(attributes.items())))
        if key not in self._made:
            names = tuple(self.fresh("v") for _ in types)
            self.dtypes.update(zip(names, types, strict=True))
            node = helper.make_node(op_type, operands, names, name=self.origin)
            node.attribute.extend(_attribute(k, v) for k, v in sorted(attributes.items()))
            self.nodes.append(node)
            self._made[key] = names
        return self._made[key]

    def constant(self, value: Array) -> str:
        """An initializer; equal small ones are one."""
        small = value.nbytes <= 64
        key = (value.dtype.name, value.shape, value.tobytes() if small else id(value))
        if key not in self._constants:
            name = self.fresh("c")
            self.initializers.append(
                numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
            )
            self.values[name] = value  # keeps the key alive, too
            self.dtypes[name] = value.dtype
            self._constants[key] = name
        return self._constants[key]

    def ints(self, values: Sequence[int]) -> str:
        """A list of integers, as operands that were attributes once take it."""
        return self.constant(np.array(values, I64))

    def number(self, value: float, like: str) -> str:
        """A scalar of another value's element type."""
        return self.constant(np.array(value).astype(self.dtypes[like]))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """A value under another shape."""
        return self("Reshape", x, self.ints(shape), allowzero=int(0 in shape))


def _attribute(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        value = list(value)
    return helper.make_attribute(name, value)
