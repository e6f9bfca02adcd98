"""What others compute for our operators: tiny ONNX models, run by onnxruntime.

Narrow floats go through the oracle as float32, so that nothing depends on where it rounds; what
onnxruntime lacks for a type is asked of `onnx.reference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from kcompiler.graph import operators as ops
from kcompiler.graph.node import Array, Op
from kcompiler.graph.types import BF16, F32, F64, compute_dtype, is_float
from kcompiler.scalar import convert
from tests.graph.instances import Instance

OPSET = 20
ort.set_default_logger_severity(4)


class Net:
    """An ONNX model in the making; `net("Add", a, b)` adds a node and gives its result's name."""

    def __init__(self, op: Op, values: Sequence[Array]) -> None:
        self.op: Any = op
        own = isinstance(op, ops.Quantize | ops.Dequantize)  # with types of 8-bit floats
        kinds = [v.dtype if own and v.itemsize == 1 else compute_dtype(v.dtype) for v in values]
        self.values = [v.astype(kind) for v, kind in zip(values, kinds, strict=True)]
        self.names = [f"x{i}" for i in range(len(values))]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, op_type: str, *operands: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, operands, [name], **attributes))
        return name

    def ints(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def constant(self, value: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, self.values[0].dtype))

    def run(self, output: str) -> Array:
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                "oracle",
                [_info(n, v) for n, v in zip(self.names, self.values, strict=True)],
                [helper.make_tensor_value_info(output, TensorProto.UNDEFINED, None)],
                self.constants,
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=10,
        )
        return _run(model, dict(zip(self.names, self.values, strict=True)))


def _info(name: str, value: Array) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, value.shape)


def _run(model: onnx.ModelProto, feed: dict[str, Array]) -> Array:
    wide = any(v.dtype == F64 for v in feed.values())
    if wide and model.graph.node[0].op_type != "MaxPool":
        return _refer(model, feed)  # onnxruntime computes some of it in float32
    if any(is_float(v.dtype) and v.itemsize == 1 for v in feed.values()):
        return _refer(model, feed)  # which onnxruntime takes no arrays of
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        typed = onnx.shape_inference.infer_shapes(model)
        session = ort.InferenceSession(typed.SerializeToString(), options)
        (result,) = session.run(None, feed)
        return np.asarray(result)
    except _NOT_THERE:
        return _refer(model, feed)


_NOT_THERE = (
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
)


def _refer(model: onnx.ModelProto, feed: dict[str, Array]) -> Array:
    with np.errstate(all="ignore"):
        (result,) = ReferenceEvaluator(model).run(None, feed)
        return np.asarray(result)


def expected(instance: Instance) -> Array:
    """The oracle's result, rounded to the type of the operator's."""
    net, kind = Net(instance.op, instance.values), type(instance.op)
    if kind in LIBM and instance.op.dtype == F64:
        with np.errstate(all="ignore"):
            return np.asarray(np.vectorize(LIBM[kind], otypes=[F64])(*instance.values))
    if isinstance(instance.op, ops.Slice | ops.Pad | ops.Transpose) and not instance.op.shape:
        return np.asarray(instance.values[0])  # onnxruntime does not move rank 0
    return convert(net.run(ORACLES[kind](net, *net.names)), instance.op.dtype)


Oracle = Callable[..., str]


def _named(name: str, **attributes: Any) -> Oracle:
    return lambda net, *xs: net(name, *xs, **attributes)


def _mean(net: Net, x: str, axes: Sequence[int]) -> str:
    return net("ReduceMean", x, net.ints(axes), keepdims=1)


def _slice(net: Net, x: str) -> str:
    op = net.op
    ends = [s + n * t for s, n, t in zip(op.starts, op.sizes, op.steps, strict=True)]
    ends = [e if e >= 0 else -(1 << 40) for e in ends]
    starts = [0 if n == 0 else s for s, n in zip(op.starts, op.sizes, strict=True)]
    ends = [0 if n == 0 else e for e, n in zip(ends, op.sizes, strict=True)]
    axes = range(len(op.shape))
    return net("Slice", x, *map(net.ints, (starts, ends, axes, op.steps)))


def _pad(net: Net, x: str) -> str:
    return net("Pad", x, net.ints((*net.op.low, *net.op.high)), net.number(net.op.value))


def _conv(net: Net, x: str, w: str) -> str:
    """Integer products are small here: float32 sums them exactly."""
    op = net.op
    x, w = (net("Cast", v, to=TensorProto.FLOAT) if not _wide(net) else v for v in (x, w))
    pads = (*op.pads_low, *op.pads_high)
    return net("Conv", x, w, strides=op.strides, pads=pads, dilations=op.dilations, group=op.groups)


def _wide(net: Net) -> bool:
    return is_float(net.values[0].dtype)


