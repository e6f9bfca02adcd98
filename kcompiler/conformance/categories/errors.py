"""What users are told: constraints are sentences, and every refusal says why."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from kcompiler.conformance.bench import Bench
from kcompiler.conformance.cases import Sizes, all_cases
from kcompiler.conformance.score import Finding, judged
from kcompiler.errors import KcompilerError
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Input, Op
from kcompiler.graph.types import F32, F64, TensorType
from kcompiler.machine.fields import Integer
from kcompiler.machine.instruction import FieldError
from kcompiler.machine.target import Constraint, Target

TITLE = "what is refused is refused with a reason"
_SENTENCE = "the docstring is what users read: a sentence that says what the chip takes or lacks"
_LEAST_WORDS = 3


def findings(bench: Bench) -> Iterator[Finding]:
    """Each constraint's text, then every operator of the suite put to all of them."""
    target = bench.target
    for number, constraint in enumerate(target.constraints):
        name = getattr(constraint, "__name__", f"constraint {number}")
        yield judged(f"{name}: is a sentence", _unreadable(constraint), _SENTENCE)
    suite = [*_strange(), *(case.root for case in all_cases(Sizes.of(target.chip)))]
    zoo = [n for op in suite for n in (*op.operands, op) if n.operands]
    yield judged("every operator gets an answer", _mute(target, zoo), _SENTENCE)
    taken = any(target.refusal(op) is None for op in zoo)
    problem = None if taken else "the target refuses every operator there is"
    yield judged("some operator is taken", problem, "a constraint holds where the chip can do it")
    yield judged("what has no kernel is refused", _greedy(target), _SENTENCE)
    yield judged("an unknown precision", _unknown_precision(target), "see Target.precisions")
    yield judged("numbers beyond a field", _beyond(target), "fields are u(n), s(n), choice(...)")
    problem = None if target.precisions else "the target has no precision to compile for"
    yield judged("there is a precision", problem, "list float types, the default first")


def _unreadable(constraint: Constraint) -> str | None:
    text = " ".join((constraint.__doc__ or "").split())
    if not text:
        return "it has no docstring"
    if not re.match(r"[A-Z0-9\"'(]", text) or text[-1] != ".":
        return f"{text!r} does not begin with a capital and end with a full stop"
    few = len(text.split()) < _LEAST_WORDS
    return f"{text!r} says too little" if few else None


def _strange() -> Iterator[Op]:
    """Operators that chips rarely take: no elements, many dimensions, odd types, the host's."""
    for dtype in (F32, F64, np.dtype(np.uint64), np.dtype(np.complex64)):
        for shape in ((0, 3), (2,) * 10, (), (1 << 33,)):
            x = Input("x", TensorType(dtype, shape))
            yield ops.Reshape(x, (*shape, 1))
            if dtype in {F32, F64}:
                yield ops.Add(x, x)
    yield _host()


def _host() -> Op:
    """An ONNX node that has no form in the graph."""
    kind = TensorType(F32, (3,))
    return ops.Host((Input("x", kind),), b"", (kind,), "the kit says so")


def _mute(target: Target, zoo: list[Op]) -> str | None:
    """An operator at which a constraint raises, or is broken without a reason."""
    for op in zoo:
        try:
            reason = target.refusal(op)
        except Exception as error:  # noqa: BLE001 - a constraint answers, whatever it is asked
            return f"a constraint raises at {op!r}: {type(error).__name__}: {error}"
        if reason is not None and len(reason.split()) < _LEAST_WORDS:
            return f"{op!r} is refused because of {reason!r}"
    return None


def _greedy(target: Target) -> str | None:
    """What has no form in the graph cannot become instructions."""
    taken = target.refusal(_host()) is None
    return "an operator that only the host knows is taken" if taken else None


def _unknown_precision(target: Target) -> str | None:
    from kcompiler.compiler import chosen_precision

    try:
        chosen_precision(target, "f1")
    except KcompilerError as error:
        missing = [p for p in target.precisions if p not in str(error)]
        return f"the message does not name {missing[0]}" if missing else None
    return "it is taken"


def _beyond(target: Target) -> str | None:
    """A number that a field cannot hold is an error that names field and range."""
    for cls in target.isa.instructions():
        for operand in cls.operands:
            if isinstance(operand.kind, Integer):
                try:
                    operand.kind.check(operand.kind.high + 1)
                except FieldError:
                    raise
                except ValueError as error:
                    if operand.kind.legal not in str(error):
                        return f"{cls.mnemonic}.{operand.name}: {error} does not say what is legal"
                else:
                    return f"{cls.mnemonic}.{operand.name} holds {operand.kind.high + 1}"
    return None
