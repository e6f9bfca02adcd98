"""The pass simplify: text in, text out."""

from __future__ import annotations

import numpy as np
import pytest

from kcompiler.graph.build import constant
from kcompiler.graph.node import Constant, Graph, Input
from kcompiler.graph.operators import Add, Broadcast, Contract, Conv, Mul, Relu, Reshape, Transpose
from kcompiler.graph.types import F32
from kcompiler.passes.simplify import Simplify
from kcompiler.sample import tensor, weight
from tests.passes.text import assert_same, becomes, graph, shown, stays

PLAIN = "strides=(1,), pads_low=(0,), pads_high=(0,), dilations=(1,), groups=1, dtype=f32"
PADDED = "strides=(1,), pads_low=(1,), pads_high=(1,), dilations=(1,), groups=1, dtype=f32"


def test_nothing_is_left_of_neutral_elements() -> None:
    becomes(
        Simplify(),
        """
        (%0)
        %0: f32[2,3] = input("x")
        %1: f32[2,3] = const(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        %2: f32[2,3] = Add(%1, %0)  # "a"
        %3: f32[] = const(1.0)
        %4: f32[2,3] = Div(%2, %3)  # "b"
        %5: f32[2,3] = Transpose(%4, perm=(0, 1))
        return "y" = %5
        """,
        """
        (%0)
        %0: f32[2,3] = input("x")
        return "y" = %0
        """,
    )


def test_a_neutral_element_that_broadcasts_stays() -> None:
    stays(
        Simplify(),
        """
        (%0)
        %0: f32[3] = input("x")
        %1: f32[2,1] = const(0.0, 0.0)
        %2: f32[2,3] = Add(%0, %1)
        return "y" = %2
        """,
    )


def test_constants_come_together() -> None:
    becomes(
        Simplify(),
        """
        (%0)
        %0: f32[2,3] = input("x")
        %1: f32[] = const(4.0)
        %2: f32[2,3] = Div(%0, %1)  # "a"
        %3: f32[3] = const(2.0, 4.0, 8.0)
        %4: f32[2,3] = Mul(%2, %3)  # "b"
        %5: f32[3] = const(1.0, 1.0, 1.0)
        %6: f32[2,3] = Sub(%4, %5)  # "c"
        return "y" = %6
        """,
        """
        (%0)
        %0: f32[2,3] = input("x")
        %1: f32[3] = const(0.5, 1.0, 2.0)  # "a", "b"
        %2: f32[2,3] = Mul(%0, %1)  # "b", "a"
        %3: f32[] = const(-1.0)  # "c"
        %4: f32[2,3] = Add(%2, %3)  # "c"
        return "y" = %4
        """,
    )


def test_constants_fold_and_dead_code_goes() -> None:
    becomes(
        Simplify(),
        """
        (%0)
        %0: f32[2] = input("x")
        %1: f32[2] = const(1.0, 2.0)
        %2: f32[2] = const(3.0, 4.0)
        %3: f32[2] = Add(%1, %2)  # "a"
        %4: f32[2] = Mul(%0, %3)  # "b"
        return "y" = %4
        """,
        """
        (%0)
        %0: f32[2] = input("x")
        %1: f32[2] = const(4.0, 6.0)  # "a"
        %2: f32[2] = Mul(%0, %1)  # "b"
        return "y" = %2
        """,
    )


def test_movement_meets_its_inverse_behind_element_wise_work() -> None:
    becomes(
        Simplify(),
        """
        (%0)
        %0: f32[2,3] = input("x")
        %1: f32[3,2] = Transpose(%0, perm=(1, 0))  # "to"
        %2: f32[2] = const(0.5, 0.25)
        %3: f32[3,2] = Mul(%1, %2)  # "scale"
        %4: f32[3,2] = Tanh(%3)  # "tanh"
        %5: f32[2,3] = Transpose(%4, perm=(1, 0))  # "fro"
        return "y" = %5
        """,
        """
        (%0)
        %0: f32[2,3] = input("x")
        %1: f32[2,1] = const(0.5, 0.25)  # "to", "scale"
        %2: f32[2,3] = Mul(%0, %1)  # "scale"
        %3: f32[2,3] = Tanh(%2)  # "tanh"
        return "y" = %3
        """,
    )


