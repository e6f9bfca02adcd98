"""`--strict`: a model that needs the host for more than casts of inputs and outputs is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcompiler.compilation import CONVERSIONS, HostSegment
from kcompiler.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kcompiler.compilation import Compilation

_MOST = 20
"""Operators that the message lists; `kcompile explain` has all."""


def host_work(compilation: Compilation) -> list[tuple[str, str, str]]:
    """(ONNX node, operator, why) of all on the host, casts of inputs and outputs aside.

    Conversions to integers with a scale, and back, are such casts. What is there only because
    crossing to its neighbours would cost more is no work of its own.
    """
    members = compilation.buckets.members if compilation.buckets is not None else ()
    every = [b.compilation for b in members] or [compilation]
    return list(dict.fromkeys(work for c in every for work in _work(c)))


def _work(compilation: Compilation) -> Iterator[tuple[str, str, str]]:
    given = {name for name, _ in compilation.inputs}
    wanted = {name for name, _ in compilation.outputs}
    for segment in compilation.segments:
        if isinstance(segment, HostSegment):
            border = given.issuperset(segment.inputs) or wanted.issuperset(segment.outputs)
            for node, operator, why in segment.operators:
                if (operator not in CONVERSIONS or not border) and node not in segment.beside:
                    yield node, operator, why


def refuse_host_work(compilation: Compilation) -> None:
    """Raise `UnsupportedError` unless the NPU does everything, with each node and why not."""
    found = host_work(compilation)
    if not found:
        return
    lines = [f"{node} ({operator}): {why}" for node, operator, why in found[:_MOST]]
    if len(found) > _MOST:
        lines.append(f"and {len(found) - _MOST} more")
    count = "an operator runs" if len(found) == 1 else f"{len(found)} operators run"
    raise UnsupportedError(
        f"{count} on the host, and --strict allows none",
        why="\n".join(lines),
        fix=_fix(compilation),
    )


def _fix(compilation: Compilation) -> str:
    """Inputs that decide what is computed are the first thing to try."""
    fixable = " ".join(f"--value {name}=…" for name in compilation.deciding)
    known = f"make constant what the host waits for: {fixable}; or " if fixable else ""
    return f"{known}compile without --strict, or change the model"
