"""What crosses the link to the host, and what stays on the host because crossing costs more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

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


def test_without_a_link_nothing_stays() -> None:
    target = find_target("rebel")
    free = replace(target, chip=replace(target.chip, host=None))
    assert where(kcompiler.compile(between(6), free)) == "host npu host"


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
    reasons = [not_worth_crossing(c, kernels, [16384, 16384]) for c in slower]
    stays = [reason is not None for reason in reasons]
    assert stays == sorted(stays, reverse=True)
    assert host_seconds(kernels, _link()) > 0