def test_slices_of_joined_tensors_take_the_pieces() -> None:
    becomes(
        Simplify(),
        """
        (%0, %1)
        %0: f32[2,3] = input("a")
        %1: f32[2,4] = input("b")
        %2: f32[2,7] = Concat([%0, %1], axis=1)
        %3: f32[2,3] = Slice(%2, starts=(0, 0), sizes=(2, 3), steps=(1, 1))
        %4: f32[2,2] = Slice(%2, starts=(0, 4), sizes=(2, 2), steps=(1, 1))  # "s"
        return "y" = %3, "z" = %4
        """,
        """
        (%0, %1)
        %0: f32[2,3] = input("a")
        %1: f32[2,4] = input("b")
        %2: f32[2,2] = Slice(%1, starts=(0, 1), sizes=(2, 2), steps=(1, 1))  # "s"
        return "y" = %0, "z" = %2
        """,
    )


def test_batch_norm_and_padding_go_into_the_convolution() -> None:
    becomes(
        Simplify(),
        f"""
        (%0)
        %0: f32[1,1,4] = input("x")
        %1: f32[1,1,6] = Pad(%0, low=(0, 0, 1), high=(0, 0, 1), value=0.0)  # "pad"
        %2: f32[2,1,3] = const(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
        %3: f32[1,2,4] = Conv(%1, %2, {PLAIN})  # "conv"
        %4: f32[2,1] = const(1.0, -1.0)
        %5: f32[1,2,4] = Add(%3, %4)  # "conv"
        %6: f32[2,1] = const(2.0, 0.5)
        %7: f32[1,2,4] = Mul(%5, %6)  # "bn"
        %8: f32[2,1] = const(0.25, 0.5)
        %9: f32[1,2,4] = Add(%7, %8)  # "bn"
        return "y" = %9
        """,
        f"""
        (%0)
        %0: f32[1,1,4] = input("x")
        %1: f32[2,1,3] = const(2.0, 4.0, 6.0, 2.0, 2.5, 3.0)  # "pad", "conv", "bn"
        %2: f32[1,2,4] = Conv(%0, %1, {PADDED})  # "pad", "conv", "bn"
        %3: f32[2,1] = const(2.25, 0.0)  # "conv", "pad", "bn"
        %4: f32[1,2,4] = Add(%2, %3)  # "bn", "conv", "pad"
        return "y" = %4
        """,
    )


def test_equal_nodes_are_computed_once_and_keep_all_origins() -> None:
    becomes(
        Simplify(),
        """
        (%0)
        %0: f32[2] = input("x")
        %1: f32[2] = Tanh(%0)  # "a"
        %2: f32[2] = Tanh(%0)  # "b"
        %3: f32[2] = Mul(%1, %2)  # "c"
        return "y" = %3
        """,
        """
        (%0)
        %0: f32[2] = input("x")
        %1: f32[2] = Tanh(%0)  # "a", "b"
        %2: f32[2] = Mul(%1, %1)  # "c"
        return "y" = %2
        """,
    )


def test_a_shared_convolution_keeps_its_weights() -> None:
    text = f"""
        (%0)
        %0: f32[1,1,4] = input("x")
        %1: f32[2,1,1] = const(1.0, 2.0)
        %2: f32[1,2,4] = Conv(%0, %1, {PLAIN})
        %3: f32[2,1] = const(0.5, 3.0)
        %4: f32[1,2,4] = Mul(%2, %3)
        return "y" = %4, "z" = %2
        """
    stays(Simplify(), text)


def test_integers_keep_their_division() -> None:
    stays(
        Simplify(),
        """
        (%0)
        %0: i32[4] = input("x")
        %1: i32[] = const(3)
        %2: i32[4] = Div(%0, %1)
        return "y" = %2
        """,
    )


def test_a_mean_keeps_its_factor() -> None:
    stays(
        Simplify(),
        f"""
        (%0)
        %0: f32[1,2,8] = input("x")
        %1: f32[1,2,1] = Reduce(%0, function="sum", axes=(2,))
        %2: f32[] = const(0.125)
        %3: f32[1,2,1] = Mul(%1, %2)
        %4: f32[2,2,1] = const(1.0, 2.0, 3.0, 4.0)
        %5: f32[1,2,1] = Conv(%3, %4, {PLAIN})
        return "y" = %5
        """,
    )


