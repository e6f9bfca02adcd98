"""The passes on trained networks: how many kernels, and what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kcompiler.frontend import load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array, Graph
from kcompiler.graph.operators import Fused
from kcompiler.graph.verify import verify_graph
from kcompiler.passes.fuse import Fuse
from kcompiler.passes.precision import Precision
from kcompiler.passes.recognize import Recognize
from kcompiler.passes.simplify import Simplify
from kcompiler.pipeline import Step, run


def decibels(expected: Array, found: Array) -> float:
    """Signal to quantization noise."""
    wide = expected.astype(np.float64)
    noise = float(np.square(wide - found).sum())
    return float(10 * np.log10(np.square(wide).sum() / max(noise, 1e-30)))


@pytest.mark.parametrize(
    ("name", "kernels"),
    [("mnistnet-dynamo", 8), ("crepe-tiny-dynamo", 14), ("efficientnet-lite0-dynamo", 52)],
)
def test_kernels_and_numbers(shared: Path, name: str, kernels: int) -> None:
    """Convolutions, pools and products are one kernel each; one more casts the input."""
    folder = shared / "models" / "trained"
    with np.load(folder / f"{name}.sample.npz") as sample:
        inputs = {k.removeprefix("in::"): sample[k] for k in sample.files if k.startswith("in::")}
        outputs = {
            k.removeprefix("out::"): sample[k] for k in sample.files if k.startswith("out::")
        }
    shapes = {key: value.shape for key, value in inputs.items()}
    graph = load_model(folder / f"{name}.onnx", shapes=shapes).graph
    found: list[Graph] = []

    def check(step: Step) -> None:
        verify_graph(step.after)
        found.append(step.after)

    run([Simplify(), Recognize(), Fuse(), Precision()], graph, check)
    assert sum(isinstance(n, Fused) for n in found[-1].nodes) == kernels
    for after, least in zip(found, [100, 100, 100, 40], strict=True):
        for output, value in run_graph(after, inputs).items():
            assert decibels(outputs[output], value) > least
