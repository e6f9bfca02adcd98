"""Where a model loses precision: every kernel beside its twin in a graph of float32."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kcompiler.build import origins_of
from kcompiler.compilation import Compilation
from kcompiler.errors import IRError, UsageError
from kcompiler.graph.interpreter import run_nodes
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.operators import Cast, Fused, Host
from kcompiler.host import HostModel
from kcompiler.runtime import Executor, check_feeds
from kcompiler.verify.inputs import sample_inputs
from kcompiler.verify.kernels import Plan
from kcompiler.verify.ladder import compare

if TYPE_CHECKING:
    from kcompiler.machine.program import KernelInfo
    from kcompiler.machine.simulator.function import Simulation
    from kcompiler.machine.target import Target

_Key: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True)
class LayerError:
    """How far the result of a kernel is from float32; ratios in dB, None where there is no error.

    `sqnr_db` counts all errors up to here. `own_db` counts what this kernel adds by itself: beside
    float32 arithmetic, with unrounded weights, on the operands that the kernel really had.
    `operands_db` is the `sqnr_db` of its worst operand: a result far below both says that the
    operator amplifies errors. `largest` and `rms` describe the result in float32.
    """

    segment: int
    kernel: str
    origins: tuple[str, ...]
    stored: str
    shape: tuple[int, ...]
    largest: float
    rms: float
    sqnr_db: float | None
    own_db: float | None
    operands_db: float | None

    def json(self) -> dict[str, Any]:
        """The row as an object."""
        return dict(vars(self))


def layer_errors(
    compilation: Compilation,
    target: Target,
    reference: Graph,
    given: Mapping[str, Array] | None = None,
) -> tuple[LayerError, ...]:
    """Run a compilation on its simulator beside a reference: a row for each kernel, as they run.

    `reference` is the graph of kernels of the same model for float32. `given` inputs take the place
    of random ones. Raises `UsageError` for inputs that do not fit and for a compilation that was
    read from a package, which has no graphs.
    """
    if compilation.graph is None:
        fix = "ask for its layers when you compile the model"
        raise UsageError("a package holds no graph to compare its kernels with", fix=fix)
    feeds = sample_inputs(compilation.graph, given)
    check_feeds(compilation.inputs, feeds)
    watch = _Watch(compilation, _Reference(reference, feeds))
    Executor(compilation, target).run(feeds, watch.before, watch.after)
    return tuple(watch.rows)


class _Reference:
    """The float32 graph, computed as far as somebody asks, and which of its nodes is whose twin."""

    def __init__(self, graph: Graph, feeds: Mapping[str, Array]) -> None:
        self.feeds = feeds
        self._running = run_nodes(graph, feeds, _on_host)
        self._values: dict[int, Array] = {}
        self._twins: dict[_Key, deque[Fused]] = {}
        for node in graph.nodes:
            if isinstance(node, Fused) and not _is_cast(node):
                self._twins.setdefault(_key(node), deque()).append(node)

    def twin(self, node: Fused) -> Fused:
        """The kernel of the reference that computes the same; each is given out once."""
        twins = self._twins.get(_key(node))
        if not twins:
            raise IRError("program", "each kernel has a twin in float32", ", ".join(node.origin))
        return twins.popleft()

    def value(self, twin: Fused) -> Array:
        """The value of a twin, which is forgotten thereby."""
        while id(twin) not in self._values:
            node, value = next(self._running)
            if isinstance(node, Fused):
                self._values[id(node)] = value
        return self._values.pop(id(twin))


class _Watch:
    """Makes a row of each kernel after it ran.

    A value is known by its node, and between segments by its name. What the host computed counts
    as exact where it is an operand; the errors that it carries show in the results.
    """

    def __init__(self, compilation: Compilation, reference: _Reference) -> None:
        self.compilation = compilation
        self.reference = reference
        self.rows: list[LayerError] = []
        self._plans: dict[int, Plan] = {}
        self._ratios: dict[int | str, float | None] = {}
        self._expected: dict[int | str, Array] = {}  # what casts will ask for
        self._expected.update(reference.feeds)
        self._operands: list[Array] = []

    def before(self, segment: int, machine: Simulation, kernel: KernelInfo) -> None:
        """Remember the kernel's operands: it may write over them."""
        if segment not in self._plans:
            self._plans[segment] = Plan.of(self.compilation, segment)
        plan = self._plans[segment]
        self._operands = plan.operands(plan.fused(kernel), machine)

    def after(self, segment: int, machine: Simulation, kernel: KernelInfo) -> None:
        """Compare the result with what it would be in float32."""
        plan = self._plans[segment]
        node, found = plan.fused(kernel), machine.get(kernel.output)
        if _is_cast(node):
            expected, ideal = self._expected.get(_id(node.xs[0])), self._operands[0]
            expected = ideal if expected is None else expected
        else:
            twin = self.reference.twin(node)
            expected, ideal = self.reference.value(twin), _ideal(twin, self._operands)
        row = self._row((segment, kernel), node, (found, expected, ideal))
        self.rows.append(row)
        names = [name for name, value in plan.graph.outputs if value is node]
        keys: list[int | str] = [id(node), *names]
        for key in keys:
            self._ratios[key] = row.sqnr_db
            if names or any(_is_cast(user) for user in plan.graph.users[id(node)]):
                self._expected[key] = expected

    def _row(
        self, place: tuple[int, KernelInfo], node: Fused, values: tuple[Array, Array, Array]
    ) -> LayerError:
        (segment, kernel), (found, expected, ideal) = place, values
        wide = expected.astype(np.float64)
        finite = wide[np.isfinite(wide)]
        known = (self._ratios.get(_id(x)) for x in node.xs)
        return LayerError(
            segment=segment,
            kernel=kernel.name,
            origins=kernel.origins,
            stored=str(found.dtype),
            shape=found.shape,
            largest=float(np.abs(finite).max(initial=0)),
            rms=float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0,
            sqnr_db=compare(found, expected).sqnr_db,
            own_db=compare(found, ideal).sqnr_db,
            operands_db=min((r for r in known if r is not None), default=None),
        )


def _id(node: Op) -> int | str:
    return node.name if isinstance(node, Input) else id(node)


def _key(node: Fused) -> _Key:
    return origins_of(node), node.shape


def _is_cast(node: Op) -> bool:
    """Whether a kernel only converts: in float32 there is none."""
    if not isinstance(node, Fused):
        return False
    result = node.body.outputs[0][1]
    return isinstance(result, Cast) and isinstance(result.x, Input)


def _ideal(twin: Fused, operands: Sequence[Array]) -> Array:
    """The result in float32 of the operands that a kernel had; constants are the reference's."""
    pairs = zip(twin.xs, operands, strict=True)
    return twin.evaluate(
        *(x.value if isinstance(x, Constant) else value.astype(x.dtype) for x, value in pairs)
    )


def _on_host(host: Host, operands: Sequence[Array]) -> Sequence[Array]:
    return HostModel(host.model).run_all(operands)
