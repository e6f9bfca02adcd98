"""Small int8 networks on Warboy: each kernel bit for bit, the whole beside onnxruntime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kcompiler
from benchmarks.architectures.net import Net, Value
from kcompiler.compilation import HostSegment, NpuSegment
from kcompiler.compiler import Options, compile_model
from kcompiler.errors import UsageError
from kcompiler.machine.assembly import format_program, parse_program
from kcompiler.machine.chip import Chip
from kcompiler.machine.facts import Fact
from kcompiler.machine.generic.target import GenericTarget
from kcompiler.targets.warboy import TARGET
from kcompiler.targets.warboy.engines import DotEngine
from kcompiler.targets.warboy.isa import Warboy
from kcompiler.verify import verify
from tests.conftest import Golden
from tests.passes.qdq import Model


def small(slices: int = 4, buffers: int = 4 << 10) -> GenericTarget:
    """A Warboy of few slices with little room, so that small tensors are cut."""
    chip = TARGET.chip
    memories = tuple(
        replace(m, size=Fact(buffers, "A", "a test")) if m.name == "buffers" else m
        for m in chip.memories
    )
    return replace(TARGET, chip=replace(chip, cores=Fact(slices, "A", "a test"), memories=memories))


def code_of(model: Any, target: GenericTarget) -> list[Warboy]:
    """The instructions of a model that runs on the NPU alone, which verify bit for bit."""
    source = model if isinstance(model, bytes) else model.SerializeToString()
    compiled = compile_model(source, target, Options())
    result = verify(compiled, target, source)
    assert result.ok, result.first_failure
    found: list[Warboy] = []
    for segment in compiled.segments:
        assert isinstance(segment, NpuSegment)
        found += Warboy.decode_program(segment.program.code)
    return found


def net(shape: tuple[int, ...], build: Callable[[Net, Value], Value]) -> Any:
    made = Net("test", *shape)
    return made.finished(build(made, made.input)).model()


def residual(n: Net, x: Value) -> Value:
    return n.add(x, n.conv(x, x.channels, 3), act="relu")


def depthwise(n: Net, x: Value) -> Value:
    return n.conv(x, x.channels, 3, 2, groups=x.channels, act="relu6")


def pyramid(n: Net, x: Value) -> Value:
    return n.concat([x, n.max_pool(x, 5, 1, (2, 2)), n.twice(n.conv(x, 4, 3, 2))])


def bottleneck(n: Net, x: Value) -> Value:
    x = n.conv(x, 8, 1, act="silu")
    return n.add(x, n.conv(n.conv(x, 8, 1, act="silu"), 8, 3, act="silu"))


def halves(n: Net, x: Value) -> Value:
    a, b = n.halves(x)
    return n.add(a, n.conv(b, a.channels, 1))


def classifier(n: Net, x: Value) -> Value:
    return n.dense(n.average(n.conv(x, 24, 1, act="relu")), 10)


@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize(
    "build",
    [
        lambda n, x: n.conv(x, 12, 3, act="relu"),
        lambda n, x: n.conv(x, 5, 3, 2, pads=(0, 1)),
        lambda n, x: n.conv(x, 16, 5, groups=4, act="silu"),
        residual,
        depthwise,
        pyramid,
        bottleneck,
        halves,
        classifier,
    ],
)
def test_networks(build: Callable[[Net, Value], Value], slices: int) -> None:
    assert code_of(net((1, 8, 10, 10), build), small(slices))


def test_a_cut_sum_is_drained_by_its_last_part() -> None:
    """Too many terms for the buffers: sums stay there until the last part makes bytes of them."""
    model = net((1, 512, 1, 1), lambda n, x: n.conv(x, 64, 1, act="relu"))
    dots = [i for i in code_of(model, small(1, 6 << 10)) if i.mnemonic == "te.dot"]
    drained = [bool(i.drain) for i in dots]  # type: ignore[attr-defined]
    assert 0 < sum(drained) < len(dots)
    assert all(i.accumulate for i, d in zip(dots, drained, strict=True) if d)  # type: ignore[attr-defined]


def test_who_does_what() -> None:
    """ReLU costs nothing, SiLU is a table, a residual is vector work."""

    def kinds(build: Callable[[Net, Value], Value]) -> set[str]:
        code = code_of(net((1, 8, 10, 10), build), small())
        return {i.mnemonic for i in code if i.engine in {"te", "ve"}}

    assert kinds(lambda n, x: n.conv(x, 8, 3, act="relu6")) == {"te.dot"}
    assert kinds(lambda n, x: n.conv(x, 8, 3, act="silu")) == {"te.dot", "ve.table"}
    assert kinds(residual) == {"te.dot", "ve.nest"}


def test_what_joins_a_sum_is_looked_up_first() -> None:
    """SiLU makes a byte of a byte, which another byte is added to: a table and a plain sum."""
    model = net((1, 8, 10, 10), lambda n, x: n.add(x, n.conv(x, 8, 3, act="silu")))
    code = code_of(model, small())
    kinds = [i.mnemonic for i in code if i.engine == "ve"]
    assert kinds == ["ve.table", "ve.nest"] * (len(kinds) // 2)
    assert "sigmoid" not in format_program(code)


def test_a_byte_that_is_read_again_keeps_its_value() -> None:
    """The sum needs what goes into SiLU and what comes out: no table may overwrite it."""
    chance = np.random.default_rng(0)
    m = Model(x=chance.integers(-128, 128, (1, 8, 6, 6)).astype(np.int8))
    x = m.dequantize("x", 0.02, 3, "int8")
    w = m.weights(chance.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8), 0.001)
    y = m.through(m("Conv", x, w, pads=[1] * 4), 0.02, 3, "int8")
    gate = m.through(m("Sigmoid", y), 1 / 256, -128, "int8")
    total = m("Add", m("Add", x, gate), y)
    code = code_of(m.done(m.quantize(total, 0.05, 0, "int8")), small())
    assert "ve.table" not in {i.mnemonic for i in code}


def test_a_fit_changes_no_program() -> None:
    """A depthwise convolution hardly fills the tensor unit: which unit takes it is no bet."""
    target = small()
    engine = target.chip.matrix
    assert isinstance(engine, DotEngine)
    slow = replace(engine, sustained=Fact(0.05, "F", "a test"))
    model = net((1, 8, 10, 10), depthwise)
    codes = [
        code_of(model, replace(target, chip=replace(target.chip, matrix=matrix)))
        for matrix in (engine, slow)
    ]
    assert codes[0] == codes[1]
    assert {i.mnemonic for i in codes[0] if i.engine in {"te", "ve"}} == {"te.dot"}


def test_a_fit_changes_no_place() -> None:
    """Four pools between casts of the host: the fitted link would leave them there."""
    chip, host = TARGET.chip, TARGET.chip.host
    assert isinstance(chip.matrix, DotEngine)
    assert host is not None
    m = Model(x=np.zeros((1, 16, 128, 128), np.float32))
    y = m.through("x", 0.02, 3, "int8")
    for _ in range(4):
        y = m.through(m("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4), 0.02, 3, "int8")
    model = m.done(y)

    def programs(which: Chip) -> list[bytes | None]:
        found = compile_model(model, replace(TARGET, chip=which), Options()).segments
        return [s.program.code if isinstance(s, NpuSegment) else None for s in found]

    def linked(**rates: float) -> Chip:
        facts = {name: Fact(rate, "F", "a test") for name, rate in rates.items()}
        return replace(chip, host=replace(host, **facts))

    slow = replace(chip.matrix, sustained=Fact(0.05, "F", "a test"))
    fits = [linked(bandwidth=1e9), linked(bandwidth=1e12), replace(chip, matrix=slow)]
    expected = programs(chip)
    assert [code is None for code in expected] == [True, False, True]
    assert [programs(fit) for fit in fits] == [expected] * 3
    assert programs(linked(peak=3.67e9)) == [None]


def test_listing(golden: Golden) -> None:
    """A convolution with SiLU on two slices: the whole program as text."""
    model = net((1, 16, 6, 6), lambda n, x: n.conv(x, 8, 3, act="silu"))
    code = code_of(model, small(2))
    text = format_program(code)
    golden("warboy/small.txt", text)
    assert parse_program(Warboy, text) == code


def test_zero_points_and_types() -> None:
    """Unsigned data, a zero point in the padding, weights whose zero point is not 0."""
    chance = np.random.default_rng(0)
    m = Model(x=chance.integers(0, 256, (1, 6, 7, 7)).astype(np.uint8))
    w = m.weights(chance.integers(0, 256, (4, 6, 3, 3)).astype(np.uint8), 0.01, 120)
    y = m("Conv", m.dequantize("x", 0.02, 7), w, pads=[1, 1, 1, 1])
    assert code_of(m.done(m.quantize(y, 0.3, 30)), small())


def test_a_gate_for_each_channel_is_repeated_on_the_chip() -> None:
    """Squeeze and excitation: the number of a gate's byte is made where it multiplies."""
    chance = np.random.default_rng(0)
    m = Model(x=chance.integers(-128, 128, (1, 8, 6, 6)).astype(np.int8))
    x = m.dequantize("x", 0.02, 3, "int8")
    mean = m.through(m("GlobalAveragePool", x), 0.01, 3, "int8")
    w = m.weights(chance.integers(-127, 128, (8, 8, 1, 1)).astype(np.int8), 0.01)
    gate = m.through(m("HardSigmoid", m("Conv", mean, w)), 1 / 255, -128, "int8")
    assert code_of(m.done(m.quantize(m("Mul", x, gate), 0.02, 3, "int8")), small())


