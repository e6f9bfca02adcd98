"""Options on quantization: what a precision does not need, and what excludes each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcompiler import cli

CALIBRATED = "say --precision int8, mixed or fp8"
NARROW = "say --precision int8-weights, int4-weights or fp8-weights"
USELESS = [
    ("rebel", "int8", "--group-size 0", NARROW),
    ("rebel", "f16", "--group-size 32", NARROW),
    ("rebel", "int8", "--min-sqnr 20", "say --precision mixed"),
    ("rebel", "f16", "--preprocess scale=255", CALIBRATED),
    ("rebel", "int4-weights", "--observer mse", CALIBRATED),
    ("rebel", "f16", "--asymmetric", CALIBRATED),
    ("rebel", "f16", "--symmetric", CALIBRATED),
    ("rebel", "f32", "--equalize", CALIBRATED),
    ("warboy", "int8", "--group-size 32", "leave --group-size out"),
]


@pytest.mark.parametrize(("target", "precision", "words", "fix"), USELESS)
def test_what_has_no_use_is_an_error(
    target: str,
    precision: str,
    words: str,
    fix: str,
    capsys: pytest.CaptureFixture[str],
    examples: Path,
) -> None:
    option = words.split()
    model = str(examples / "mnistnet.onnx")
    assert cli.main([model, "-t", target, "-p", precision, *option]) == 2
    expected = f"error: {option[0]} has no use in {precision}\n  try: {fix}\n"
    assert capsys.readouterr().err == expected


def test_both_kinds_of_zero_points(capsys: pytest.CaptureFixture[str], examples: Path) -> None:
    model = str(examples / "mnistnet.onnx")
    assert cli.main([model, "-t", "rebel", "-p", "int8", "--symmetric", "--asymmetric"]) == 2
    expected = "error: --symmetric and --asymmetric exclude each other\n  try: leave one out\n"
    assert capsys.readouterr().err == expected
