"""The pass quantize: a model of floats becomes one of 8-bit integers, by what samples show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcompiler.calibration import OBSERVERS
from kcompiler.errors import UsageError
from kcompiler.graph.interpreter import HostRunner
from kcompiler.graph.node import Array, Graph
from kcompiler.passes.quantize.equalize import equalized
from kcompiler.passes.quantize.insert import Insert
from kcompiler.passes.quantize.layers import Layer, find_layers, source
from kcompiler.passes.quantize.points import every, needed
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
    near to float32's. `everything` quantizes all tensors between kernels, not only what products
    and pools read. `samples` are inputs by name; what was decided is appended to `log`.
    """

    samples: tuple[Mapping[str, Array], ...] = ()
    observer: str = "auto"
    symmetric: bool = False
    bias_correction: bool = True
    adaptive_rounding: bool = True
    equalize: bool = True
    min_sqnr: float = 0.0
    everything: bool = False
    host: HostRunner | None = None
    log: list[Report] | None = None

    def run(self, ir: Graph) -> Graph:
        self._check()
        graph = widened(ir)
        if self.equalize:
            graph = equalized(graph, self.samples, self.host)
        layers = _with_numbers(find_layers(graph))
        made = self._decide(graph, layers)
        rows: tuple[Sensitivity, ...] = ()
        if self.min_sqnr > 0:
            walked = self.samples[: _walked(graph, self.samples)]
            rows = choose_kept(graph, layers, made, walked, self.min_sqnr, host=self.host)
            kept = {row.layer for row in rows if row.kept}
            layers = tuple(layer for i, layer in enumerate(layers) if i not in kept)
            made = self._decide(graph, layers)
        if self.log is not None:
            self.log.append(reported(graph, made, rows))
        return Insert(graph, layers, made).run()

    def _check(self) -> None:
        if self.observer not in {*OBSERVERS, "auto"}:
            known = ", ".join((*OBSERVERS, "auto"))
            raise UsageError(f"there is no observer {self.observer!r}", fix=f"one of: {known}")
        if not self.samples:
            raise UsageError("quantization needs calibration data", fix="give --calibration DATA")

    def _decide(self, graph: Graph, layers: tuple[Layer, ...]) -> Decisions:
        points = every(graph) if self.everything else needed(graph, layers)
        seen = histograms(graph, self.samples, points, self.host)
        settings = Settings(
            self.observer, self.symmetric, self.bias_correction, self.adaptive_rounding
        )
        walk = Walk(graph, layers, points, settings, self.host)
        return walk.run(self.samples[: _walked(graph, self.samples)], seen)


def _with_numbers(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers whose data can become integers: not what is computed from constants alone."""
    return tuple(x for x in layers if all(source(d).dtype == x.op.dtype for d in x.data))


def _walked(graph: Graph, samples: tuple[Any, ...]) -> int:
    """How many samples the walk can hold."""
    largest = max((n.type.nbytes for n in graph.nodes if n.operands), default=1)
    return max(1, min(len(samples), WALK_BYTES // (2 * max(largest, 1))))


__all__ = ["Quantize", "Report", "Sensitivity"]