def test_the_host_takes_what_the_chip_lacks_with_the_reason() -> None:
    m = Model(x=np.zeros((1, 3, 40, 40), np.int8))
    w = m.weights(np.ones((4, 3, 3, 3), np.int8), 0.01)
    x = m.dequantize("x", 0.02, 0, "int8")
    source = m.done(m.quantize(m("Conv", x, w, dilations=[13, 13]), 0.3, 0, "int8"))
    compiled = compile_model(source, TARGET, Options())
    (segment,) = compiled.segments
    assert isinstance(segment, HostSegment)
    assert "A Conv is dilated by at most 12." in str(segment.operators)
    assert verify(compiled, TARGET, source).ok


def test_a_float_model_needs_calibration_data() -> None:
    m = Model(x=np.zeros((1, 3, 8, 8), np.float32))
    source = m.done(m("Conv", "x", m.constant(np.ones((4, 3, 3, 3)))))
    with pytest.raises(UsageError, match="int8 needs calibration data"):
        compile_model(source, TARGET, Options())


@pytest.mark.parametrize("target", ["warboy", "warboy-2pe"])
def test_a_trained_network(shared: Path, target: str) -> None:
    """Mnistnet as quantized by onnxruntime; the border of floats is the host's."""
    path = shared / "models" / "trained" / "mnistnet-qdq.onnx"
    compiled = kcompiler.compile(path, target, dims={"batch": 1})
    assert compiled.verify().ok
    kinds = [type(s) for s in compiled.compilation.segments]
    assert kinds == [HostSegment, NpuSegment, HostSegment]


@pytest.mark.slow
def test_a_larger_trained_network(shared: Path) -> None:
    """All kernels of efficientnet-lite0 bit for bit; vector work is residual sums and the pool.

    A residual sum takes one step for each tile that is stored, the pool two: sums and their bytes.
    """
    path = shared / "models" / "trained" / "efficientnet-lite0-qdq-int8.onnx"
    compiled = kcompiler.compile(path, "warboy")
    assert compiled.verify().ok
    (segment,) = (s for s in compiled.compilation.segments if isinstance(s, NpuSegment))
    code = Warboy.decode_program(segment.program.code)
    found = Counter(i.mnemonic for i in code)
    assert 0 < found["ve.nest"] < found["te.dot"] / 10
    sums = 0
    for kernel in segment.program.kernels:
        here = Counter(i.mnemonic for i in code[kernel.first : kernel.first + kernel.count])
        residual = any(name.endswith("/Add") for name in kernel.origins)
        pool = any("GlobalAveragePool" in name for name in kernel.origins)
        sums += residual
        assert here["ve.nest"] == (residual + 2 * pool) * here["commit"], kernel.name
    assert sums == 9  # of its 16 blocks, those of stride 1 whose channels stay
