"""Ultralytics' YOLOv5 (release 7.0) and YOLOv8, 640 x 640, from their yaml files, up to the heads.

Boxes are decoded on the host, as FuriosaAI's model zoo does it.
"""

from __future__ import annotations

from math import ceil

from benchmarks.architectures.net import Net, Value

V5 = {
    "n": (1 / 3, 0.25),
    "s": (1 / 3, 0.5),
    "m": (2 / 3, 0.75),
    "l": (1.0, 1.0),
    "x": (4 / 3, 1.25),
}
"""Size -> depth and width multiples."""
V8 = {
    "n": (1 / 3, 0.25, 1024), "s": (1 / 3, 0.5, 1024), "m": (2 / 3, 0.75, 768),
    "l": (1.0, 1.0, 512), "x": (1.0, 1.25, 512),
}  # fmt: skip
"""Size -> depth and width multiples, and the most channels before the latter."""

_CLASSES = 80
_ANCHORS = 3
_BINS = 16  # of YOLOv8's box distances


class _Yolo(Net):
    """What both versions are made of."""

    def __init__(self, name: str, batch: int, depth: float, width: float, most: int) -> None:
        super().__init__(name, batch, 3, 640, 640)
        self.depth, self.width, self.most = depth, width, most

    def wide(self, channels: int) -> int:
        """Channels by the width multiple, rounded up to 8."""
        return ceil(min(channels, self.most) * self.width / 8) * 8

    def deep(self, blocks: int) -> int:
        """Blocks by the depth multiple."""
        return max(round(blocks * self.depth), 1)

    def block(self, x: Value, channels: int, kernel: int = 1, stride: int = 1) -> Value:
        """Convolution, batch normalization, SiLU."""
        return self.conv(x, channels, kernel, stride, act="silu")

    def bottleneck(self, x: Value, first: int, *, shortcut: bool) -> Value:
        """Two convolutions, and what went in if there is a shortcut."""
        y = self.block(self.block(x, x.channels, first), x.channels, 3)
        return self.add(x, y) if shortcut else y

    def pyramid(self, x: Value, channels: int) -> Value:
        """SPPF: three max pools one after the other."""
        found = [self.block(x, x.channels // 2)]
        for _ in range(3):
            found.append(self.max_pool(found[-1], 5, 1, (2, 2)))
        return self.block(self.concat(found), channels)


def yolov5(size: str, batch: int = 1) -> Net:
    """models/yolov5n.yaml … yolov5x.yaml."""
    net = _Yolo(f"yolov5{size}", batch, *V5[size], 1024)

    def c3(x: Value, channels: int, blocks: int, *, shortcut: bool = True) -> Value:
        channels = net.wide(channels)
        y = net.block(x, channels // 2)
        for _ in range(net.deep(blocks)):
            y = net.bottleneck(y, 1, shortcut=shortcut)
        return net.block(net.concat([y, net.block(x, channels // 2)]), channels)

    x = net.conv(net.input, net.wide(64), 6, 2, pads=(2, 2), act="silu")
    stages = []
    for channels, blocks in ((128, 3), (256, 6), (512, 9), (1024, 3)):
        x = c3(net.block(x, net.wide(channels), 3, 2), channels, blocks)
        stages.append(x)
    top = net.block(net.pyramid(x, net.wide(1024)), net.wide(512))
    x = c3(net.concat([net.twice(top), stages[2]]), 512, 3, shortcut=False)
    middle = net.block(x, net.wide(256))
    low = c3(net.concat([net.twice(middle), stages[1]]), 256, 3, shortcut=False)
    x = net.concat([net.block(low, net.wide(256), 3, 2), middle])
    mid = c3(x, 512, 3, shortcut=False)
    x = net.concat([net.block(mid, net.wide(512), 3, 2), top])
    high = c3(x, 1024, 3, shortcut=False)
    each = _ANCHORS * (_CLASSES + 5)
    return net.finished(*(net.conv(x, each, 1, norm=False) for x in (low, mid, high)))


def yolov8(size: str, batch: int = 1) -> Net:
    """ultralytics/cfg/models/v8/yolov8.yaml."""
    net = _Yolo(f"yolov8{size}", batch, *V8[size])

    def c2f(x: Value, channels: int, blocks: int, *, shortcut: bool = True) -> Value:
        channels = net.wide(channels)
        found = list(net.halves(net.block(x, channels)))
        for _ in range(net.deep(blocks)):
            found.append(net.bottleneck(found[-1], 3, shortcut=shortcut))
        return net.block(net.concat(found), channels)

    x = net.block(net.input, net.wide(64), 3, 2)
    stages = []
    for channels, blocks in ((128, 3), (256, 6), (512, 6), (1024, 3)):
        x = c2f(net.block(x, net.wide(channels), 3, 2), channels, blocks)
        stages.append(x)
    top = net.pyramid(x, net.wide(1024))
    middle = c2f(net.concat([net.twice(top), stages[2]]), 512, 3, shortcut=False)
    low = c2f(net.concat([net.twice(middle), stages[1]]), 256, 3, shortcut=False)
    x = net.concat([net.block(low, net.wide(256), 3, 2), middle])
    mid = c2f(x, 512, 3, shortcut=False)
    x = net.concat([net.block(mid, net.wide(512), 3, 2), top])
    high = c2f(x, 1024, 3, shortcut=False)
    boxes = max(16, low.channels // 4, 4 * _BINS)
    classes = max(low.channels, min(_CLASSES, 100))
    heads = []
    for x in (low, mid, high):
        for channels, outputs in ((boxes, 4 * _BINS), (classes, _CLASSES)):
            y = net.block(net.block(x, channels, 3), channels, 3)
            heads.append(net.conv(y, outputs, 1, norm=False))
    return net.finished(*heads)
