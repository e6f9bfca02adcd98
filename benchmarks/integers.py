"""Quantized networks beside onnxruntime, integer by integer.

    python -m benchmarks.integers [--models FOLDER] [--target rebel] [--tensors] [NAME ...]

Every quantized activation of a model becomes an output, and two things are compared:

whole   the model as it is. Where one integer differs, what follows reads another number.
layers  each layer by itself: what reads a quantized activation is given onnxruntime's integers,
        so that a difference is the layer's own.

onnxruntime computes a QDQ layer in float32, whose sums depend on their order: next to a half it
may round the other way than the exact sum of integers does. So a layer may differ by one unit in
the last place, and a whole QDQ network by what grows out of it. Exit code 1 when a layer differs
by more.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

import kcompiler
from benchmarks.models import ROOT, SHARED, VARIANTS, Model, find, obtain

Array = np.ndarray[Any, np.dtype[Any]]

BYTES = {"tensor(int8)": TensorProto.INT8, "tensor(uint8)": TensorProto.UINT8}
GIVEN = ".given"
QUANTIZED = ("efficientnet-lite0-qdq-int8", "efficientnet-lite0-qop", "mnistnet-qdq")


@dataclass(frozen=True)
class Differences:
    """How far the integers of each tensor are from onnxruntime's."""

    tensors: Mapping[str, Counter[int]]

    @property
    def counts(self) -> Counter[int]:
        """How many integers of all tensors differ by how much."""
        return sum(self.tensors.values(), Counter())

    @property
    def largest(self) -> int:
        """The largest difference."""
        return max(map(abs, self.counts), default=0)

    def line(self, label: str) -> str:
        """A row of the table."""
        counts = self.counts
        more = sum(n for step, n in counts.items() if abs(step) > 1)
        parts = (
            f"{label:36} {len(self.tensors):7} {counts.total():10,} {counts[0]:10,}",
            f"{counts[1] + counts[-1]:9,} {more:9,} {self.largest:7}",
        )
        return " ".join(parts)


def exposed(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """The model with every quantized activation as an output, and their names."""
    copy = ModelProto()
    copy.CopyFrom(model)
    there = {o.name for o in model.graph.output}
    made = [o for node in model.graph.node for o in node.output if o]
    copy.graph.output.extend(ValueInfoProto(name=name) for name in made if name not in there)
    types = {o.name: o.type for o in _session(copy).get_outputs()}
    names = [name for name in made if types[name] in BYTES]
    del copy.graph.output[len(there) :]
    for name in names:
        if name not in there:
            copy.graph.output.append(helper.make_tensor_value_info(name, BYTES[types[name]], None))
    return copy, names


def apart(model: ModelProto, names: Sequence[str], values: Mapping[str, Array]) -> ModelProto:
    """An exposed model in layers: each reads quantized activations from inputs of their own."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        for i, name in enumerate(node.input):
            if name in names:
                node.input[i] = name + GIVEN
    for name in names:
        kind = helper.np_dtype_to_tensor_dtype(values[name].dtype)
        info = helper.make_tensor_value_info(name + GIVEN, kind, values[name].shape)
        copy.graph.input.append(info)
    return copy


def compare(
    model: ModelProto, feeds: Mapping[str, Array], target: str = "rebel"
) -> tuple[Differences, Differences]:
    """The differences of the whole model and of its layers on some inputs."""
    open_, names = exposed(model)
    found = _session(open_).run(names, dict(feeds))
    theirs = dict(zip(names, found, strict=True))
    given = {f"{name}{GIVEN}": value for name, value in theirs.items()}
    layers = apart(open_, names, theirs)
    whole = _differences(open_, feeds, theirs, target)
    return whole, _differences(layers, {**feeds, **given}, theirs, target)


def _differences(
    model: ModelProto, feeds: Mapping[str, Array], theirs: Mapping[str, Array], target: str
) -> Differences:
    shapes = {name: value.shape for name, value in feeds.items()}
    read = {name for node in model.graph.node for name in node.input}
    used = {name: value for name, value in feeds.items() if name in read}
    compiled = kcompiler.compile(_reading(model, read), target, shapes={n: shapes[n] for n in used})
    ours = compiled.run(used)
    return Differences({n: _steps(ours[n], expected) for n, expected in theirs.items()})


def _reading(model: ModelProto, read: set[str]) -> ModelProto:
    """The model without inputs that nothing reads."""
    kept = [i for i in model.graph.input if i.name in read]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def _steps(ours: Array, theirs: Array) -> Counter[int]:
    steps, counts = np.unique(ours.astype(np.int64) - theirs, return_counts=True)
    return Counter(dict(zip(steps.tolist(), counts.tolist(), strict=True)))


def _session(model: ModelProto) -> Any:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def sample(model: Model) -> dict[str, Array]:
    """The inputs that came with a trained network."""
    path = SHARED / "models" / "trained" / f"{model.name}.sample.npz"
    with np.load(path) as file:
        return {k.removeprefix("in::"): file[k] for k in file.files if k.startswith("in::")}


def main() -> int:
    """Print a histogram for each model."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.integers",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "models")
    parser.add_argument("--target", default="rebel")
    parser.add_argument("--tensors", action="store_true", help="a line for each tensor")
    names = [m.name for m in VARIANTS if m.name in QUANTIZED]
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="NAME")
    options = parser.parse_args()
    print(f"{'':36} tensors   integers      equal  by one   by more   most")
    worst = 0
    for name in options.names or names:
        model = find(name)
        proto = onnx.load(obtain(model, options.models))
        whole, layers = compare(proto, sample(model), options.target)
        for label, found in (("whole", whole), ("layers", layers)):
            print(found.line(f"{name} {label}"), flush=True)
            for tensor, counts in found.tensors.items() if options.tensors else ():
                print(f"    {tensor}: {dict(sorted(counts.items()))}")
        worst = max(worst, layers.largest)
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
