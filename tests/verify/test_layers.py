"""The layers say where precision is lost: by whom, and who only amplifies it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.cli import main
from kcompiler.errors import UsageError
from tests.models import nets
from tests.runtime import models


def test_a_row_for_each_kernel(linear: CompiledModel) -> None:
    rows = linear.layers()
    assert [r.kernel for r in rows] == [k.name for k in linear.programs[0].program.kernels]
    assert [r.stored for r in rows] == ["float16", "float32"]
    first, last = rows
    assert first.operands_db is None
    assert first.own_db == first.sqnr_db == last.operands_db
    assert 70 < (first.sqnr_db or 0) < 80  # one rounding to f16
    assert last.origins == ("matmul", "add", "relu")
    result = linear.verify()
    assert last.sqnr_db == pytest.approx(result.outputs["y"].sqnr_db, abs=0.01)
    assert (last.own_db or 0) > (last.sqnr_db or 0)


def test_float32_loses_next_to_nothing() -> None:
    rows = kcompiler.compile(nets.small_transformer(), precision="f32").layers()
    assert rows
    assert all(r.sqnr_db is None or r.sqnr_db > 110 for r in rows)


def test_an_operator_that_amplifies() -> None:
    """The second product takes the difference of nearly equal numbers; its own work is fine."""
    rng = np.random.default_rng(0)
    data = models.model(
        [models.node("MatMul", "x w", "h", "first"), models.node("MatMul", "h v", "y", "second")],
        [("x", 1, [40, 16])],
        [("y", 1, [40, 1])],
        w=np.repeat(rng.standard_normal((16, 1)), 2, 1).astype(np.float32)
        + rng.normal(0, 1e-3, (16, 2)).astype(np.float32),
        v=np.array([[1], [-1]], np.float32),
    )
    _, first, second = kcompiler.compile(data).layers()
    assert first.sqnr_db is not None
    assert second.sqnr_db is not None
    assert first.sqnr_db > 60
    assert second.own_db is None or second.own_db > 100
    assert second.operands_db == first.sqnr_db
    assert second.sqnr_db < 20


def test_rounded_weights_are_an_error_of_their_kernel(linear: CompiledModel) -> None:
    """The reference has the weights of the model, not what became of them."""
    exact = {"x": np.eye(50, 96, dtype=np.float32)}
    first, last = linear.layers(exact)
    assert first.sqnr_db is None
    assert last.own_db is not None
    assert 65 < last.own_db < 85


@pytest.mark.usefixtures("free_way")
def test_segments_on_the_host_lie_between() -> None:
    compiled = kcompiler.compile(models.divided())
    rows = compiled.layers()
    assert {r.segment for r in rows} == {0, 2}
    assert len(rows) == sum(len(s.program.kernels) for s in compiled.programs)
    last = rows[-1]
    assert last.sqnr_db == pytest.approx(compiled.verify().outputs["y"].sqnr_db, abs=0.5)


def test_a_package_has_no_layers(linear: CompiledModel) -> None:
    with pytest.raises(UsageError, match="holds no graph to compare its kernels with"):
        kcompiler.load(linear.to_bytes()).layers()


@pytest.mark.parametrize("as_json", [False, True])
def test_the_option(as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "linear.onnx"
    model.write_bytes(models.linear())
    arguments = [str(model), "--target", "rebel", "--layers", "-o", str(tmp_path / "m.kpkg")]
    assert main([*arguments, "--json"] if as_json else arguments) == 0
    out = capsys.readouterr().out
    if as_json:
        rows = json.loads(out)["layers"]
        assert [r["kernel"] for r in rows] == ["k0", "k1"]
    else:
        assert out.startswith("kernel")
        assert "matmul, add, relu" in out
