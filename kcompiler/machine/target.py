"""What a target is: a chip, its instructions, what it takes, and how kernels become programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from kcompiler.graph.node import Op
from kcompiler.graph.operators.structure import Fused
from kcompiler.kernel.statements import Kernel
from kcompiler.machine.chip import Chip
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import Binding

FLOATS = ("f16", "bf16", "f32")
INTEGERS = ("int8", "mixed")
"""Precisions of integers; `mixed` keeps the most sensitive layers in a float type."""
CALIBRATED = (*INTEGERS, "fp8")
"""Precisions that need calibration; fp8 multiplies 8-bit floats (e4m3)."""
WEIGHTS = {"int8-weights": "int8", "int4-weights": "int4", "fp8-weights": "fp8"}
"""Precisions that narrow weights alone, and to what."""

Constraint: TypeAlias = Callable[[Op], bool]
"""True when the operator may run; the docstring is the reason shown to the user when it may not."""


@dataclass(frozen=True)
class Target(ABC):
    """One NPU.

    Register an instance under the entry-point group `kcompiler.targets`, or as a folder of
    targets/.
    """

    name: str
    chip: Chip
    isa: type[Isa]
    precisions: tuple[str, ...]  # the first is the default
    constraints: tuple[Constraint, ...]
    integer_only: bool = field(default=False, kw_only=True)
    """Nothing but 8-bit integers may lie between kernels: int8 quantizes all tensors there."""

    measured: Path | None = field(default=None, kw_only=True)
    """A file with published measurements and what was predicted for them (`machine.measured`)."""

    @property
    def float_type(self) -> str:
        """What tensors are that are no integers: the first float precision, or float32's."""
        return next((name for name in self.precisions if name in FLOATS), "f32")

    def refusal(self, op: Op) -> str | None:
        """Why `op` cannot run on this NPU, or None.

        It is the docstring of the first constraint that is broken, and the types of what breaks
        it. A kernel runs when everything in it does.
        """
        parts = (op, *(n for n in op.body.nodes if n.operands)) if isinstance(op, Fused) else (op,)
        for each in parts:
            for constraint in self.constraints:
                if not constraint(each):
                    rule = " ".join((constraint.__doc__ or constraint.__name__).split())
                    return f"{rule} {_here(each)}"
        return None

    @abstractmethod
    def lower(
        self,
        kernel: Kernel,
        bindings: Mapping[str, Binding],
        addresses: Mapping[str, tuple[int, ...]],
    ) -> Sequence[Isa]:
        """The kernel's instructions in program order, without waits.

        `bindings`: operand name -> the dense buffer it views (the operand's own offset and strides
        apply on top). `addresses`: buffer name -> its address(es) in the scratchpad, two for a
        double buffer.
        """

    @abstractmethod
    def wait(self, queue: str, engine: str, count: int, all_cores: bool) -> Isa:
        """An instruction that holds `queue` until `engine` has completed so many of the program."""


def _here(op: Op) -> str:
    """The types of an operator, as in "(Here f64[4] and f32[] give f64[4].)"."""
    given = " and ".join(dict.fromkeys(str(each.type) for each in op.operands))
    return f"(Here {given} give {op.type}.)" if given else f"(Here {op.type}.)"
