"""The pass fuse: which operators share a kernel."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kcompiler.graph.build import (
    broadcast,
    concat,
    constant,
    mean,
    pad,
    reshape,
    scalar,
    slice_axis,
    transpose,
)
from kcompiler.graph.node import Constant, Graph, Input, Op, topological
from kcompiler.graph.operators import (
    Add,
    Attention,
    Cast,
    Concat,
    Contract,
    Conv,
    CumSum,
    Elementwise,
    Fused,
    Gather,
    Host,
    Item,
    LayerNorm,
    Mul,
    Reduce,
    Relu,
    Round,
    Sigmoid,
    Softmax,
    Tanh,
    Window,
)
from kcompiler.graph.types import F32, I32, I64, TensorType
from kcompiler.graph.verify import verify_graph
from kcompiler.kernel.from_graph import region_of
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.fuse.groups import Grouping, Limits
from kcompiler.sample import number, tensor, weight
from tests.passes.text import assert_same, becomes

RNG = np.random.default_rng(0)
X = tensor("x", 1, 4, 6, 6)


def conv(x: Op, filters: int = 4, kernel: int = 3) -> Op:
    w = weight(RNG, filters, x.shape[1], kernel, kernel)
    p = kernel // 2
    bias = weight(RNG, filters, 1, 1)
    return Add(Conv(x, w, (1, 1), (p, p), (p, p), (1, 1), 1, F32), bias)


def dense(x: Op, width: int) -> Op:
    return Add(Contract(x, weight(RNG, x.shape[-1], width), "bik,kj->bij", F32), weight(RNG, width))


def fused(*outputs: Op) -> list[str]:
    """The kernels of a model, in order: the operators of each; numbers and movements left out."""
    found = Graph("g", (), tuple((f"y{i}", o) for i, o in enumerate(outputs)))
    inputs = tuple(n for n in found.nodes if isinstance(n, Input))
    before = Graph("g", inputs, found.outputs)
    after = Fuse().run(before)
    verify_graph(after)
    assert_same(before, after, tolerance=1e-6)
    kernels = [n for n in after.nodes if isinstance(n, Fused)]
    for kernel in kernels:
        region_of(kernel)
    return [
        "+".join(type(n).__name__ for n in k.body.nodes if not isinstance(n, Input | Constant))
        for k in kernels
    ]


def test_the_text_of_a_fused_graph() -> None:
    becomes(
        Fuse(),
        """
        (%0)
        %0: f32[1,2] = input("x")  # "x"
        %1: f32[2,3] = const(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
        %2: f32[1,3] = Contract(%0, %1, equation="ik,kj->ij", dtype=f32)  # "matmul"
        %3: f32[] = const(0.5)
        %4: f32[1,3] = Mul(%2, %3)  # "half"
        %5: f32[1,3] = Relu(%4)  # "relu"
        return "y" = %5
        """,
        """
        (%0)
        %0: f32[1,2] = input("x")  # "x"
        %1: f32[2,3] = const(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
        %2: f32[1,3] = Fused([%0, %1]) {
            graph "contract"(%0, %1)
            %0: f32[1,2] = input("x0")
            %1: f32[2,3] = input("x1")
            %2: f32[1,3] = Contract(%0, %1, equation="ik,kj->ij", dtype=f32)  # "matmul"
            %3: f32[] = const(0.5)
            %4: f32[1,3] = Mul(%2, %3)  # "half"
            %5: f32[1,3] = Relu(%4)  # "relu"
            return "y" = %5
        }  # "matmul", "half", "relu"
        return "y" = %2
        """,
    )


def test_bias_activation_and_residual_go_with_the_last_anchor() -> None:
    first = Relu(conv(X))
    second = Relu(Add(conv(first), first))
    assert fused(second) == ["Conv+Add+Relu", "Conv+Add+Add+Relu"]


def test_of_two_anchors_the_later_takes_the_sum() -> None:
    kernels = fused(Relu(Add(conv(X), conv(X))))
    assert kernels == ["Conv+Add", "Conv+Add+Add+Relu"]


def test_a_value_that_others_read_ends_its_kernel() -> None:
    x = conv(X)
    assert fused(Relu(x), Tanh(x)) == ["Conv+Add", "Relu", "Tanh"]


def test_a_gate_comes_together_again() -> None:
    x = conv(X)
    assert fused(Mul(x, Sigmoid(x))) == ["Conv+Add+Sigmoid+Mul"]


def test_an_output_inside_ends_a_kernel() -> None:
    x = conv(X)
    assert fused(Relu(x), x) == ["Conv+Add", "Relu"]


def test_squeeze_and_excite() -> None:
    x = Relu(conv(X))
    gate = Sigmoid(conv(Relu(conv(mean(x, (2, 3)), 2, 1)), 4, 1))
    kernels = fused(conv(Mul(x, gate)))
    assert kernels == [
        "Conv+Add+Relu",
        "Reduce+Mul",
        "Conv+Add+Relu",
        "Conv+Add+Sigmoid",
        "Mul",
        "Conv+Add",
    ]


def test_reductions_and_norms_take_what_comes_before() -> None:
    x, y = tensor("x", 2, 3, 8), tensor("y", 2, 3, 8)
    assert fused(Reduce(Mul(x, x), "sum", (2,))) == ["Mul+Reduce"]
    assert fused(LayerNorm(Add(x, y), None, None, (2,), 1e-5)) == ["Add+LayerNorm"]
    assert fused(Softmax(Add(Mul(x, number(0.5)), y), 2)) == ["Mul+Add+Softmax"]
    assert fused(Window(Relu(X), "max", (2, 2), (2, 2), (0, 0), (0, 0), (1, 1))) == [
        "Relu",
        "Window",
    ]


def test_post_norm_leaves_the_residual_to_the_product() -> None:
    x = tensor("x", 1, 3, 8)
    normal = LayerNorm(Add(dense(x, 8), x), None, None, (2,), 1e-5)
    assert fused(normal) == ["Contract+Add+Add", "LayerNorm"]


def test_a_reshape_between_does_not_end_a_kernel() -> None:
    flat = Add(Contract(tensor("x", 6, 4), weight(RNG, 4, 8), "ik,kj->ij", F32), weight(RNG, 8))
    wide = reshape(flat, (1, 6, 8))
    assert fused(Relu(Add(wide, tensor("y", 1, 6, 8)))) == ["Contract+Add+Reshape+Add+Relu"]


def test_heads_are_views_and_merge_on_the_way_out() -> None:
    x = tensor("x", 1, 5, 32)

    def heads(t: Op) -> Op:
        return transpose(reshape(t, (1, 5, 4, 8)), (0, 2, 1, 3))

    packed = dense(x, 96)
    q, k, v = (heads(slice_axis(packed, 2, 32 * i, 32)) for i in range(3))
    out = reshape(transpose(Attention(q, k, v, None, 0.5), (0, 2, 1, 3)), (1, 5, 32))
    kernels = fused(Add(dense(out, 32), x))
    assert [k.split("+")[-1] for k in kernels] == ["Add", "Reshape", "Add"]
    assert [k for k in kernels if "Attention" in k] == [kernels[1]]
    assert kernels[1].endswith("Attention+Transpose+Reshape")


def test_movement_that_strides_cannot_express_is_one_copy() -> None:
    x = tensor("x", 2, 3, 4)
    turned = reshape(transpose(x, (0, 2, 1)), (2, 12))
    assert fused(conv(reshape(turned, (1, 2, 3, 4)))) == ["Transpose+Reshape+Reshape", "Conv+Add"]


def test_nearest_upsampling_is_one_copy() -> None:
    rows = reshape(broadcast(reshape(X, (1, 4, 6, 1, 6)), (1, 4, 6, 2, 6)), (1, 4, 12, 6))
    both = reshape(broadcast(reshape(rows, (1, 4, 12, 6, 1)), (1, 4, 12, 6, 2)), (1, 4, 12, 12))
    assert fused(conv(both)) == ["Reshape+Broadcast+Reshape+Reshape+Broadcast+Reshape", "Conv+Add"]


def test_a_moved_output_is_written_moved() -> None:
    assert fused(transpose(conv(X), (0, 2, 3, 1))) == ["Conv+Add+Transpose"]


def test_a_moved_input_as_output_is_a_copy() -> None:
    assert fused(transpose(X, (0, 2, 3, 1))) == ["Transpose"]
    assert fused(X) == []


def test_joins_and_pads_are_copies() -> None:
    joined = concat([Relu(conv(X)), slice_axis(X, 1, 0, 2)], 1)
    assert fused(conv(joined)) == ["Conv+Add+Relu", "Slice+Concat", "Conv+Add"]
    assert fused(conv(pad(X, (0, 0, 1, 1), (0, 0, 1, 1), 1.0))) == ["Pad", "Conv+Add"]


def test_rotary_embedding_is_one_kernel() -> None:
    x, c, s = tensor("x", 1, 4, 8), tensor("c", 4, 8), tensor("s", 4, 8)
    turned = Concat((Mul(slice_axis(x, 2, 4, 4), number(-1)), slice_axis(x, 2, 0, 4)), 2)
    (kernel,) = fused(Add(Mul(x, c), Mul(turned, s)))
    assert "Concat" in kernel


def test_gathers_take_what_follows() -> None:
    ids = tensor("ids", 1, 5, dtype=I64)
    table = weight(RNG, 9, 8)
    assert fused(Add(Gather(table, ids, 0), weight(RNG, 5, 8))) == ["Gather+Add"]


def test_operators_that_are_alone() -> None:
    grouping = Grouping(
        Graph("g", (X,), (("y", Relu(CumSum(Tanh(X), 1, False, False))),)),
        Limits(6, 40, lambda _: True),
    )
    assert [[type(m).__name__ for m in g.members] for g in grouping.run()] == [
        ["Tanh"],
        ["CumSum"],
        ["Relu"],
    ]


def test_host_operators_stay_and_read_stored_tensors() -> None:
    moved = transpose(Relu(X), (0, 1, 3, 2))
    host = Item(Host((moved,), b"", (X.type,), "no kernel"), 0)
    after = Fuse().run(Graph("g", (X,), (("y", Tanh(host)),)))
    assert [type(n).__name__ for n in after.nodes] == ["Input", "Fused", "Host", "Item", "Fused"]


def test_limits_end_a_kernel() -> None:
    x: Op = conv(X)
    for i in range(8):
        x = Add(x, tensor(f"r{i}", 1, 4, 6, 6))
    before = Graph("g", tuple(n for n in topological([x]) if isinstance(n, Input)), (("y", x),))
    after = Fuse(max_inputs=5).run(before)
    assert_same(before, after)
    assert max(len(n.xs) for n in after.nodes if isinstance(n, Fused)) <= 5


def random_model(seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    parts: list[Op] = [X]
    for _ in range(14):
        a, b = (parts[rng.integers(len(parts))] for _ in range(2))
        turned = transpose(a, (0, 1, 3, 2))
        folded = reshape(transpose(a, (0, 2, 1, 3)), (1, 4, 6, 6))
        made: list[Op] = [
            conv(a), Add(a, b), Mul(a, Sigmoid(b)), Relu(a), Tanh(turned), folded,
            Mul(a, scalar(a, 0.5)), Softmax(a, 3), Add(a, mean(b, (2, 3))),
            Mul(conv(a), mean(a, (1,))),
            concat([slice_axis(a, 1, 0, 2), slice_axis(b, 1, 1, 2)], 1),
            LayerNorm(folded, None, None, (3,), 1e-3),
        ]  # fmt: skip
        parts.append(made[rng.integers(len(made))])
    return Graph("g", (X,), (("y", parts[-1]), ("z", parts[-2])))


@given(st.integers(0, 10**6))
def test_fusion_never_changes_a_bit(seed: int) -> None:
    before = random_model(seed)
    after = Fuse().run(before)
    verify_graph(after)
    assert_same(before, after, tolerance=0)
    plain = [n for n in after.nodes if not isinstance(n, Fused | Input | Constant)]
    assert plain == []
    for node in after.nodes:
        if isinstance(node, Fused):
            region_of(node)


@given(st.integers(0, 10**6))
def test_no_work_is_done_twice(seed: int) -> None:
    """Every operator but movements is in one kernel exactly."""
    before = random_model(seed)
    after = Fuse().run(before)

    def work(nodes: tuple[Op, ...]) -> list[str]:
        heavy = (Conv, Elementwise, Softmax, LayerNorm, Reduce)
        return [type(n).__name__ for n in nodes if isinstance(n, heavy)]

    inside = [name for n in after.nodes if isinstance(n, Fused) for name in work(n.body.nodes)]
    assert sorted(inside) == sorted(work(before.nodes))


def test_time_is_linear() -> None:
    def seconds(layers: int) -> float:
        x: Op = X
        for _ in range(layers):
            x = Add(Relu(conv(x)), x)
        start = time.process_time()
        Fuse().run(Graph("g", (X,), (("y", x),)))
        return time.process_time() - start

    seconds(5)
    many, few = (min(seconds(n) for _ in range(3)) for n in (160, 20))
    assert many < 16 * max(few, 0.005)


def test_options_have_text() -> None:
    assert str(Fuse(max_inputs=3)) == "fuse{max_inputs=3}"
    assert str(Fuse(max_members=3)) == "fuse{max_members=3}"
    assert str(Fuse(integer=True)) == "fuse{integer=true}"


def test_each_reader_of_a_byte_makes_its_own_number() -> None:
    """Two kernels read the number of one byte: without copies it would be stored as a float."""
    x = Input("x", TensorType(np.dtype(np.int8), (4, 8)))
    number = Mul(Cast(x, F32), constant(0.5, F32))
    first = Cast(Tanh(number), np.dtype(np.int8))
    second = Cast(Add(number, broadcast(sum_of(number), (4, 8))), np.dtype(np.int8))
    graph = Graph("g", (x,), (("y", first), ("z", second)))
    kernels = [n for n in Fuse(integer=True).run(graph).nodes if isinstance(n, Fused)]
    assert {str(o.dtype) for k in kernels for o in k.operands if o.shape == (4, 8)} == {"int8"}
    stored = [n for n in Fuse().run(graph).nodes if isinstance(n, Fused)]
    assert "float32" in {str(o.dtype) for k in stored for o in k.operands if o.shape == (4, 8)}


def test_a_repeated_number_of_a_byte_is_made_where_it_is_read() -> None:
    """A gate of one byte a channel: its number is no tensor between kernels of bytes."""
    i8 = np.dtype(np.int8)
    x, gate = (Input(n, TensorType(i8, s)) for n, s in (("x", (1, 4, 3, 5)), ("g", (1, 4, 1, 1))))
    scaled = Mul(Add(Cast(gate, F32), constant(9.0, F32)), constant(0.01, F32))
    result = Cast(Round(Mul(Cast(x, F32), scaled)), i8)
    graph = Graph("g", (x, gate), (("y", result),))
    (kernel,) = (n for n in Fuse(integer=True).run(graph).nodes if isinstance(n, Fused))
    assert {str(o.dtype) for o in kernel.operands} == {"int8"}
    apart = [n for n in Fuse().run(graph).nodes if isinstance(n, Fused)]
    assert [str(k.dtype) for k in apart] == ["float32", "int8"]


def sum_of(x: Op) -> Op:
    return Reduce(x, "sum", (1,))


def test_bytes_and_floats_do_not_meet_for_a_chip_of_bytes() -> None:
    """A product ends in the bytes that it stores; what is made of them is another kernel."""
    i8 = np.dtype(np.int8)
    x = Input("x", TensorType(F32, (4, 8)))
    byte = Cast(Mul(x, constant(9.0, F32)), i8)
    w = Constant(np.ones((8, 8), np.int8))
    sums = Contract(byte, w, "ij,jk->ik", I32)
    result = Cast(Cast(sums, i8), F32)
    after = Fuse(integer=True).run(Graph("g", (x,), (("y", result),)))
    kernels = [n for n in after.nodes if isinstance(n, Fused)]
    assert [str(k.dtype) for k in kernels] == ["int8", "int8", "float32"]
    together = Fuse().run(Graph("g", (x,), (("y", result),)))
    assert [str(k.dtype) for k in together.nodes if isinstance(k, Fused)] == ["int8", "float32"]
