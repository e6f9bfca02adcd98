"""ONNX's backend interface on the normal pipeline: any valid model, on the simulator of a target.

    >>> import kcompiler.backend
    >>> outputs = kcompiler.backend.run(model, [image])

A device is `NPU:` and the name of a target; `NPU` alone is `NPU:rebel`. A model is compiled when it
runs, for the shapes that its inputs have then. Inputs whose values decide shapes (axes, repeats,
the k of a TopK, a new shape) are constants where that saves work on the host: another value
compiles the model again, as another shape does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from onnx import ModelProto, NodeProto, defs, helper
from onnx.backend.base import Backend, BackendRep

from kcompiler import api
from kcompiler.errors import UsageError
from kcompiler.frontend import load_model
from kcompiler.frontend.listing import list_inputs

if TYPE_CHECKING:
    from kcompiler.graph.node import Array

Inputs: TypeAlias = "Sequence[Any] | Mapping[str, Any]"

DEVICE = "NPU"
DEFAULT = "NPU:rebel"
PRECISION = "f32"  # what ONNX promises of float32
_MOST_ELEMENTS = 64  # of an input that is taken as a constant


class Prepared(BackendRep):
    """A model for one target; it keeps what it has compiled, by the shapes and values it is for."""

    def __init__(self, model: ModelProto, target: str, precision: str = PRECISION) -> None:
        self.model = model
        self.target = target
        self.precision = precision
        self.outputs = [output.name for output in model.graph.output]
        self._given = list_inputs(model)
        self._bound: dict[_Shapes, tuple[str, ...]] = {}
        self._compiled: dict[object, api.CompiledModel] = {}

    def run(self, inputs: Inputs, **_: Any) -> tuple[Any, ...]:
        """All outputs, for inputs by name or in the model's order; raises `KcompilerError`."""
        feeds = self._feeds(inputs)
        compiled = self.compiled(feeds)
        constant = compiled.compilation.values
        results = compiled.run({n: v for n, v in feeds.items() if n not in constant})
        return tuple(results[name] for name in self.outputs)

    def compiled(self, inputs: Inputs) -> api.CompiledModel:
        """The model compiled for such inputs."""
        feeds = self._feeds(inputs)
        shapes = {g.name: np.shape(feeds[g.name]) for g in self._given if not g.open}
        key = tuple(shapes.items())
        if key not in self._bound:
            self._bound[key] = tuple(deciding(self.model, shapes, feeds))
        values = {name: np.asarray(feeds[name]) for name in self._bound[key]}
        whole = (key, tuple((n, v.dtype.str, v.tobytes()) for n, v in values.items()))
        if whole not in self._compiled:
            self._compiled[whole] = api.compile(
                self.model, self.target, precision=self.precision, shapes=shapes, values=values
            )
        return self._compiled[whole]

    def _feeds(self, inputs: Inputs) -> dict[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        names = [given.name for given in self._given]
        if len(inputs) != len(names):
            why = f"its inputs are {', '.join(names) or 'none'}"
            raise UsageError(f"the model takes {len(names)} inputs, not {len(inputs)}", why=why)
        return dict(zip(names, inputs, strict=True))


_Shapes: TypeAlias = "tuple[tuple[str, tuple[int, ...]], ...]"


def deciding(
    model: ModelProto, shapes: Mapping[str, tuple[int, ...]], feeds: Mapping[str, Any]
) -> dict[str, Array]:
    """The small inputs whose values some node wants to know; none if that would be all inputs."""
    found: dict[str, Array] = {}
    while True:
        imported = load_model(model, shapes=shapes, values=found)
        new = {n: np.asarray(feeds[n]) for n in imported.deciding if _small(feeds[n])}
        if not new:
            return found
        found |= new
        if len(found) == len(feeds):
            return {}


def _small(value: Any) -> bool:
    array = np.asarray(value)
    return array.ndim <= 1 and array.size <= _MOST_ELEMENTS


class NpuBackend(Backend):
    """What `onnx.backend.test` wants of a backend."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a device names a target that is installed."""
        kind, _, target = device.partition(":")
        return kind == DEVICE and (target or "rebel") in api.targets()

    @classmethod
    def prepare(cls, model: ModelProto, device: str = DEFAULT, **options: Any) -> Prepared:
        """A model ready to be run with any inputs; `precision` is the one option."""
        if not cls.supports_device(device):
            known = ", ".join(f"{DEVICE}:{name}" for name in api.targets())
            raise UsageError(f"there is no device {device!r}", fix=f"one of: {known}")
        target = device.partition(":")[2] or "rebel"
        return Prepared(model, target, options.get("precision", PRECISION))

    @classmethod
    def run_model(
        cls, model: ModelProto, inputs: Inputs, device: str = DEFAULT, **options: Any
    ) -> tuple[Any, ...]:
        """All outputs of a model in order."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = DEFAULT,
        outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
        **options: Any,
    ) -> tuple[Any, ...]:
        """All results of one node; its operands are arrays, in order, without those left out."""
        operands = [np.asarray(value) for value in inputs]
        names = [name for name in node.input if name]
        infos = [_info(n, v.dtype, v.shape) for n, v in zip(names, operands, strict=True)]
        results = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        if outputs_info is not None:
            named = zip(results, outputs_info, strict=True)
            results = [_info(empty.name, *known) for empty, known in named]
        version = options.pop("opset_version", defs.onnx_opset_version())
        graph = helper.make_graph([node], "node", infos, results)
        imports = [helper.make_opsetid(node.domain, version)]
        model = helper.make_model(graph, opset_imports=imports)
        return cls.run_model(model, operands, device, **options)


def _info(name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)


supports_device = NpuBackend.supports_device
prepare = NpuBackend.prepare
run_model = NpuBackend.run_model
run_node = NpuBackend.run_node
run = NpuBackend.run_model
