"""The rungs in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kcompiler.buckets.layout import is_position
from kcompiler.compilation import Compilation, NpuSegment
from kcompiler.errors import UsageError
from kcompiler.graph.node import Array
from kcompiler.graph.types import F32, is_float
from kcompiler.host import HostModel
from kcompiler.machine.hazards import hazards
from kcompiler.machine.simulator.function import SimulationError
from kcompiler.machine.simulator.memories import MachineFault
from kcompiler.runtime import Executor, check_feeds
from kcompiler.verify.audit import Audit, audit
from kcompiler.verify.inputs import sample_inputs
from kcompiler.verify.kernels import KernelCheck, Parts
from kcompiler.verify.limits import Limit, limits
from kcompiler.verify.random import random_outputs
from kcompiler.verify.result import Failure, OutputError, Verification

if TYPE_CHECKING:
    from kcompiler.machine.target import Target


def verify(
    compilation: Compilation,
    target: Target,
    source: str | bytes,
    given: Mapping[str, Array] | None = None,
    parts: Parts | None = None,
) -> Verification:
    """Climb the ladder; `source` is the ONNX model, `given` inputs take the place of random ones.

    `parts` gives the tiled kernels of a segment, to tell a wrong kernel from a wrong lowering.

    Raises `UsageError` for inputs that do not fit and for a compilation that was read from a
    package, which has no graphs.
    """
    if compilation.graph is None:
        fix = "verify the model when you compile it"
        raise UsageError("a package holds no graph to verify against", fix=fix)
    feeds = sample_inputs(compilation.graph, given)
    check_feeds(compilation.inputs, feeds)
    check = KernelCheck(compilation, parts)
    failure = _hazards(compilation, target)
    results: dict[str, Array] = {}
    try:
        results = Executor(compilation, target, checked=True).run(feeds, check.before, check.after)
    except (SimulationError, MachineFault) as error:
        failure = failure or check.failure or _stopped(check, str(error))
    reference, outputs, last, random = compare_outputs(compilation, source, feeds, results)
    audited = audit(compilation, target, source)
    failure = failure or check.failure or _audited(audited) or last
    generated = tuple(name for name in feeds if name not in (given or {}))
    found = failure is None, reference, outputs, check.checked, generated, failure, audited
    return Verification(*found, tuple(name for name, x in feeds.items() if _has_nan(x)), random)


def _has_nan(x: Any) -> bool:
    """Whether a tensor, or one of a sequence, has a NaN."""
    if not isinstance(x, np.ndarray):
        return isinstance(x, list | tuple) and any(map(_has_nan, x))
    return is_float(x.dtype) and bool(np.isnan(x.astype(F32, copy=False)).any())


def _audited(found: Audit) -> Failure | None:
    """The first of what an audit found."""
    if found.ok:
        return None
    first = found.findings[0]
    return Failure(
        "audit", str(first), first.segment, first.kernel, first.origins, instruction=first.place
    )


def _stopped(check: KernelCheck, why: str) -> Failure:
    """The simulator refused to go on."""
    if check.running is None:
        return Failure("kernels", why)
    segment, kernel = check.running
    return Failure("kernels", why, segment, kernel.name, kernel.origins)


def _hazards(compilation: Compilation, target: Target) -> Failure | None:
    for index, segment in enumerate(compilation.segments):
        if isinstance(segment, NpuSegment):
            failure = _hazard(index, segment, target)
            if failure is not None:
                return failure
    return None


def _hazard(index: int, segment: NpuSegment, target: Target) -> Failure | None:
    try:
        first = next(iter(hazards(segment.program, target)), None)
    except ValueError as error:
        return Failure("hazards", str(error), index)
    if first is None:
        return None
    kernels = segment.program.kernels
    kernel = next(k for k in kernels if k.first <= first.second < k.first + k.count)
    return Failure(
        "hazards", first.text, index, kernel.name, kernel.origins, instruction=first.second
    )


def compare_outputs(
    compilation: Compilation,
    source: str | bytes,
    feeds: Mapping[str, Array],
    results: Mapping[str, Any],
) -> tuple[str, dict[str, OutputError], Failure | None, tuple[str, ...]]:
    """The last rung: what the reference is, how far results are from it, and whether too far.

    Outputs that differ because they follow from random numbers come last, and have no error.
    """
    reference, expected = _reference(compilation, source, feeds)
    pairs = {n: comparable(results[n], e) for n, e in expected.items() if n in results}
    outputs = {n: compare(*pair) for n, pair in pairs.items()}
    least = limits(compilation)
    failure = _model(least, outputs, pairs)
    if failure is None:
        return reference, outputs, None, ()
    drawn = random_outputs(source)
    random = tuple(n for n, e in outputs.items() if n in drawn and _model(least, {n: e}, pairs))
    outputs = {n: e for n, e in outputs.items() if n not in random}
    return reference, outputs, _model(least, outputs, pairs), random


def _reference(
    compilation: Compilation, source: str | bytes, feeds: Mapping[str, Array]
) -> tuple[str, dict[str, Any]]:
    names = [name for name, _ in compilation.outputs]
    model = HostModel(source)
    given = {name: value for name, value in feeds.items() if not is_position(name)}
    found = model.run(names, {**given, **compilation.values})
    return model.engine, dict(zip(names, found, strict=True))


def comparable(found: Any, expected: Any) -> tuple[Array, Array]:
    """Both as arrays of numbers: sequences end to end, text as ones, or zeros where it differs."""
    if isinstance(expected, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return _DIFFERENT
        pairs = [comparable(f, e) for f, e in zip(found, expected, strict=True)]
        if any(f.shape != e.shape for f, e in pairs):
            return _DIFFERENT
        return _joined([f for f, _ in pairs]), _joined([e for _, e in pairs])
    if found is None or expected is None:
        return _DIFFERENT if found is not expected else (np.zeros(0), np.zeros(0))
    found, expected = np.asarray(found), np.asarray(expected)
    if expected.dtype.kind in "OUS" and found.shape == expected.shape:
        return (found.astype(str) == expected.astype(str)).astype(F32), np.ones(found.shape, F32)
    return found, expected


def _joined(values: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0), *(v.ravel() for v in values)])


_DIFFERENT = np.zeros(0), np.ones(1)


def compare(found: Array, expected: Array) -> OutputError:
    """How far a result is from the reference's."""
    if found.shape != expected.shape:
        return OutputError(float("inf"), float("-inf"), max(found.size, 1), found.size)
    ours, theirs = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(ours) & np.isfinite(theirs)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    error = np.where(finite, ours, 0) - np.where(finite, theirs, 0)
    power, noise = float(np.sum(np.where(finite, theirs, 0) ** 2)), float(np.sum(error**2))
    worst = float(np.abs(error).max(initial=0))
    ratio = 10 * float(np.log10(power / noise)) if power and noise else None
    odd, alike = int(np.sum(~finite & ~same)), int(np.sum(~finite & same))
    return OutputError(worst, ratio, odd, found.size, alike)


def _model(
    least: Mapping[str, Limit],
    outputs: Mapping[str, OutputError],
    pairs: Mapping[str, tuple[Array, Array]],
) -> Failure | None:
    for name, error in outputs.items():
        if error.nonfinite:
            text = (
                f"output {name!r}: {error.nonfinite} of {error.elements} elements are infinite or "
                "NaN here and not in the reference, or the other way round"
            )
            return Failure("model", text)
        low = error.sqnr_db is not None and error.sqnr_db < least[name].decibels
        if low and is_float(pairs[name][1].dtype):
            text = f"output {name!r} agrees with the reference to {error.sqnr_db:.1f} dB only"
            return Failure("model", f"{text}; {least[name]}")
    return None


__all__: Sequence[str] = ("compare", "verify")
