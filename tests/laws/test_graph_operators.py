"""Every operator means what ONNX's own runtimes compute for it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kcompiler.graph.bounds import error_bound
from kcompiler.graph.node import Array, Op
from kcompiler.graph.types import is_float
from tests.graph.instances import NAMES, Instance, instances, kinds
from tests.graph.oracle import ORACLES, expected


def test_every_operator_has_an_oracle() -> None:
    assert set(ORACLES) == set(kinds())


@pytest.mark.parametrize("kind", NAMES)
@given(data=st.data())
def test_evaluate_agrees_with_onnx(kind: str, data: st.DataObject) -> None:
    instance = data.draw(instances(Op.registry[kind]))
    assume(all(v.size for v in instance.values))
    _agrees(instance, instance.result)
    _agrees(instance, expected(instance))


def _agrees(instance: Instance, result: Array) -> None:
    bound = error_bound(instance.op, instance.values)
    assert result.shape == instance.op.shape
    if not is_float(instance.op.dtype):
        result = result.astype(instance.op.dtype)
    inside = bound.contains(result)
    assert inside.all(), (result[~inside], bound.value[~inside], bound.error[~inside])
