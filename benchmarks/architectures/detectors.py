"""The single-shot detectors of MLPerf Inference, up to their heads."""

from __future__ import annotations

from benchmarks.architectures.classifiers import mobilenet_features, same
from benchmarks.architectures.net import Net, Value

_CLASSES_TF, _CLASSES = 91, 81  # of COCO with the background, as each reference numbers them
_BOX = 4


def ssd_mobilenet_v1(batch: int = 1) -> Net:
    """TensorFlow's ssd_mobilenet_v1_coco, 300 x 300: feature maps 11 and 13 and four more."""
    net = Net("ssd-mobilenet-v1", batch, 3, 300, 300)
    features = mobilenet_features(net, net.input)
    maps = [features[11], features[13]]
    for squeezed, channels in ((256, 512), (128, 256), (128, 256), (64, 128)):
        x = net.conv(maps[-1], squeezed, 1, act="relu6")
        maps.append(net.conv(x, channels, 3, 2, pads=same(x, 3, 2), act="relu6"))
    heads = []
    for x, boxes in zip(maps, (3, 6, 6, 6, 6, 6), strict=True):
        heads += [net.conv(x, boxes * n, 1, norm=False) for n in (_BOX, _CLASSES_TF)]
    return net.finished(*heads)


def ssd_resnet34(batch: int = 1) -> Net:
    """MLPerf Inference's ssd_r34.py, 1200 x 1200: its third stage keeps the resolution."""
    net = Net("ssd-resnet34", batch, 3, 1200, 1200)
    x = net.conv(net.input, 64, 7, 2, act="relu")
    x = net.max_pool(x, 3, 2, (1, 1))
    for channels, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 1)):
        for block in range(blocks):
            x = _basic(net, x, channels, stride if block == 0 else 1)
    maps = [x]
    more = (
        (256, 512, 2, 1),
        (256, 512, 2, 1),
        (128, 256, 2, 1),
        (128, 256, 2, 0),
        (128, 256, 1, 0),
    )
    for squeezed, channels, stride, pad in more:
        x = net.conv(maps[-1], squeezed, 1, act="relu", norm=False)
        maps.append(net.conv(x, channels, 3, stride, pads=(pad, pad), act="relu", norm=False))
    heads = []
    for x, boxes in zip(maps, (4, 6, 6, 6, 4, 4), strict=True):
        heads += [net.conv(x, boxes * n, 3, 3, norm=False) for n in (_BOX, _CLASSES)]
    return net.finished(*heads)


def _basic(net: Net, x: Value, channels: int, stride: int) -> Value:
    y = net.conv(x, channels, 3, stride, act="relu")
    y = net.conv(y, channels, 3)
    if x.channels != channels:
        x = net.conv(x, channels, 1, stride)
    return net.add(y, x, act="relu")
