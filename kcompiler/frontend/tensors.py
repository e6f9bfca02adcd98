"""ONNX tensors as numpy arrays: sizes are checked before allocation, weights are not copied."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from kcompiler.errors import ModelError, UnsupportedError
from kcompiler.frontend.external import ExternalData
from kcompiler.graph.node import Array
from kcompiler.graph.types import is_float

# Bits of the types that share bytes; all others fill whole bytes.
_PACKED: dict[int, int] = {
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.UINT2: 2,
    TensorProto.INT2: 2,
}
# Where values live, and as what, when they are not in raw_data.
_INT32_DATA: tuple[str, type[np.generic]] = ("int32_data", np.int32)
_TYPED_FIELD: dict[int, tuple[str, type[np.generic]]] = {
    TensorProto.FLOAT: ("float_data", np.float32),
    TensorProto.COMPLEX64: ("float_data", np.float32),
    TensorProto.DOUBLE: ("double_data", np.float64),
    TensorProto.COMPLEX128: ("double_data", np.float64),
    TensorProto.INT64: ("int64_data", np.int64),
    TensorProto.UINT32: ("uint64_data", np.uint64),
    TensorProto.UINT64: ("uint64_data", np.uint64),
}
_NO_NUMBERS = {TensorProto.STRING, TensorProto.UNDEFINED}
_MAX_RANK = 64  # numpy's limit


def check_rank(rank: int, where: str = "") -> None:
    """Raise `UnsupportedError` for more dimensions than an array of numpy has."""
    if rank > _MAX_RANK:
        raise UnsupportedError(
            f"a tensor has {rank} dimensions", where, f"at most {_MAX_RANK} can be held in memory"
        )


def numpy_dtype(elem_type: int, where: str) -> np.dtype[Any]:
    """The element type that an ONNX number stands for; raises `UnsupportedError` for others."""
    names = TensorProto.DataType
    if elem_type not in names.values() or elem_type in _NO_NUMBERS:
        raise UnsupportedError(
            f"{where} has the element type {_type_name(elem_type)}",
            why="a tensor for an NPU holds numbers",
            fix="cut the model where it begins to compute with numbers",
        )
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    return np.dtype(np.bool_) if elem_type == TensorProto.BOOL else dtype


def _type_name(elem_type: int) -> str:
    known = elem_type in TensorProto.DataType.values()
    return TensorProto.DataType.Name(elem_type) if known else f"number {elem_type}"


def decode(tensor: TensorProto, external: ExternalData, raw: memoryview | None = None) -> Array:
    """The value of a tensor, read-only; a view of `raw`, of the external file or of `raw_data`.

    `raw` stands in for a `raw_data` that was cut out of the message.
    """
    where = f"tensor {tensor.name!r}" if tensor.name else "an unnamed tensor"
    dtype = numpy_dtype(tensor.data_type, where)
    shape = _checked_shape(tensor, where)
    if tensor.HasField("segment"):
        raise ModelError(f"{where} is stored in segments", why="ONNX defines no meaning for that")
    bits = _PACKED.get(tensor.data_type, 8 * dtype.itemsize)
    nbytes = (math.prod(shape) * bits + 7) // 8
    if tensor.data_location == TensorProto.EXTERNAL:
        data: bytes | memoryview = external.read(tensor, nbytes, where)
    elif raw is not None or tensor.HasField("raw_data"):
        data = tensor.raw_data if raw is None else raw
        _check_amount(where, tensor, nbytes, len(data), "bytes")
    else:
        return _read_only(_from_typed_field(tensor, dtype, shape, where))
    return _read_only(_from_bytes(data, dtype, bits, math.prod(shape)).reshape(shape))


def _read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _checked_shape(tensor: TensorProto, where: str) -> tuple[int, ...]:
    shape = tuple(tensor.dims)
    if any(extent < 0 for extent in shape) or len(shape) > _MAX_RANK:
        raise ModelError(f"{where} has the impossible shape {list(shape)}")
    if math.prod(shape) > sys.maxsize:
        raise ModelError(f"{where} of shape {list(shape)} fits into no memory")
    return shape


def _check_amount(where: str, tensor: TensorProto, needed: int, found: int, unit: str) -> None:
    if needed == found:
        return
    kind = TensorProto.DataType.Name(tensor.data_type).lower()
    raise ModelError(
        f"{where} is damaged: it holds {found:,} {unit} of {needed:,}",
        why=f"it declares {kind}{list(tensor.dims)}",
        fix="export the model again, or copy it again: the file is cut short or was edited",
    )


def _from_bytes(data: bytes | memoryview, dtype: np.dtype[Any], bits: int, count: int) -> Array:
    if dtype == np.bool_:
        return np.asarray(np.frombuffer(data, np.uint8) != 0)
    if bits < 8:
        codes = unpack(np.frombuffer(data, np.uint8), bits, count)
        # ml_dtypes keeps the bits of a float, but the value of an integer, in a byte of its own.
        return codes.view(dtype) if is_float(dtype) else codes.astype(dtype)
    stored = dtype if sys.byteorder == "little" else dtype.newbyteorder("<")
    return np.asarray(np.frombuffer(data, stored))


def unpack(data: Array, bits: int, count: int) -> Array:
    """Packed 2-bit or 4-bit codes, lowest bits first, as one unsigned byte each."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (data[:, None] >> shifts) & ((1 << bits) - 1)
    result: Array = codes.reshape(-1)[:count].astype(np.uint8)
    return result


def _from_typed_field(
    tensor: TensorProto, dtype: np.dtype[Any], shape: tuple[int, ...], where: str
) -> Array:
    name, stored = _TYPED_FIELD.get(tensor.data_type, _INT32_DATA)
    field = getattr(tensor, name)
    bits = _PACKED.get(tensor.data_type, 8)
    size = math.prod(shape)
    per_value = 2 if dtype.kind == "c" else 1
    _check_amount(where, tensor, (size * per_value * bits + 7) // 8, len(field), "values")
    values = np.array(field, stored)
    return _from_values(values, dtype, bits, size).reshape(shape)


def _from_values(values: Array, dtype: np.dtype[Any], bits: int, size: int) -> Array:
    if not size:
        return np.zeros(0, dtype)
    if bits < 8:
        return _from_bytes(values.astype(np.uint8).tobytes(), dtype, bits, size)
    if dtype.kind == "c":
        return np.asarray(values.view(dtype))
    if dtype.name.startswith(("float16", "bfloat16", "float8_", "float6_")):
        # int32_data holds the bits, not the number.
        unsigned = np.dtype(f"u{dtype.itemsize}")
        return values.astype(unsigned).view(dtype)
    return values.astype(dtype)
