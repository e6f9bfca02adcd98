"""What a random model means: onnxruntime, ONNX's reference, and how far noise moves the result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from kcompiler.frontend.names import reads
from kcompiler.graph.node import Array
from kcompiler.host import _ort_session, _run_session
from tests.fuzz.maker import BF16, F16, F32, F64, FLOATS, Case, Discarded, DType

Values = Mapping[str, Array]
# Roundings of a value of each type that a correct implementation may be off by, as a fraction.
EPS = {F64: 2.0**-24, F32: 2.0**-24, F16: 2.0**-11, BF16: 2.0**-8}


def validate(model: ModelProto) -> None:
    """`Discarded` unless ONNX's checker and strict shape inference accept it."""
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Discarded(f"not valid: {str(error)[:200]}") from None


def reference(model: ModelProto, feeds: Values) -> Values:
    """All outputs by ONNX's reference; raises what it raises."""
    names = [o.name for o in model.graph.output]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ReferenceEvaluator(model).run(names, dict(feeds))
    return {n: np.asarray(v) for n, v in zip(names, found, strict=True)}


def onnxruntime(model: ModelProto, feeds: Values) -> Values:
    """All outputs by onnxruntime; raises what it raises."""
    names = [o.name for o in model.graph.output]
    session = _ort_session(model.SerializeToString())
    if session is None:
        raise NotImplementedError("onnxruntime cannot be handed these types")
    return dict(zip(names, _run_session(session, names, feeds), strict=True))


@dataclass(frozen=True)
class Expected:
    """The outputs that the oracles agree on, and those on which they do not.

    `sole`: only one of them ran the model.
    """

    values: Values
    disputed: tuple[str, ...]
    sole: bool


def expected(case: Case) -> Expected:
    """What the outputs must be; `Discarded` where neither oracle can run the model."""
    found = {}
    last = ""
    types = inferred(case.model)
    for engine in (onnxruntime, reference):
        try:
            values = engine(case.model, case.feeds)
        except Exception as error:  # noqa: BLE001 - the oracles raise anything
            last += f" {engine.__name__}: {str(error)[:160]}"
            continue
        if all(types.get(n, (v.dtype, v.shape)) == (v.dtype, v.shape) for n, v in values.items()):
            found[engine.__name__] = values
    if not found:
        raise Discarded(f"no oracle runs it:{last}")
    first, *others = found.values()
    if any(o[n].shape != v.shape for n, v in first.items() for o in others):
        raise Discarded("the oracles disagree on a shape")
    disputed = tuple(
        name for name, value in first.items() for o in others if not same(value, o[name], 1)
    )
    return Expected(first, disputed, not others)


