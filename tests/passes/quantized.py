"""Small networks for the tests of quantization, and how exact a graph is."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompiler.graph.build import constant
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Constant, Graph, Op
from kcompiler.graph.operators import (
    Add,
    Concat,
    Contract,
    Conv,
    Fused,
    Max,
    Min,
    Mul,
    Reduce,
    Relu,
    Reshape,
    Window,
)
from kcompiler.graph.types import F32, is_float
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.integer import Integer
from kcompiler.passes.quantize import Quantize, Report
from kcompiler.pipeline import run
from kcompiler.sample import tensor
from kcompiler.verify.ladder import compare

I8 = np.dtype(np.int8)
Feeds = dict[str, Array]


def conv(x: Op, w: Array, *, stride: int = 1, groups: int = 1, name: str = "") -> Conv:
    pad = w.shape[2] // 2
    made = Conv(x, constant(w, F32), (stride,) * 2, (pad,) * 2, (pad,) * 2, (1, 1), groups, F32)
    return made.with_origin((name or f"conv{w.shape[0]}",))


def bias(x: Op, b: Array) -> Op:
    return Add(x, constant(b.reshape(-1, 1, 1), F32))


def clip6(x: Op) -> Op:
    return Min(Max(x, constant(0.0, F32)), constant(6.0, F32))


def mobile(seed: int = 0, spread: float = 1.0) -> Graph:
    """Convolution, depthwise, pointwise with residual, pools, join, product; clips between."""
    rng = np.random.default_rng(seed)

    def w(*shape: int) -> Array:
        made = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return np.asarray(made * np.exp(spread * rng.normal(size=(shape[0], 1, 1, 1))), np.float32)

    def b(count: int) -> Array:
        return np.asarray(rng.normal(size=count) * 0.3, np.float32)

    x = tensor("x", 1, 3, 16, 16)
    stem = clip6(bias(conv(x, w(8, 3, 3, 3), stride=2, name="stem"), b(8)))
    deep = clip6(bias(conv(stem, w(8, 1, 3, 3), groups=8, name="deep"), b(8)))
    point = bias(conv(deep, w(8, 8, 1, 1), name="point"), b(8))
    total = Add(point, stem)
    pool = Window(total, "max", (2, 2), (2, 2), (0, 0), (0, 0), (1, 1))
    joined = Concat((pool, Relu(pool)), 1)
    last = Relu(bias(conv(joined, w(16, 16, 3, 3), name="last"), b(16)))
    mean = Mul(Reduce(last, "sum", (2, 3)), constant(1 / 16, F32))
    flat = Reshape(mean, (1, 16))
    head = Contract(
        flat, constant(rng.normal(size=(16, 10)).astype(np.float32), F32), "ij,jk->ik", F32
    )
    logits = Add(head.with_origin(("head",)), constant(rng.normal(size=10), F32))
    return Graph("mobile", (x,), (("y", logits),))


def images(count: int, seed: int = 1, shape: tuple[int, ...] = (1, 3, 16, 16)) -> tuple[Feeds, ...]:
    rng = np.random.default_rng(seed)
    return tuple({"x": rng.normal(0.2, 1, shape).astype(np.float32)} for _ in range(count))


def decibels(graph: Graph, other: Graph, feeds: tuple[Feeds, ...]) -> float:
    pairs = [(run_graph(graph, f)["y"], run_graph(other, f)["y"]) for f in feeds]
    found = compare(np.stack([b for _, b in pairs]), np.stack([a for a, _ in pairs])).sqnr_db
    return float("inf") if found is None else found


def quantized(graph: Graph, count: int = 16, **options: Any) -> tuple[Graph, Report]:
    log: list[Report] = []
    made: Graph = Quantize(samples=images(count), log=log, **options).run(graph)
    return made, log[0]


def kernels(graph: Graph) -> list[Fused]:
    fused: Graph = run((Integer(), Fuse()), graph)
    return [n for n in fused.nodes if isinstance(n, Fused)]


def float_products(graph: Graph) -> list[Op]:
    after = Integer().run(graph)
    return [n for n in after.nodes if isinstance(n, Conv | Contract) and is_float(n.dtype)]


def contents(graph: Graph) -> list[tuple[str, bytes]]:
    """Every operator and constant of a graph, in its order."""
    return [
        (type(n).__name__, n.value.tobytes() if isinstance(n, Constant) else b"")
        for n in graph.nodes
    ]
