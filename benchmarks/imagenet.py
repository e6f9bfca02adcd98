"""Classify photographs on a simulated NPU and with onnxruntime, and print who answers what.

    python -m benchmarks.imagenet [--target rebel]

EfficientNet-Lite0 on centre crops of 0.875 of the short side. Exit code 1 when an answer differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.decibels import decibels
from benchmarks.inputs import chw, photograph
from benchmarks.models import SHARED

MODEL = "efficientnet-lite0-dynamo.onnx"
SIDE = 224


@dataclass(frozen=True)
class Answer:
    """The classes that two engines find in a photograph, and how far apart their logits are."""

    name: str
    label: int
    ours: int
    theirs: int
    sqnr_db: float

    @property
    def same(self) -> bool:
        """Whether both give the same class."""
        return self.ours == self.theirs


def compare(models: Path, data: Path, target: str) -> list[Answer]:
    """The answers for all photographs."""
    import onnxruntime

    import kcompiler

    compiled = kcompiler.compile(models / MODEL, target)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(models / MODEL, options)
    (feed,), (result,) = session.get_inputs(), session.get_outputs()
    found = []
    for number, path in enumerate(sorted((data / "imagenet20").glob("*.jpg"))):
        x = chw(photograph(data, SIDE, SIDE, number), 0.498, 0.502)
        ours = compiled.run({feed.name: x})[result.name]
        (theirs,) = session.run([result.name], {feed.name: x})
        label = int(path.stem.rsplit("_", 1)[1])
        found.append(
            Answer(
                path.name, label, int(ours.argmax()), int(theirs.argmax()), decibels(theirs, ours)
            )
        )
    return found


def lines(answers: Sequence[Answer]) -> list[str]:
    """The table and its sum."""
    found = [f"{'photograph':24} {'label':>6} {'NPU':>6} {'onnxruntime':>12} {'SQNR dB':>8}"]
    found += [f"{a.name:24} {a.label:6} {a.ours:6} {a.theirs:12} {a.sqnr_db:8.1f}" for a in answers]
    same, right = sum(a.same for a in answers), sum(a.ours == a.label for a in answers)
    total = len(answers)
    return [*found, f"{same} of {total} as onnxruntime answers, {right} of {total} as labelled"]


def main() -> int:
    """Print the answers."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.imagenet",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--target", default="rebel")
    options = parser.parse_args()
    answers = compare(SHARED / "models" / "trained", SHARED / "data", options.target)
    print("\n".join(lines(answers)))
    return 0 if answers and all(a.same for a in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
