"""What a verification found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kcompiler.errors import REPORT, VerificationError

if TYPE_CHECKING:
    from kcompiler.verify.audit import Audit

Rung = Literal["hazards", "kernels", "audit", "model"]

FIXES: dict[Rung, str] = {
    "hazards": REPORT,
    "kernels": REPORT,
    "audit": REPORT,
    "model": "compile with --precision f32 to tell a loss of precision from an error of kcompiler",
}


@dataclass(frozen=True)
class OutputError:
    """How far an output is from the reference's, over the elements that are finite in both.

    `sqnr_db` is the ratio of the reference's power to that of the error, in dB; None where the two
    are equal (no error) and where the reference is zero. `nonfinite` counts elements that are
    infinite or NaN in one and something else in the other, `alike` those that are so in both.
    """

    max_abs_err: float
    sqnr_db: float | None
    nonfinite: int
    elements: int
    alike: int = 0

    @property
    def proves(self) -> bool:
        """Whether any element was compared as a number, or there was none to compare."""
        return self.alike < self.elements or not self.elements


@dataclass(frozen=True)
class Failure:
    """The first thing that is wrong, in a sentence; the rest as far as it is known.

    `instruction` is its place in the program of `segment`, `tile` the box of which core it stores.
    """

    rung: Rung
    text: str
    segment: int = -1
    kernel: str = ""
    origins: tuple[str, ...] = ()
    element: tuple[int, ...] = ()
    instruction: int = -1
    tile: str = ""
    level: Literal["", "kernel", "program"] = ""


@dataclass(frozen=True)
class Verification:
    """The result of the ladder; `reference` is what computed the outputs to compare with."""

    ok: bool
    reference: str
    outputs: Mapping[str, OutputError]
    kernels: int  # checked
    generated: tuple[str, ...]  # inputs that nobody gave: random data took their place
    first_failure: Failure | None = None
    audit: Audit | None = None
    undefined: tuple[str, ...] = ()  # inputs with NaN, which any result agrees with
    random: tuple[str, ...] = ()  # outputs that follow from random numbers, and so differ

    def raise_for_failure(self) -> None:
        """Raise `VerificationError` unless everything holds."""
        if self.first_failure is not None:
            failure = self.first_failure
            raise VerificationError(
                "the compiled model does not do what the model says",
                ", ".join(failure.origins),
                failure.text,
                FIXES[failure.rung],
            )
