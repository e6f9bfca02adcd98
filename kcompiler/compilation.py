"""What a compilation consists of, on its way to a package: segments in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from kcompiler.graph.node import Array, Graph
from kcompiler.graph.types import OpenType, TensorType
from kcompiler.machine.program import Program

if TYPE_CHECKING:
    from kcompiler.buckets.bucket import Buckets


@dataclass(frozen=True)
class NpuSegment:
    """A program and the graph of `Fused` nodes that it was made from (kernel i = fused node i).

    The program's inputs and outputs carry the names of the model's values; `graph` is absent when
    the segment was read from a package.
    """

    program: Program
    graph: Graph | None = None


@dataclass(frozen=True)
class HostSegment:
    """Operators on the host: an ONNX model whose inputs and outputs carry the values' names.

    `beside` are those ONNX nodes that the NPU could run, and that are here because of what is next
    to them; like a program's graph they are not known of a package.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[tuple[str, str, str], ...]  # (ONNX node name, operator, why not)
    beside: frozenset[str] = field(default=frozenset(), compare=False)


Segment: TypeAlias = NpuSegment | HostSegment

CONVERSIONS = ("Cast", "QuantizeLinear", "DequantizeLinear")
"""Operators that change how numbers are stored: the host's at the inputs and outputs of a model."""


@dataclass(frozen=True)
class Compilation:
    """A compiled model: its interface, its segments, and what was decided on the way."""

    model: str  # file name, without its folder
    target: str
    precision: str
    inputs: tuple[tuple[str, TensorType | OpenType], ...]
    outputs: tuple[tuple[str, TensorType | OpenType], ...]
    segments: tuple[Segment, ...]
    graph: Graph | None = None  # as imported, before any pass: the reference in float32
    notes: tuple[str, ...] = ()  # what was cast, padded, clamped: nothing is silent
    facts: Mapping[str, Any] = field(default_factory=dict)  # of JSON; `quantization`: its report
    values: Mapping[str, Array] = field(default_factory=dict)  # inputs of the model made constants
    deciding: tuple[str, ...] = ()  # inputs that nodes wanted to know: shapes follow from them
    buckets: Buckets | None = None  # programs for other extents; this one is the largest
    witness: Mapping[str, Array] = field(default_factory=dict)  # calibration data to verify with
