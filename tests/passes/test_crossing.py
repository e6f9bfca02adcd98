"""What crosses the link to the host, and what stays on the host because crossing costs more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import GraphProto, TensorProto, helper, numpy_helper

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.compilation import HostSegment
from kcompiler.machine.chip import HostLink
from kcompiler.machine.crossing import crossings, host_seconds, link_seconds, not_worth_crossing
from kcompiler.machine.facts import Fact
from kcompiler.registry import find_target
from tests.runtime.models import divided, model, node, values

F = TensorProto.FLOAT


def _link(bandwidth: float = 1e9, latency: float = 1e-6) -> HostLink:
    facts = [Fact(v, "A", "a test") for v in (bandwidth, latency, 1e9, 1e9, 1e-6)]
    return HostLink(*facts)


def between(size: int) -> bytes:
    """A determinant, work for the NPU on `size` rows, and a determinant of its result."""
    return model(
        [
            node("Det", "x", "d"),
            node("Mul", "x d", "m"),
            node("MatMul", "m w", "p"),
            node("Det", "p", "e", "last"),
        ],
        [("x", F, [size, size])],
        [("e", F, [])],
        w=values(size, size) / size,
    )


def where(compiled: CompiledModel) -> str:
    """The segments in words."""
    segments = compiled.compilation.segments
    return " ".join("host" if isinstance(s, HostSegment) else "npu" for s in segments)


def test_a_small_island_stays_on_the_host() -> None:
    compiled = kcompiler.compile(between(6))
    assert where(compiled) == "host"
    (segment,) = compiled.compilation.segments
    assert isinstance(segment, HostSegment)
    reasons = {name: why for name, _, why in segment.operators}
    assert reasons["matmul"].startswith("Between two parts on the host: 3 values of 292 bytes")
    assert "µs, and the host computes it in" in reasons["matmul"]
    assert compiled.verify().ok


def test_a_large_one_is_worth_the_way() -> None:
    assert where(kcompiler.compile(between(1024))) == "host npu host"


def beside(size: int, before: bool, after: bool) -> bytes:
    """A determinant, with a product of `size` rows before it, or after it."""
    nodes = [node("MatMul", "x w", "h", "before")] if before else []
    nodes.append(node("Det", "h" if before else "x", "d"))
    if after:
        nodes += [node("MatMul", "x v", "p", "after"), node("Mul", "p d", "y")]
    shape = [size, size] if after else []
    weights = {n: values(size, size) / size for n in "wv"}
    return model(nodes, [("x", F, [size, size])], [("y" if after else "d", F, shape)], **weights)


@pytest.mark.parametrize(
    ("before", "after", "begin"),
    [(True, False, "Before a part on the host: 2 values"),
     (False, True, "After a part on the host: 3 values")],
)  # fmt: skip
def test_what_is_small_at_an_edge_stays_on_the_host(before: bool, after: bool, begin: str) -> None:
    small = kcompiler.compile(beside(8, before, after))
    assert where(small) == "host"
    (segment,) = small.compilation.segments
    assert isinstance(segment, HostSegment)
    reasons = {name: why for name, _, why in segment.operators}
    assert reasons["before" if before else "after"].startswith(begin)
    assert crossings(small.compilation) == ()
    assert small.verify().ok
    large = kcompiler.compile(beside(1024, before, after))
    assert where(large) == ("npu host" if before else "host npu")


def test_what_is_not_connected_is_weighed_apart() -> None:
    """A comparison of two numbers is not worth the way, the product beside it is."""
    nodes = [
        node("MatMul", "x w", "h"),
        node("Less", "a b", "l"),
        node("Cast", "l", "f", to=F),
        node("Det", "h", "d"),
        node("Det", "f", "e"),
    ]
    inputs = [("x", F, [1024, 1024]), ("a", F, [2, 2]), ("b", F, [2, 2])]
    data = model(nodes, inputs, [("d", F, []), ("e", F, [])], w=values(1024, 1024) / 1024)
    compiled = kcompiler.compile(data)
    assert where(compiled) == "npu host"
    (_, segment) = compiled.compilation.segments
    assert isinstance(segment, HostSegment)
    reasons = {name: why for name, _, why in segment.operators}
    assert reasons["less"].startswith("Before a part on the host: 3 values of")
    assert "matmul" not in reasons


def test_what_crosses_anyway_is_no_reason() -> None:
    """The NPU reads x for the product, and gives back h: a sum with h costs no more."""
    nodes = [
        node("MatMul", "x w", "h"),
        node("Add", "h x", "s"),
        node("Det", "h", "d"),
        node("Det", "s", "e"),
    ]
    size = 512
    data = model(nodes, [("x", F, [size, size])], [("d", F, []), ("e", F, [])],
                 w=values(size, size) / size)  # fmt: skip
    assert where(kcompiler.compile(data)) == "npu host"


def test_what_the_end_of_a_model_reads_stays_there() -> None:
    """What has no type, because the data decide, is not part of the graph and yet on the host."""
    branches = {name: branch(name, size) for name, size in (("then", 1), ("else", 2))}
    nodes = [
        node("Greater", "m limit", "c"),
        node("If", "c", "y", then_branch=branches["then"], else_branch=branches["else"]),
    ]
    data = model(nodes, [("m", F, [])], [("y", F, None)], limit=np.array(0.5, np.float32))
    compiled = kcompiler.compile(data)
    assert where(compiled) == "host host"
    found = {n: w for s in compiled.compilation.segments if isinstance(s, HostSegment)
             for n, _, w in s.operators}  # fmt: skip
    assert found["greater"].startswith("Before a part on the host: 2 values of 5 bytes")
    assert compiled.verify().ok


def branch(name: str, size: int) -> GraphProto:
    """A constant of some elements."""
    value = numpy_helper.from_array(np.ones(size, np.float32))
    made = helper.make_node("Constant", [], [f"{name}_y"], value=value)
    return helper.make_graph(
        [made], name, [], [helper.make_tensor_value_info(f"{name}_y", F, [size])]
    )


@pytest.mark.parametrize("first", [True, False])
def test_casts_of_inputs_and_outputs_draw_nothing_after_them(first: bool) -> None:
    """Doubles are the host's; the product beside them runs on the NPU, however small."""
    double = TensorProto.DOUBLE
    names = ["x", "h", "y"]
    cast, product = (node("Cast", *names[:2], to=F), node("MatMul", "h w", "y"))
    if not first:
        cast, product = node("Cast", *names[1:], to=double), node("MatMul", "x w", "h")
    nodes = [cast, product] if first else [product, cast]
    kinds = (double, F) if first else (F, double)
    data = model(nodes, [("x", kinds[0], [6, 6])], [("y", kinds[1], [6, 6])], w=values(6, 6))
    compiled = kcompiler.compile(data, strict=True)
    assert where(compiled) == ("host npu" if first else "npu host")
    assert compiled.verify().ok


