"""The page docs/onnx-suite.md: ONNX's suite by class and operator, and why cases fail."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version

from benchmarks.onnx_cases import CLASSES
from benchmarks.onnx_outcome import HOST, KNOWN, NPU, PARTLY, Outcome

MARK = "<!-- Written by python -m benchmarks.onnx_suite --write -->\n"

_RANDOM = "random: the expected values are one draw of another generator"
_RESIZE = (
    "a scale of 0.6 or 0.8 gives a length that is no integer: ONNX's reference maps corners by "
    "that length, onnxruntime and PyTorch (and so this importer) by the integer that results"
)
_NOISE = "exact zeros here; the expected values are the rounding errors (2e-7) of another algorithm"

FAILURES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "test_bernoulli",
            "test_bernoulli_double",
            "test_bernoulli_double_expanded",
            "test_bernoulli_expanded",
            "test_bernoulli_seed",
            "test_bernoulli_seed_expanded",
            "test_training_dropout",
            "test_training_dropout_default",
            "test_training_dropout_default_mask",
            "test_training_dropout_mask",
        ),
        _RANDOM,
    ),
    "test_dft_inverse": _NOISE,
    "test_dft_inverse_opset19": _NOISE,
    "test_gradient_of_add": "Gradient: neither onnxruntime nor ONNX's reference has it",
    "test_gradient_of_add_and_mul": "Gradient: neither onnxruntime nor ONNX's reference has it",
    "test_resize_downsample_scales_cubic_align_corners": _RESIZE,
    "test_resize_downsample_scales_linear_align_corners": _RESIZE,
}
"""Cases that do not pass, each with its reason."""


def page(outcomes: Sequence[Outcome]) -> str:
    """The whole page; equal outcomes give equal text."""
    settled = [_settled(o) for o in outcomes]
    lines = [MARK + _HEAD.format(onnx=version("onnx"), ort=version("onnxruntime"))]
    lines += [*_classes(settled), "", _OPERATORS, *_operators(settled), "", _REST]
    lines += _failures(settled)
    return "\n".join(lines) + "\n"


def _settled(outcome: Outcome) -> Outcome:
    """A random draw that hits by chance counts as one that does not."""
    if FAILURES.get(outcome.name) != _RANDOM:
        return outcome
    return Outcome(**{**vars(outcome), "status": "wrong"})


_HEAD = """\
# ONNX's own conformance suite

All cases that come with onnx {onnx}, compiled for `rebel` in float32, run on its simulator, and
compared with the expected outputs by ONNX's own rules; parts for the host run on onnxruntime {ort},
or on ONNX's reference where onnxruntime lacks the operator. This page is written by
`python -m benchmarks.onnx_suite --write`.

*NPU* are cases with every node on the NPU; those in *no work* are all computed while compiling, or
only rename a tensor; *both* and *host* have nodes on the host. Inputs whose values decide a shape
(axes, repeats, the k of a TopK) are constants of the compiled model, as in models that exporters
write; never all inputs of a case.

| class | cases | correct | NPU | no work | both | host |
| --- | --- | --- | --- | --- | --- | --- |"""

_OPERATORS = """\
## By operator

Cases of one operator, those in which it is written out by others included. Reasons are those that
`kcompile explain` gives.

| operator | cases | correct | NPU | no work | why not on the NPU |
| --- | --- | --- | --- | --- | --- |"""

_REST = """\
## What fails

| case | reason |
| --- | --- |"""


def _classes(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for group in CLASSES:
        yield _row(group, [o for o in outcomes if o.group == group])
    yield _row("all", outcomes)


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    where = Counter(o.where for o in outcomes)
    counts = (len(outcomes), _correct(outcomes), *(where[w] for w in (NPU, KNOWN, PARTLY, HOST)))
    return f"| {name} | {' | '.join(map(str, counts))} |"


def _correct(outcomes: Iterable[Outcome]) -> int:
    return sum(o.status == "pass" for o in outcomes)


def _operators(outcomes: Sequence[Outcome]) -> Iterator[str]:
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[outcome.operator].append(outcome)
    for name in sorted(found, key=lambda n: (n in CLASSES, n)):
        cases = found[name]
        where = Counter(o.where for o in cases)
        reasons = Counter(why for o in cases for why in o.reasons)
        text = "; ".join(f"{why} ({n})" for why, n in sorted(reasons.items()))
        counts = (len(cases), _correct(cases), where[NPU], where[KNOWN])
        yield f"| {name} | {' | '.join(map(str, counts))} | {text.replace('|', '/')} |"


def _failures(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.status != "pass":
            yield f"| `{outcome.name}` | {FAILURES.get(outcome.name, outcome.status)} |"
