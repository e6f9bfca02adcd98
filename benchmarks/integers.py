"""Quantized networks beside onnxruntime, integer by integer; and narrow ones in decibels.

    python -m benchmarks.integers [--models FOLDER] [--target rebel] [--tensors] [NAME ...]

Every quantized activation of a model becomes an output, and these are compared:

whole    the network as it is, with onnxruntime's integer kernels (`integer_kernels.unsigned`)
layers   each layer by itself: what reads a quantized activation is given the integers that
         onnxruntime has when it computes in float32, so that a difference is the layer's own
theirs   onnxruntime's float32 kernels with its integer kernels: how far it is from itself
outputs  the network's outputs alone, in steps of their scale, so that nothing else of it is
         seen: onnxruntime's default choice of kernels, and its kernels without optimization,
         with its integer kernels

onnxruntime computes a QDQ layer in float32 where it has no integer kernel for what it reads and
writes. Sums of floats depend on their order: next to a half one may be rounded the other way than
the exact sum of integers, and what grows out of it in a deep network is not one step. Integer
kernels have one right answer. Exit code 1 when a network or a layer differs by more than one step.

A network in float16 is compared with onnxruntime as a ratio of signal to noise.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

import kcompiler
from benchmarks.decibels import decibels
from benchmarks.integer_kernels import Kernel, in_float, session, sums_are_exact, unsigned
from benchmarks.models import ROOT, SHARED, VARIANTS, Model, find, obtain

Array = np.ndarray[Any, np.dtype[Any]]

BYTES = {"tensor(int8)": TensorProto.INT8, "tensor(uint8)": TensorProto.UINT8}
GIVEN = ".given"
QUANTIZED = ("efficientnet-lite0-qdq-int8", "efficientnet-lite0-qop", "mnistnet-qdq")
NARROW = {"efficientnet-lite0-fp16": "efficientnet-lite0-dynamo"}
"""Networks in float16, and the same in float32."""
COLUMNS = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 7), (8, 255))
"""The columns of a histogram: differences from the first to the second number of steps."""


@dataclass(frozen=True)
class Differences:
    """How far the integers of each tensor are from other ones."""

    tensors: Mapping[str, Counter[int]]

    @property
    def counts(self) -> Counter[int]:
        """How many integers of all tensors differ by how much."""
        return sum(self.tensors.values(), Counter())

    @property
    def largest(self) -> int:
        """The largest difference."""
        return max(map(abs, self.counts), default=0)


@dataclass(frozen=True)
class Comparison:
    """A network beside onnxruntime, in the four ways that the module explains.

    `chosen` are the nodes that onnxruntime runs in float32 when it runs the model as it is, and
    `opened` when all tensors are outputs.
    """

    whole: Differences
    layers: Differences
    theirs: Differences
    default: Differences
    unoptimized: Differences
    chosen: Sequence[Kernel]
    opened: Sequence[Kernel]


def exposed(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """The model with every quantized activation as an output, and their names."""
    copy = ModelProto()
    copy.CopyFrom(model)
    there = {o.name for o in model.graph.output}
    made = [o for node in model.graph.node for o in node.output if o]
    copy.graph.output.extend(ValueInfoProto(name=name) for name in made if name not in there)
    types = {o.name: o.type for o in session(copy).get_outputs()}
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


def compare(model: ModelProto, feeds: Mapping[str, Array], target: str = "rebel") -> Comparison:
    """A quantized network on some inputs."""
    open_, names = exposed(model)
    floats = dict(zip(names, session(open_).run(names, dict(feeds)), strict=True))
    whole = integers(open_, names, feeds)
    given = {f"{name}{GIVEN}": value for name, value in floats.items()}
    layers = apart(open_, names, floats)
    exact = _steps_out(model, session(unsigned(model)), feeds)
    return Comparison(
        whole=_differences(_ours(open_, feeds, target), whole),
        layers=_differences(_ours(layers, {**feeds, **given}, target), floats),
        theirs=_differences(floats, whole),
        default=_differences(_steps_out(model, session(model), feeds), exact),
        unoptimized=_differences(_steps_out(model, session(model, False), feeds), exact),
        chosen=in_float(model),
        opened=in_float(open_),
    )


def integers(
    model: ModelProto, names: Sequence[str], feeds: Mapping[str, Array]
) -> dict[str, Array]:
    """What onnxruntime's integer kernels make of each tensor, in the model's own bytes."""
    rewritten = unsigned(model)
    left = in_float(rewritten)
    if left:
        raise ValueError(f"onnxruntime runs {left[0].op_type} {left[0].name} in float32")
    kinds = {o.name: o.type.tensor_type.elem_type for o in model.graph.output}
    found = session(rewritten).run(list(names), dict(feeds))
    return {
        name: value.astype(np.int16) - 128 if kinds[name] != _kind(value) else value
        for name, value in zip(names, found, strict=True)
    }


def _kind(value: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))


def _steps_out(model: ModelProto, run: Any, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The network's outputs in steps of the scales by which they are dequantized."""
    names = [o.name for o in model.graph.output]
    made = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    scales = {i.name: i for i in model.graph.initializer}
    return {
        name: np.rint(value / numpy_helper.to_array(scales[made[name].input[1]]))
        for name, value in zip(names, run.run(names, dict(feeds)), strict=True)
    }


