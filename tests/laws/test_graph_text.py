"""The text form: prints and parses back, and never breaks in another way than by a `UsageError`."""

from __future__ import annotations

import contextlib

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.errors import UsageError
from kcompiler.graph import operators as ops
from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Constant, Graph, Input
from kcompiler.graph.text import INLINE, constants_of, content_hash, parse_graph, print_graph
from kcompiler.graph.types import BOOL, F16, F32, F64, I64, TensorType, is_float, parse_dtype
from kcompiler.graph.verify import verify_graph
from tests.conftest import Golden
from tests.graph.graphs import Sample, pass_through, samples


@given(sample=samples())
def test_round_trip(sample: Sample) -> None:
    text = print_graph(sample.graph)
    back = parse_graph(text, constants_of(sample.graph))
    assert print_graph(back) == text
    verify_graph(back)
    assert [n.origin for n in back.nodes] == [n.origin for n in sample.graph.nodes]
    first, second = (run_graph(g, sample.inputs, pass_through) for g in (sample.graph, back))
    for name, value in first.items():
        kind = F64 if is_float(value.dtype) else value.dtype
        np.testing.assert_array_equal(value.astype(kind), second[name].astype(kind))


@given(sample=samples(), data=st.data())
def test_damaged_text_is_a_usage_error_or_another_graph(
    sample: Sample, data: st.DataObject
) -> None:
    text = print_graph(sample.graph)
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 12))
    junk = data.draw(st.sampled_from(["", "(", ")", "%0", '"', "1", "-", "none", "\n", "é", "[["]))
    with contextlib.suppress(UsageError):
        graph = parse_graph(text[:at] + junk + text[at + length :], constants_of(sample.graph))
        assert all(node.type == node.infer() for node in graph.nodes)


def small() -> Graph:
    """One of everything that the text form has a word for."""
    x = Input("image", TensorType(F16, (1, 2, 4, 4)))
    inner = Input("in0", TensorType(F16, (1, 2, 4, 4)))
    weights = constant(np.arange(36).reshape(2, 2, 3, 3) / 8, F16)
    conv = ops.Conv(inner, weights, (1, 1), (1, 1), (1, 1), (1, 1), 1, F16, origin=("conv1",))
    act = ops.Relu(ops.Add(conv, constant([[[0.5]], [[-np.inf]]], F16)), origin=("conv1", "relu"))
    fused = ops.Fused((x,), Graph("conv", (inner,), (("out", act),)), origin=("conv1", "relu"))
    norm = ops.LayerNorm(fused, None, constant(0.1, F16), (1, 2, 3), 1e-5)
    host = ops.Host((norm,), b"onnx", (TensorType(F16, (3, 1)), TensorType(I64, ())), 'say "no"')
    flag = ops.IsNan(ops.Cast(ops.Item(host, 0), F32))
    more = constant([[True], [False]], BOOL).with_origin(['a "quoted" name'])
    both = ops.Concat((flag, more), 0)
    return Graph("small", (x,), (("nan", both), ("count", ops.Item(host, 1))))


def test_golden(golden: Golden) -> None:
    golden("graph/small.txt", print_graph(small()))


def test_types_of_all_kinds_survive() -> None:
    names = ["f16", "f32", "f64", "bf16", "f8e4m3fn", "f8e5m2", "f4e2m1", "i4", "u4", "i8", "u64"]
    nodes = [constant([0, 1, 0.5 if name[0] in "fb" else 3], parse_dtype(name)) for name in names]
    nodes.append(Constant(np.array([np.nan, np.inf, -0.0, 5e-324])))
    nodes.append(Constant(np.array([np.inf], np.float32).astype(ml_dtypes.float8_e5m2)))
    nodes.append(Constant(np.array([2**64 - 1], np.uint64)))
    graph = Graph("types", (), tuple((str(i), n) for i, n in enumerate(nodes)))
    back = parse_graph(print_graph(graph))
    for node, (_, other) in zip(nodes, back.outputs, strict=True):
        assert isinstance(other, Constant)
        assert node.value.dtype == other.value.dtype
        assert node.value.tobytes() == other.value.tobytes()


def test_large_constants_go_by_their_content() -> None:
    few, many = (Constant(np.arange(n, dtype=np.float32)) for n in (INLINE, INLINE + 1))
    graph = Graph("g", (), (("few", few), ("many", many)))
    text, found = print_graph(graph), constants_of(graph)
    assert list(found) == [content_hash(many.value)]
    assert f"const(sha256:{content_hash(many.value)})" in text
    assert parse_graph(text, found).outputs[1][1].shape == (INLINE + 1,)
    assert content_hash(many.value) != content_hash(many.value.astype(F64))
    assert content_hash(many.value) != content_hash(many.value.reshape(1, -1))
    assert content_hash(many.value[::-1]) == content_hash(many.value[::-1].copy())


HEAD = 'graph "g"(%0)\n%0: f32[2,3] = input("x")\n'


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 1, "expected graph, found the end"),
        ('graph "g"() return ?', 1, "unexpected '?'"),
        (HEAD + "%1: f32[2] = Relu(%0)\n", 3, "%1 is declared f32[2], but Relu gives f32[2,3]"),
        (HEAD + "%1: f32[2,3] = Reloo(%0)\n", 3, "there is no operator 'Reloo'"),
        (HEAD + "%1: f32[2,3] = Relu(%7)\n", 3, "%7 is used before it is defined"),
        (HEAD + "%0: f32[2,3] = Relu(%0)\n", 3, "%0 is defined twice"),
        (HEAD + "%1: f33[2,3] = Relu(%0)\n", 3, "f33"),
        (HEAD + "%1: f32[3,2] = Transpose(%0, perm=(0, 0))\n", 3, "perm must be a permutation"),
        (HEAD + "%1: f32[3,2] = Transpose(%0)\n", 3, "perm"),
        (HEAD + "%1: f32[2] = const(1.0)\n", 3, "cannot reshape"),
        (HEAD + f"%1: f32[2] = const(sha256:{'0' * 16})\n", 3, "no constant was given"),
        (HEAD + 'return "y" = %0 %0', 3, "expected end, found %0"),
        ('graph "g"(%0)\n%0: f32[] = const(1.0)\nreturn\n', 3, "only an input can stand"),
    ],
)
def test_errors_name_line_and_reason(text: str, line: int, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_graph(text)
    assert caught.value.where == f"line {line}"
    assert why in caught.value.why
    assert caught.value.what == "the text is not a graph"


def test_remarks_are_no_origins() -> None:
    lines = ("# a remark", 'graph "g"(%0)', '# "another"', '%0: f32[] = input("x")  # plain words')
    graph = parse_graph("\n".join((*lines, "# and", 'return "y" = %0', "#")))
    assert graph.outputs[0][1].origin == ()
