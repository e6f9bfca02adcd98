"""Control flow, sequences and optionals: what is not one tensor after another."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, TypeProto, helper, numpy_helper

from tests.fuzz.maker import BOOL, F32, I64, Discarded, Maker, Value, type_of
from tests.fuzz.recipe import recipe, recipes

SIMPLE = ("Relu", "Neg", "Abs", "Sin", "Sigmoid", "Add", "Mul", "Max", "Min", "Clip", "Tanh")


def inner(m: Maker, steps: int, *more: Value) -> Maker:
    """A maker of a sub-graph, which sees the values outside; its own fresh ones are weights."""
    found = Maker(m.random, m.opset)
    found.prefix = f"{m.prefix}b{len(m.nodes)}{m.random.getrandbits(20):05x}_"
    found.values = [*m.values, *more]
    found.closed = True
    for _ in range(steps):
        before = len(found.nodes), len(found.values)
        name = m.one(*SIMPLE)
        try:
            recipes()[name](found, name)
        except Discarded:
            del found.nodes[before[0] :], found.values[before[1] :]
    return found


def graph(found: Maker, inputs: Sequence[Value], outputs: Sequence[Value]) -> GraphProto:
    """The sub-graph that a maker made."""
    starts = [helper.make_value_info(v.name, type_of(v)) for v in inputs]
    ends = [helper.make_value_info(v.name, type_of(v)) for v in outputs]
    weights = [numpy_helper.from_array(v, k) for k, v in found.weights.items()]
    return helper.make_graph(found.nodes, "inner", starts, ends, weights)


def through(found: Maker, value: Value) -> Value:
    """The value by a name of the sub-graph's own."""
    return found.emit("Identity", [value])[0]


@recipe("If")
def branch(m: Maker, _: str) -> None:
    if not m.values:
        m.pick([F32])
    condition = np.array(m.flip())
    flag = m.known(condition) if m.flip() else m.given(condition)
    parts = {}
    shape: tuple[Any, ...] | None = None
    value = m.random.choice([v for v in m.values if v.dtype != object] or [m.fresh(F32, (2,))])
    for name in ("then_branch", "else_branch"):
        found = inner(m, m.below(0, 2), value)
        fit = [v for v in found.values if (v.dtype, v.shape) == (value.dtype, value.shape)]
        result = through(found, fit[-1])
        shape = result.shape
        parts[name] = graph(found, [], [result])
    m.emit_known("If", [flag], [(value.dtype, shape or ())], **parts)


@recipe("Loop")
def loop(m: Maker, _: str) -> None:
    carried = m.pick([F32])
    count = np.array(m.below(0, 3))
    trips = m.known(count) if m.flip(0.7) else m.given(count)
    prefix = f"{m.prefix}l{len(m.nodes)}{m.random.getrandbits(20):05x}_"
    step, go = Value(f"{prefix}i", I64, ()), Value(f"{prefix}go", BOOL, ())
    state = Value(f"{prefix}state", carried.dtype, carried.shape)
    found = inner(m, m.below(1, 3), state)
    fit = [v for v in found.values if (v.dtype, v.shape) == (state.dtype, state.shape)]
    after, on, seen = through(found, fit[-1]), through(found, go), through(found, fit[-1])
    body = graph(found, [step, go, state], [on, after, seen])
    flag = m.known(np.array(True)) if m.flip() else None
    results = [(F32, carried.shape), (F32, (int(count), *carried.shape))]
    m.emit_known("Loop", [trips, flag, carried], results, body=body)


@recipe("Scan")
def scan(m: Maker, _: str) -> None:
    if m.opset < 9:
        raise Discarded("an older Scan")
    x = m.pick([F32], (1, 3), lambda v: v.shape[0] > 0)
    prefix = f"{m.prefix}s{len(m.nodes)}{m.random.getrandbits(20):05x}_"
    first = m.fresh(F32, x.shape[1:])
    state = Value(f"{prefix}state", F32, x.shape[1:])
    element = Value(f"{prefix}x", F32, x.shape[1:])
    found = inner(m, m.below(0, 2), state, element)
    total = found.emit("Add", [state, element])[0]
    body = graph(found, [state, element], [total, through(found, total)])
    results = [(F32, first.shape), (F32, x.shape)]
    flags = m.maybe(scan_input_directions=[m.below(0, 1)])
    m.emit_known("Scan", [first, x], results, body=body, num_scan_inputs=1, **flags)


@recipe("SequenceConstruct", "SequenceAt", "SequenceInsert", "SequenceErase", "SequenceLength",
        "ConcatFromSequence", "SequenceEmpty", "SplitToSequence", "SequenceMap")  # fmt: skip
def sequence(m: Maker, operator: str) -> None:
    """A sequence is made, changed and read."""
    m.schema("SequenceConstruct")
    x = m.pick([F32], (1, 3), lambda v: v.size > 0)
    kind = helper.make_sequence_type_proto(_unshaped(x))
    if operator == "SequenceEmpty":
        made = m.emit_opaque("SequenceEmpty", [], kind)
    elif operator == "SplitToSequence":
        made = m.emit_opaque(operator, [x], kind, axis=0)
    else:
        parts = [x, *(m.fresh(F32, x.shape) for _ in range(m.below(1, 2)))]
        made = m.emit_opaque("SequenceConstruct", parts, kind)
    if operator in {"SequenceInsert", "SequenceEmpty"}:
        made = m.emit_opaque("SequenceInsert", [made, m.fresh(F32, x.shape)], kind)
    elif operator == "SequenceErase":
        made = m.emit_opaque(operator, [made, m.known(np.array(0))], kind)
    elif operator == "SequenceMap":
        m.schema(operator)
        each = Value(f"{m.prefix}e{len(m.nodes)}", F32, ())
        node = helper.make_node("Neg", [each.name], [f"{each.name}_y"])
        ends = [helper.make_value_info(n, _unshaped(x)) for n in (each.name, f"{each.name}_y")]
        body = helper.make_graph([node], "each", ends[:1], ends[1:])
        made = m.emit_opaque(operator, [made], kind, body=body)
    if operator == "ConcatFromSequence":
        new = m.below(0, 1)
        m.emit(operator, [made], rank=x.rank + new, axis=0, new_axis=new)
    elif operator == "SequenceLength" or m.flip(0.3):
        m.emit("SequenceLength", [made])
    else:
        m.emit("SequenceAt", [made, m.known(np.array(m.one(0, -1)))], rank=x.rank)


def _unshaped(x: Value) -> TypeProto:
    found = copy.deepcopy(type_of(x))
    found.tensor_type.ClearField("shape")
    return found


@recipe("Optional", "OptionalGetElement", "OptionalHasElement")
def optional(m: Maker, operator: str) -> None:
    m.schema("Optional")
    x = m.pick([F32])
    made = m.emit_opaque("Optional", [x], helper.make_optional_type_proto(type_of(x)))
    m.emit(
        "OptionalHasElement" if operator.endswith("HasElement") else "OptionalGetElement", [made]
    )
