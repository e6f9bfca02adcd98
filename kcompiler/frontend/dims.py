"""Open dimensions of a model's inputs, and how the caller fixes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from onnx import TensorProto, TypeProto, ValueInfoProto

from kcompiler.errors import KcompilerError, UnsupportedError, UsageError
from kcompiler.frontend.tensors import check_rank, numpy_dtype
from kcompiler.graph.types import TensorType

# Names that exporters write where they mean "some extent", not "the same extent as elsewhere".
_ANONYMOUS = {"", "?", "-1", "None", "none", "unk"}
_MOST = (1 << 63) - 1  # what an extent of ONNX can be


@dataclass(frozen=True)
class Open:
    """A dimension that the model leaves open; INPUT.AXIS is another name for it."""

    name: str
    input: str
    axis: int

    @property
    def place(self) -> str:
        return f"{self.input}.{self.axis}"


@dataclass(frozen=True)
class Declared:
    """A model's input as it is declared; `shape` is None where not even the rank is."""

    name: str
    elem_type: int
    shape: tuple[int | Open, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name}[any shape]"
        dims = (d.name if isinstance(d, Open) else str(d) for d in self.shape)
        return f"{self.name}[{', '.join(dims)}]"


def declared_input(info: ValueInfoProto) -> Declared:
    """An input as the model declares it; raises `UnsupportedError` unless it is a tensor."""
    if not info.type.HasField("tensor_type"):
        kind = info.type.WhichOneof("value") or "no type"
        raise UnsupportedError(
            f"input {info.name!r} is not a tensor but {kind.removesuffix('_type')}",
            why="a compiled model takes tensors",
            fix="cut the model where it begins to compute with tensors",
        )
    tensor = info.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(_dimension(info.name, i, d) for i, d in enumerate(tensor.shape.dim))
    return Declared(info.name, tensor.elem_type, shape)


def _dimension(name: str, axis: int, dim: object) -> int | Open:
    kind = dim.WhichOneof("value")  # type: ignore[attr-defined]
    if kind == "dim_value" and dim.dim_value >= 0:  # type: ignore[attr-defined]
        return int(dim.dim_value)  # type: ignore[attr-defined]
    symbol = dim.dim_param if kind == "dim_param" else ""  # type: ignore[attr-defined]
    return Open(f"{name}.{axis}" if symbol in _ANONYMOUS else symbol, name, axis)


def open_dims(inputs: Sequence[Declared]) -> list[Open]:
    """All open dimensions, in the order of the inputs."""
    return [d for i in inputs for d in i.shape or () if isinstance(d, Open)]


def fix_dims(
    inputs: Sequence[Declared], dims: Mapping[str, int], shapes: Mapping[str, Sequence[int]]
) -> tuple[dict[str, TensorType], dict[str, int]]:
    """The type of every input and the extent of every open dimension; raises `UsageError`."""
    _check_names(inputs, dims, shapes)
    extents = _Extents(dims)
    for declared in inputs:
        if declared.name in shapes:
            _apply_shape(declared, shapes[declared.name], extents)
    missing = [d for d in open_dims(inputs) if extents.of(d) is None]
    if missing or any(i.shape is None and i.name not in shapes for i in inputs):
        raise _missing(inputs, missing, shapes)
    types = {i.name: _fixed(i, shapes, extents) for i in inputs}
    return types, {d.name: extents.known[d.name] for d in open_dims(inputs)}


class _Extents:
    """What is known of each dimension, and who said so."""

    def __init__(self, dims: Mapping[str, int]) -> None:
        self.known: dict[str, int] = {}
        self.said: dict[str, str] = {}
        self.dims = dims

    def of(self, dim: Open) -> int | None:
        for name in (dim.name, dim.place):
            if name in self.dims:
                self.set(dim, self.dims[name], f"--dim {name}={self.dims[name]}")
        return self.known.get(dim.name)

    def set(self, dim: Open, extent: int, said: str) -> None:
        old = self.known.setdefault(dim.name, extent)
        if old != extent:
            raise UsageError(
                f"dimension {dim.name!r} cannot be both {old} and {extent}",
                why=f"{self.said[dim.name]} contradicts {said}",
                fix="give each dimension one extent",
            )
        self.said.setdefault(dim.name, said)


