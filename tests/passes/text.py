"""Text in, text out: what a pass makes of a graph."""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Mapping

import numpy as np

from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Graph
from kcompiler.graph.parse import parse_graph
from kcompiler.graph.text import print_graph
from kcompiler.graph.types import is_float
from kcompiler.graph.verify import verify_graph
from kcompiler.pipeline import Pass
from kcompiler.sample import values


def graph(text: str, constants: Mapping[str, Array] | None = None) -> Graph:
    """The graph of an indented text without its first line."""
    return parse_graph('graph "g"' + textwrap.dedent(text).strip(), constants)


def shown(found: Graph) -> str:
    """The text of a graph without its first line."""
    return print_graph(found).removeprefix('graph "g"').strip()


def becomes(step: Pass, before: str, after: str) -> None:
    """A pass turns one text into another, means the same and finds nothing more to do."""
    start = graph(before)
    found = step.run(start)
    verify_graph(found)
    assert shown(found) == textwrap.dedent(after).strip()
    assert_same(start, found)
    assert shown(step.run(found)) == shown(found)


def stays(step: Pass, text: str) -> None:
    """A pass leaves a graph as it is."""
    becomes(step, text, text)


def assert_same(before: Graph, after: Graph, tolerance: float = 2e-5, seed: int = 0) -> None:
    """Two graphs mean the same on random inputs: exact for integers."""
    inputs = {
        i.name: values(np.random.default_rng([seed, zlib.crc32(i.name.encode())]), i.type)
        for i in before.inputs
    }
    assert [i.name for i in before.inputs] == [i.name for i in after.inputs]
    expected, found = run_graph(before, inputs), run_graph(after, inputs)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.dtype == found[name].dtype
        if not is_float(value.dtype):
            np.testing.assert_array_equal(found[name], value)
            continue
        wide = value.astype(np.float64)
        size = np.abs(wide[np.isfinite(wide)]).max(initial=1e-3)
        np.testing.assert_allclose(
            found[name].astype(np.float64), wide, rtol=tolerance, atol=tolerance * size
        )
