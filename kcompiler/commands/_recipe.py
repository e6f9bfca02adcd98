"""What the options on quantization mean together, and those that would have no use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from kcompiler.calibration.recipe import Quantization
    from kcompiler.machine.target import Target

_NAMES = ("observer", "symmetric", "equalize", "min_sqnr", "group_size")
"""Options that are fields of `Quantization` too."""


def recipe_of(given: Mapping[str, Any], target: Target, precision: str | None) -> Quantization:
    """The recipe of options by name, those that were not given being None or False.

    Raises `UsageError` for two that exclude each other, and for what the precision does not need.
    """
    from kcompiler.calibration.recipe import Quantization
    from kcompiler.compiler import chosen_precision

    if given["symmetric"] and given["asymmetric"]:
        raise UsageError("--symmetric and --asymmetric exclude each other", fix="leave one out")
    chosen = chosen_precision(target, precision)
    for name, needed in _needed().items():
        absent = given[name] is None or given[name] is False
        if not absent and chosen not in needed:
            option = f"--{name.replace('_', '-')}"
            known = [p for p in needed if p in target.precisions]
            fix = f"say --precision {_either(known)}" if known else f"leave {option} out"
            raise UsageError(f"{option} has no use in {chosen}", fix=fix)
    asked = {name: given[name] for name in _NAMES if given[name] is not None}
    return Quantization(**asked)


def _needed() -> dict[str, tuple[str, ...]]:
    """The precisions in which an option has a use."""
    from kcompiler.machine.target import CALIBRATED, WEIGHTS

    calibrated = ("preprocess", "observer", "symmetric", "asymmetric", "equalize")
    return {
        **dict.fromkeys(calibrated, CALIBRATED),
        "min_sqnr": ("mixed",),
        "group_size": tuple(WEIGHTS),
    }


def _either(names: list[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1]) if len(names) > 1 else names)
