"""The models of the benchmarks' table, each in a process of its own; and 20 photographs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import imagenet, table
from benchmarks.models import MODELS, ROOT, VARIANTS, Model, obtain

pytestmark = pytest.mark.slow

LEAST_DB = {"ppocr-v4-det": 29.0, "basic-pitch": 31.0}
"""Below the 40 dB of all others; docs and the table say for which reasons, layer by layer."""


def file_of(model: Model) -> Path:
    """The model's file, or a skip with the reason."""
    try:
        return obtain(model, ROOT / "build" / "models")
    except FileNotFoundError as error:
        pytest.skip(f"no model and no tools to make it: {error}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the model cannot be fetched: {error}")


@pytest.mark.parametrize("model", [*MODELS, *VARIANTS], ids=lambda m: m.name)
def test_a_model_verifies(model: Model) -> None:
    result = table.compiled(model, file_of(model), "rebel", explain=False)
    assert "failure" not in result, result["failure"]
    assert result["verify"]["ok"]
    assert result["mac_share"] >= table.LEAST_SHARE
    least = table.least_sqnr(result)
    assert least is None or least >= LEAST_DB.get(model.name, table.ENOUGH_DB)


def test_photographs_keep_their_classes(shared: Path) -> None:
    """In f16, the same answers as onnxruntime gives in float32: 20 of 20."""
    answers = imagenet.compare(shared / "models" / "trained", shared / "data", "rebel")
    assert len(answers) == 20
    assert [a for a in answers if not a.same] == []
