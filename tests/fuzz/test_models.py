"""Random valid models: the same few on every run, any that Hypothesis thinks of, and the judge."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import defs, shape_inference

from kcompiler.frontend.registry import importers
from kcompiler.graph.node import Array
from kcompiler.graph.operators import Relu, Sin
from tests.frontend.oracle import model, node
from tests.fuzz.campaign import Campaign
from tests.fuzz.check import Judge, reduced
from tests.fuzz.maker import OPSETS, Case, Discarded, Maker
from tests.fuzz.oracles import same, validate
from tests.fuzz.recipe import Recipe, random_case, recipes, seeded_case
from tests.fuzz.tasks import KINDS

RANDOM = "it gives random numbers"
TEXT = "it is about text, or an image file: ONNX's suite and tests/runtime have it"
WITHOUT_RECIPE = {
    **dict.fromkeys(
        ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
         "RandomUniformLike"], RANDOM),
    **dict.fromkeys(
        ["ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit",
         "TfIdfVectorizer"], TEXT),
    "SimplifiedLayerNormalization": "onnxruntime has it in ONNX's domain, whose checker refuses it",
}  # fmt: skip
"""Operators that no random model has, and why."""


def test_every_operator_has_a_recipe() -> None:
    """All that an importer takes, and all that ONNX has."""
    made = set(recipes())
    plain = {name for domain, name in importers() if not domain} - made
    others = {name for domain, name in importers() if domain}
    assert plain <= set(WITHOUT_RECIPE)
    assert {n for n in others if n not in made and f"com.microsoft.{n}" not in made} == set()
    every = {s.name for s in defs.get_all_schemas() if not s.domain}
    assert (every | plain) - made == set(WITHOUT_RECIPE)


def test_every_recipe_makes_a_valid_model() -> None:
    for name, function in recipes().items():
        assert any(_makes(function, name, trial) for trial in range(60)), name


def _makes(function: Recipe, name: str, trial: int) -> bool:
    source = random.Random(f"{name}/{trial}")  # noqa: S311 - no secrets here
    maker = Maker(source, source.choice((*OPSETS, OPSETS[-1], OPSETS[-1])))
    try:
        function(maker, name)
        validate(maker.case().model)
    except Discarded:
        return False
    return True


def test_the_same_few_models(tmp_path: Path) -> None:
    campaign = Campaign(7, ("model",), tmp_path)
    campaign.run(count=100)
    assert campaign.report().endswith("faults: 0")
    assert campaign.tried["model"] > 70
    assert campaign.oracle_crashes < 5


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_any_model(source: random.Random) -> None:
    """Without the oracles, which may end the process: what is valid compiles and runs."""
    try:
        case = random_case(source)
        judge = Judge(case)
    except Discarded:
        return
    assert judge.verdict().faults == ()


def test_cases_follow_from_their_number_alone() -> None:
    first, again = (_bytes(seeded_case(3, 11)) for _ in range(2))
    assert first == again
    assert first != _bytes(seeded_case(3, 12))


def _bytes(case: Case) -> bytes:
    model: bytes = case.model.SerializeToString(deterministic=True)
    return model + b"".join(v.tobytes() for v in case.feeds.values())


def three() -> Case:
    """Relu, Sin and Neg, of numbers that are far from zero."""
    nodes = [node("Relu", ["x"], ["a"]), node("Sin", ["a"], ["b"]), node("Neg", ["b"], ["y"])]
    proto = model(nodes, {"x": ("float32", (2, 3))}, ["y"])
    typed = shape_inference.infer_shapes(proto)
    return Case(typed, {"x": np.linspace(0.4, 2.4, 6, dtype=np.float32).reshape(2, 3)})


def test_an_infinity_is_not_near_anything() -> None:
    """Its own size was the tolerance once."""
    wanted = np.array([np.inf, 1.0, -np.inf], np.float32)
    assert same(wanted.copy(), wanted, 1)
    assert not same(np.array([5.0, 1.0, -np.inf], np.float32), wanted, 1)
    assert not same(np.array([np.inf, 1.0, np.nan], np.float32), wanted, 1)
    assert same(np.array([5.0, 1.0, np.nan], np.float32), wanted, 1, np.array([np.inf, 0, np.inf]))


def test_a_wrong_value_is_seen_and_cut_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: half a percent."""
    assert Judge(three()).verdict().faults == ()

    def wrong(_: Sin, x: Array) -> Array:
        return np.asarray((np.sin(x) * 1.005).astype(x.dtype))

    monkeypatch.setattr(Sin, "evaluate", wrong)
    (fault,) = Judge(three()).verdict().faults
    assert (fault.stage, fault.kind) == ("interpreter", "wrong value")
    assert reduced(three(), fault.stage, fault.kind).operators == ("Sin",)


def test_a_crash_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Relu, __: Array) -> Array:
        raise KeyError("planted")

    monkeypatch.setattr(Relu, "evaluate", broken)
    assert {f"{f.stage} {f.kind}" for f in Judge(three()).verdict().faults} == {
        "interpreter KeyError"
    }


@pytest.mark.slow
def test_five_minutes(tmp_path: Path) -> None:
    """The same cases on every run, as many as the time allows."""
    campaign = Campaign(0, KINDS, tmp_path)
    campaign.run(seconds=300)
    print(campaign.report())
    assert [(key, str(found.path)) for key, found in campaign.found.items()] == []
    assert all(campaign.tried[kind] > 10 for kind in campaign.kinds)  # on a busy machine too
