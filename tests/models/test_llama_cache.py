"""Two layers of a language model with a cache: prefill and decoding in buckets of one package."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import kcompiler
from benchmarks import llama_cache
from benchmarks.models import CACHED, ROOT, obtain
from kcompiler.package import read
from tests.models.small_llama import small_llama

STEPS = 16


@pytest.fixture(
    scope="module", params=["small", pytest.param("llama1b-2l", marks=pytest.mark.slow)]
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's file, or a skip with the reason."""
    if request.param == "small":
        path = tmp_path_factory.mktemp("small") / "small.onnx"
        path.write_bytes(small_llama())
        return path
    try:
        return obtain(CACHED, ROOT / "build" / "models")
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no model and no tools to make it: {error}")


@pytest.fixture(scope="module")
def package(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with its buckets."""
    path = tmp_path_factory.mktemp("llama") / "llama.kpkg"
    kcompiler.compile(model, dims=llama_cache.DIMS, strict=True).save(path)
    return path


@pytest.mark.parametrize("forced", [False, True], ids=["greedy", "random"])
def test_decoding_gives_the_tokens_of_onnxruntime(model: Path, package: Path, forced: bool) -> None:
    steps = list(llama_cache.generate(model, package, prompt=20, steps=STEPS, forced=forced))
    assert len(steps) == STEPS + 1
    assert all(s.agrees for s in steps)
    assert sum(s.ours != s.theirs for s in steps) <= forced  # a tie of random words, if any
    assert not forced or len({s.theirs for s in steps}) > 4
    assert min(s.sqnr_db for s in steps) > 50
    assert [dict(s.padding.bucket) for s in steps[:2]] == [
        {"s27": llama_cache.PROMPT, "s69": llama_cache.CACHE},
        {"s27": 1, "s69": llama_cache.CACHE},
    ]
    assert [s.padding.used["s69"] for s in steps] == [0, *range(20, 20 + STEPS)]


def test_a_lost_cache_is_seen(model: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: the session forgets the newest key of the first layer."""
    run = kcompiler.Session.run

    def forgetful(session: kcompiler.Session, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        logits, keys, *rest = run(session, names, feeds)
        keys[:, :, -1] = 0
        return [logits, keys, *rest]

    monkeypatch.setattr(kcompiler.Session, "run", forgetful)
    steps = llama_cache.generate(model, package, prompt=20, steps=3, forced=True)
    assert min(s.sqnr_db for s in steps) < 40


@pytest.mark.parametrize("model", ["llama1b-2l"], indirect=True)
@pytest.mark.slow
def test_weights_are_there_once(package: Path) -> None:
    opened = read(package, verify=False)
    segments = opened.manifest["segments"]
    assert len(segments) == 2
    first, second = (set(s["values"]) for s in segments)
    shared = sum(len(opened.sections[f"constant/{name}"]) for name in first & second)
    assert shared > 0.99 * package.stat().st_size


def test_a_mask_hides_what_the_caller_padded(model: Path, package: Path) -> None:
    """A prompt padded on the left by its caller, as in a batch: those words do not count."""
    session = ort.InferenceSession(str(model))
    past = {i.name: i.shape for i in session.get_inputs() if "past" in i.name}
    feeds = {
        "input_ids": np.random.default_rng(1).integers(0, 61, (1, 12)),
        "position_ids": np.arange(12)[None],
        "attention_mask": np.array([[0] * 3 + [1] * 9]),
        **{k: np.zeros((1, heads, 0, d), np.float32) for k, (_, heads, _, d) in past.items()},
    }
    (found,) = kcompiler.Session(package).run(["logits"], feeds)
    (wanted,) = session.run(["logits"], feeds)
    error = np.linalg.norm(found[0, 3:] - wanted[0, 3:]) / np.linalg.norm(wanted[0, 3:])
    assert error < 3e-3