def test_numbers_a_channel_pass_the_shuffle_of_pixels() -> None:
    """A transposed convolution makes four channels of each, then pixels: batch norms fold."""
    rng = np.random.default_rng(0)
    x, w = tensor("x", 1, 3, 4, 5), weight(rng, 8, 3, 1, 1)
    apart = Reshape(Conv(x, w, (1, 1), (0, 0), (0, 0), (1, 1), 1, F32), (1, 2, 2, 2, 4, 5))
    b, c = (weight(rng, 1, 2, 1, 1, 1, 1) for _ in range(2))
    shuffled = Transpose(Relu(Add(Mul(Add(apart, b), c), b)), (0, 1, 4, 2, 5, 3))
    before = Graph("g", (x,), (("y", Reshape(shuffled, (1, 2, 8, 10))),))
    after = Simplify().run(before)
    kinds = [type(n) for n in after.nodes if not isinstance(n, Constant | Input)]
    assert kinds == [Conv, Add, Relu, Reshape, Transpose, Reshape]
    (total,) = (n for n in after.nodes if isinstance(n, Add))
    assert total.y.shape == (1, 8, 1, 1)
    assert_same(before, after, tolerance=1e-5)


def test_numbers_that_the_shuffle_keeps_apart_stay() -> None:
    """A number for each pixel of a picture is no number a channel: it stays where it is."""
    x = tensor("x", 1, 512, 256)
    rows = weight(np.random.default_rng(0), 1, 2, 1, 512, 1)
    graph = Graph("g", (x,), (("y", Mul(Reshape(x, (1, 2, 2, 512, 64)), rows)),))
    (product,) = (n for n in Simplify().run(graph).nodes if isinstance(n, Mul))
    assert product.shape == (1, 2, 2, 512, 64)


def test_a_small_constant_is_not_blown_up() -> None:
    big = Graph("g", (), (("y", Broadcast(constant([1.0, 2.0], F32), (1 << 20, 2))),))
    assert Simplify().run(big) is big
    assert isinstance(Simplify(fold_limit=1 << 24).run(big).nodes[-1], Constant)


def test_weights_are_never_copied_only_to_be_turned() -> None:
    w, x = Constant(np.ones((256, 128), np.float32)), tensor("x", 4, 256)
    turned = Contract(x, Transpose(Transpose(w, (1, 0)), (1, 0)), "ik,kj->ij", F32)
    found = Simplify().run(Graph("g", (x,), (("y", turned),)))
    (kept,) = (n for n in found.nodes if isinstance(n, Constant))
    assert np.shares_memory(kept.value, w.value)


@pytest.mark.parametrize("dtype", ["f32", "f16", "i32"])
def test_meaning_stays_in_every_type(dtype: str) -> None:
    number = "3" if dtype == "i32" else "3.0"
    before = graph(f"""
        (%0)
        %0: {dtype}[2,3] = input("x")
        %1: {dtype}[] = const({number})
        %2: {dtype}[2,3] = Mul(%0, %1)
        %3: {dtype}[2,3] = Mul(%2, %1)
        %4: {dtype}[2,3] = Sub(%3, %1)
        %5: {dtype}[3,2] = Reshape(%4, shape=(3, 2))
        %6: {dtype}[3,2] = Max(%5, %1)
        return "y" = %6
        """)
    after = Simplify().run(before)
    assert sum(isinstance(n, Mul) for n in after.nodes) == 1
    assert_same(before, after, tolerance=2e-3 if dtype == "f16" else 1e-6)


def test_compiling_twice_gives_the_same_text() -> None:
    text = """
        (%0)
        %0: f32[2,3] = input("x")
        %1: f32[] = const(3.0)
        %2: f32[2,3] = Add(%0, %1)
        %3: f32[2,3] = Add(%2, %1)
        return "y" = %3
        """
    assert shown(Simplify().run(graph(text))) == shown(Simplify().run(graph(text)))
