"""Operators that move, repeat, choose and put together elements."""

from __future__ import annotations

import numpy as np

from tests.fuzz.maker import FLOATS, I32, I64, INTEGERS, Discarded, Maker, Value
from tests.fuzz.recipe import recipe

ANY = (*FLOATS, *INTEGERS, np.dtype("?"))


def axis_of(m: Maker, value: Value) -> int:
    """An axis, counted from either end."""
    if not value.rank:
        raise Discarded("a scalar has no axis")
    axis = m.below(0, value.rank - 1)
    return axis - value.rank if m.flip(0.4) else axis


def negative(m: Maker) -> bool:
    """Whether attributes may count from the end: from opset 11 on."""
    return m.opset >= 11


def plain_axis(m: Maker, value: Value) -> int:
    axis = axis_of(m, value)
    return axis if negative(m) else axis % value.rank


def axes_of(m: Maker, value: Value, low: int = 0) -> list[int]:
    """Some different axes, counted from either end."""
    axes = m.some(range(value.rank), min(low, value.rank))
    return [a - value.rank if negative(m) and m.flip(0.4) else a for a in axes]


@recipe("Reshape")
def reshape(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    dims = _factors(m, x.size) if x.size else list(m.random.sample(x.shape, x.rank))
    if dims and x.size and m.flip(0.4):
        dims[m.below(0, len(dims) - 1)] = -1
    if x.size and m.flip(0.2) and dims and dims[0] == (x.shape or (None,))[0]:
        dims[0] = 0
    zero = {} if x.size and m.flip(0.9) and 0 not in dims else {"allowzero": 1}
    m.emit(operator, [x, m.integers(*dims)], {} if 0 in dims and x.size else zero)


def _factors(m: Maker, size: int) -> list[int]:
    found: list[int] = []
    rest = size
    while rest > 1 and len(found) < 4:
        divisors = [d for d in range(1, rest + 1) if rest % d == 0]
        found.append(m.random.choice(divisors))
        rest //= found[-1]
    return [*found, rest] if rest > 1 or m.flip(0.3) else found


@recipe("Transpose")
def transpose(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    m.emit(operator, [x], m.maybe(perm=m.random.sample(range(x.rank), x.rank)))


@recipe("Slice")
def slice_(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    axes = axes_of(m, x, 1)
    limit = max(x.shape) + 2
    edges = [[m.below(-limit, limit) for _ in axes] for _ in range(2)]
    if m.flip(0.1):
        edges[1] = [m.one(2**63 - 1, -(2**63) + 1, 2**31 - 1) for _ in axes]
    if m.opset < 10:
        m.emit(operator, [x], {"starts": edges[0], "ends": edges[1], "axes": axes})
        return
    operands: list[Value | None] = [x, *(m.integers(*e) for e in edges)]
    if m.flip(0.9) or len(axes) != x.rank:
        operands.append(m.integers(*axes))
        if m.flip():
            # Backwards to the largest integer is nothing, but everything to onnxruntime.
            steps = (1, 1, 2, 3) if max(map(abs, edges[1])) > 1000 else (1, 1, 2, 3, -1, -2)
            operands.append(m.integers(*(m.one(*steps) for _ in axes)))
    elif m.flip(0.3):
        operands += [None, m.integers(*(m.one(1, 2) for _ in axes))]
    m.emit(operator, operands)


@recipe("Pad")
def pad(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    mode = m.one("constant", "constant", "reflect", "edge", *(["wrap"] if m.opset >= 19 else []))
    axes = axes_of(m, x, 1) if m.opset >= 18 and m.flip(0.3) else list(range(x.rank))
    low = -1 if m.flip(0.2) and mode == "constant" else 0
    most = [2 if mode == "constant" else max(0, min(2, x.shape[a] - 1)) for a in axes]
    pads = [m.below(low, n) for n in most * 2]
    if m.opset < 11:
        m.emit(operator, [x], {"pads": pads, "mode": mode} | m.maybe(value=m.number(-2, 2)))
        return
    value = m.like(x, ()) if mode == "constant" and m.flip() else None
    chosen = m.integers(*axes) if len(axes) != x.rank else None
    m.emit(operator, [x, m.integers(*pads), value, chosen], mode=mode)


@recipe("Concat")
def concat(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    axis = plain_axis(m, x)
    parts = [x]
    for _ in range(m.below(0, 3)):
        shape = list(x.shape)
        shape[axis] = m.extent()
        parts.append(m.like(x, shape))
    m.emit(operator, m.random.sample(parts, len(parts)), axis=axis)


@recipe("Split")
def split(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4))
    axis = plain_axis(m, x)
    extent, count = x.shape[axis], m.below(1, 3)
    cuts = sorted(m.below(0, extent) for _ in range(count - 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, extent], strict=True)]
    attributes = {"axis": axis}
    if m.flip(0.3):
        m.emit(operator, [x], attributes | ({"num_outputs": count}), outputs=count)
    elif m.opset < 13:
        m.emit(operator, [x], attributes | {"split": sizes}, outputs=count)
    else:
        m.emit(operator, [x, m.integers(*sizes)], attributes, outputs=count)


@recipe("Squeeze", "Unsqueeze")
def squeeze(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    if operator == "Squeeze":
        ones = [a for a, n in enumerate(x.shape) if n == 1]
        axes = [a - x.rank if m.opset >= 11 and m.flip(0.3) else a for a in m.some(ones)]
        axes = axes if axes or m.flip() else ones
    else:
        rank = x.rank + m.below(1, 2)
        axes = m.random.sample(range(rank), rank - x.rank)
        axes = [a - rank if m.opset >= 11 and m.flip(0.3) else a for a in axes]
    if m.opset < 13:
        m.emit(operator, [x], {"axes": axes} if axes or operator == "Unsqueeze" else {})
    else:
        m.emit(operator, [x, m.integers(*axes) if axes else None])


@recipe("Expand", "Tile")
def repeat(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (0 if operator == "Expand" else 1, 4))
    if operator == "Expand":
        m.emit(operator, [x, m.integers(*m.broadcastable(x.shape))])
    else:
        m.emit(operator, [x, m.integers(*(m.one(1, 1, 2, 3, 0) for _ in x.shape))])


@recipe("Flatten")
def flatten(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator))
    low = -x.rank if negative(m) else 0
    m.emit(operator, [x], m.maybe(axis=m.below(low, x.rank)))


@recipe("Gather")
def gather(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4), lambda v: 0 not in v.shape)
    axis = plain_axis(m, x)
    extent = x.shape[axis]
    if not extent:
        raise Discarded("nothing to gather")
    m.emit(operator, [x, _indices(m, m.shape(0, 2), extent)], m.maybe(axis=axis) or {"axis": axis})


def _indices(m: Maker, shape: tuple[int, ...], extent: int, dtype: bool = True) -> Value:
    low = -extent if negative(m) else 0
    rng = np.random.default_rng(m.random.getrandbits(32))
    data = np.asarray(rng.integers(low, extent, shape))
    data = data.astype(m.one(I64, I64, I32) if dtype else I64)
    return m.known(data) if m.flip() else m.given(data)


@recipe("GatherElements")
def gather_elements(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4), lambda v: 0 not in v.shape)
    axis = plain_axis(m, x)
    shape = [m.below(1, n) for n in x.shape]
    shape[axis] = m.one(1, 2, 3)
    m.emit(operator, [x, _indices(m, tuple(shape), x.shape[axis])], axis=axis)


@recipe("GatherND")
def gather_nd(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 4), lambda v: 0 not in v.shape)
    batch = m.below(0, x.rank - 1) if m.opset >= 12 else 0
    depth = m.below(1, x.rank - batch)
    shape = (*x.shape[:batch], *m.shape(0, 2), depth)
    extent = min(x.shape[batch : batch + depth], default=1)
    m.emit(
        operator,
        [x, _indices(m, shape, max(extent, 1), False)],
        m.maybe(batch_dims=batch) if batch == 0 else {"batch_dims": batch},
    )


