"""Regions of single operators and of the combinations that networks are made of."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from kcompiler.graph import operators as ops
from kcompiler.graph.node import Constant, Graph, Input, Op
from kcompiler.graph.types import F16, F32, I32, TensorType
from kcompiler.kernel.alike import outline
from kcompiler.kernel.from_graph import BoundRegion, Unsupported, lowered, region_of
from kcompiler.kernel.nest import Region
from kcompiler.sample import number
from tests.kernel import bodies
from tests.kernel.bodies import f32, fuse


def weight(*shape: int) -> Constant:
    return Constant(bodies.values(7, F32, shape))


def conv(x: Op, w: Op, stride: int = 1, pad: int = 0, groups: int = 1) -> ops.Conv:
    d = len(x.shape) - 2
    pads = (pad,) * d
    return ops.Conv(x, w, (stride,) * d, pads, pads, (1,) * d, groups, F32)


def checked(fused: ops.Fused) -> BoundRegion:
    bound = region_of(fused)
    given = [bodies.values(k, x.dtype, x.shape) for k, x in enumerate(fused.operands)]
    result = bodies.run(bound, fused, given)
    wanted = fused.evaluate(*given)
    assert result.dtype == wanted.dtype
    np.testing.assert_allclose(result.astype(float), wanted.astype(float), 1e-3, 1e-3)
    return bound


def loops(region: Region) -> list[str]:
    """The axes of each nest: `m8 y0:4 | c3 k0:3`."""
    found = []
    for nest in region.nests:
        parallel = " ".join(f"{a.name}:{a.extent}" for a in nest.parallel)
        reduced = " ".join(f"{a.name}:{a.extent}" for a in nest.reduced)
        found.append(f"{parallel} | {reduced}" if reduced else parallel)
    return found


CASES: dict[str, tuple[Callable[..., Op], tuple[TensorType, ...], list[str]]] = {
    "conv 3x3 with bias and activation": (
        lambda x: ops.Relu(ops.Add(conv(x, weight(8, 3, 3, 3), pad=1), weight(8, 1, 1))),
        (f32(1, 3, 6, 6),),
        ["m:8 y0:6 y1:6 | c:3 k0:3 k1:3", "i0:8 i1:6 i2:6"],
    ),
    "conv 1x1 is a matrix product over all positions": (
        lambda x: conv(x, weight(8, 3, 1, 1)),
        (f32(1, 3, 6, 6),),
        ["i0:8 i1:36 | r0:3", "i0:8 i1:36"],
    ),
    "grouped conv": (
        lambda x: ops.Add(conv(x, weight(8, 2, 3, 3), groups=2), weight(8, 1, 1)),
        (f32(1, 4, 5, 5),),
        ["g:2 m:4 y0:3 y1:3 | c:2 k0:3 k1:3", "i0:2 i1:4 i2:3 i3:3"],
    ),
    "depthwise conv": (
        lambda x: ops.Relu(conv(x, weight(4, 1, 3, 3), stride=2, pad=1, groups=4)),
        (f32(1, 4, 6, 6),),
        ["g:4 y0:3 y1:3 | k0:3 k1:3", "i0:4 i1:3 i2:3"],
    ),
    "one-dimensional conv": (
        lambda x: conv(x, weight(8, 4, 3), pad=1),
        (f32(2, 4, 9),),
        ["n:2 m:8 y0:9 | c:4 k0:3", "i0:2 i1:8 i2:9"],
    ),
    "matrix product with a trailing transpose": (
        lambda x, y: ops.Transpose(ops.Contract(x, y, "ik,kj->ij", F32), (1, 0)),
        (f32(4, 5), f32(5, 6)),
        ["i0:4 i1:6 | r0:5", "i0:6 i1:4"],
    ),
    "heads are split from a projection": (
        lambda x: ops.Transpose(
            ops.Reshape(ops.Contract(x, weight(6, 8), "bsd,de->bse", F32), (1, 5, 2, 4)),
            (0, 2, 1, 3),
        ),
        (f32(1, 5, 6),),
        ["i0:5 i1:8 | r0:6", "i0:2 i1:5 i2:4"],
    ),
    "a part of a product, backwards": (
        lambda x, y: ops.Slice(ops.Contract(x, y, "ik,kj->ij", F32), (1, 4), (2, 3), (1, -1)),
        (f32(4, 5), f32(5, 6)),
        ["i0:4 i1:6 | r0:5", "i0:2 i1:3"],
    ),
    "the beginning of each row of sums": (
        lambda x: ops.Slice(ops.Reduce(x, "sum", (2,)), (0, 0, 0), (4, 3, 1), (1, 1, 1)),
        (f32(4, 6, 2),),
        ["i0:4 i1:6 | r0:2", "i0:4 i1:3"],
    ),
    "sums written in another order": (
        lambda x: ops.Transpose(ops.Reduce(x, "sum", (2,)), (1, 0, 2)),
        (f32(3, 3, 2),),
        ["i0:3 i1:3 | r0:2", "i0:3 i1:3"],
    ),
    "softmax": (
        lambda x: ops.Softmax(x, 2),
        (f32(1, 3, 7),),
        ["i0:3 | r0:7", "i0:3 i1:7", "i0:3 | r0:7", "i0:3 i1:7"],
    ),
    "layer norm of a residual": (
        lambda x, y: ops.LayerNorm(ops.Add(x, y), weight(7), weight(7), (2,), 1e-5),
        (f32(1, 3, 7), f32(1, 3, 7)),
        ["i0:3 | r0:7", "i0:3 | r0:7", "i0:3 i1:7"],
    ),
    "attention": (
        lambda q, k, v: ops.Attention(q, k, v, None, 0.5),
        (f32(2, 3, 4), f32(2, 5, 4), f32(2, 5, 6)),
        [
            "i0:2 i1:3 i2:5 | r0:4",
            "i0:2 i1:3 | r0:5",
            "i0:2 i1:3 i2:5",
            "i0:2 i1:3 | r0:5",
            "i0:2 i1:3 i2:6 | r0:5",
            "i0:2 i1:3 i2:6",
        ],
    ),
    "a mean ends its own sum": (
        lambda x: ops.Mul(ops.Reduce(x, "sum", (2, 3)), Constant(np.full((), 1 / 4, F32))),
        (f32(1, 8, 2, 2),),
        ["i0:8 | r0:4"],
    ),
    "a gate is computed before it is repeated": (
        lambda x: ops.Mul(x, ops.Sigmoid(ops.Reduce(x, "sum", (2, 3)))),
        (f32(1, 8, 2, 2),),
        ["i0:8 | r0:4", "i0:8 i1:4"],
    ),
    "a copy of a transposed tensor": (
        lambda x: ops.Reshape(ops.Transpose(x, (0, 2, 1)), (12, 5)),
        (f32(3, 5, 4),),
        ["i0:3 i1:4 i2:5"],
    ),
    "a concatenation is cut at its seams": (
        lambda x, y: ops.Relu(ops.Concat((x, ops.Neg(y), x), 1)),
        (f32(1, 3, 2, 2), f32(1, 5, 2, 2)),
        ["i0:3 i1:4", "i0:5 i1:4", "i0:3 i1:4"],
    ),
    "argmax": (
        lambda x: ops.ArgReduce(x, "max", 1, last=False),
        (f32(3, 9),),
        ["i0:3 | r0:9", "i0:3 | r0:9"],
    ),
    "the last of equal positions": (
        lambda x: ops.ArgReduce(ops.Relu(x), "min", 1, last=True),
        (f32(3, 9),),
        ["i0:3 | r0:9", "i0:3 | r0:9"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_loops_of(name: str) -> None:
    body, types, wanted = CASES[name]
    assert loops(checked(fuse(body, *types)).region) == wanted


def test_movement_above_the_fused_part_is_a_view() -> None:
    x = Input("x", f32(2, 3, 4))
    turned = ops.Transpose(x, (0, 2, 1))
    inner = Input("i", turned.type)
    fused = ops.Fused((turned,), Graph("b", (inner,), (("y", ops.Relu(inner)),)))
    bound = region_of(fused)
    assert bound.operands == (x,)
    assert bound.region.operand("in0").strides == (12, 1, 4)
    assert region_of(fused, lambda op: op is turned).operands == (turned,)


def reading(x: Op, y: Op, body: Callable[[Op, Op], Op]) -> ops.Fused:
    """A part that reads two tensors or views of them."""
    inner = Input("a", x.type), Input("b", y.type)
    return ops.Fused((x, y), Graph("b", inner, (("y", body(*inner)),)))


def test_parts_that_are_alike_are_lowered_once() -> None:
    x, y, z = (Input(name, f32(4, 4)) for name in "xyz")
    first, second = (
        reading(ops.Transpose(a, (1, 0)), b, lambda a, b: ops.Add(a, ops.Mul(b, number(2.0))))
        for a, b in ((x, y), (y, z))
    )
    assert region_of(second).region is region_of(first).region
    assert region_of(first).operands == (x, y)
    assert region_of(second).operands == (y, z)


X, Y = Input("x", f32(4, 4)), Input("y", f32(4, 4))


@pytest.mark.parametrize(
    "part",
    [
        reading(X, X, ops.Sub),
        reading(ops.Transpose(X, (1, 0)), Y, ops.Sub),
        reading(X, Constant(np.zeros((4, 4), np.float32)), ops.Sub),
        reading(X, Y, lambda a, b: ops.Sub(b, a)),
        reading(X, Y, lambda a, b: ops.Sub(a, ops.Mul(b, number(2.0)))),
        reading(X, Y, lambda a, b: ops.Sub(a, ops.Mul(b, number(3.0)))),
        reading(X, Y, lambda a, b: ops.Sub(a, ops.Pad(b, (0, 0), (0, 0), 0.0))),
        reading(X, Y, lambda a, b: ops.Sub(a, ops.Pad(b, (0, 0), (0, 0), -0.0))),
    ],
)
def test_parts_that_differ_are_not_alike(part: ops.Fused) -> None:
    plain = reading(X, Y, ops.Sub)
    scaled = reading(X, Y, lambda a, b: ops.Sub(a, ops.Mul(b, number(2.5))))
    padded = reading(X, Y, lambda a, b: ops.Sub(a, ops.Pad(b, (0, 0), (0, 0), 0)))
    for other in (plain, padded, scaled):
        region_of(other)
        assert outline(part).key != outline(other).key
    assert region_of(part) == lowered(part)


def test_repeated_heads_are_read_once() -> None:
    def body(q: Op, k: Op, v: Op) -> Op:
        groups = ops.Broadcast(ops.Reshape(k, (1, 2, 1, 6, 4)), (1, 2, 3, 6, 4))
        return ops.Attention(q, ops.Reshape(groups, (1, 6, 6, 4)), v, None, 0.5)

    bound = checked(fuse(body, f32(1, 6, 5, 4), f32(1, 2, 6, 4), f32(1, 6, 6, 4)))
    assert bound.region.operand("in1").shape == (2, 6, 4)


def test_narrow_floats_compute_and_accumulate_in_f32() -> None:
    def body(x: Op, y: Op) -> Op:
        return ops.Gelu(ops.Contract(ops.Relu(x), y, "ik,kj->ij", F16))

    half = TensorType(F16, (4, 4))
    region = checked(fuse(body, half, half)).region
    kinds = {o.name: str(o.dtype) for o in region.operands}
    # What the matrix engine reads is stored in the element type, its sums in f32.
    assert kinds == {
        "in0": "float16", "in1": "float16", "t0": "float16", "t1": "float32", "out": "float16",
    }  # fmt: skip


def test_integers_accumulate_in_i32() -> None:
    byte = TensorType(bodies.I8, (4, 4))
    fused = fuse(lambda x, y: ops.Contract(x, y, "ik,kj->ij", I32), byte, byte)
    assert str(checked(fused).region.operand("t0").dtype) == "int32"


def test_equal_regions_are_one_object_to_a_cache() -> None:
    def make(seed: int, letters: str) -> Region:
        w = Constant(bodies.values(seed, F32, (5, 6)))
        return region_of(fuse(lambda x: ops.Contract(x, w, letters, F32), f32(4, 5))).region

    assert {make(1, "ik,kj->ij"): 0} == {make(2, "ab,bc->ac"): 0}


def test_scalars_are_literals_and_nan_equals_itself() -> None:
    def make() -> Region:
        nan = Constant(np.full((1, 1), np.nan, np.float32))
        return region_of(fuse(lambda x: ops.Max(x, nan), f32(4, 5))).region

    assert [o.name for o in make().operands] == ["in0", "out"]
    assert make() == make()


REFUSED: dict[str, tuple[Callable[..., Op], str]] = {
    "running sums": (
        lambda x: ops.CumSum(x, 0, exclusive=False, reverse=False),
        "depend on each other in order",
    ),
    "orders": (lambda x: ops.TopKValues(x, 2, 1, largest=True), "depend on each other in order"),
    "a reduced concatenation": (
        lambda x: ops.Reduce(ops.Concat((x, x), 0), "sum", (0,)),
        "concatenation that is not in memory",
    ),
    "a reshape that crosses extents": (
        lambda x: ops.Neg(ops.Reshape(ops.Transpose(x, (1, 0)), (4, 3))),
        "needs a copy of its own",
    ),
    "no elements": (lambda x: ops.Slice(x, (0, 0), (0, 6), (1, 1)), "it has no elements"),
    "a gather from what is computed here": (
        lambda x: ops.Gather(ops.Neg(x), Constant(np.array([1])), 0),
        "not in memory",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_reason_is_given_for(name: str) -> None:
    body, why = REFUSED[name]
    shape = (2, 6)
    with pytest.raises(Unsupported) as error:
        region_of(fuse(body, f32(*shape)))
    assert why in error.value.why
    assert error.value.what.endswith("has no kernel")


def test_a_byte_that_two_read_is_kept_as_a_byte() -> None:
    """Both make their numbers of it: a quarter of the room."""
    i8 = np.dtype(np.int8)

    def silu(x: Op) -> Op:
        byte = ops.Cast(ops.Round(ops.Exp(ops.Mul(x, number(0.5)))), i8)
        y = ops.Mul(ops.Sub(ops.Cast(byte, F32), number(3.0)), number(0.25))
        return ops.Mul(y, ops.Sigmoid(y))

    bound = checked(fuse(silu, f32(4, 9)))
    kept = [str(o.dtype) for o in bound.region.operands if o.role == "local"]
    assert kept == ["int8"]


def test_a_large_region_runs_fast_enough_for_tests() -> None:
    fused = fuse(lambda x: conv(x, weight(64, 64, 3, 3), pad=1), f32(1, 64, 56, 56))
    bound = region_of(fused)
    x = bodies.values(0, F32, (1, 64, 56, 56))
    bodies.run(bound, fused, [x])
    start = time.process_time()
    bodies.run(bound, fused, [x])
    assert time.process_time() - start < 1
