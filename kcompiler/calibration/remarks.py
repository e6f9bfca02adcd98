"""What a user should know of calibration data that fit, and may still not be what was meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kcompiler.calibration.files import PICTURES
from kcompiler.graph.node import Array
from kcompiler.graph.types import TensorType, is_float

_SHOWN = 3  # names of files


def raw_bytes(name: str, low: float, high: float) -> str:
    """That bytes went in as they are."""
    return (
        f"the calibration data of {name} are bytes as they are, from {low:g} to {high:g}: no "
        "scale, mean or std was given; if the model was trained on others, say --preprocess "
        "scale=255,mean=…,std=…"
    )


def left_out(count: int, size: int, left: int, where: str) -> str:
    """That the last elements do not fill a batch."""
    what = "the last 1 is" if left == 1 else f"the last {left} are"
    return f"{where}: {count} samples for runs of {size}: {what} left out"


def skipped(names: Sequence[str], where: str) -> str:
    """That files of a folder are of no kind that is read."""
    shown = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    kinds = ", ".join(sorted({".npy", ".npz", *PICTURES}))
    return f"{where}: left out {shown}{more}: what is read are {kinds}"


def unread(names: Iterable[str], where: str) -> str:
    """That arrays are of no input."""
    return f"{where}: left out {', '.join(names)}: the model has no such input"


def constants(
    runs: Sequence[Mapping[str, Array]], inputs: Iterable[tuple[str, TensorType]]
) -> tuple[str, ...]:
    """Which inputs are one number everywhere: that teaches no range."""
    found = []
    for name, kind in inputs:
        if not is_float(kind.dtype) or not runs or runs[0][name].size * len(runs) < 2:
            continue
        first = runs[0][name].reshape(-1)[:1]
        if all(np.all(feeds[name] == first) for feeds in runs):
            found.append(
                f"the calibration data of {name} are {float(first[0]):g} everywhere: ranges and "
                "ratios that come from them say nothing about other data"
            )
    return tuple(found)


def listed(folder: Path, known: Iterable[Path]) -> list[str]:
    """The names in a folder beside those known, hidden ones aside."""
    names = {p.name for p in known}
    return sorted(p.name for p in folder.iterdir() if p.name not in names and p.name[0] != ".")
