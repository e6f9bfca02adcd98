"""Generation with a KV cache: prefill and decode buckets of one package beside onnxruntime.

usage: python -m benchmarks.llama_cache MODEL.onnx [--steps 16] [--prompt 20] [--precision f16]

MODEL is llama1b-2l-dyn with weights: two layers of a language model whose cache is an input and an
output. Both sides decode, each with its own cache: greedily, and then the same random tokens. For
each step: the bucket, the rows that were padding, how far the logits are from onnxruntime's at most
and in all, and which token either side would take.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import kcompiler
from benchmarks.decibels import decibels
from kcompiler.buckets.bucket import Padding

Arrays = Mapping[str, "np.ndarray[Any, np.dtype[Any]]"]
Run = Callable[[Arrays], Sequence["np.ndarray[Any, np.dtype[Any]]"]]

NAMES = [f"present_{kv}_{i}" for i in range(2) for kv in "kv"]
PROMPT, CACHE = 32, 64
DIMS = {
    "s27": f"1,{PROMPT}",  # tokens in one run: a step of decoding, or the prompt
    "s69": f"0..{CACHE}:{CACHE}",  # in the cache
    "s15": "s69",
    "s5": "s69+s27",  # in the mask
}


@dataclass(frozen=True)
class Step:
    """One run on both sides."""

    tokens: int
    padding: Padding
    error: float  # the largest of a logit
    sqnr_db: float
    ours: int
    theirs: int
    margin: float  # by which onnxruntime's logit of its token is above that of ours

    @property
    def agrees(self) -> bool:
        """Whether the tokens are the same, or a tie within the error of both logits."""
        return self.ours == self.theirs or self.margin <= 2 * self.error


class Decoder:
    """One side: a model and its cache of `heads` keys of `depth` numbers."""

    def __init__(self, run: Run, heads: int, depth: int) -> None:
        self.run = run
        empty = np.zeros((1, heads, 0, depth), np.float32)
        self.cache: dict[str, np.ndarray[Any, np.dtype[Any]]] = dict.fromkeys(NAMES, empty)

    def logits(self, tokens: Sequence[int]) -> np.ndarray[Any, np.dtype[Any]]:
        """The logits after the last of some more tokens."""
        past = self.cache[NAMES[0]].shape[2]
        count = len(tokens)
        feeds = {
            "input_ids": np.array([tokens], np.int64),
            "position_ids": np.arange(past, past + count, dtype=np.int64)[None],
            "attention_mask": np.ones((1, past + count), np.int64),
            **{name.replace("present", "past"): value for name, value in self.cache.items()},
        }
        first, *cache = self.run(feeds)
        self.cache = dict(zip(NAMES, cache, strict=True))
        found: np.ndarray[Any, np.dtype[Any]] = first[0, -1]
        return found


def generate(
    model: Path, package: Path, prompt: int, steps: int, *, forced: bool = False
) -> Iterator[Step]:
    """Run a random prompt and then one token after the other: each side's own, or random ones."""
    session = kcompiler.Session(package)
    reference = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    _, heads, _, depth = next(i.shape for i in reference.get_inputs() if "past" in i.name)
    words = reference.get_outputs()[0].shape[-1]
    names = ["logits", *NAMES]
    ours = Decoder(lambda feeds: session.run(names, feeds), heads, depth)
    theirs = Decoder(lambda feeds: reference.run(names, dict(feeds)), heads, depth)
    random = np.random.default_rng(0)
    mine = yours = random.integers(0, words, prompt).tolist()
    for _ in range(steps + 1):
        found, expected = ours.logits(mine), theirs.logits(yours)
        padding = session.last_padding
        assert padding is not None
        step = _compared(len(mine), padding, found, expected)
        yield step
        drawn = random.integers(0, words, 1).tolist()
        mine, yours = (drawn, drawn) if forced else ([step.ours], [step.theirs])


def _compared(
    tokens: int,
    padding: Padding,
    found: np.ndarray[Any, np.dtype[Any]],
    expected: np.ndarray[Any, np.dtype[Any]],
) -> Step:
    error, ours, theirs = float(np.abs(found - expected).max()), found.argmax(), expected.argmax()
    margin = float(expected[theirs] - expected[ours])
    return Step(tokens, padding, error, decibels(expected, found), int(ours), int(theirs), margin)


def main() -> None:
    """Compile, generate, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=20)
    parser.add_argument("--precision", default="f16")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "llama.kpkg"
        compiled = kcompiler.compile(args.model, dims=DIMS, precision=args.precision)
        info = compiled.save(package)
        assert compiled.cost is not None
        print(f"compiled in {compiled.cost.cpu_seconds:.1f} CPU s, {info.bytes / 1e6:.0f} MB")
        for bucket in compiled.report().buckets:
            print(f"bucket {dict(bucket.dims)}: {bucket.seconds * 1e6:.0f} us predicted")
        for forced in (False, True):
            print("random tokens" if forced else "greedy")
            steps = generate(args.model, package, args.prompt, args.steps, forced=forced)
            same = sum(map(_printed, range(args.steps + 1), steps))
            print(f"{same} of {args.steps + 1} tokens are the same")


def _printed(number: int, step: Step) -> bool:
    same = step.ours == step.theirs
    tie = f", a tie: {step.margin:.2g} apart" if not same and step.agrees else ""
    tokens = f"{step.ours} {'=' if same else '!='} {step.theirs}{tie}"
    print(f"{number:3}: {step.padding}; {step.error:.2g}, {step.sqnr_db:.1f} dB, {tokens}")
    return same


if __name__ == "__main__":
    main()
