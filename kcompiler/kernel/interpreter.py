"""Regions and kernels run as written, in numpy; shares no code with the machine's simulator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kcompiler.graph.node import Array
from kcompiler.graph.types import BOOL, is_float
from kcompiler.kernel.evaluate import COMBINE, evaluate, strided, written
from kcompiler.kernel.nest import Operand, Region
from kcompiler.kernel.statements import Alloc, Box, Compute, Copy, For, Kernel, Statement
from kcompiler.scalar import convert, lowest


def run_region(region: Region, operands: Mapping[str, Array]) -> Array:
    """The output of a region, in its output's shape.

    `operands` gives for each input and constant the dense buffer that it is a view of, in any
    shape.
    """
    tensors = tensors_of(region.operands, operands)
    for nest in region.nests:
        written(nest, tensors)[...] = evaluate(nest, tensors)
    return tensors[region.output.name]


def run_kernel(kernel: Kernel, operands: Mapping[str, Array]) -> Array:
    """The output of a kernel, tile by tile and core after core; `operands` as in `run_region`.

    Memory that nothing was written to holds NaN, or the smallest integer.
    """
    tensors = tensors_of(kernel.operands, operands)
    _run(kernel.body, tensors, {})
    return next(tensors[o.name] for o in kernel.operands if o.role == "output")


def tensors_of(operands: tuple[Operand, ...], given: Mapping[str, Array]) -> dict[str, Array]:
    """Every operand as an array: views of what is given, new memory for locals and the output."""
    return {
        o.name: strided(np.ascontiguousarray(given[o.name]), o)
        if o.role in {"input", "constant"}
        else unwritten(o.dtype, o.shape)
        for o in operands
    }


def unwritten(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    """Memory before anything is written to it."""
    if is_float(dtype):
        return np.full(shape, np.nan, dtype)
    return np.full(shape, False if dtype == BOOL else lowest(dtype), dtype)


def _run(body: tuple[Statement, ...], outer: dict[str, Array], point: dict[str, int]) -> None:
    tensors = dict(outer)
    for statement in body:
        match statement:
            case Alloc():
                tensors[statement.name] = unwritten(statement.dtype, statement.shape)
            case Copy():
                _copy(statement, tensors, point)
            case Compute():
                _compute(statement, tensors, point)
            case For(var=var, extent=extent):
                for i in range(extent):
                    _run(statement.body, tensors, {**point, var: i})


def _compute(statement: Compute, tensors: dict[str, Array], point: Mapping[str, int]) -> None:
    nest = statement.nest
    target = written(nest, tensors)
    value = evaluate(nest, tensors)
    if statement.carry is not None and point[statement.carry] > 0:
        with np.errstate(all="ignore"):
            value = convert(np.asarray(COMBINE[nest.combine](target, value)), target.dtype)
    target[...] = value


def _copy(statement: Copy, tensors: dict[str, Array], point: Mapping[str, int]) -> None:
    src, dst = tensors[statement.src.tensor], tensors[statement.dst.tensor]
    places = positions(statement.src, point)
    if statement.indirect is not None:
        dimension, indices = statement.indirect
        chosen = tensors[indices].astype(np.int64)
        places[dimension] = np.where(chosen < 0, chosen + src.shape[dimension], chosen)
    shape = tuple(len(p) for p in places)
    values = np.full(shape, convert(np.asarray(statement.fill), dst.dtype))
    valid = [(p >= 0) & (p < n) for p, n in zip(places, src.shape, strict=True)]
    inside = [p[v] for p, v in zip(places, valid, strict=True)]
    values[np.ix_(*valid)] = src[np.ix_(*inside)]
    _store(values, statement.dst, dst, point)


def _store(values: Array, box: Box, dst: Array, point: Mapping[str, int]) -> None:
    """Write a box; positions outside the tensor are dropped."""
    places = positions(box, point)
    valid = [(p >= 0) & (p < n) for p, n in zip(places, dst.shape, strict=True)]
    inside = [p[v] for p, v in zip(places, valid, strict=True)]
    dst[np.ix_(*inside)] = values[np.ix_(*valid)]


def positions(box: Box, point: Mapping[str, int]) -> list[Array]:
    """The indices that a box takes in each dimension."""
    parts = zip(box.origin, box.step, box.shape, strict=True)
    return [origin.at(point) + step * np.arange(n) for origin, step, n in parts]
