"""Real models: in float32 they compute what onnxruntime computes."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.models import MODELS, VARIANTS, Model, obtain
from kcompiler.frontend import Imported, load_model
from kcompiler.graph.interpreter import run_graph
from kcompiler.graph.node import Array
from tests.frontend.oracle import hosts, on_host, on_onnxruntime

# Beyond the benchmarks' twenty: other forms of the same networks, recurrences, 25 nested Ifs.
MORE = VARIANTS
QUANTIZED = {"efficientnet-lite0-qop", "mnistnet-qdq", "efficientnet-lite0-qdq-int8"}
FAST = {"mnistnet-dynamo", "crepe-tiny-dynamo", "mnistnet-qdq", "efficientnet-lite0-qop"}


def parameters(models: tuple[Model, ...]) -> list[Any]:
    """One parameter a model; all but the small local ones are slow."""
    slow = pytest.mark.slow
    return [pytest.param(m, id=m.name, marks=() if m.name in FAST else slow) for m in models]


@pytest.fixture(scope="module")
def folder(pytestconfig: pytest.Config) -> Path:
    """Models stay here from one run to the next."""
    cache = pytestconfig.cache
    assert cache is not None
    return cache.mkdir("models")


def path_of(model: Model, folder: Path) -> Path:
    try:
        return obtain(model, folder)
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"{model.name} cannot be had: {problem}")


def plausible(imported: Imported) -> dict[str, Array]:
    """Seeded inputs that a network of this kind could be given."""
    random = np.random.default_rng(0)
    made: dict[str, Array] = {}
    for node in imported.graph.inputs:
        if node.dtype.kind == "f":
            image = len(node.shape) == 4
            draw = random.random if image else random.standard_normal
            made[node.name] = np.asarray(draw(node.shape)).astype(node.dtype)
        elif "mask" in node.name:
            made[node.name] = np.ones(node.shape, node.dtype)
        elif "position" in node.name:
            made[node.name] = np.arange(node.shape[-1]).reshape(node.shape).astype(node.dtype)
        else:
            high = 2 if "type" in node.name else 250
            made[node.name] = random.integers(0, high, node.shape).astype(node.dtype)
    return made


@pytest.mark.parametrize("model", parameters(MODELS + MORE))
def test_model(model: Model, folder: Path, shared: Path) -> None:
    path = path_of(model, folder)
    values = model.values
    imported = load_model(path, model.dims, model.shapes, values=values)
    assert hosts(imported) == []
    feeds = plausible(imported)
    ours = run_graph(imported.graph, feeds, on_host)
    theirs = on_onnxruntime(imported.oracle(), {**feeds, **imported.values})
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=tolerance(model, expected))
    del shared


def tolerance(model: Model, expected: Array) -> float:
    """1e-5 of the largest output: sums are in another order. Quantized models may differ a step."""
    largest = float(np.abs(expected).max(initial=0))
    if model.name.endswith("fp16"):
        return 3e-3 * largest
    if model.name in QUANTIZED:
        return 0.03 * largest
    # basic-pitch takes logarithms of tiny powers: onnxruntime with and without its own rewrites
    # differs from itself by 3e-5.
    return 2e-4 if model.name == "basic-pitch" else 1e-5 * max(largest, 0.1)


def test_the_example_in_the_repository(examples: Path) -> None:
    imported = load_model(examples / "mnistnet.onnx", {"s77": 4})
    digits = np.load(examples / "digits.npy")[:4]
    feeds = {imported.graph.inputs[0].name: digits.astype(np.float32).reshape(4, 1, 28, 28)}
    (ours,) = run_graph(imported.graph, feeds).values()
    (theirs,) = on_onnxruntime(imported.oracle(), feeds).values()
    np.testing.assert_allclose(ours, theirs, 1e-5, 1e-4)


@pytest.mark.slow
def test_a_large_model_loads_fast_and_without_copies(folder: Path, shared: Path) -> None:
    """resnet50-v1.5: 102 MB of weights. Measured in a process of its own."""
    model = next(m for m in MODELS if m.name == "resnet50-v1.5-dynamo")
    path = path_of(model, folder)
    program = (
        "import onnx, resource, sys, time\n"
        "import kcompiler.frontend\n"
        "before = resource.getrusage(resource.RUSAGE_SELF)\n"
        "kcompiler.frontend.load_model(sys.argv[1])\n"
        "after = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)\n"
        "print((after.ru_maxrss - before.ru_maxrss) / 1024)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True
    )
    seconds, megabytes = map(float, run.stdout.split())
    assert seconds < 1
    assert megabytes < 1.3 * path.stat().st_size / 1e6  # the file's own pages, once
    del shared


def test_import_of_a_small_model_is_quick(examples: Path) -> None:
    """Nothing heavy is done at the first import: no reference evaluator, no onnxruntime."""
    start = time.process_time()
    load_model(examples / "mnistnet.onnx", {"s77": 4})
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
