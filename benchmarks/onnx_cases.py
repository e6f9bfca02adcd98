"""The cases of ONNX's own conformance suite: models, inputs, expected outputs, tolerances.

They come with the installed package `onnx`; nothing is downloaded.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, TypeProto, numpy_helper

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "light")
CLASSES = ("core", "expanded", "lowprec", "string/seq/optional", "ml", "training", *KINDS[1:])

DataSet: TypeAlias = tuple[list[Any], list[Any]]  # inputs, expected outputs
Loaded: TypeAlias = tuple[ModelProto, list[DataSet]]

_LOW = re.compile(r"FLOAT8|FLOAT4|INT4|INT2|BFLOAT16")
_LOW_TYPES = {v for n, v in TensorProto.DataType.items() if _LOW.search(n)}
_LOW_NAME = re.compile(
    r"(?<![a-z])(bfloat16|float8\w*|u?int4|u?int2|float4\w*|"
    r"FLOAT8\w*|FLOAT4\w*|U?INT4|U?INT2|BFLOAT16)(?![0-9])"
)


@dataclass(frozen=True)
class Case:
    """One case; `operator` is what it tests, or its kind for a model of many operators."""

    name: str
    kind: str
    group: str  # one of CLASSES
    operator: str
    rtol: float
    atol: float
    load: Callable[[], Loaded] = field(repr=False)


@cache
def cases() -> tuple[Case, ...]:
    """All cases in a fixed order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found = [*_node_cases(load_model_tests(kind="node"))]
        for kind in KINDS[1:-1]:
            for t in load_model_tests(kind=kind):
                load = _folder(Path(t.model_dir or ""))
                found.append(Case(t.name, kind, kind, kind, t.rtol, t.atol, load))
        found += _light_cases()
    return tuple(sorted(found, key=lambda c: (KINDS.index(c.kind), c.name)))


def _node_cases(tests: Sequence[Any]) -> Iterator[Case]:
    operators = {t.name: _operator(t.model) for t in tests}
    for t in tests:
        base = re.sub(r"_expanded.*", "", t.name)
        operator = operators.get(base) or operators[t.name]
        yield Case(t.name, "node", _group(t), operator, t.rtol, t.atol, _in_memory(t))


def _operator(model: ModelProto) -> str:
    """What a model of one node, or of a few around one, is about: the last that is no constant."""
    names = [f"{n.domain}::{n.op_type}" if n.domain else n.op_type for n in model.graph.node]
    return next((n for n in reversed(names) if n not in {"Constant", "Identity"}), names[-1])


def _group(test: Any) -> str:
    model, name = test.model, test.name
    operators = [*_operators(model.graph), *(n.op_type for f in model.functions for n in f.node)]
    types = [value.type for value in (*model.graph.input, *model.graph.output)]
    if any("training" in o for o in operators):
        return "training"
    if any(o.startswith("ai.onnx.ml::") for o in operators):
        return "ml"
    if not all(t.HasField("tensor_type") for t in types):
        return "string/seq/optional"
    elements = {t.tensor_type.elem_type for t in types}
    if TensorProto.STRING in elements:
        return "string/seq/optional"
    if elements & _LOW_TYPES or _LOW_NAME.search(name):
        return "lowprec"
    return "expanded" if "expanded" in name else "core"


def _operators(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _operators(attribute.g)


def _in_memory(test: Any) -> Callable[[], Loaded]:
    def load() -> Loaded:
        sets = [([*map(_array, i)], [*map(_array, o)]) for i, o in test.data_sets]
        return test.model, sets

    return load


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _folder(path: Path) -> Callable[[], Loaded]:
    def load() -> Loaded:
        model = onnx.load(path / "model.onnx")
        folders = sorted(path.glob("test_data_set*"))
        return model, [
            (_files(f, "input", model.graph.input), _files(f, "output", model.graph.output))
            for f in folders
        ]

    return load


def _files(folder: Path, kind: str, infos: Sequence[Any]) -> list[Any]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [_value(folder / f"{kind}_{i}.pb", infos[i].type) for i in range(count)]


def _value(path: Path, type_: TypeProto) -> Any:
    data = path.read_bytes()
    if type_.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if type_.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(TensorProto.FromString(data))


def _light_cases() -> Iterator[Case]:
    """Real networks whose weights are constant; their input is a ramp."""
    from onnx.backend.test.loader import DATA_DIR

    for path in sorted(Path(DATA_DIR, "light").glob("*.onnx")):
        yield Case(f"test_{path.stem}", "light", "light", "light", 2e-3, 1e-7, _light(path))


def _light(path: Path) -> Callable[[], Loaded]:
    def load() -> Loaded:
        model = onnx.load(path)
        known = {i.name for i in model.graph.initializer}
        shapes = [
            tuple(d.dim_value or 1 for d in x.type.tensor_type.shape.dim)
            for x in model.graph.input
            if x.name not in known
        ]
        inputs = [_ramp(shape) for shape in shapes]
        outputs = [
            numpy_helper.to_array(TensorProto.FromString(p.read_bytes()))
            for p in sorted(path.parent.glob(f"{path.stem}_output_*.pb"))
        ]
        return model, [(inputs, outputs)]

    return load


def _ramp(shape: tuple[int, ...]) -> Any:
    size = int(np.prod(shape))
    return (np.arange(size).reshape(shape) / size).astype(np.float32)


def difference(expected: Any, found: Any, rtol: float, atol: float) -> str:
    """What differs first, in the manner of ONNX's own runner; empty when nothing does."""
    if isinstance(expected, list | tuple):
        return _lists(expected, found, rtol, atol)
    if expected is None or found is None:
        return "" if expected is found else f"{type(found).__name__}, not {type(expected).__name__}"
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape:
        return f"shape {list(found.shape)}, not {list(expected.shape)}"
    if expected.dtype == object or expected.dtype.kind in "US":
        return "" if np.array_equal(expected.astype(str), found.astype(str)) else "other text"
    if expected.dtype != found.dtype:
        return f"{found.dtype}, not {expected.dtype}"
    return _numbers(expected, found, rtol, atol)


def _lists(expected: Sequence[Any], found: Any, rtol: float, atol: float) -> str:
    if not isinstance(found, list | tuple) or len(found) != len(expected):
        return f"{type(found).__name__}, not {len(expected)} values"
    differences = (difference(e, f, rtol, atol) for e, f in zip(expected, found, strict=True))
    return next((f"value {i}: {text}" for i, text in enumerate(differences) if text), "")


def _numbers(expected: Any, found: Any, rtol: float, atol: float) -> str:
    if expected.dtype.kind not in "biufc":  # of ml_dtypes
        if expected.dtype.name == "bfloat16":
            rtol = max(rtol, 2**-6)
        expected, found = expected.astype(np.float32), found.astype(np.float32)
    with np.errstate(all="ignore"):
        try:
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
        except AssertionError as error:
            return " ".join(str(error).split())[:200]
    return ""
