"""What a user may say about quantization: the data, how they are prepared, what is chosen how."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kcompiler.arguments import check_is
from kcompiler.calibration.observers import AUTO, check_observer
from kcompiler.calibration.preprocess import Preprocess, parse_preprocess
from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from kcompiler.calibration.data import Source


@dataclass(frozen=True, eq=False)
class Quantization:
    """How numbers become integers; what a precision does not need is not looked at.

    `data` are samples of the inputs: a .npy or .npz file, a folder of such files or of pictures, an
    array, arrays by input, or anything that yields these; `preprocess` makes inputs of them.
    `observer` chooses ranges of activations (`auto`: of each tensor the one with the least error);
    `symmetric` ones have zero point 0. `bias_correction` gives back what the mean of a channel
    lost, `adaptive_rounding` rounds weights for the data that they meet. `equalize` moves factors
    between the channels of neighbouring layers: one scale then suits all of what was seen, and less
    of what was not. For `mixed`, layers stay float until the outputs
    have `min_sqnr` dB. `group_size` weights share a scale where weights alone are narrow.
    """

    data: Source | None = None
    preprocess: Preprocess = field(default_factory=Preprocess)
    observer: str = AUTO
    symmetric: bool = False
    bias_correction: bool = True
    adaptive_rounding: bool = True
    equalize: bool = False
    min_sqnr: float = 30.0
    group_size: int = 32

    def __post_init__(self) -> None:
        check_observer(self.observer)
        if not 0 < self.min_sqnr < 200:
            why = f"it is {self.min_sqnr:g} dB"
            raise UsageError("the least SQNR is no sensible number", why=why, fix="30 is usual")
        if self.group_size < 1:
            raise UsageError(f"a group has {self.group_size} weights", fix="32 is usual")

    def choices(self) -> dict[str, Any]:
        """What passes take as options."""
        names = ("observer", "symmetric", "bias_correction", "adaptive_rounding", "equalize")
        return {name: getattr(self, name) for name in names}


def quantization_of(
    data: Source | None, preprocess: str | Preprocess | None, given: Quantization | None
) -> Quantization:
    """The wishes of a user in one; what stands alone goes before what `given` says."""
    found = Quantization() if given is None else given
    check_is("quantization", found, Quantization, "kcompiler.Quantization(…)")
    if data is not None:
        found = replace(found, data=data)
    if isinstance(preprocess, str):
        preprocess = parse_preprocess(preprocess)
    elif preprocess is not None:
        check_is("preprocess", preprocess, Preprocess, 'for example "scale=255,layout=NHWC"')
    return found if preprocess is None else replace(found, preprocess=preprocess)
