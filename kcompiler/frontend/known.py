"""ONNX nodes on known values, evaluated by ONNX's own reference where no importer can."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from onnx import ModelProto, NodeProto

from kcompiler.frontend.names import subgraphs
from kcompiler.graph.node import Array

_RANDOM = ("Random", "Bernoulli", "Multinomial", "Dropout")
_INPUT_BYTES = (
    1 << 24
)  # the reference is slow, and some of its results are larger than its operands


def worth_a_try(node: NodeProto, operands: Mapping[str, Array]) -> bool:
    """Whether a node on these operands has one result, and soon."""
    if node.op_type.startswith(_RANDOM) or any(True for _ in subgraphs(node)):
        return False
    return sum(v.nbytes for v in operands.values()) <= _INPUT_BYTES


def evaluate(model: ModelProto, operands: Mapping[str, Array]) -> list[object] | None:
    """The outputs of a model of a few nodes, or None where the reference fails."""
    from onnx.reference import ReferenceEvaluator

    feeds = {i.name: operands[i.name] for i in model.graph.input}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(ReferenceEvaluator(model).run(None, feeds))
    except Exception:  # noqa: BLE001 - the reference raises whatever numpy does; the host is tried next
        return None