def test_without_a_link_nothing_stays() -> None:
    target = find_target("rebel")
    free = replace(target, chip=replace(target.chip, host=None))
    assert where(kcompiler.compile(between(6), free)) == "host npu host"


@pytest.mark.usefixtures("free_way")
def test_values_that_cross_are_counted_once() -> None:
    compiled = kcompiler.compile(divided())
    found = [(c.name, c.to, c.nbytes, c.border) for c in crossings(compiled.compilation)]
    assert found[0] == ("x", "npu", 144, True)
    assert [(to, size, border) for _, to, size, border in found[1:]] == [
        ("host", 144, False), ("npu", 4, False), ("host", 144, True),
    ]  # fmt: skip
    report = compiled.report()
    host = compiled.target.chip.host
    assert host is not None
    assert report.link_seconds == pytest.approx(link_seconds([144, 144, 4, 144], host))
    assert report.json()["link"]["between"] == {
        "values": 2, "bytes": 148, "seconds": link_seconds([144, 4], host),
    }  # fmt: skip


def test_link_time_grows_with_transfers_and_bytes() -> None:
    link = _link()
    assert link_seconds([1000], link) == pytest.approx(2e-6)
    assert link_seconds([500, 500], link) == pytest.approx(3e-6)
    assert link_seconds([1000], None) == 0


def test_a_slower_link_never_makes_crossing_worth_more() -> None:
    chip = find_target("rebel").chip
    compiled = kcompiler.compile(model(
        [node("MatMul", "x w", "y")], [("x", F, [64, 64])], [("y", F, [64, 64])], w=values(64, 64)
    ))  # fmt: skip
    graph = compiled.programs[0].graph
    assert graph is not None
    kernels = [n for n in graph.nodes if n.operands]
    slower = [replace(chip, host=_link(rate)) for rate in np.geomspace(1e6, 1e12, 20)]
    reasons = [not_worth_crossing(c, kernels, [16384, 16384], []) for c in slower]
    stays = [reason is not None for reason in reasons]
    assert stays == sorted(stays, reverse=True)
    assert host_seconds(kernels, _link()) > 0
