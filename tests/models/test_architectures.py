"""The networks of published measurements have the parameters and operations that were published."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from benchmarks.architectures import NETWORKS

EXACT = {
    # torchvision's documentation, and the totals that Ultralytics prints for its yaml files;
    # YOLOv8's include 16 fixed weights of the box decoding, which is not part of the network here.
    "resnet50-v1.5": 25_557_032,
    "yolov5n": 1_872_157,
    "yolov5s": 7_235_389,
    "yolov5m": 21_190_557,
    "yolov5l": 46_563_709,
    "yolov5x": 86_749_405,
    "yolov8n": 3_157_200 - 16,
    "yolov8s": 11_166_560 - 16,
    "yolov8m": 25_902_640 - 16,
    "yolov8l": 43_691_520 - 16,
    "yolov8x": 68_229_648 - 16,
}
BILLIONS = {
    # Two operations for a multiply-add: Howard et al. 2017 (569 M), MLPerf Inference (Reddi et al.
    # 2020), Ultralytics' tables for 640 x 640.
    "mobilenet-v1": 1.138,
    "resnet50-v1.5": 8.2,
    "ssd-mobilenet-v1": 2.47,
    "ssd-resnet34": 433,
    "yolov5n": 4.5,
    "yolov5s": 16.5,
    "yolov5m": 49.0,
    "yolov5l": 109.1,
    "yolov5x": 205.7,
    "yolov8n": 8.7,
    "yolov8s": 28.6,
    "yolov8m": 78.9,
    "yolov8l": 165.2,
    "yolov8x": 257.8,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_operations_are_the_published_ones(name: str) -> None:
    if name.endswith(("l", "x")):
        pytest.skip("another size of the same file")
    net = NETWORKS[name](1)
    assert net.parameters == EXACT.get(name, net.parameters)
    assert 2e-9 * net.macs == pytest.approx(BILLIONS[name], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NETWORKS if n.endswith(("l", "x"))])
def test_so_have_the_large_ones(name: str) -> None:
    net = NETWORKS[name](1)
    assert net.parameters == EXACT[name]
    assert 2e-9 * net.macs == pytest.approx(BILLIONS[name], rel=0.01)


def test_parameters_of_papers() -> None:
    """MobileNet-v1: 4.2 million (Howard et al.); SSD-MobileNet: 6.91 million (Reddi et al.)."""
    assert NETWORKS["mobilenet-v1"](1).parameters == pytest.approx(4.2e6, rel=0.01)
    assert NETWORKS["ssd-mobilenet-v1"](1).parameters == pytest.approx(6.91e6, rel=0.02)


def test_boxes_of_the_detectors() -> None:
    """1,917 and 15,130 anchors (MLPerf's references), 25,200 and 8,400 (Ultralytics)."""

    def boxes(name: str, each: int) -> int:
        return sum(int(np.prod(o.shape)) for o in NETWORKS[name](1).outputs) // each

    assert boxes("ssd-mobilenet-v1", 4 + 91) == 1_917
    assert boxes("ssd-resnet34", 4 + 81) == 15_130
    assert boxes("yolov5n", 85) == 25_200
    assert boxes("yolov8n", 64 + 80) == 8_400


@pytest.mark.parametrize("name", ["mobilenet-v1", "yolov5n", "yolov8n"])
def test_models_are_valid_and_their_values_alive(name: str) -> None:
    """Onnxruntime runs them; seeded weights neither saturate everything nor die out."""
    net = NETWORKS[name](1)
    model = net.model()
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options)
    data = np.random.default_rng(0).integers(-128, 128, net.input.shape, np.int8)
    for value, found in zip(net.outputs, session.run(None, {"input": data}), strict=True):
        assert found.shape == value.shape
        assert 2 < found.astype(np.float32).std() < 120
