"""ONNX's own suite: a sample on every run, all of it when asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.onnx_cases import Case, cases, difference
from benchmarks.onnx_outcome import NPU
from benchmarks.onnx_page import FAILURES, page
from benchmarks.onnx_suite import SILENT, Suite, general, run_case

pytestmark = pytest.mark.filterwarnings("ignore")  # what onnx says while it makes its cases

BUGS = ("the importer of", SILENT)
STRIDE = 17  # every so many cases by name; the real networks take too long
ALWAYS = (
    "test_affine_grid_2d",  # a size as an input
    "test_attention_4d_attn_mask_causal_bf16",
    "test_cast_FLOAT_to_FLOAT8E4M3FN",
    "test_dft",
    "test_identity_opt",  # an optional comes in
    "test_ai_onnx_ml_label_encoder_string_int",
    "test_nonmaxsuppression_two_classes",
    "test_operator_add_broadcast",  # opset 6
    "test_quantizelinear_float4e2m1",
    "test_reduce_max_empty_set_bool",  # onnxruntime fails when it runs
    "test_scan_sum",
    "test_sequence_map_add_1_sequence_1_tensor",
    "test_split_to_sequence_1",
    "test_strnorm_model_monday_casesensintive_nochangecase",
    "test_top_k",
)


def sample() -> list[Case]:
    """The same cases on each run, of all kinds."""
    small = [c for c in cases() if c.kind != "light"]
    named = [c for c in small if c.name in ALWAYS]
    return list({c.name: c for c in (*named, *small[::STRIDE])}.values())


def test_a_sample() -> None:
    assert {c.name for c in sample()} >= set(ALWAYS)
    outcomes = [run_case(case) for case in sample()]
    wrong = {o.name: o.detail for o in outcomes if o.status != "pass" and o.name not in FAILURES}
    assert wrong == {}
    core = [o for o in outcomes if o.group == "core"]
    assert sum(o.where == NPU for o in core) > 0.7 * len(core)
    assert all(o.reasons for o in outcomes if o.where in {"host", "partly"})
    assert not {why for o in outcomes for why in o.reasons if why.startswith(BUGS)}


def test_differences_are_found() -> None:
    (case,) = (c for c in cases() if c.name == "test_top_k")
    _, [(_, expected)] = case.load()
    assert difference(expected, expected, case.rtol, case.atol) == ""
    assert "shape" in difference(expected, [expected[0][:1], expected[1]], case.rtol, case.atol)
    assert "not float32" in difference(
        expected, [expected[0].astype("f2"), expected[1]], case.rtol, case.atol
    )
    assert "Not equal" in difference(
        expected, [expected[0] * 1.01, expected[1]], case.rtol, case.atol
    )
    assert "2 values" in difference(expected, expected[:1], case.rtol, case.atol)


def test_reasons_lose_what_is_of_one_model() -> None:
    assert general("Range needs 'x' to be known when compiling") == (
        "Range needs an input to be known when compiling"
    )


def test_every_failure_names_a_case() -> None:
    assert set(FAILURES) <= {c.name for c in cases()}


@pytest.mark.slow
def test_the_whole_suite() -> None:
    """2,033 cases: what fails is known and explained, and the page says what happened."""
    outcomes = Suite(cases()).run()
    failed = {o.name for o in outcomes if o.status != "pass"}
    assert failed <= set(FAILURES)
    assert not {o.name for o in outcomes if o.status in {"crash", "timeout"}}
    assert len(outcomes) - len(failed) >= 2000
    assert not {why for o in outcomes for why in o.reasons if why.startswith(BUGS)}
    written = Path(__file__).parents[2] / "docs" / "onnx-suite.md"
    assert page(outcomes) == written.read_text(encoding="utf-8")
