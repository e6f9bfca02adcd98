"""Two layers of a language model with a cache: prefill and decoding in buckets of one package."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

import kcompiler
from benchmarks import llama_cache
from benchmarks.models import CACHED, ROOT, obtain
from kcompiler.package import read

pytestmark = pytest.mark.slow

STEPS = 16


@pytest.fixture(scope="module")
def model() -> Path:
    """The model's file, or a skip with the reason."""
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


def test_greedy_decoding_gives_the_tokens_of_onnxruntime(model: Path, package: Path) -> None:
    steps = list(llama_cache.generate(model, package, prompt=20, steps=STEPS))
    assert len(steps) == STEPS + 1
    assert [s.ours for s in steps] == [s.theirs for s in steps]
    assert min(s.sqnr_db for s in steps) > 50
    assert [dict(s.padding.bucket) for s in steps[:2]] == [
        {"s27": llama_cache.PROMPT, "s69": llama_cache.CACHE},
        {"s27": 1, "s69": llama_cache.CACHE},
    ]
    assert [s.padding.used["s69"] for s in steps] == [0, *range(20, 20 + STEPS)]


def test_weights_are_there_once(package: Path) -> None:
    opened = read(package, verify=False)
    segments = opened.manifest["segments"]
    assert len(segments) == 2
    first, second = (set(s["values"]) for s in segments)
    shared = sum(len(opened.sections[f"constant/{name}"]) for name in first & second)
    assert shared > 0.99 * package.stat().st_size


def test_a_mask_hides_what_the_caller_padded(model: Path, package: Path) -> None:
    """A prompt padded on the left by its caller, as in a batch: those words do not count."""
    import onnxruntime as ort

    words = np.random.default_rng(1).integers(0, llama_cache.WORDS, (1, 12))
    empty = np.zeros((1, llama_cache.HEADS, 0, llama_cache.DEPTH), np.float32)
    feeds = {
        "input_ids": words,
        "position_ids": np.arange(12)[None],
        "attention_mask": np.array([[0] * 3 + [1] * 9]),
        **{f"past_{kv}_{i}": empty for i in range(llama_cache.LAYERS) for kv in "kv"},
    }
    (found,) = kcompiler.Session(package).run(["logits"], feeds)
    (wanted,) = ort.InferenceSession(str(model)).run(["logits"], feeds)
    error = np.linalg.norm(found[0, 3:] - wanted[0, 3:]) / np.linalg.norm(wanted[0, 3:])
    assert error < 3e-3
