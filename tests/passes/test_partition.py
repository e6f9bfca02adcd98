"""The pass partition: segments for the NPU and the host."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.operators import Add, Exp, Fused, Host, Item, Mul, Relu, Tanh
from kcompiler.graph.types import F32, TensorType
from kcompiler.graph.verify import verify_graph
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.partition import Partition, Segment
from kcompiler.sample import tensor

X = tensor("x", 4)
KIND = TensorType(F32, (4,))


def host(*xs: Op, outputs: int = 1) -> list[Op]:
    """Results of a host operator that adds 1, 2, … to its first operand."""
    node = Host(xs, b"add", (KIND,) * outputs, "it has no kernel").with_origin(["h"])
    return [Item(node, i) for i in range(outputs)]


def run_host(node: Host, xs: Sequence[Array]) -> list[Array]:
    return [xs[0] + np.float32(1 + i) for i in range(len(node.outputs))]


def graph(*outputs: Op, inputs: tuple[Input, ...] = (X,)) -> Graph:
    return Fuse().run(Graph("m", inputs, tuple((f"y{i}", o) for i, o in enumerate(outputs))))


def refuses(*names: str) -> Callable[[Op], str | None]:
    """A target without some kernels."""

    def refusal(op: Op) -> str | None:
        name = op.body.name if isinstance(op, Fused) else ""
        return f"no {name} here" if name in names else None

    return refusal


def parts(model: Graph, *refused: str) -> tuple[Segment, ...]:
    """The segments of a model, checked: run one after the other they give what the model gives."""
    segments = Partition(refuses(*refused)).run(model)
    values = {i.name: np.arange(4, dtype=np.float32) / 4 for i in model.inputs}
    expected = run_graph(model, values, run_host)
    values = run_segments(segments, values)
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value)
    return segments


def run_segments(segments: Sequence[Segment], values: dict[str, Array]) -> dict[str, Array]:
    """Run segments one after the other; they meet by name, and each name is made once."""
    for segment in segments:
        verify_graph(segment.graph)
        given_ = {i.name: values[i.name] for i in segment.graph.inputs}
        made = run_graph(segment.graph, given_, run_host)
        assert not made.keys() & values.keys()
        values = values | made
    return values


def kinds(segments: tuple[Segment, ...]) -> str:
    return " ".join(s.kind for s in segments)


def test_a_model_that_the_npu_takes_is_one_segment() -> None:
    (segment,) = parts(graph(Tanh(Relu(X))))
    assert segment.kind == "npu"
    assert segment.refused == ()
    assert [n for n, _ in segment.graph.outputs] == ["y0"]


def test_host_operators_cut_the_model() -> None:
    (middle,) = host(Relu(X))
    segments = parts(graph(Tanh(middle)))
    assert kinds(segments) == "npu host npu"
    assert segments[1].refused == ((("h",), "it has no kernel"),)
    assert [i.name for i in segments[1].graph.inputs] == ["value0"]
    assert [i.name for i in segments[2].graph.inputs] == ["value1"]


def test_refused_kernels_go_to_the_host_with_the_reason() -> None:
    segments = parts(graph(Tanh(host(Exp(X))[0])), "exp")
    assert kinds(segments) == "host npu"
    assert [reason for _, reason in segments[0].refused] == ["no exp here", "it has no kernel"]


def test_independent_work_runs_together() -> None:
    left, right = host(Relu(X))[0], host(Tanh(X))[0]
    segments = parts(graph(Mul(Exp(left), Tanh(right))))
    assert kinds(segments) == "npu host npu"


def test_the_better_start_is_taken() -> None:
    first = host(X)[0]
    second = host(Relu(X))[0]
    assert kinds(parts(graph(Tanh(first), Exp(second)))) == "npu host npu"
    assert kinds(parts(graph(Add(host(host(X)[0])[0], Tanh(X))))) == "host npu"


def test_several_results_of_one_host_operator() -> None:
    a, b = host(Relu(X), outputs=2)
    segments = parts(graph(Tanh(a), Exp(b), b))
    assert kinds(segments) == "npu host npu"
    assert [n for n, _ in segments[1].graph.outputs] == ["value1", "y2"]


def test_one_value_with_two_names() -> None:
    x = Relu(X)
    segments = parts(graph(x, x, host(x)[0]))
    assert [n for n, _ in segments[0].graph.outputs] == ["y0", "y1"]


def test_what_passes_through_is_for_the_host() -> None:
    constant = Constant(np.ones(4, np.float32))
    segments = parts(graph(Relu(X), X, constant))
    assert kinds(segments) == "npu host"
    assert [n for n, _ in segments[1].graph.outputs] == ["y1", "y2"]


def test_names_of_the_model_are_not_taken_again() -> None:
    x = tensor("value0", 4)
    segments = parts(graph(Tanh(host(Relu(x))[0]), inputs=(x,)))
    assert [i.name for s in segments for i in s.graph.inputs] == ["value0", "value1", "value2"]


def test_a_model_without_work() -> None:
    (segment,) = parts(graph(X))
    assert (segment.kind, segment.refused) == ("host", ())


@given(st.integers(0, 10**6))
def test_segments_alternate_and_mean_the_model(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values: list[Op] = [X]
    for _ in range(10):
        a, b = (values[rng.integers(len(values))] for _ in range(2))
        made = [Relu(a), Tanh(a), Exp(Tanh(a)), Mul(a, b), host(a, b)[0], *host(a, outputs=2)]
        values.append(made[rng.integers(len(made))])
    segments = parts(graph(*values[-3:]), "tanh")
    order = [s.kind for s in segments if s.refused or s.kind == "npu"]
    assert all(a != b for a, b in pairwise(order))


def crossing(found: Graph, on_host: set[int]) -> list[int]:
    """By definition: the bytes of each value that crosses when the host has these kernels."""
    bytes_ = []
    for node in found.nodes:
        if isinstance(node, Constant | Host):
            continue
        source = node.host if isinstance(node, Item) else node
        here = isinstance(source, Input | Host) or id(source) in on_host
        users = [u for u in found.users[id(node)] if not isinstance(u, Item)]
        sides = {isinstance(u, Host) or id(u) in on_host for u in users}
        sides |= {True} if any(value is node for _, value in found.outputs) else set()
        if (not here) in sides:
            bytes_.append(node.type.nbytes)
    return bytes_


@given(st.integers(0, 10**6))
def test_bytes_that_cross_are_those_that_change_with_the_place(seed: int) -> None:
    """Each question is about connected kernels, and its bytes are the difference by definition."""
    rng = np.random.default_rng(seed)
    values: list[Op] = [X, tensor("z", 2, 4)]
    for _ in range(12):
        a, b = (values[rng.integers(len(values))] for _ in range(2))
        made = [Relu(a), Tanh(a), Mul(a, b), Add(b, a), host(a, b)[0], *host(a, outputs=2)]
        values.append(made[rng.integers(len(made))])
    inputs = tuple(v for v in values if isinstance(v, Input))
    whole = graph(*values[-4:], inputs=inputs)
    left: set[int] = set()
    asked = 0

    def island(part: Sequence[Op], moved: Sequence[int], spared: Sequence[int]) -> str | None:
        nonlocal asked
        asked += 1
        inside = {id(n) for n in part}
        now, then = (Counter(crossing(whole, left | more)) for more in (set(), inside))
        both = Counter(moved) - Counter(spared), Counter(spared) - Counter(moved)
        assert both == (now - then, then - now)
        if rng.integers(3):
            return None
        left.update(inside)
        return "not worth it"

    segments = Partition(island=island).run(whole)
    reasons = [reason for s in segments for _, reason in s.refused]
    assert sum("not worth it" in r for r in reasons) == len(left)
    if all(s.kind == "npu" for s in segments):
        assert not asked


def apart(count: int) -> Graph:
    """Kernels that have nothing to do with each other."""
    xs = [tensor(f"x{i}", 4) for i in range(count)]
    return graph(*(Relu(x) for x in xs), inputs=tuple(xs))


def abreast(count: int) -> Graph:
    """Kernels that read one value, which the host makes."""
    (value,) = host(X)
    return graph(*(Mul(value, Constant(np.full(4, i, np.float32))) for i in range(count)))


def in_turns(count: int) -> Graph:
    """A chain that changes its place at every step."""
    x: Op = X
    for _ in range(count // 2):
        x = Relu(host(x)[0])
    return graph(x)


@pytest.mark.parametrize("stay", [False, True])
@pytest.mark.parametrize("shape", [apart, abreast, in_turns])
def test_time_is_linear_in_the_number_of_kernels(shape: Callable[[int], Graph], stay: bool) -> None:
    first: Op = X

    def refusal(op: Op) -> str | None:
        return "not here" if shape is apart and op.operands[0] is first else None

    def seconds(count: int) -> float:
        nonlocal first
        model = shape(count)
        first = model.inputs[0]
        start = time.process_time()
        found = Partition(refusal, lambda *_: "too little" if stay else None).run(model)
        done = time.process_time() - start
        nodes = [n for s in found for n in s.graph.nodes if isinstance(n, Fused | Host)]
        assert len(nodes) >= count
        return done

    seconds(50)
    many, few = (min(seconds(n) for _ in range(3)) for n in (1600, 200))
    assert many < 16 * max(few, 0.01)


@pytest.mark.parametrize("fault", ["swap", "drop"])
def test_a_planted_fault_is_seen(fault: str) -> None:
    """The check in `parts` fails when segments come in the wrong order or are left out."""
    model = graph(Tanh(host(Relu(X))[0]))

    class Broken(Partition):
        """A partition that loses order or parts."""

        def run(self, ir: Graph) -> tuple[Segment, ...]:
            found = super().run(ir)
            return found[::-1] if fault == "swap" else found[1:]

    with pytest.raises(KeyError):
        run_segments(Broken().run(model), {"x": np.ones(4, np.float32)})