def inferred(model: ModelProto) -> dict[str, tuple[DType, tuple[int, ...]]]:
    """The types that ONNX infers for outputs, where they are fixed."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for info in (*graph.output, *graph.value_info):
        tensor = info.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            found[info.name] = dtype, tuple(d.dim_value for d in tensor.shape.dim)
    return found


def same(found: Array, wanted: Array, factor: float, slack: Array | float = 0) -> bool:
    """Whether two values agree: exactly, or for floats up to `factor` times a few roundings."""
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    if wanted.dtype.kind not in "biuf" and wanted.dtype not in FLOATS:
        return bool(np.all(found == wanted))
    if wanted.dtype not in FLOATS:
        gap = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
        return bool(np.all((found == wanted) | (gap <= 10 * np.asarray(slack))))
    x, y = found.astype(np.float64), wanted.astype(np.float64)
    finite = y[np.isfinite(y)]
    most = np.abs(finite).max(initial=0)
    eps = EPS[wanted.dtype]
    with np.errstate(all="ignore"):
        size = np.where(np.isfinite(y), np.abs(y), 0)  # an infinity is equal or it is not
        bound = factor * eps * (64 * size + 16 * most) + 10 * np.asarray(slack)
        anything = np.isinf(np.asarray(slack))
        alike = (x == y) | (np.isnan(x) & np.isnan(y)) | (np.abs(x - y) <= bound) | anything
        return bool(np.all(alike))


def everything(model: ModelProto) -> ModelProto:
    """The model with every tensor as an output."""
    found = ModelProto()
    found.CopyFrom(model)
    tensors = (node for node in model.graph.node if node.op_type not in _OPAQUE)
    names = [n for node in tensors for n in node.output if n]
    del found.graph.output[:]
    found.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
    return found


# Whose results are sequences or optionals.
_OPAQUE = {
    *("SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceMap"),
    *("SplitToSequence", "Optional"),
}


def all_values(case: Case) -> Values:
    """Every value of the model by name, inputs and weights included."""
    weights = {t.name: numpy_helper.to_array(t) for t in case.model.graph.initializer}
    model = everything(case.model)
    try:
        made = reference(model, case.feeds)
    except Exception:  # noqa: BLE001 - the oracles raise anything
        made = onnxruntime(model, case.feeds)
    return {**weights, **case.feeds, **made}


def _infinite(x: Array) -> Array:
    return np.asarray(~np.isfinite(x))


# What some operators make of NaN and infinities; the oracles give what their machine gives.
_SPREADS = (_infinite, "infinite pixels spread: a resize is a product with a matrix of many zeros")
_NO_INTEGER = (np.isnan, "NaN has no integer")
_ODD_WINDOW = (np.isnan, "the oracles pass over NaN in a window, or not")
_PASSES_FLOAT = (
    lambda x: np.asarray(np.abs(x) > 2.0**24),
    "the oracles have large integers pass through floats",
)
_NO_MEANING: Mapping[str, tuple[Callable[[Array], Array], str]] = {
    "Resize": _SPREADS,
    "Upsample": _SPREADS,
    "ConvTranspose": (_infinite, "infinite pixels spread: its phases have zeros in their kernels"),
    "QuantizeLinear": _NO_INTEGER,
    "DynamicQuantizeLinear": (_infinite, "there is no scale for an infinite range"),
    "MaxPool": _ODD_WINDOW,
    "GlobalMaxPool": _ODD_WINDOW,
    "LpPool": _ODD_WINDOW,
    "RoiAlign": (_infinite, "a weight is 0, and a maximum with 0 times infinity is NaN, or not"),
    "Shrink": _PASSES_FLOAT,
    "Gemm": _PASSES_FLOAT,
    "Attention": (_infinite, "a masked value has weight 0, and 0 times infinity is NaN, or not"),
    "OneHot": (_infinite, "the reference computes what it has only to choose"),
}
_WHERE = {"Attention": 2, "OneHot": 2}  # the operand that matters; the first of other operators


def undefined(case: Case, values: Values) -> str:
    """Why the model's values are not defined by ONNX, or known to be others; or nothing.

    A float outside an integer type's range has no integer; the oracles give what the machine gives.
    """
    for node in case.model.graph.node:
        place = _WHERE.get(node.op_type, 0)
        x = values.get(node.input[place]) if place < len(node.input) else None
        if node.op_type in _NO_MEANING and x is not None:
            bad, why = _NO_MEANING[node.op_type]
            if bad(x.astype(np.float64)).any():
                return why
        if node.op_type not in {"Cast", "CastLike", "Pow"}:
            continue
        x, y = values[node.input[0]], values[node.output[0]]
        if node.op_type == "Pow":
            with np.errstate(all="ignore"):
                x = x.astype(np.float64) ** values[node.input[1]].astype(np.float64)
        if x.dtype in FLOATS and y.dtype.kind in "iu":
            info = np.iinfo(y.dtype)
            wide = x.astype(np.float64)
            inside = (wide > info.min - 1.0) & (wide < info.max)
            if not inside.all():
                return f"{node.op_type} of a float to {y.dtype} is out of range"
    return ""


def sensitivity(case: Case, values: Values, eps: float, tries: int = 12) -> Values | None:
    """How far each output element moves when every float value is off by a fraction `eps`.

    For integers and booleans 1 where it changes. None where the reference cannot run the model.
    """
    names = [o.name for o in case.model.graph.output]
    moved = {n: np.zeros(values[n].shape) for n in names}
    for seed in range(tries):
        model, feeds = _noisy(case, values, eps, seed)
        try:
            found = reference(model, feeds)
        except Exception:  # noqa: BLE001 - the oracles raise anything
            return None
        for n in names:
            if found[n].shape != values[n].shape:
                return None
            moved[n] = np.maximum(moved[n], _moved(found[n], values[n]))
    return moved


def _moved(found: Array, value: Array) -> Array:
    if value.dtype.kind not in "biuf" and value.dtype not in FLOATS:
        return np.asarray(found != value, np.float64)
    x, y = found.astype(np.float64), value.astype(np.float64)
    with np.errstate(all="ignore"):
        gap = np.where(x == y, 0, np.abs(x - y))
    return np.where(np.isnan(x) & np.isnan(y), 0, np.where(np.isnan(gap), np.inf, gap))


def _noisy(case: Case, values: Values, eps: float, seed: int) -> tuple[ModelProto, Values]:
    rng = np.random.default_rng(seed)

    def noise(value: Array, scale: float) -> Array:
        wide = 1 + scale * rng.choice([-1, -0.5, 0.5, 1], value.shape)
        return np.asarray(np.asarray(wide).astype(value.dtype))

    model = ModelProto()
    model.CopyFrom(case.model)
    del model.graph.node[:]
    for node in case.model.graph.node:
        copy = model.graph.node.add()
        copy.CopyFrom(node)
        for index, name in enumerate(node.output):
            if name not in values or values[name].dtype not in FLOATS:
                continue
            copy.output[index] = f"{name}~"
            factor = noise(values[name], 2 * _scale(values[name], eps))
            kind = "Mul"
            if node.op_type.endswith("Window"):  # what cancels in it may have any sign
                kind, factor = "Add", np.asarray((factor - 1).astype(factor.dtype))
            model.graph.initializer.append(numpy_helper.from_array(factor, f"{name}~factor"))
            model.graph.node.append(helper.make_node(kind, [f"{name}~", f"{name}~factor"], [name]))
    feeds = {
        k: (v.astype(np.float64) * noise(v, _scale(v, eps)).astype(np.float64)).astype(v.dtype)
        if v.dtype in FLOATS
        else v
        for k, v in case.feeds.items()
    }
    return model, feeds


def _scale(value: Array, eps: float) -> float:
    return max(4 * eps, 2 * EPS[value.dtype])


def doubtful(case: Case, values: Values) -> bool:
    """Whether the oracles, of which one cannot run the whole, contradict each other on a node.

    A node that onnxruntime lacks for a type of floats it may have for float32.
    """
    for index in range(len(case.model.graph.node)):
        try:
            alone = part(case, values, index, index + 1)
        except Discarded:
            continue
        for asked in (alone, widened(alone)):
            try:
                found = onnxruntime(asked.model, asked.feeds)
                wanted = reference(asked.model, asked.feeds)
            except Exception:  # noqa: BLE001, S112 - the oracles raise anything
                continue
            if not all(same(v, wanted[n], 1) for n, v in found.items()):
                return True
            break
    return False


def widened(case: Case) -> Case:
    """The same with float32 in place of other floats."""
    others = [helper.np_dtype_to_tensor_dtype(d) for d in (F16, F64, BF16)]
    model = ModelProto()
    model.CopyFrom(case.model)
    for info in (*model.graph.input, *model.graph.output):
        if info.type.tensor_type.elem_type in others:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type in others:
            data = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(data, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i in others:
                attribute.i = TensorProto.FLOAT
    feeds = {n: v.astype(np.float32) if v.dtype in FLOATS else v for n, v in case.feeds.items()}
    return Case(model, feeds)


def part(case: Case, values: Values, start: int, stop: int) -> Case:
    """A model of some nodes in a row; what they read from others are inputs.

    `Discarded` where that is no tensor.
    """
    graph = case.model.graph
    nodes = graph.node[start:stop]
    made = {n for node in nodes for n in node.output if n}
    read = {n for node in nodes for n in reads(node)}
    weights = [t for t in graph.initializer if t.name in read]
    known = {t.name for t in weights}
    if not (read - made - known) <= values.keys():
        raise Discarded("a part reads a sequence")
    feeds = {n: values[n] for n in sorted(read - made - known)}
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in feeds.items()
    ]
    ends = [o.name for o in graph.output if o.name in made]
    ends += sorted(made - read - set(ends))
    outputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), [None] * v.ndim)
        for n, v in ((n, values[n]) for n in ends if n in values)
    ]
    model = ModelProto()
    model.CopyFrom(case.model)
    model.graph.CopyFrom(helper.make_graph(nodes, "part", inputs, outputs, weights))
    return Case(model, feeds)
