"""LSTM, GRU and RNN, unrolled; the products with the input are one contraction for all steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcompiler.frontend.errors import NotExpressible
from kcompiler.frontend.importers.activations import (
    elu_of,
    hard_sigmoid_of,
    leaky_relu_of,
    thresholded_relu_of,
)
from kcompiler.frontend.limits import STEPS
from kcompiler.frontend.node import Node
from kcompiler.frontend.registry import onnx_op
from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op

Function = Callable[[Op], Op]
Cell = Callable[[Op, "tuple[Op, ...]"], "tuple[Op, ...]"]

# name -> (default alpha, default beta) of those that have parameters.
_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "affine": (1.0, 0.0),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "scaledtanh": (1.0, 1.0),
    "thresholdedrelu": (1.0, None),
}


def _affine(x: Op, a: float, b: float) -> Op:
    return ops.Add(ops.Mul(x, build.scalar(x, a)), build.scalar(x, b))


def _scaled_tanh(x: Op, a: float, b: float) -> Op:
    return ops.Mul(ops.Tanh(ops.Mul(x, build.scalar(x, b))), build.scalar(x, a))


_FUNCTIONS: dict[str, Callable[[Op, float, float], Op]] = {
    "affine": _affine,
    "elu": lambda x, a, _: elu_of(x, a),
    "hardsigmoid": hard_sigmoid_of,
    "leakyrelu": lambda x, a, _: leaky_relu_of(x, a),
    "relu": lambda x, _a, _b: ops.Relu(x),
    "scaledtanh": _scaled_tanh,
    "sigmoid": lambda x, _a, _b: ops.Sigmoid(x),
    "softplus": lambda x, _a, _b: ops.Softplus(x),
    "softsign": lambda x, _a, _b: ops.Softsign(x),
    "tanh": lambda x, _a, _b: ops.Tanh(x),
    "thresholdedrelu": lambda x, a, _: thresholded_relu_of(x, a),
}


@dataclass(frozen=True)
class _Direction:
    """One direction of a recurrence: weights[gates*H, ...], the first state, the functions."""

    w: Op
    r: Op
    bias_w: Op | None
    bias_r: Op | None
    peepholes: Op | None
    state: tuple[Op, ...]
    functions: list[Function]
    backward: bool
    hidden: int

    def gate(self, x: Op | None, index: int, count: int = 1) -> Op | None:
        """Rows of one gate (or several) along the last axis."""
        if x is None:
            return None
        return build.slice_axis(x, -1, index * self.hidden, count * self.hidden)

    def gates(self, x: Op, count: int) -> list[Op]:
        """The gates side by side along the last axis."""
        return [build.slice_axis(x, -1, i * self.hidden, self.hidden) for i in range(count)]


@dataclass(frozen=True)
class _Kind:
    """What tells LSTM, GRU and RNN apart: gates, states, default activations, and one step."""

    gates: int
    states: int
    defaults: tuple[str, ...]
    cell: Callable[[Node, _Direction], Cell]


def _lstm_cell(node: Node, d: _Direction) -> Cell:
    f, g, h = d.functions
    coupled = node.flag("input_forget")

    def step(x: Op, state: tuple[Op, ...]) -> tuple[Op, ...]:
        hidden, cell = state
        i, o, forget, c = d.gates(ops.Add(x, _product(hidden, d.r)), 4)
        i = f(_plus(i, _times(d.gate(d.peepholes, 0), cell)))
        forget = f(_plus(forget, _times(d.gate(d.peepholes, 2), cell)))
        if coupled:
            forget = ops.Sub(build.scalar(i, 1), i)
        new = ops.Add(ops.Mul(forget, cell), ops.Mul(i, g(c)))
        o = f(_plus(o, _times(d.gate(d.peepholes, 1), new)))
        return ops.Mul(o, h(new)), new

    return step


def _gru_cell(node: Node, d: _Direction) -> Cell:
    f, g = d.functions
    after = node.flag("linear_before_reset")
    r_zr = build.slice_axis(d.r, 0, 0, 2 * d.hidden)
    r_h = build.slice_axis(d.r, 0, 2 * d.hidden, d.hidden)
    bias_h = d.gate(d.bias_r, 2)

    def step(x: Op, state: tuple[Op, ...]) -> tuple[Op, ...]:
        (hidden,) = state
        x_zr = build.slice_axis(x, -1, 0, 2 * d.hidden)
        x_h = build.slice_axis(x, -1, 2 * d.hidden, d.hidden)
        z, r = d.gates(f(ops.Add(x_zr, _plus(_product(hidden, r_zr), d.gate(d.bias_r, 0, 2)))), 2)
        if after:
            inner: Op = ops.Mul(r, _plus(_product(hidden, r_h), bias_h))
        else:
            inner = _plus(_product(ops.Mul(r, hidden), r_h), bias_h)
        new = g(ops.Add(x_h, inner))
        keep = ops.Mul(z, hidden)
        return (ops.Add(ops.Mul(ops.Sub(build.scalar(z, 1), z), new), keep),)

    return step


def _rnn_cell(_node: Node, d: _Direction) -> Cell:
    (f,) = d.functions
    return lambda x, state: (f(ops.Add(x, _product(state[0], d.r))),)


_KINDS = {
    # Gates in the order input, output, forget, cell.
    "LSTM": _Kind(4, 2, ("Sigmoid", "Tanh", "Tanh"), _lstm_cell),
    # Gates in the order update, reset, hidden.
    "GRU": _Kind(3, 1, ("Sigmoid", "Tanh"), _gru_cell),
    "RNN": _Kind(1, 1, ("Tanh",), _rnn_cell),
}


@onnx_op(*_KINDS)
def recurrence(node: Node) -> list[Op]:
    """The outputs of all steps, and the last states."""
    kind, batch_first = _KINDS[node.op_type], node.integer("layout", 0) == 1
    x = build.swap_axes(node[0], 0, 1) if batch_first else node[0]
    if x.shape[0] > STEPS:
        raise NotExpressible(f"{x.shape[0]:,} steps are too many to unroll")
    runs = [_run(node, x, d, kind) for d in _directions(node, x, kind, batch_first)]
    y = build.concat([build.expand_dims(r[0], [1]) for r in runs], 1)  # [seq, dirs, batch, H]
    last = [
        build.concat([build.expand_dims(r[1][i], [0]) for r in runs], 0) for i in range(kind.states)
    ]
    if batch_first:
        y = build.transpose(y, (2, 0, 1, 3))
        last = [build.swap_axes(s, 0, 1) for s in last]
    return [y, *last]


def _run(node: Node, x: Op, d: _Direction, kind: _Kind) -> tuple[Op, tuple[Op, ...]]:
    """All steps of one direction: the outputs [seq, batch, H] and the last state."""
    cell = kind.cell(node, d)
    projected = _plus(ops.Contract(x, d.w, "sbi,gi->sbg", x.dtype), d.bias_w)
    if kind.cell is not _gru_cell:  # a GRU adds this one inside of the reset gate
        projected = _plus(projected, d.bias_r)
    lengths, steps = node.get(4), x.shape[0]
    state, outputs = d.state, dict[int, Op]()
    for t in reversed(range(steps)) if d.backward else range(steps):
        row = build.squeeze(build.slice_axis(projected, 0, t, 1), [0])
        new = cell(row, state)
        if lengths is None:
            state, outputs[t] = new, new[0]
        else:
            active = _active(lengths, t)
            outputs[t] = ops.Where(active, new[0], build.scalar(new[0], 0))
            state = tuple(ops.Where(active, a, b) for a, b in zip(new, state, strict=True))
    if not steps:
        return build.broadcast(build.scalar(x, 0), (0, x.shape[1], d.hidden)), state
    return build.concat([build.expand_dims(outputs[t], [0]) for t in range(steps)], 0), state


def _active(lengths: Op, step: int) -> Op:
    return build.expand_dims(ops.Less(build.scalar(lengths, step), lengths), [1])


def _directions(node: Node, x: Op, kind: _Kind, batch_first: bool) -> list[_Direction]:
    direction = node.string("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    hidden = node.integer("hidden_size", node[2].shape[-1])
    if node[1].shape != (count, kind.gates * hidden, x.shape[2]):
        raise ValueError(f"weights {node[1].type} for {count} directions of {hidden}")
    functions = _functions(node, kind.defaults * count)
    each = len(kind.defaults)
    return [
        _direction(
            node,
            i,
            backward=direction == "reverse" or i == 1,
            state=tuple(
                _initial(node.get(5 + s), i, x, hidden, batch_first) for s in range(kind.states)
            ),
            functions=functions[i * each : (i + 1) * each],
        )
        for i in range(count)
    ]


def _direction(
    node: Node, index: int, *, backward: bool, state: tuple[Op, ...], functions: list[Function]
) -> _Direction:
    bias, w, r = _part(node.get(3), index), _row(node[1], index), _row(node[2], index)
    half = w.shape[0]
    return _Direction(
        w=w,
        r=r,
        bias_w=None if bias is None else build.slice_axis(bias, 0, 0, half),
        bias_r=None if bias is None else build.slice_axis(bias, 0, half, half),
        peepholes=_part(node.get(7), index) if node.op_type == "LSTM" else None,
        state=state,
        functions=functions,
        backward=backward,
        hidden=r.shape[-1],
    )


def _row(x: Op, index: int) -> Op:
    return build.squeeze(build.slice_axis(x, 0, index, 1), [0])


def _part(x: Op | None, index: int) -> Op | None:
    return None if x is None else _row(x, index)


def _initial(x: Op | None, index: int, like: Op, hidden: int, batch_first: bool) -> Op:
    if x is None:
        return build.broadcast(build.scalar(like, 0), (like.shape[1], hidden))
    return _row(build.swap_axes(x, 0, 1) if batch_first else x, index)


def _functions(node: Node, defaults: tuple[str, ...]) -> list[Function]:
    """The activations; parameters are consumed by those that have them, in order."""
    names = [n.lower() for n in node.strings("activations", defaults)]
    alphas = iter(node.numbers("activation_alpha", ()))
    betas = iter(node.numbers("activation_beta", ()))
    if len(names) != len(defaults):
        raise ValueError(f"{len(names)} activations of {len(defaults)}")
    limit = node.number("clip", 0.0)
    # The last of an LSTM's three sees the cell as it is, as in onnxruntime.
    free = {2, 5} if node.op_type == "LSTM" else set()
    limits = [0.0 if i in free else limit for i in range(len(names))]
    return [_function(n, alphas, betas, bound) for n, bound in zip(names, limits, strict=True)]


def _function(name: str, alphas: object, betas: object, limit: float) -> Function:
    if name not in _FUNCTIONS:
        raise ValueError(f"activation {name!r} is unknown")
    alpha, beta = _PARAMETERS.get(name, (None, None))
    a = 0.0 if alpha is None else next(alphas, alpha)  # type: ignore[call-overload]
    b = 0.0 if beta is None else next(betas, beta)  # type: ignore[call-overload]

    def function(x: Op) -> Op:
        if limit > 0:
            low, high = build.scalar(x, -limit), build.scalar(x, limit)
            x = ops.Min(ops.Max(x, low), high)
        return _FUNCTIONS[name](x, a, b)

    return function


def _product(x: Op, w: Op) -> Op:
    return ops.Contract(x, w, "bi,gi->bg", x.dtype)


def _plus(x: Op, y: Op | None) -> Op:
    return x if y is None else ops.Add(x, y)


def _times(peephole: Op | None, x: Op) -> Op | None:
    return None if peephole is None else ops.Mul(peephole, x)