def _ours(model: ModelProto, feeds: Mapping[str, Array], target: str) -> dict[str, Array]:
    read = {name for node in model.graph.node for name in node.input}
    used = {name: value for name, value in feeds.items() if name in read}
    shapes = {name: value.shape for name, value in used.items()}
    return dict(kcompiler.compile(_reading(model, read), target, shapes=shapes).run(used))


def _reading(model: ModelProto, read: set[str]) -> ModelProto:
    """The model without inputs that nothing reads."""
    kept = [i for i in model.graph.input if i.name in read]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def _differences(found: Mapping[str, Array], expected: Mapping[str, Array]) -> Differences:
    return Differences({n: _steps(found[n], value) for n, value in expected.items()})


def _steps(found: Array, expected: Array) -> Counter[int]:
    far = found.astype(np.int64) - expected.astype(np.int64)
    steps, counts = np.unique(far, return_counts=True)
    return Counter(dict(zip(steps.tolist(), counts.tolist(), strict=True)))


def sample(model: Model) -> dict[str, Array]:
    """The inputs that came with a trained network."""
    path = SHARED / "models" / "trained" / f"{model.name}.sample.npz"
    with np.load(path) as file:
        return {k.removeprefix("in::"): file[k] for k in file.files if k.startswith("in::")}


def ratios(
    model: ModelProto, wide: ModelProto, feeds: Mapping[str, Array], target: str = "rebel"
) -> tuple[float, float, float]:
    """Signal to noise of the first output, in dB, of a model in float16.

    Ours with onnxruntime's; ours, and onnxruntime's, with what it makes of the float32 model.
    """
    (theirs, *_), (exact, *_) = (_first(m, feeds) for m in (model, wide))
    ours = _ours(model, feeds, target)[model.graph.output[0].name]
    return decibels(theirs, ours), decibels(exact, ours), decibels(exact, theirs)


def _first(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """Onnxruntime's results; inputs have the names of another model, in its order."""
    run = session(model)
    names = [i.name for i in run.get_inputs()]
    return list(run.run(None, dict(zip(names, feeds.values(), strict=True))))


def row(label: str, counts: Counter[int], tensors: int = 1) -> str:
    """A row of the table."""
    sizes = [sum(n for s, n in counts.items() if a <= abs(s) <= b) for a, b in COLUMNS]
    most = max(map(abs, counts), default=0)
    parts = [f"{label:44} {tensors:7} {counts.total():10,}", *(f"{n:10,}" for n in sizes)]
    return " ".join([*parts, f"{most:4}"])


def head() -> str:
    """What the columns are."""
    names = [str(a) if a == b else f"{a} to {b}" for a, b in COLUMNS]
    return " ".join([f"{'':44} tensors   integers", *(f"{n:>10}" for n in names), "most"])


def lines(name: str, found: Comparison, tensors: bool) -> Iterator[str]:
    """The table of a network: which kernels are float, and how far integers are apart."""
    yield f"{name}: of onnxruntime's kernels {len(found.chosen)} are float32"
    kinds = Counter((k.op_type, k.reads, k.writes) for k in found.chosen)
    for (op_type, reads, writes), count in sorted(kinds.items()):
        yield f"  {count:3} {op_type:5} reads {', '.join(reads)}; writes {', '.join(writes)}"
    rows = (
        ("whole: ours, integer kernels", found.whole),
        ("layers: ours, float32 kernels", found.layers),
        (f"theirs: {len(found.opened)} float32 kernels, integer kernels", found.theirs),
        ("outputs: default kernels, integer kernels", found.default),
        ("outputs: not optimized, integer kernels", found.unoptimized),
    )
    for label, differences in rows:
        yield row(f"  {label}", differences.counts, len(differences.tensors))
        if tensors:
            yield from (row(f"    {n[-38:]}", c) for n, c in differences.tensors.items())


def narrow_line(name: str, found: tuple[float, float, float]) -> str:
    """What is said of a network in float16."""
    ours, to_wide, theirs = found
    return (
        f"{name}: {ours:.1f} dB of signal to noise against onnxruntime; against its float32: "
        f"ours {to_wide:.1f} dB, onnxruntime's float16 {theirs:.1f} dB"
    )


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
    names = [m.name for m in VARIANTS if m.name in (*QUANTIZED, *NARROW)]
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="NAME")
    options = parser.parse_args()
    if not sums_are_exact():
        print("note: onnxruntime's sums of bytes saturate on this processor, so it differs")
    print(head())
    worst = 0
    for name in options.names or names:
        model = find(name)
        proto = onnx.load(obtain(model, options.models))
        if name in NARROW:
            wide = onnx.load(obtain(find(NARROW[name]), options.models))
            print(narrow_line(name, ratios(proto, wide, sample(model), options.target)), flush=True)
            continue
        found = compare(proto, sample(model), options.target)
        print("\n".join(lines(name, found, options.tensors)), flush=True)
        worst = max(worst, found.whole.largest, found.layers.largest)
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
