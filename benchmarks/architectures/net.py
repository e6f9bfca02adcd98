"""A network in the making: operators between QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Activation = Literal["", "relu", "relu6", "silu"]
_SCALE, _ZERO = 0.03, -8  # of all activations: asymmetric, a range of about -3.6 to 4.1
_SPREAD = 74.0  # standard deviation of evenly spread int8 weights
_GAIN = 1.7  # makes up for what an activation takes from the spread of data


@dataclass(frozen=True)
class Value:
    """An int8 tensor: its name and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Extent of the second dimension."""
        return self.shape[1]


class Net:
    """A model that grows by calls; `parameters` and `macs` count what was asked for.

    A convolution with batch normalization counts two parameters for each channel, as its training
    form has them, and one bias here, where they are folded.
    """

    def __init__(self, name: str, *shape: int) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.parameters = 0
        self.macs = 0
        self._random = np.random.default_rng(0)
        self.input = Value("input", shape)
        self.outputs: tuple[Value, ...] = ()
        self._scale = self._constant("scale", np.float32(_SCALE))
        self._zero = self._constant("zero", np.int8(_ZERO))

    # ---- operators ------------------------------------------------------------------------------

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: int,
        stride: int = 1,
        *,
        pads: tuple[int, int] | None = None,
        groups: int = 1,
        act: Activation = "",
        norm: bool = True,
    ) -> Value:
        """A square convolution; `pads` at the low and the high side of both axes, half a kernel."""
        low, high = (kernel // 2, kernel // 2) if pads is None else pads
        space = [(n + low + high - kernel) // stride + 1 for n in x.shape[2:]]
        shape = (x.shape[0], channels, *space)
        terms = x.channels // groups * kernel * kernel
        step = _step(terms, act)
        weight = self._weight((channels, x.channels // groups, kernel, kernel), step)
        self.parameters += channels * (2 if norm else 1)
        self.macs += prod(shape) * terms
        padded = {"pads": [low, low, high, high], "strides": [stride, stride], "group": groups}
        operands = [self._float(x), weight, self._bias(channels, step)]
        return self._activated(self._node("Conv", operands, **padded), shape, act)

    def dense(self, x: Value, outputs: int) -> Value:
        """A fully connected layer on [batch, features]."""
        terms = x.shape[1]
        step = _step(terms, "")
        weight = self._weight((outputs, terms), step)
        self.parameters += outputs
        self.macs += x.shape[0] * outputs * terms
        operands = [self._float(x), weight, self._bias(outputs, step)]
        return self._byte(self._node("Gemm", operands, transB=1), (x.shape[0], outputs))

    def add(self, x: Value, y: Value, act: Activation = "") -> Value:
        """The sum of two tensors."""
        return self._activated(self._node("Add", [self._float(x), self._float(y)]), x.shape, act)

    def concat(self, xs: Sequence[Value]) -> Value:
        """Tensors one after the other along the channels."""
        shape = (xs[0].shape[0], sum(x.channels for x in xs), *xs[0].shape[2:])
        return self._byte(self._node("Concat", list(map(self._float, xs)), axis=1), shape)

    def halves(self, x: Value) -> tuple[Value, Value]:
        """The channels' first and second half."""
        half = x.channels // 2
        shape = (x.shape[0], half, *x.shape[2:])
        axes = self._constant("axes", np.array([1]))
        found = []
        for begin in (0, half):
            ends = [self._constant("at", np.array([n])) for n in (begin, begin + half)]
            found.append(self._byte(self._node("Slice", [self._float(x), *ends, axes]), shape))
        return found[0], found[1]

    def max_pool(self, x: Value, kernel: int, stride: int, pads: tuple[int, int]) -> Value:
        """The largest of each window."""
        low, high = pads
        space = [(n + low + high - kernel) // stride + 1 for n in x.shape[2:]]
        window = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": [low, low, high, high],
        }
        return self._byte(self._node("MaxPool", [self._float(x)], **window), (*x.shape[:2], *space))

    def average(self, x: Value) -> Value:
        """The mean of each channel, as [batch, channels]."""
        mean = self._byte(self._node("GlobalAveragePool", [self._float(x)]), (*x.shape[:2], 1, 1))
        return self._byte(self._node("Flatten", [self._float(mean)]), x.shape[:2])

    def twice(self, x: Value) -> Value:
        """The picture at twice its height and width, each pixel repeated."""
        scales = self._constant("scales", np.array([1, 1, 2, 2], np.float32))
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        node = self._node("Resize", [self._float(x), "", scales], nearest_mode="floor", **how)
        height, width = x.shape[2:]
        return self._byte(node, (*x.shape[:2], 2 * height, 2 * width))

    def finished(self, *outputs: Value) -> Net:
        """The network, whose outputs these are."""
        self.outputs = outputs
        return self

    def model(self) -> onnx.ModelProto:
        """The model: int8 in, int8 out."""
        results = [_declared(o) for o in self.outputs]
        graph = helper.make_graph(
            self.nodes, self.name, [_declared(self.input)], results, self.constants
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        made.ir_version = 8
        return made

    # ---- parts ----------------------------------------------------------------------------------

    def _activated(self, name: str, shape: tuple[int, ...], act: Activation) -> Value:
        if act == "relu":
            name = self._node("Relu", [name])
        if act == "relu6":
            ends = [self._constant("limit", np.float32(n)) for n in (0, 6)]
            name = self._node("Clip", [name, *ends])
        x = self._byte(name, shape)
        if act != "silu":
            return x
        gate = self._byte(self._node("Sigmoid", [self._float(x)]), shape)
        return self._byte(self._node("Mul", [self._float(x), self._float(gate)]), shape)

    def _byte(self, name: str, shape: tuple[int, ...]) -> Value:
        return Value(self._node("QuantizeLinear", [name, self._scale, self._zero]), shape)

    def _float(self, x: Value) -> str:
        return self._node("DequantizeLinear", [x.name, self._scale, self._zero])

    def _weight(self, shape: tuple[int, ...], step: float) -> str:
        """Weights with one scale for each output, under which data keep their spread."""
        values = self._random.integers(-127, 128, shape, np.int8)
        self.parameters += values.size
        parts = [
            self._constant("w", values),
            self._constant("s", np.full(shape[0], step, np.float32)),
            self._constant("z", np.zeros(shape[0], np.int8)),
        ]
        return self._node("DequantizeLinear", parts, axis=0)

    def _bias(self, count: int, step: float) -> str:
        values = self._random.integers(-1000, 1000, count, np.int32)
        scale = np.full(count, np.float32(_SCALE) * np.float32(step), np.float32)
        zero = self._constant("z", np.zeros(count, np.int32))
        parts = [self._constant("b", values), self._constant("s", scale), zero]
        return self._node("DequantizeLinear", parts, axis=0)

    def _node(self, kind: str, operands: Sequence[str], **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(operands), [name], name, **attributes))
        return name

    def _constant(self, name: str, value: Any) -> str:
        name = f"{name}{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _step(terms: int, act: Activation) -> float:
    return (_GAIN if act else 1.0) / (_SPREAD * float(np.sqrt(terms)))


def _declared(x: Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(x.name, TensorProto.INT8, x.shape)