def _apply_shape(declared: Declared, shape: Sequence[int], extents: _Extents) -> None:
    said = f"--shape {declared.name}={','.join(map(str, shape))}"
    pattern = declared.shape if declared.shape is not None else shape
    fits = len(pattern) == len(shape) and all(
        isinstance(dim, Open) or dim == extent for dim, extent in zip(pattern, shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"shape {list(shape)} does not fit input {declared.name!r}",
            why=f"the model declares {declared}",
            fix="give as many extents, the fixed ones as they are",
        )
    for dim, extent in zip(pattern, shape, strict=True):
        if isinstance(dim, Open):
            extents.set(dim, extent, said)


def _fixed(
    declared: Declared, shapes: Mapping[str, Sequence[int]], extents: _Extents
) -> TensorType:
    dtype = numpy_dtype(declared.elem_type, f"input {declared.name!r}")
    pattern = declared.shape if declared.shape is not None else shapes[declared.name]
    check_rank(len(pattern), f"input {declared.name!r}")
    return TensorType(
        dtype, tuple(extents.known[d.name] if isinstance(d, Open) else int(d) for d in pattern)
    )


def _check_names(
    inputs: Sequence[Declared], dims: Mapping[str, int], shapes: Mapping[str, Sequence[int]]
) -> None:
    names = [n for d in open_dims(inputs) for n in (d.name, d.place)]
    for name, extent in dims.items():
        if name not in names:
            shown = list(dict.fromkeys(d.name for d in open_dims(inputs)))
            raise _unknown("dimension", name, shown, names)
        _check_extent(f"dimension {name!r}", extent)
    for name, shape in shapes.items():
        known = [i.name for i in inputs]
        if name not in known:
            raise _unknown("input", name, known, known)
        for extent in shape:
            _check_extent(f"a dimension of input {name!r}", extent)


def _check_extent(what: str, extent: int) -> None:
    if not 0 <= extent <= _MOST:
        raise UsageError(f"{what} cannot be {extent}", fix=f"give an extent of 0 to {_MOST:,}")


def _unknown(kind: str, name: str, shown: list[str], names: list[str]) -> KcompilerError:
    near = get_close_matches(name, names, 1)
    if not shown:
        why, fix = f"all {kind}s of the model are fixed", "leave the option out"
    else:
        why = f"its {kind}s are " if kind == "input" else "the open ones are "
        why += ", ".join(shown)
        fix = f"write {near[0]}" if near else f"use one of these {kind}s"
    return UsageError(f"the model has no {kind} {name!r}", why=why, fix=fix)


def _missing(
    inputs: Sequence[Declared], missing: Sequence[Open], shapes: Mapping[str, Sequence[int]]
) -> UsageError:
    """The error that says which dimensions are open, with options that would fix them."""
    places = {i.name: len(i.shape or ()) for i in inputs}
    options: dict[str, str] = {}
    for dim in missing:
        options.setdefault(dim.name, f"--dim {dim.name}={_guess(dim, places[dim.input])}")
    ranks = [i.name for i in inputs if i.shape is None and i.name not in shapes]
    flags = [*options.values(), *(f"--shape {name}=1,3,224,224" for name in ranks)]
    names = [*options, *(f"the shape of {name}" for name in ranks)]
    open_inputs = {d.input for d in missing} | set(ranks)
    return UsageError(
        f"the model leaves open: {', '.join(names)}",
        why="an NPU's program has fixed shapes, and the inputs are "
        + ", ".join(str(i) for i in inputs if i.name in open_inputs),
        fix="fix them, for example " + " ".join(flags),
    )


def _guess(dim: Open, rank: int) -> int:
    """An extent for the example: batch 1, images of 224, everything else 128."""
    if dim.axis == 0:
        return 1
    return 224 if rank == 4 and dim.axis >= 2 else 128


def declared_shape(type_: TypeProto) -> tuple[int, ...] | None:
    """The static shape that a type declares, or None where any of it is open."""
    tensor = type_.tensor_type
    if not type_.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    if any(d.WhichOneof("value") != "dim_value" or d.dim_value < 0 for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def is_open(type_: TypeProto) -> bool:
    """Whether a declared type is no tensor of numbers, so that only the host can hold it."""
    kind = type_.WhichOneof("value")
    if kind == "tensor_type":
        return bool(type_.tensor_type.elem_type == TensorProto.STRING)
    return kind is not None


def type_name(type_: TypeProto) -> str:
    """A declared type as onnxruntime writes it, without shapes: `seq(tensor(float))`."""
    kind = type_.WhichOneof("value") or ""
    if kind == "tensor_type":
        return f"tensor({_element_name(type_.tensor_type.elem_type)})"
    if kind == "sparse_tensor_type":
        return f"sparse_tensor({_element_name(type_.sparse_tensor_type.elem_type)})"
    if kind == "map_type":
        key = _element_name(type_.map_type.key_type)
        return f"map({key},{type_name(type_.map_type.value_type)})"
    if kind == "sequence_type":
        return f"seq({type_name(type_.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({type_name(type_.optional_type.elem_type)})"
    return "unknown"


def _element_name(elem_type: int) -> str:
    names = TensorProto.DataType
    name = names.Name(elem_type).lower() if elem_type in names.values() else "undefined"
    return name.replace("_", "")
