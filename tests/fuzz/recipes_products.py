"""Products, convolutions, pooling, resizing, attention and recurrence."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fuzz.maker import F32, FLOATS, I8, I32, U8, Discarded, Maker, Value
from tests.fuzz.recipe import recipe


def _matrices(m: Maker, x: Value) -> tuple[int, ...]:
    """The shape of a right factor."""
    if x.rank == 1 or m.flip(0.1):
        return (x.shape[-1],) if m.flip(0.3) else (x.shape[-1], m.extent())
    batch = m.broadcastable(x.shape[:-2])
    return (*batch, x.shape[-1], m.extent())


@recipe("MatMul")
def matmul(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    m.emit(operator, [x, m.like(x, _matrices(m, x))])


@recipe("MatMulInteger")
def matmul_integer(m: Maker, operator: str) -> None:
    x = m.pick([U8, I8], (1, 3))
    y = m.fresh(m.one(U8, I8), _matrices(m, x))
    zeros = [m.fresh(v.dtype, (), weight=1) if m.flip() else None for v in (x, y)]
    m.emit(operator, [x, y, *zeros])


@recipe("QLinearMatMul")
def qlinear_matmul(m: Maker, operator: str) -> None:
    x = m.pick([U8, I8], (2, 3))
    y = m.fresh(m.one(U8, I8), _matrices(m, x))
    if y.rank < 2:
        raise Discarded("vectors")
    to = m.one(U8, I8)
    parts = [p for d in (x.dtype, y.dtype, to) for p in _scale(m, d)]
    m.emit(operator, [x, *parts[:2], y, *parts[2:4], *parts[4:]])


def _scale(m: Maker, dtype: Any, shape: tuple[int, ...] = ()) -> list[Value]:
    return [m.fresh(F32, shape, "positive", 1), m.fresh(dtype, shape, weight=1)]


@recipe("Gemm")
def gemm(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (2, 2))
    left, right = m.below(0, 1), m.below(0, 1)
    rows, inner = x.shape[::-1] if left else x.shape
    columns = m.extent()
    y = m.like(x, (columns, inner) if right else (inner, columns))
    bias = m.like(x, m.broadcastable((rows, columns), longer=False)) if m.flip() else None
    if bias is None and m.opset < 11:
        bias = m.like(x, (columns,))
    scale = m.maybe(alpha=m.number(-2, 2), beta=m.number(-2, 2)) if x.dtype in FLOATS else {}
    m.emit(operator, [x, y, bias], scale | {"transA": left, "transB": right})


@recipe("FusedMatMul")
def fused_matmul(m: Maker, operator: str) -> None:
    x = m.pick([F32], (2, 2))
    left, right = m.below(0, 1), m.below(0, 1)
    rows, inner = x.shape[::-1] if left else x.shape
    columns = m.one(1, 2, 3)
    y = m.like(x, (columns, inner) if right else (inner, columns))
    flags = {"transA": left, "transB": right, "alpha": m.number(-2, 2)}
    m.emit_microsoft(operator, [x, y], [(F32, (rows, columns))], **flags)


@recipe("Einsum")
def einsum(m: Maker, operator: str) -> None:
    dtype = m.dtype(m.allowed(operator))
    letters = {c: m.extent() for c in "abcd"}
    terms = ["".join(m.some(list(letters))) for _ in range(m.below(1, 3))]
    if m.flip(0.1) and terms[0]:
        terms[0] += terms[0][0]
    used = sorted(set("".join(terms)))
    result = "->" + "".join(m.some(used)) if m.flip(0.8) else ""
    operands = []
    for t in terms:
        wanted = tuple(letters[c] for c in t)
        operands.append(m.like(Value("", dtype, ()), wanted))
    m.emit(operator, operands, equation=",".join(terms) + result)


def _windows(m: Maker, spatial: tuple[int, ...], pool: bool = False) -> dict[str, Any]:
    """Kernel, strides, dilations and padding that fit."""
    rank = len(spatial)
    kernel = [m.one(1, 2, 3) for _ in spatial]
    found: dict[str, Any] = {"kernel_shape": kernel}
    found |= m.maybe(strides=[m.one(1, 1, 2, 3) for _ in spatial])
    if not pool or m.opset >= 10:
        found |= {"dilations": [m.one(1, 2) for _ in spatial]} if m.flip(0.3) else {}
    if m.flip(0.3):
        # The oracles disagree on a stride that leaves less than nothing to pad.
        gaps = any(s > k for s, k in zip(found.get("strides", kernel), kernel, strict=True))
        found["auto_pad"] = "VALID" if gaps else m.one("SAME_UPPER", "SAME_LOWER", "VALID")
    elif m.flip(0.7):
        found["pads"] = [m.below(0, k - 1) for k in kernel * 2]
    dilations = found.get("dilations", [1] * rank)
    if any((k - 1) * d + 1 > n for k, d, n in zip(kernel, dilations, spatial, strict=True)):
        raise Discarded("the window is larger than the image")
    return found


@recipe("Conv", "ConvTranspose")
def convolution(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (3, 4))
    groups = m.one(*[g for g in (1, 2, 3) if x.shape[1] % g == 0])
    window = _windows(m, x.shape[2:])
    kernel, inner, outer = window["kernel_shape"], x.shape[1] // groups, m.one(1, 2, 3)
    shape = (outer * groups, inner) if operator == "Conv" else (x.shape[1], outer)
    weight = m.fresh(x.dtype, (*shape, *kernel), weight=0.8)
    bias = m.fresh(x.dtype, (outer * groups,)) if m.flip() else None
    if operator == "ConvTranspose":
        window.pop("auto_pad", None)
        strides = window.get("strides", [1] * len(kernel))
        window |= m.maybe(output_padding=[m.below(0, s - 1) for s in strides])
    m.emit(operator, [x, weight, bias], window | {"group": groups})


@recipe("ConvInteger", "QLinearConv")
def integer_convolution(m: Maker, operator: str) -> None:
    x = m.pick([U8, I8], (3, 4), lambda v: 0 not in v.shape)
    window = _windows(m, x.shape[2:])
    outer = m.one(1, 2, 3)
    weight = m.fresh(m.one(U8, I8), (outer, x.shape[1], *window["kernel_shape"]), weight=0.9)
    if operator == "ConvInteger":
        zeros = [m.fresh(v.dtype, (), weight=1) if m.flip() else None for v in (x, weight)]
        m.emit(operator, [x, weight, *zeros], window)
        return
    parts = [p for d in (x.dtype, weight.dtype, m.one(U8, I8)) for p in _scale(m, d)]
    bias = m.fresh(I32, (outer,), weight=1) if m.flip() else None
    m.emit(operator, [x, *parts[:2], weight, *parts[2:], bias], window)


@recipe("MaxPool", "AveragePool", "LpPool")
def pool(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (3, 4))
    window = _windows(m, x.shape[2:], pool=True)
    if operator == "LpPool" and m.opset < 11:
        window.pop("dilations", None)
    flags = m.maybe(ceil_mode=m.below(0, 1), count_include_pad=m.below(0, 1), p=m.below(1, 2))
    outputs = m.one(1, 1, 2) if operator == "MaxPool" and m.opset >= 8 else 1
    m.emit(operator, [x], window | flags, outputs=outputs)


@recipe("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (3, 4), lambda v: 0 not in v.shape)
    m.emit(operator, [x], m.maybe(p=m.below(1, 2)) if operator == "GlobalLpPool" else {})


@recipe("Resize", "Upsample")
def resize(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (3, 4), lambda v: 0 not in v.shape)
    modes = ["nearest", "linear", *(["cubic"] if m.opset >= 11 and x.rank == 4 else [])]
    mode = m.one(*modes)
    factors = [1.0, 1.0, *(m.one(1, 2, 3, 1.5, 0.5, 0.75) for _ in x.shape[2:])]
    if m.opset < 11:
        factors = [max(1.0, f) for f in factors] if operator == "Upsample" else factors
        scales = {"mode": mode} | ({"scales": factors} if m.opset < 9 else {})
        given = [m.known(np.array(factors, np.float32))] if m.opset >= 9 else []
        m.emit(operator, [x, *given], scales)
        return
    attributes = {"mode": mode} | _resize_options(m, mode)
    roi = None if m.opset >= 13 else m.known(np.zeros(0, np.float32))
    if m.flip():
        sizes = [*x.shape[:2], *(m.below(1, 9) for _ in x.shape[2:])]
        empty = None if m.opset >= 13 else m.known(np.zeros(0, np.float32))
        m.emit(operator, [x, roi, empty, m.known(np.array(sizes))], attributes)
        return
    m.emit(operator, [x, roi, m.known(np.array(factors, np.float32))], attributes)


def _resize_options(m: Maker, mode: str) -> dict[str, Any]:
    coordinates = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    if m.opset >= 19:
        coordinates.append("half_pixel_symmetric")
    nearest = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
    found = m.maybe(coordinate_transformation_mode=m.one(*coordinates))
    if mode == "nearest":
        return found | m.maybe(nearest_mode=m.one(*nearest))
    if mode == "cubic":
        found |= m.maybe(cubic_coeff_a=m.one(-0.5, -0.75), exclude_outside=m.below(0, 1))
    return found | ({"antialias": 1} if m.opset >= 18 and m.flip(0.2) else {})


@recipe("Attention")
def attention(m: Maker, operator: str) -> None:
    dtype = m.dtype(m.allowed(operator))
    batch, heads, groups = m.one(1, 2), m.one(1, 2), m.one(1, 2)
    queries, keys, size, out = (m.one(1, 2, 3, 4) for _ in range(4))
    q = m.fresh(dtype, (batch, heads * groups, queries, size))
    k = m.fresh(dtype, (batch, heads, keys, size))
    v = m.fresh(dtype, (batch, heads, keys, out))
    mask = None
    if m.flip():
        shape = m.broadcastable((batch, heads * groups, queries, keys), longer=False)
        # ONNX's reference takes the numbers of queries and keys from the mask.
        shape = shape if shape[-2:] == (queries, keys) else (queries, keys)
        mask = m.fresh(m.one(dtype, np.dtype("?")), shape)
    flags = m.maybe(is_causal=m.below(0, 1), softcap=m.one(0.0, 2.0), scale=m.number(0.1, 1))
    m.emit(operator, [q, k, v, mask], flags)


@recipe("LSTM", "GRU", "RNN")
def recurrence(m: Maker, operator: str) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    dtype = F32
    x = m.pick([dtype], (3, 3), lambda v: 0 not in v.shape and m.opset >= 7)
    steps, batch, size = x.shape
    if not x.size:
        raise Discarded("nothing to iterate over")
    direction = m.one("forward", "reverse", "bidirectional")
    both, hidden = (2 if direction == "bidirectional" else 1), m.one(1, 2, 3)
    w = m.fresh(dtype, (both, gates * hidden, size), weight=0.8)
    r = m.fresh(dtype, (both, gates * hidden, hidden), weight=0.8)
    b = m.fresh(dtype, (both, 2 * gates * hidden)) if m.flip() else None
    lengths = None
    if m.flip(0.2):
        lengths = m.known(np.array([m.below(1, steps) for _ in range(batch)], np.int32))
    states = [m.fresh(dtype, (both, batch, hidden)) if m.flip(0.4) else None]
    states *= 2 if operator == "LSTM" else 1
    peephole = m.fresh(dtype, (both, 3 * hidden)) if operator == "LSTM" and m.flip(0.3) else None
    options = {"hidden_size": hidden, "direction": direction}
    if operator == "GRU":
        options |= m.maybe(linear_before_reset=m.below(0, 1))
    if m.flip(0.1):
        options["clip"] = 0.5
    outputs = 3 if operator == "LSTM" else 2
    m.emit(operator, [x, w, r, b, lengths, *states, peephole], options, outputs=m.below(1, outputs))
