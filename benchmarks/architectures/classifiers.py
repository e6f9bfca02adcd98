"""Classifiers of ImageNet's thousand classes."""

from __future__ import annotations

from benchmarks.architectures.net import Net, Value

_SEPARABLE = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    *((512, 1),) * 5, (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet_features(net: Net, x: Value) -> list[Value]:
    """All feature maps of MobileNet-v1: a convolution, then 13 depthwise separable ones."""
    found = [net.conv(x, 32, 3, 2, pads=same(x, 3, 2), act="relu6")]
    for channels, stride in _SEPARABLE:
        x = found[-1]
        pads = same(x, 3, stride)
        x = net.conv(x, x.channels, 3, stride, pads=pads, groups=x.channels, act="relu6")
        found.append(net.conv(x, channels, 1, act="relu6"))
    return found


def same(x: Value, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding: as much as gives ceil(extent / stride), more at the high side."""
    extent = x.shape[2]
    total = max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
    return total // 2, total - total // 2


def mobilenet_v1(batch: int = 1) -> Net:
    """Howard et al., "MobileNets" (2017), table 1."""
    net = Net("mobilenet-v1", batch, 3, 224, 224)
    features = mobilenet_features(net, net.input)
    return net.finished(net.dense(net.average(features[-1]), 1000))


def resnet50(batch: int = 1) -> Net:
    """He et al., "Deep Residual Learning" (2015), table 1; v1.5 strides in the 3 x 3 kernel."""
    net = Net("resnet50-v1.5", batch, 3, 224, 224)
    x = net.conv(net.input, 64, 7, 2, act="relu")
    x = net.max_pool(x, 3, 2, (1, 1))
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            x = _bottleneck(net, x, width, stride if block == 0 else 1)
    return net.finished(net.dense(net.average(x), 1000))


def _bottleneck(net: Net, x: Value, width: int, stride: int) -> Value:
    y = net.conv(x, width, 1, act="relu")
    y = net.conv(y, width, 3, stride, act="relu")
    y = net.conv(y, 4 * width, 1)
    if x.channels != 4 * width:
        x = net.conv(x, 4 * width, 1, stride)
    return net.add(y, x, act="relu")
