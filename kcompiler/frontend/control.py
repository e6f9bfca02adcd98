"""If, Loop and Scan: a known condition picks its branch, a known number of rounds is unrolled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from onnx import GraphProto, NodeProto

from kcompiler.errors import ModelError, UnsupportedError
from kcompiler.frontend.errors import NotExpressible, NotKnown
from kcompiler.frontend.limits import STEPS
from kcompiler.frontend.pending import Pending
from kcompiler.frontend.scope import Scope, Value
from kcompiler.graph import build
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import Where

if TYPE_CHECKING:
    from kcompiler.frontend.importer import Importer

ControlImporter = Callable[["Importer", NodeProto, str, Scope], Sequence["Value | None"]]


def _graph(proto: NodeProto, name: str) -> GraphProto:
    graph: GraphProto = next(a.g for a in proto.attribute if a.name == name)
    return graph


def _integers(proto: NodeProto, name: str, default: int, length: int) -> list[int]:
    found = next((list(a.ints) for a in proto.attribute if a.name == name), [])
    return found or [default] * length


def import_if(
    importer: Importer, proto: NodeProto, name: str, scope: Scope
) -> Sequence[Value | None]:
    """One branch where the condition is known; both and a choice where they only compute."""
    condition = scope[proto.input[0]]
    branches = [_graph(proto, "then_branch"), _graph(proto, "else_branch")]
    if isinstance(condition, Constant):
        if condition.type.size != 1:
            raise ModelError("the condition of an If must be one bool")
        chosen = branches[0 if condition.value.reshape(()).item() else 1]
        return importer.graph(chosen, scope.inner())
    if isinstance(condition, Pending):
        raise NotExpressible(condition.why)
    return _both(importer, condition, branches, name, scope)


def _both(
    importer: Importer, condition: Op, branches: Sequence[GraphProto], name: str, scope: Scope
) -> list[Value | None]:
    spent, hosted = importer.count, importer.hosted
    try:
        then, other = (importer.graph(g, scope.inner()) for g in branches)
    except (ModelError, UnsupportedError) as error:
        importer.count = spent
        why = f"a branch of the If cannot be compiled: {error.what}"
        raise NotKnown(why, condition) from None
    if importer.hosted > hosted:
        raise NotKnown("a branch of the If needs the host", condition)
    results: list[Value | None] = []
    for x, y in zip(then, other, strict=True):
        if isinstance(x, Pending) or isinstance(y, Pending) or x.type != y.type:
            raise NotKnown("the branches of the If have different types", condition)
        results.append(x if x is y else Where(build.reshape(condition, ()), x, y))
    return [importer.settle(r, (name,)) if isinstance(r, Op) else r for r in results]


def import_loop(
    importer: Importer, proto: NodeProto, name: str, scope: Scope
) -> Sequence[Value | None]:
    """Unrolled where the number of rounds follows from what is known."""
    body = _graph(proto, "body")
    limit = _known(scope, proto.input[0], "the number of rounds of a Loop")
    go_on = _known(scope, proto.input[1] if len(proto.input) > 1 else "", "the Loop's condition")
    state = [scope[n] for n in proto.input[2:]]
    if len(body.input) != 2 + len(state) or len(body.output) < 1 + len(state):
        raise ModelError("the body of the Loop does not fit its operands")
    _check_rounds(limit, len(body.node))
    scanned: list[list[Op]] = [[] for _ in body.output[1 + len(state) :]]
    for turn in count():
        if go_on == 0 or (limit is not None and turn >= limit):
            break
        if turn > STEPS:
            raise NotExpressible(f"the Loop takes more than {STEPS:,} rounds")
        results = _turn(
            importer,
            body,
            [_number(importer, turn, np.int64), _yes(importer), *state],
            scope,
            f"{name}/{turn}/",
        )
        go_on = _known_value(results[0], "the Loop's condition")
        state = list(results[1 : 1 + len(state)])
        for list_, value in zip(scanned, results[1 + len(state) :], strict=True):
            list_.append(_tensor(value))
    return [*state, *(_stacked(importer, s, name) for s in scanned)]


def _turn(
    importer: Importer, body: GraphProto, values: Sequence[Value], scope: Scope, prefix: str
) -> list[Value]:
    inner = scope.inner()
    inner.prefix = prefix
    inner.values.update(zip((i.name for i in body.input), values, strict=True))
    return importer.graph(body, inner)


def _check_rounds(limit: int | None, nodes: int) -> None:
    if limit is not None and (limit > STEPS or limit * nodes > 20 * STEPS):
        raise NotExpressible(f"a Loop of {limit:,} rounds is too long to unroll")


def import_scan(
    importer: Importer, proto: NodeProto, name: str, scope: Scope
) -> Sequence[Value | None]:
    """Unrolled over the scanned axis; opset 8 scans each element of a batch on its own."""
    scan = _Scan(importer, proto, name, scope)
    if scope.opsets.get("", 9) < 9:
        return scan.batch()
    return scan.results()


class _Scan:
    """A Scan node taken apart."""

    def __init__(self, importer: Importer, proto: NodeProto, name: str, scope: Scope) -> None:
        self.importer, self.proto, self.name, self.scope = importer, proto, name, scope
        self.body = _graph(proto, "body")
        scans = next(a.i for a in proto.attribute if a.name == "num_scan_inputs")
        values = [scope[n] for n in proto.input if n]
        if not 0 < scans <= len(values) or len(self.body.input) != len(values):
            raise ModelError("the body of the Scan does not fit its operands")
        self.state = values[: len(values) - scans]
        self.rows = [_tensor(v) for v in values[-scans:]]
        self.made = len(self.body.output) - len(self.state)

    def results(self) -> list[Value]:
        """Final state, and what the rounds gave, stacked."""
        axes = _integers(self.proto, "scan_input_axes", 0, len(self.rows))
        backward = _integers(self.proto, "scan_input_directions", 0, len(self.rows))
        state, scanned = self.rounds(self.state, self.rows, axes, backward, self.name)
        axes = _integers(self.proto, "scan_output_axes", 0, self.made)
        backward = _integers(self.proto, "scan_output_directions", 0, self.made)
        stacked = (
            _stacked(self.importer, s[::-1] if b else s, self.name, a)
            for s, a, b in zip(scanned, axes, backward, strict=True)
        )
        return [*state, *stacked]

    def batch(self) -> list[Value]:
        """Opset 8: the first axis of everything is the batch, and the second is scanned."""
        if self.proto.input[0]:
            raise NotExpressible("a Scan over sequences of different lengths")
        backward = _integers(self.proto, "directions", 0, len(self.rows))
        columns: list[list[Op]] = [[] for _ in self.body.output]
        for index in range(self.rows[0].shape[0]):
            state = [self._settled(_row(_tensor(v), 0, index)) for v in self.state]
            rows = [self._settled(_row(x, 0, index)) for x in self.rows]
            prefix = f"{self.name}/{index}"
            last, scanned = self.rounds(state, rows, [0] * len(rows), backward, prefix)
            stacked = (_stacked(self.importer, s, self.name) for s in scanned)
            for column, value in zip(columns, (*map(_tensor, last), *stacked), strict=True):
                column.append(value)
        return [_stacked(self.importer, c, self.name) for c in columns]

    def rounds(
        self,
        state: Sequence[Value],
        rows: Sequence[Op],
        axes: Sequence[int],
        backward: Sequence[int],
        prefix: str,
    ) -> tuple[list[Value], list[list[Op]]]:
        """The state after all rounds, and what each round gave."""
        if any(not -x.type.rank <= a < x.type.rank for x, a in zip(rows, axes, strict=True)):
            raise NotExpressible("a Scan along an axis that does not exist")
        length = rows[0].shape[axes[0]]
        _check_rounds(length, len(self.body.node))
        scanned: list[list[Op]] = [[] for _ in range(self.made)]
        now = list(state)
        for turn in range(length):
            parts = [
                self._settled(_row(x, a, length - 1 - turn if b else turn))
                for x, a, b in zip(rows, axes, backward, strict=True)
            ]
            given = [*now, *parts]
            results = _turn(self.importer, self.body, given, self.scope, f"{prefix}/{turn}/")
            now = results[: len(now)]
            for list_, value in zip(scanned, results[len(now) :], strict=True):
                list_.append(_tensor(value))
        return now, scanned

    def _settled(self, x: Op) -> Op:
        return self.importer.settle(x, (self.name,))


def _row(x: Op, axis: int, index: int) -> Op:
    return build.squeeze(build.slice_axis(x, axis, index, 1), [axis])


def _stacked(importer: Importer, parts: Sequence[Op], name: str, axis: int = 0) -> Op:
    if not parts:
        raise NotExpressible("a Loop without rounds has results of unknown shape")
    return importer.settle(
        build.concat([build.expand_dims(p, [axis]) for p in parts], axis), (name,)
    )


def _tensor(value: Value) -> Op:
    if isinstance(value, Pending):
        raise NotExpressible(value.why)
    return value


def _known(scope: Scope, name: str, what: str) -> int | None:
    return _known_value(scope[name], what) if name else None


def _known_value(value: Value, what: str) -> int:
    if not isinstance(value, Constant) or value.type.size != 1:
        raise NotKnown(f"{what} depends on the inputs", value)
    return int(value.value.reshape(()).item())


def _number(importer: Importer, value: int, dtype: type[np.generic]) -> Op:
    return importer.settle.keep(Constant(np.asarray(value, dtype)))


def _yes(importer: Importer) -> Op:
    return importer.settle.keep(Constant(np.asarray(True)))


IMPORTERS: dict[str, ControlImporter] = {"If": import_if, "Loop": import_loop, "Scan": import_scan}
