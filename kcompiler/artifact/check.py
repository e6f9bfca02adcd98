"""The checks of a manifest: typed access, dataflow, and code that decodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from kcompiler.compilation import NpuSegment
from kcompiler.errors import PackageError
from kcompiler.graph.types import OpenType, TensorType, parse_dtype
from kcompiler.machine.instruction import EncodingError

if TYPE_CHECKING:
    from kcompiler.compilation import Compilation, Segment
    from kcompiler.machine.program import Program
    from kcompiler.machine.target import Target
    from kcompiler.package import Package

WHAT = "the package does not hold a program that can run"
FIX = "compile the model again with this version of kcompiler"
_Known: TypeAlias = TensorType | OpenType | None  # None: the host knows the type
MAX_RANK = 64
MAX_ELEMENTS = 1 << 40


def fail(origin: str, why: str) -> NoReturn:
    """Raise the error of a package that is well-formed and wrong."""
    raise PackageError(WHAT, origin, why, FIX)


@dataclass(frozen=True)
class Check:
    """Fields of a package's manifest by path, each checked for its type and range."""

    package: Package

    @property
    def origin(self) -> str:
        """The file, for messages."""
        return self.package.origin

    def text(self, *at: str | int) -> str:
        """A string."""
        return self.package.require(*at, kind=str)

    def texts(self, *at: str | int) -> list[str]:
        """A list of strings."""
        return [self.text(*at, i) for i in range(self.length(*at))]

    def number(self, *at: str | int, high: int = 1 << 48) -> int:
        """A whole number from 0 to `high`."""
        return self.package.require(*at, kind=int, low=0, high=high)

    def length(self, *at: str | int) -> int:
        """The length of a list."""
        return len(self.package.require(*at, kind=list))

    def any_type(self, *at: str | int) -> TensorType | OpenType:
        """The type of an input or output: the field `type` stands for what only the host holds."""
        if "type" in self.package.require(*at, kind=dict):
            return OpenType(self.text(*at, "type"))
        return self.type(*at)

    def type(self, *at: str | int) -> TensorType:
        """The fields `dtype` and `shape` of an object."""
        name = self.text(*at, "dtype")
        rank = len(self.package.require(*at, "shape", kind=list, high=MAX_RANK))
        shape = tuple(self.number(*at, "shape", i) for i in range(rank))
        try:
            found = TensorType(parse_dtype(name), shape)
        except (KeyError, TypeError):
            fail(self.origin, f"there is no element type {name!r:.40}")
        if found.size > MAX_ELEMENTS:
            fail(self.origin, f"a tensor of {found.size} elements is beyond {MAX_ELEMENTS}")
        return found


def check_code(program: Program, target: Target, where: str, origin: str) -> None:
    """Every byte of the code is part of an instruction, and each of these belongs to one kernel."""
    try:
        count = len(target.isa.decode_program(program.code))
    except EncodingError as error:
        fail(origin, f"the code of {where} does not decode: {error}")
    end = 0
    for kernel in program.kernels:
        if kernel.first != end:
            why = f"kernel {kernel.name!r:.60} begins at instruction {kernel.first}, not at {end}"
            fail(origin, f"{where}: {why}")
        end += kernel.count
    if end != count:
        fail(origin, f"{where}: the kernels have {end} instructions, the code has {count}")


def check_dataflow(compilation: Compilation, origin: str) -> None:
    """Segments and outputs take what the caller or an earlier segment gives, in its type."""
    known: dict[str, _Known] = dict(compilation.inputs)
    for index, segment in enumerate(compilation.segments):
        for name, kind in _reads(segment):
            _check_read(f"segment {index}", name, kind, known, origin)
        for name, kind in _writes(segment):
            if name in known:
                fail(origin, f"segment {index} computes {name!r:.60}, which is there already")
            known[name] = kind
    for name, kind in compilation.outputs:
        _check_read("the model", name, kind, known, origin)


def _check_read(
    who: str,
    name: str,
    kind: _Known,
    known: dict[str, _Known],
    origin: str,
) -> None:
    if name not in known:
        fail(origin, f"{who} needs {name!r:.60}, which nothing computes before it")
    found = known[name]
    if kind is not None and found is not None and kind != found:
        fail(origin, f"{who} needs {name!r:.60} as {kind}, but it is {found}")


def _reads(segment: Segment) -> list[tuple[str, _Known]]:
    if isinstance(segment, NpuSegment):
        return [(b.name, TensorType(b.dtype, b.shape)) for b in segment.program.inputs]
    return [(name, None) for name in segment.inputs]


def _writes(segment: Segment) -> list[tuple[str, _Known]]:
    if isinstance(segment, NpuSegment):
        return [(b.name, TensorType(b.dtype, b.shape)) for b in segment.program.outputs]
    return [(name, None) for name in segment.outputs]
