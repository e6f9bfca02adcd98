"""Element-wise operators and activations against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontend.oracle import MICROSOFT, agree, f32, floats, i64, integers, one

POSITIVE = np.abs(floats(3, 4)) + 1
INSIDE = np.tanh(floats(3, 4))
UNARY = {
    "Abs": floats(3, 4),
    "Acos": INSIDE,
    "Acosh": POSITIVE,
    "Asin": INSIDE,
    "Asinh": floats(3, 4),
    "Atan": floats(3, 4),
    "Atanh": INSIDE,
    "Ceil": floats(3, 4),
    "Cos": floats(3, 4),
    "Cosh": floats(3, 4),
    "Erf": floats(3, 4),
    "Exp": floats(3, 4),
    "Floor": floats(3, 4),
    "Identity": floats(3, 4),
    "Log": POSITIVE,
    "Neg": floats(3, 4),
    "Reciprocal": POSITIVE,
    "Relu": floats(3, 4),
    "Round": f32([0.5, 1.5, 2.5, -0.5, -1.5, 2.4]),
    "Sigmoid": floats(3, 4),
    "Sign": floats(3, 4),
    "Sin": floats(3, 4),
    "Sinh": floats(3, 4),
    "Softplus": floats(3, 4),
    "Softsign": floats(3, 4),
    "Sqrt": POSITIVE,
    "Tan": INSIDE,
    "Tanh": floats(3, 4),
    "HardSwish": floats(3, 4) * 4,
}


@pytest.mark.parametrize("op_type", UNARY)
def test_unary(op_type: str) -> None:
    agree(*one(op_type, [UNARY[op_type]]))


PARAMETRIC: list[tuple[str, dict[str, Any], int]] = [
    ("LeakyRelu", {"alpha": 0.1}, 17),
    ("LeakyRelu", {"alpha": -0.5}, 17),
    ("LeakyRelu", {"alpha": 2.0}, 17),
    ("LeakyRelu", {}, 7),
    ("Elu", {"alpha": 0.5}, 17),
    ("Elu", {}, 7),
    ("Selu", {}, 17),
    ("Selu", {"alpha": 2.0, "gamma": 0.5}, 17),
    ("Celu", {"alpha": 2.0}, 17),
    ("ThresholdedRelu", {"alpha": 0.5}, 17),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, 17),
    ("HardSigmoid", {}, 7),
    ("Shrink", {"lambd": 0.3, "bias": 0.1}, 17),
    ("Gelu", {}, 20),
    ("Gelu", {"approximate": "tanh"}, 20),
    ("Mish", {}, 18),
    ("Clip", {"min": -0.5, "max": 0.5}, 7),
    ("Clip", {"max": 0.5}, 7),
    ("Clip", {}, 10),
    ("Clip", {}, 13),
    ("Dropout", {"ratio": 0.7}, 7),
    ("Dropout", {}, 12),
    ("IsInf", {"detect_negative": 0}, 10),
    ("IsInf", {"detect_positive": 0}, 10),
    ("IsInf", {"detect_positive": 0, "detect_negative": 0}, 10),
    ("IsInf", {}, 20),
    ("IsNaN", {}, 13),
]


@pytest.mark.parametrize(("op_type", "attributes", "opset"), PARAMETRIC)
def test_activation(op_type: str, attributes: dict[str, Any], opset: int) -> None:
    x = floats(3, 40) * 2
    x[0, :3] = np.inf, -np.inf, np.nan if op_type == "IsNaN" else 0
    x = x if op_type.startswith("Is") else np.nan_to_num(x, posinf=80, neginf=-80)
    agree(*one(op_type, [x], opset=opset, **attributes))


@pytest.mark.parametrize("op_type", ["Gelu", "QuickGelu", "FastGelu"])
def test_microsoft(op_type: str) -> None:
    agree(*one(op_type, [floats(3, 4)], domain=MICROSOFT))


@pytest.mark.parametrize("op_type", ["FastGelu", "BiasGelu"])
def test_microsoft_with_bias(op_type: str) -> None:
    agree(*one(op_type, [floats(3, 4), floats(4, seed=1)], domain=MICROSOFT))


BINARY = ["Add", "Sub", "Mul", "Div", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"]


@pytest.mark.parametrize("op_type", [*BINARY, "Max", "Min", "Mean", "Sum", "PRelu"])
def test_binary_broadcasts(op_type: str) -> None:
    agree(*one(op_type, [floats(2, 3, 4), floats(3, 1, seed=1)]))


@pytest.mark.parametrize("op_type", BINARY)
def test_binary_of_integers(op_type: str) -> None:
    y = integers(1, 9, 1, 4, seed=1, dtype="int32")
    agree(*one(op_type, [integers(-9, 9, 3, 4, dtype="int32"), y]))


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor", "Equal"])
def test_logic(op_type: str) -> None:
    agree(*one(op_type, [floats(3, 4) > 0, floats(3, 4, seed=1) > 0]))


@pytest.mark.parametrize("op_type", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bits(op_type: str) -> None:
    operands = [integers(0, 256, 8, seed=i, dtype="uint8") for i in range(2)]
    agree(*one(op_type, operands, opset=18))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bit_shift(direction: str) -> None:
    x, y = integers(0, 256, 8, dtype="uint8"), integers(0, 8, 8, seed=1, dtype="uint8")
    agree(*one("BitShift", [x, y], direction=direction))


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("op_type", ["Max", "Min", "Mean", "Sum"])
def test_variadic(op_type: str, count: int) -> None:
    agree(*one(op_type, [floats(3, 4, seed=i) for i in range(count)]))


@pytest.mark.parametrize(
    ("base", "exponent"),
    [
        (POSITIVE, floats(4, seed=1)),
        (floats(3, 4), i64([2, 3, 0, 1])),
        (integers(1, 5, 4), f32([2, 3, 0, 1])),
        (integers(1, 5, 4, dtype="int32"), integers(0, 5, 4)),
    ],
)
def test_pow(base: Any, exponent: Any) -> None:
    agree(*one("Pow", [base, exponent]))


@pytest.mark.parametrize("fmod", [0, 1])
def test_mod(fmod: int) -> None:
    x, y = integers(-9, 9, 12), integers(1, 5, 12, seed=1)
    agree(*one("Mod", [x, y * i64([1, -1] * 6)], fmod=fmod))
    agree(*one("Mod", [floats(12) * 9, floats(12, seed=1)], fmod=1))


@pytest.mark.parametrize("known", [(), (1, 2), (2,)])
def test_clip_with_operands(known: tuple[int, ...]) -> None:
    agree(*one("Clip", [floats(3, 4), np.array(-0.5, "float32"), np.array(0.5, "float32")], known))
    agree(*one("Clip", [floats(3, 4), None, np.array(0.5, "float32")], (2,)))


def test_where() -> None:
    agree(*one("Where", [floats(3, 1) > 0, floats(3, 4), floats(4, seed=1)]))


@pytest.mark.parametrize("to", ["float16", "float64", "int32", "uint8", "bool", "bfloat16"])
def test_cast(to: str) -> None:
    from onnx import TensorProto

    number = {
        "float16": TensorProto.FLOAT16,
        "float64": TensorProto.DOUBLE,
        "int32": TensorProto.INT32,
        "uint8": TensorProto.UINT8,
        "bool": TensorProto.BOOL,
        "bfloat16": TensorProto.BFLOAT16,
    }[to]
    proto, feeds = one("Cast", [np.abs(floats(3, 4)) * 9], to=number)
    if to == "bfloat16":  # onnxruntime cannot return it
        proto.graph.node.add(op_type="Cast", input=["y0"], output=["z"]).attribute.add(
            name="to", i=TensorProto.FLOAT, type=2
        )
        proto.graph.output[0].name = "z"
    agree(proto, feeds)


@pytest.mark.parametrize("op_type", ["Elu", "Selu", "HardSigmoid", "Softplus", "Gelu"])
def test_half_precision_rounds_once(op_type: str) -> None:
    """A decomposition may not round in between: the result is that of float32, rounded."""
    x = floats(200, dtype="float16")
    wide, feeds = one(op_type, [x.astype(np.float32)], opset=20)
    narrow, _ = one(op_type, [x], opset=20)
    from kcompiler.frontend import load_model
    from kcompiler.graph.interpreter import run_graph

    (expected,) = run_graph(load_model(wide).graph, feeds).values()
    (found,) = run_graph(load_model(narrow).graph, {"x0": x}).values()
    np.testing.assert_array_equal(found, expected.astype(np.float16))
