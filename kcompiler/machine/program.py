"""Programs: the bytes that a chip runs, and what they need around them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Binding:
    """A dense row-major tensor at an address of a shared memory."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    memory: str
    address: int

    @property
    def nbytes(self) -> int:
        """Bytes that the tensor takes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class KernelInfo:
    """Where one kernel's instructions stand in the program, and what they are for.

    `output` is the binding that the kernel writes and `inputs` those that it reads, so that a tool
    can check it alone; `origins` are ONNX node names.
    """

    name: str
    origins: tuple[str, ...]
    first: int
    count: int
    macs: int
    inputs: tuple[Binding, ...]
    output: Binding


@dataclass(frozen=True)
class Program:
    """A static program of one chip: SPMD code, where tensors lie, how much of each memory it uses.

    `constants` are stored before the program starts; `used` maps memory name -> highest byte used
    + 1 (per core for per-core memories).
    """

    target: str
    code: bytes
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    constants: tuple[Binding, ...]
    values: Mapping[str, np.ndarray[Any, np.dtype[Any]]]  # constant name -> data
    kernels: tuple[KernelInfo, ...]
    used: Mapping[str, int]