def _contract(net: Net, x: str, y: str) -> str:
    if not _wide(net):
        x, y = (net("Cast", v, to=TensorProto.INT64) for v in (x, y))
    return net("Einsum", x, y, equation=net.op.equation)


def _window(net: Net, x: str) -> str:
    """A maximum is MaxPool; a sum is a convolution of every channel with ones."""
    op, channels = net.op, net.values[0].shape[1]
    same = {
        "strides": op.strides,
        "pads": (*op.pads_low, *op.pads_high),
        "dilations": op.dilations,
    }
    wide = x if _wide(net) else net("Cast", x, to=TensorProto.FLOAT)
    if op.function == "max":
        return net("MaxPool", wide, kernel_shape=op.window, **same)
    kind = net.values[0].dtype if _wide(net) else F32
    ones = net.constant(np.ones((channels, 1, *op.window), kind))
    return net("Conv", wide, ones, group=channels, **same)


def _reduce(net: Net, x: str) -> str:
    kind = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd"}
    return net(kind[net.op.function], x, net.ints(net.op.axes), keepdims=1)


def _arg_reduce(net: Net, x: str) -> str:
    op = net.op
    kind = {"max": "ArgMax", "min": "ArgMin"}[op.function]
    return net(kind, x, axis=op.axis, keepdims=1, select_last_index=int(op.last))


def _cumsum(net: Net, x: str) -> str:
    op = net.op
    axis = net.constant(np.array(op.axis, np.int64))
    return net("CumSum", x, axis, exclusive=int(op.exclusive), reverse=int(op.reverse))


def _top(position: int) -> Oracle:
    def oracle(net: Net, x: str) -> str:
        op, results = net.op, ["values", "indices"]
        k = net.ints([op.k])
        kind = {"axis": op.axis, "largest": int(op.largest), "sorted": 1}
        net.nodes.append(helper.make_node("TopK", [x, k], results, **kind))
        return results[position]

    return oracle


def _layer_norm(net: Net, x: str, *rest: str) -> str:
    op, given = net.op, iter(rest)
    centred = net("Sub", x, _mean(net, x, op.axes))
    result = _by_root(net, centred, op.axes, op.epsilon)
    result = net("Mul", result, next(given)) if op.scale is not None else result
    return net("Add", result, next(given)) if op.bias is not None else result


def _rms_norm(net: Net, x: str, *rest: str) -> str:
    result = _by_root(net, x, net.op.axes, net.op.epsilon)
    return net("Mul", result, *rest) if rest else result


def _by_root(net: Net, x: str, axes: Sequence[int], epsilon: float) -> str:
    power = _mean(net, net("Mul", x, x), axes)
    return net("Div", x, net("Sqrt", net("Add", power, net.number(epsilon))))


def _attention(net: Net, q: str, k: str, v: str, *mask: str) -> str:
    rank = len(net.op.shape)
    turned = net("Transpose", k, perm=[*range(rank - 2), rank - 1, rank - 2])
    logits = net("Mul", net("MatMul", q, turned), net.number(net.op.scale))
    logits = net("Add", logits, *mask) if mask else logits
    return net("MatMul", net("Softmax", logits, axis=-1), v)


def _gelu_tanh(net: Net, x: str) -> str:
    if net.values[0].dtype == F32:
        return net("Gelu", x, approximate="tanh")
    cube = net("Mul", net("Mul", net("Mul", x, x), x), net.number(0.044715))
    inner = net("Tanh", net("Mul", net("Add", x, cube), net.number(math.sqrt(2 / math.pi))))
    return net("Mul", net("Mul", x, net.number(0.5)), net("Add", inner, net.number(1)))


def _hard_swish(net: Net, x: str) -> str:
    """ONNX keeps the factor 1/6 in float32."""
    if net.values[0].dtype == F32:
        return net("HardSwish", x)
    slope = net("Add", net("Div", x, net.number(6)), net.number(0.5))
    return net("Mul", x, net("Clip", slope, net.number(0), net.number(1)))


def _softsign(net: Net, x: str) -> str:
    return net("Div", x, net("Add", net("Abs", x), net.number(1)))


def _shift(direction: str) -> Oracle:
    """ONNX shifts unsigned integers only; a signed shift to the right is a floored division."""

    def oracle(net: Net, x: str, y: str) -> str:
        wide = [net("Cast", v, to=TensorProto.DOUBLE) for v in (x, y)]
        power = net("Pow", net.constant(np.array(2.0)), wide[1])
        shifted = net({"LEFT": "Mul", "RIGHT": "Div"}[direction], wide[0], power)
        return net("Cast", net("Floor", shifted), to=TensorProto.INT64)

    return oracle


def _cast(net: Net, x: str) -> str:
    result = net("Cast", x, to=helper.np_dtype_to_tensor_dtype(net.op.dtype))
    # onnxruntime cannot hand bfloat16 over to numpy.
    return net("Cast", result, to=TensorProto.FLOAT) if net.op.dtype == BF16 else result