@recipe("ScatterElements", "Scatter")
def scatter_elements(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 3), lambda v: 0 not in v.shape)
    axis = plain_axis(m, x)
    shape = [m.below(1, n) for n in x.shape]
    shape[axis] = 1
    reduction = {"reduction": m.one("none", "add")} if m.opset >= 16 else {}
    indices = _indices(m, tuple(shape), x.shape[axis])
    m.emit(operator, [x, indices, m.like(x, shape)], {"axis": axis} | reduction)


@recipe("ScatterND")
def scatter_nd(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 3), lambda v: 0 not in v.shape)
    depth = m.below(1, x.rank)
    indices = _indices(m, (1, depth), min(x.shape[:depth]), False)
    m.emit(operator, [x, indices, m.like(x, (1, *x.shape[depth:]))])


@recipe("Compress")
def compress(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 3))
    axis = plain_axis(m, x)
    keep = m.array(np.dtype("?"), (x.shape[axis],))
    condition = m.known(keep) if m.flip(0.7) else m.given(keep)
    m.emit(operator, [x, condition], axis=axis)


@recipe("CenterCropPad")
def crop(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (1, 3))
    axes = axes_of(m, x, 1)
    m.emit(operator, [x, m.integers(*(m.below(1, 6) for _ in axes))], axes=axes)


@recipe("DepthToSpace", "SpaceToDepth")
def blocks(m: Maker, operator: str) -> None:
    dtype, size = m.dtype(m.allowed(operator)), m.one(1, 2, 3)
    n, c, h, w = (m.one(1, 2, 3) for _ in range(4))
    if operator == "DepthToSpace":
        attributes = m.maybe(mode=m.one("DCR", "CRD")) if m.opset >= 11 else {}
        x = m.fresh(dtype, (n, c * size * size, h, w))
        m.emit(operator, [x], attributes | {"blocksize": size})
    else:
        m.emit(operator, [m.fresh(dtype, (n, c, h * size, w * size))], blocksize=size)


@recipe("ReverseSequence")
def reverse_sequence(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (2, 4))
    time, batch = m.one((0, 1), (1, 0))
    lengths = [m.below(1, max(1, x.shape[time])) for _ in range(x.shape[batch])]
    m.emit(operator, [x, m.integers(*lengths)], time_axis=time, batch_axis=batch)


@recipe("Trilu")
def trilu(m: Maker, operator: str) -> None:
    x = m.pick(m.allowed(operator), (2, 4))
    k = m.known(np.array(m.below(-3, 3))) if m.flip() else None
    m.emit(operator, [x, k], m.maybe(upper=m.below(0, 1)))


@recipe("OneHot")
def one_hot(m: Maker, operator: str) -> None:
    x = m.pick([I64, I32], (0, 3))
    depth = m.known(np.array(m.one(1, 3, 5), np.int64))
    values = m.fresh(m.dtype(m.allowed(operator, 2)), (2,))
    m.emit(operator, [x, depth, values], m.maybe(axis=m.below(-x.rank - 1, x.rank)))
