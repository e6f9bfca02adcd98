"""Faults of vector work, and of instructions as bytes and text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from pytest import MonkeyPatch  # noqa: PT013 - a type

from kcompiler.machine.encoding import EncodingError
from kcompiler.machine.simulator import elementwise
from kcompiler.machine.target import Target
from kcompiler.scalar import apply, convert
from kcompiler.targets.rebel import isa
from tests.conformance.planted import each, mutant, mutated

# ---------------- vector work


def constants(change: Callable[[float], float]) -> Callable[[Any], Any]:
    """Float constants of a micro-program are others."""

    def step(micro: isa.Micro) -> isa.Micro:
        if micro.function != "const" or micro.dtype != "f32":
            return micro
        value = float(np.array(micro.immediate, np.uint64).view(np.float64))
        bits = int(np.array(change(value), np.float64).view(np.uint64))
        return replace(micro, immediate=bits)

    def made(nest: isa.VectorNest) -> isa.VectorNest:
        return replace(nest, result=tuple(map(step, nest.result)), body=tuple(map(step, nest.body)))

    return made


@mutant("wrong requantize shift", "operators", "quantized")
def shift(_: MonkeyPatch) -> Target:
    halved = constants(lambda v: v / 2 if 0 < abs(v) < 1 else v)
    return mutated(change=each(isa.VectorNest)(halved))


@mutant("zero point off by one", "operators", "quantized")
def zero_point(_: MonkeyPatch) -> Target:
    later = constants(lambda v: v + 1 if v in {-7.0, 3.0, 128.0} else v)
    return mutated(change=each(isa.VectorNest)(later))


def scalar(patch: MonkeyPatch, name: str, wrong: Callable[..., Any]) -> Target:
    """One scalar function means something else on the chip."""

    def other(function: str, dtype: Any, *values: Any) -> Any:
        return wrong(*values).astype(dtype) if function == name else apply(function, dtype, *values)

    patch.setattr(elementwise, "apply", other)
    return mutated()


@mutant("halves rounded away from zero", "operators", "quantized")
def rounding(patch: MonkeyPatch) -> Target:
    return scalar(patch, "round", lambda x: np.floor(np.asarray(x, np.float32) + np.float32(0.5)))


@mutant("NaN lost in a maximum", "operators", "elementwise")
def lost_nan(patch: MonkeyPatch) -> Target:
    return scalar(patch, "max", np.fmax)


@mutant("operands exchanged", "operators", "elementwise")
def exchanged(patch: MonkeyPatch) -> Target:
    return scalar(patch, "sub", lambda x, y: np.subtract(y, x))


@mutant("wrapped, not saturated", "operators", "elementwise")
def wrapped(patch: MonkeyPatch) -> Target:
    def wrong(x: Any, dtype: np.dtype[Any]) -> Any:
        if x.dtype == np.float32 and dtype.kind in "iu" and dtype.itemsize == 1:
            return np.nan_to_num(x, nan=0, posinf=0, neginf=0).astype(np.int64).astype(dtype)
        return convert(x, dtype)

    def other(function: str, dtype: Any, *values: Any) -> Any:
        return (
            wrong(np.asarray(values[0]), dtype)
            if function == "cast"
            else apply(function, dtype, *values)
        )

    patch.setattr(elementwise, "convert", wrong)
    patch.setattr(elementwise, "apply", other)
    return mutated()


def unsigned(work: isa.MatrixContract) -> isa.MatrixContract:
    """Bytes with a sign are read without."""
    return replace(work, type_b="u8") if work.type_b == "i8" else work


@mutant("wrong sign extension of data", "operators", "products")
def sign_of_data(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(unsigned))


# ---------------- bytes and text


def recoded(**methods: Any) -> Target:
    """Rebel with other class methods of its instruction set."""
    faulty: Any = type("Faulty", (isa.Rebel,), {"__doc__": "Rebel's.", **methods})
    return mutated(isa=faulty)


def decoded(change: Callable[[Any], Any]) -> Target:
    """What is decoded, changed."""

    def decode(_: Any, buffer: Any, offset: int = 0) -> Any:
        made, size = isa.Rebel.decode(buffer, offset)
        return change(made), size

    return recoded(decode=classmethod(decode))


@mutant("decode of a field one bit short", "encoding")
def short_field(_: MonkeyPatch) -> Target:
    return decoded(
        lambda x: replace(x, local=x.local & 0x7FFFFF) if isinstance(x, isa.NeuralDma) else x
    )


@mutant("wrong sign extension of a field", "encoding", slow=True)
def sign_of_field(_: MonkeyPatch) -> Target:
    def wrong(x: Any) -> Any:
        if not isinstance(x, isa.NdmaStore):
            return x
        dims = tuple(replace(d, stride=abs(d.stride) % (1 << 39)) for d in x.dims)
        return replace(x, dims=dims)

    return decoded(wrong)


@mutant("padding bits ignored", "encoding")
def loose(_: MonkeyPatch) -> Target:
    def decode(_: Any, buffer: Any, offset: int = 0) -> Any:
        try:
            return isa.Rebel.decode(buffer, offset)
        except EncodingError as error:
            if "padding" not in error.reason:
                raise
            return isa.SyncWait(queue="matrix", on="matrix", count=0, all_cores=0), 8

    return recoded(decode=classmethod(decode))


@mutant("garbage is a crash", "encoding")
def crash(_: MonkeyPatch) -> Target:
    def decode(_: Any, buffer: Any, offset: int = 0) -> Any:
        try:
            return isa.Rebel.decode(buffer, offset)
        except EncodingError as error:
            raise IndexError(str(error)) from None

    return recoded(decode=classmethod(decode))


@mutant("text leaves a field out", "encoding")
def silent_text(patch: MonkeyPatch) -> Target:
    right = isa.NdmaLoad.__str__
    patch.setattr(isa.NdmaLoad, "__str__", lambda x: right(replace(x, fill=0)))
    return mutated()


@mutant("two mnemonics are one", "encoding")
def clash(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.NdmaStore, "mnemonic", isa.NdmaLoad.mnemonic)
    return mutated()


@mutant("encoder and decoder changed alike", "encoding")
def new_encoding(_: MonkeyPatch) -> Target:
    """No law of round trips sees it: what was written before does."""

    def encode(_: Any, instruction: Any) -> bytes:
        data = isa.Rebel.encode(instruction)
        return bytes([data[0] ^ 0x80]) + data[1:]

    def decode(_: Any, buffer: Any, offset: int = 0) -> Any:
        data = bytearray(buffer)
        if offset < len(data):
            data[offset] ^= 0x80
        return isa.Rebel.decode(bytes(data), offset)

    return recoded(encode=classmethod(encode), decode=classmethod(decode))