def _by_steps(name: str) -> Oracle:
    """One scale and zero, or one a channel: there ONNX wants vectors and the axis."""

    def oracle(net: Net, x: str, scale: str, zero: str) -> str:
        shape = net.values[1].shape
        net.values[1:] = [v.reshape(shape[:1]) for v in net.values[1:]]
        axis = max(net.values[0].ndim - len(shape), 0)
        return net(name, x, scale, zero, axis=axis)

    return oracle


def _mod(net: Net, x: str, y: str) -> str:
    """ONNX has the sign of the divisor for integers only."""
    if not _wide(net):
        return net("Mod", x, y)
    zero, rest = net.number(0), net("Mod", x, y, fmod=1)
    turned = net("Xor", net("Less", rest, zero), net("Less", y, zero))
    other = net("And", turned, net("Not", net("Equal", rest, zero)))
    return net("Where", other, net("Add", rest, y), rest)


# Both runtimes compute these in float32, whatever the type.
LIBM: dict[type[Op], Callable[..., float]] = {
    ops.Erf: math.erf,
    ops.Gelu: lambda x: 0.5 * x * math.erfc(-x * math.sqrt(0.5)),
}
ORACLES: dict[type[Op], Oracle] = {
    **{kind: _named(kind.__name__) for kind in (ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Pow)},
    **{kind: _named(kind.__name__) for kind in (ops.Max, ops.Min, ops.Neg, ops.Abs, ops.Sign)},
    **{kind: _named(kind.__name__) for kind in (ops.Floor, ops.Ceil, ops.Round, ops.Where)},
    **{kind: _named(kind.__name__) for kind in (ops.And, ops.Or, ops.Xor, ops.Not, ops.Equal)},
    **{kind: _named(kind.__name__) for kind in (ops.Less, ops.Exp, ops.Log, ops.Sqrt, ops.Sin)},
    **{kind: _named(kind.__name__) for kind in (ops.Reciprocal, ops.Cos, ops.Tan, ops.Asin)},
    **{kind: _named(kind.__name__) for kind in (ops.Acos, ops.Atan, ops.Sinh, ops.Cosh)},
    **{kind: _named(kind.__name__) for kind in (ops.Asinh, ops.Acosh, ops.Atanh, ops.Erf)},
    **{kind: _named(kind.__name__) for kind in (ops.Tanh, ops.Sigmoid, ops.Relu, ops.Mish)},
    **{kind: _named(kind.__name__) for kind in (ops.Softplus,)},
    ops.LessEqual: _named("LessOrEqual"),
    ops.IsNan: _named("IsNaN"),
    ops.IsInf: _named("IsInf"),
    ops.BitAnd: _named("BitwiseAnd"),
    ops.BitOr: _named("BitwiseOr"),
    ops.BitXor: _named("BitwiseXor"),
    ops.BitNot: _named("BitwiseNot"),
    ops.Shl: _shift("LEFT"),
    ops.Shr: _shift("RIGHT"),
    ops.Mod: _mod,
    ops.Fmod: _named("Mod", fmod=1),
    ops.Rsqrt: lambda net, x: net("Reciprocal", net("Sqrt", x)),
    ops.Silu: lambda net, x: net("Mul", x, net("Sigmoid", x)),
    ops.Gelu: _named("Gelu"),
    ops.GeluTanh: _gelu_tanh,
    ops.HardSwish: _hard_swish,
    ops.Softsign: _softsign,
    ops.Cast: _cast,
    ops.Reshape: lambda net, x: net("Reshape", x, net.ints(net.op.shape)),
    ops.Transpose: lambda net, x: net("Transpose", x, perm=net.op.perm),
    ops.Slice: _slice,
    ops.Pad: _pad,
    ops.Concat: lambda net, *xs: net("Concat", *xs, axis=net.op.axis),
    ops.Broadcast: lambda net, x: net("Expand", x, net.ints(net.op.shape)),
    ops.Gather: lambda net, x, i: net("Gather", x, i, axis=net.op.axis),
    ops.Contract: _contract,
    ops.Conv: _conv,
    ops.Window: _window,
    ops.Reduce: _reduce,
    ops.ArgReduce: _arg_reduce,
    ops.CumSum: _cumsum,
    ops.TopKValues: _top(0),
    ops.TopKIndices: _top(1),
    ops.Quantize: _by_steps("QuantizeLinear"),
    ops.Dequantize: _by_steps("DequantizeLinear"),
    ops.Softmax: lambda net, x: net("Softmax", x, axis=net.op.axis),
    ops.LayerNorm: _layer_norm,
    ops.RmsNorm: _rms_norm,
    ops.Attention: _attention,
}
