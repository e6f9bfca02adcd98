"""The pass quantize: a model of floats becomes one of 8 bits, by what samples show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kcompiler.calibration import Histogram
from kcompiler.errors import UsageError
from kcompiler.graph.interpreter import HostRunner
from kcompiler.graph.node import Array, Graph, Op
from kcompiler.graph.operators import Dequantize
from kcompiler.graph.operators import Quantize as QuantizeOp
from kcompiler.passes.quantize.equalize import equalized
from kcompiler.passes.quantize.formats import INT8, format_of
from kcompiler.passes.quantize.insert import Insert
from kcompiler.passes.quantize.layers import Layer, find_layers, source, why_float
from kcompiler.passes.quantize.plan import Plan
from kcompiler.passes.quantize.points import every, needed
from kcompiler.passes.quantize.ranges import check as check_for
from kcompiler.passes.quantize.report import Report, reported
from kcompiler.passes.quantize.sensitivity import Sensitivity, choose_kept
from kcompiler.passes.quantize.walk import Decisions, Settings, Walk, histograms
from kcompiler.passes.quantize.widen import widened
from kcompiler.pipeline import Pass

WALK_BYTES = 1 << 29  # what both sides of the largest tensor may take in the walk


class Quantize(Pass):
    """Put Quantize and Dequantize around what products of constant weights read, by calibration.

    Works on what `recognize` leaves. Data get one scale and zero point a tensor, chosen by
    `observer` (min-max, percentile, entropy, mse, or auto: the one with the least error where it is
    used); weights one scale a channel, biases the scale of their sums. `bias_correction` gives back
    what the mean of a channel lost; `equalize` first moves factors between channels of neighbouring
    layers. With `min_sqnr` (dB), the layers that cost most stay float until the outputs are that
    near to float32's. `everything` quantizes all tensors between kernels and the outputs, not only
    what products and pools read. With `kind` fp8 the narrow numbers are 8-bit floats (e4m3), which
    products alone read: scales of data are powers of two, biases float32. Sums of at most `rows`
    terms, for which an array of so many takes the same time, stay float there. A graph that has
    quantized tensors stays as it is: its scales are law. A `plan` takes what is decided for the
    first graph of a model to those for other extents of its dimensions. `samples` are inputs by
    name, `labels` the classes of their elements, `more` says that there were others, `notes` what
    else is to be said of them; what was decided is appended to `log`.
    """

    samples: tuple[Mapping[str, Array], ...] = ()
    labels: tuple[Array, ...] | None = None
    more: bool = False
    notes: tuple[str, ...] = ()
    observer: str = "auto"
    symmetric: bool = False
    bias_correction: bool = True
    adaptive_rounding: bool = True
    equalize: bool = False
    min_sqnr: float = 0.0
    everything: bool = False
    kind: str = INT8.name
    rows: int = 0
    plan: Plan | None = None
    host: HostRunner | None = None
    log: list[Report] | None = None

    def run(self, ir: Graph) -> Graph:
        if any(isinstance(n, QuantizeOp | Dequantize) for n in ir.nodes):
            return self._told(ir, Report(given=True, kind=""))
        graph = widened(ir)
        if self.plan is not None and self.plan.report is not None:
            return self._planned(graph, self.plan)
        layers, short = self._layers(graph)
        if not layers and not self.everything:
            return self._told(ir, Report(remarks=short, kind=self.kind))
        self._check()
        if self.equalize:
            graph = equalized(graph, self.samples, self.host)
            layers, _ = self._layers(graph)
        made, layers, remarks = self._decide(graph, layers)
        rows: tuple[Sensitivity, ...] = ()
        if self.min_sqnr > 0:
            few = self.samples[: _walked(graph, self.samples)]
            rows = choose_kept(graph, layers, made, few, self.min_sqnr, host=self.host)
            kept = {row.layer for row in rows if row.kept}
            layers = tuple(layer for i, layer in enumerate(layers) if i not in kept)
            made, layers, _ = self._decide(graph, layers, whole=not kept)
        counts = len(self.samples), _walked(graph, self.samples)
        report = reported(graph, made, rows, counts, self.more)
        report = replace(report, remarks=(*self.notes, *short, *remarks), kind=self.kind)
        if self.plan is not None:
            self.plan.keep(graph, layers, made, report)
        return self._told(self._inserted(graph, layers, made), report)

    def _inserted(self, graph: Graph, layers: tuple[Layer, ...], made: Decisions) -> Graph:
        kind = format_of(self.kind)
        return Insert(graph, layers, made, everything=self.everything, kind=kind).run()

    def _planned(self, graph: Graph, plan: Plan) -> Graph:
        """Another graph of the model, by what was decided for the first: lengths have no say."""
        layers, made, lost = plan.of(graph, _with_numbers(find_layers(graph)))
        report = plan.report or Report()
        report = replace(report, remarks=(*report.remarks, *lost))
        return self._told(self._inserted(graph, layers, made), report)

    def _layers(self, graph: Graph) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
        """The layers that may become narrow, and a remark on those that are too short for it."""
        found = _with_numbers(find_layers(graph))
        long = tuple(x for x in found if x.terms > self.rows)
        if len(long) == len(found):
            return found, ()
        what = f"{len(found) - len(long)} products of at most {self.rows} terms stay float"
        return long, (f"{what}: {self.kind} would save the array no time",)

    def _told(self, graph: Graph, report: Report) -> Graph:
        if self.log is not None:
            self.log.append(report)
        if self.plan is not None and self.plan.report is None:
            self.plan.report = report  # there is nothing to decide in other graphs either
        return graph

    def _check(self) -> None:
        check_for(self.observer, format_of(self.kind))
        if not self.samples:
            why = "ranges are learnt from samples of the inputs"
            what = f"{self.kind} needs calibration data"
            raise UsageError(what, why=why, fix="--calibration DATA")

    def _decide(
        self, graph: Graph, layers: tuple[Layer, ...], *, whole: bool = True
    ) -> tuple[Decisions, tuple[Layer, ...], tuple[str, ...]]:
        """The decisions, the layers whose numbers allow integers, and remarks on the others."""
        # Where layers were kept, nothing is rounded for the sake of a sum of bytes.
        points = self._points(graph, layers, whole=whole)
        seen = histograms(graph, self.samples, points, self.host)
        whys = [why_float(graph, layer, seen) for layer in layers]
        pairs = list(zip(layers, whys, strict=True))
        remarks = tuple(f"{layer.name} stays float: {why}" for layer, why in pairs if why)
        layers = tuple(layer for layer, why in pairs if not why)
        points = [p for p in self._points(graph, layers, whole=whole) if self._takes(seen[id(p)])]
        settings = Settings(
            self.observer,
            self.symmetric,
            self.bias_correction,
            self.adaptive_rounding,
            format_of(self.kind),
        )
        count = _walked(graph, self.samples)
        labels = None if self.labels is None else self.labels[:count]
        walk = Walk(graph, layers, points, settings, self.host)
        return walk.run(self.samples[:count], seen, labels), layers, remarks

    def _points(self, graph: Graph, layers: tuple[Layer, ...], *, whole: bool) -> list[Op]:
        pools = whole and format_of(self.kind).shared
        return every(graph, layers) if self.everything else needed(graph, layers, pools=pools)

    def _takes(self, seen: Histogram) -> bool:
        """Whether integers may stand for it: a chip that has nothing else cuts the infinite."""
        return self.everything or not seen.left_out


def _with_numbers(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers whose data can become integers: not what is computed from constants alone."""
    return tuple(x for x in layers if all(source(d).dtype == x.op.dtype for d in x.data))


def _walked(graph: Graph, samples: tuple[Any, ...]) -> int:
    """How many samples the walk can hold."""
    largest = max((n.type.nbytes for n in graph.nodes if n.operands), default=1)
    return max(1, min(len(samples), WALK_BYTES // (2 * max(largest, 1))))


__all__ = ["Plan", "Quantize", "Report", "Sensitivity"]
