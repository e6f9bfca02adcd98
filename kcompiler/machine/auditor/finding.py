"""What an audit finds, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from kcompiler.machine.auditor.observe import Step

Property: TypeAlias = Literal["writes", "macs", "reads", "buffers", "order", "budgets"]

PROPERTIES: dict[Property, str] = {
    "writes": "every byte of every tensor is written once",
    "macs": "every multiply-accumulate of the network is done once",
    "reads": "nothing is read that was not written before",
    "buffers": "what is still needed is not overwritten",
    "order": "waits order every two instructions that touch the same bytes, one of them writing",
    "budgets": "memories, cores, addresses and fields are within what the chip has",
}

_MOST_TEXT = 160


@dataclass(frozen=True)
class Finding:
    """A property that does not hold: of which instruction, kernel, ONNX nodes and bytes.

    `place` is the instruction's number in the program, -1 for the program or a kernel as a whole;
    `text` its line of assembly; `span` the first byte concerned and one past the last.
    """

    property: Property
    why: str
    place: int = -1
    text: str = ""
    kernel: str = ""
    origins: tuple[str, ...] = ()
    memory: str = ""
    span: tuple[int, int] | None = None
    segment: int = 0

    def __str__(self) -> str:
        """One line: what does not hold, where, and why."""
        parts = [f"{self.property}: "]
        if self.place >= 0:
            text = self.text if len(self.text) <= _MOST_TEXT else f"{self.text[:_MOST_TEXT]}..."
            parts.append(f"instruction {self.place} ({text}) ")
        if self.kernel:
            nodes = ", ".join(self.origins)
            parts.append(f"of kernel {self.kernel}{f' ({nodes})' if nodes else ''} ")
        parts.append(self.why)
        if self.span is not None:
            parts.append(f"; {self.memory} bytes [{self.span[0]:#x}, {self.span[1]:#x})")
        return "".join(parts)

    def json(self) -> dict[str, object]:
        """The finding as an object."""
        found: dict[str, object] = {**vars(self), "origins": list(self.origins)}
        return found | {"span": None if self.span is None else list(self.span)}


@dataclass(frozen=True)
class Broken:
    """A finding before it has names: of which kernel (by number) and step."""

    property: Property
    why: str
    kernel: int = -1
    step: Step | None = None
    memory: str = ""
    span: tuple[int, int] | None = None
