"""Networks that published measurements name, as int8 ONNX models, written from their papers.

Weights and scales are seeded: such a model takes as long as a trained one, and says nothing about
pictures. `NETWORKS` maps a name to a function of the batch size; parameters and multiply-adds are
counted while a network is written, and a test compares them with published figures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.architectures import classifiers, detectors, yolo
from benchmarks.architectures.net import Net

NETWORKS: dict[str, Callable[[int], Net]] = {
    "mobilenet-v1": classifiers.mobilenet_v1,
    "resnet50-v1.5": classifiers.resnet50,
    "ssd-mobilenet-v1": detectors.ssd_mobilenet_v1,
    "ssd-resnet34": detectors.ssd_resnet34,
    **{f"yolov5{size}": partial(yolo.yolov5, size) for size in yolo.V5},
    **{f"yolov8{size}": partial(yolo.yolov8, size) for size in yolo.V8},
}

__all__ = ["NETWORKS", "Net"]
