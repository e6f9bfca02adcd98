"""Laws of whole compilations: what a model is called and how it is cut up changes no number."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.build import Tools, build_program
from kcompiler.compilation import NpuSegment
from kcompiler.compiler import tools_for
from kcompiler.graph.node import Array
from kcompiler.kernel.nest import Region
from kcompiler.kernel.statements import Kernel
from kcompiler.machine.facts import Fact
from kcompiler.machine.simulator.time import simulate_time
from kcompiler.machine.target import Target
from kcompiler.passes.tile import Tile
from kcompiler.registry import find_target
from kcompiler.runtime import Executor
from kcompiler.tiling.emit import emit
from kcompiler.tiling.find import find_plan
from kcompiler.tiling.plan import Plan
from kcompiler.tiling.search import Search
from kcompiler.verify import sample_inputs, verify
from tests.models import nets
from tests.tiling.plans import legal_plans

NETS = ("convolutional", "small_transformer", "integer")
ROOT = Path(__file__).parents[2]
LONG = 40_000
FEW = settings(max_examples=8, suppress_health_check=list(HealthCheck))


@cache
def source(name: str) -> bytes:
    """A model."""
    data: bytes = getattr(nets, name)()
    return data


@cache
def compiled(name: str) -> CompiledModel:
    """A model for rebel as it is."""
    return kcompiler.compile(source(name))


# ------------------------------------------------------------------ names and order


def shuffled(nodes: Sequence[onnx.NodeProto], draw: st.DataObject) -> list[onnx.NodeProto]:
    """The nodes in another order in which every value is made before it is read."""
    made = {name for node in nodes for name in node.output}
    waiting, order = list(nodes), []
    while waiting:
        ready = [n for n in waiting if not any(i in made for i in n.input)]
        chosen = draw.draw(st.sampled_from(ready), label="next node")
        waiting.remove(chosen)
        made -= set(chosen.output)
        order.append(chosen)
    return order


def renamed(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Give values and nodes other names, in place."""
    graph = model.graph
    for i, node in enumerate(graph.node):
        node.name = f"n{len(graph.node) - i}"
        node.input[:] = [names[x] for x in node.input]
        node.output[:] = [names[x] for x in node.output]
    for value in (*graph.initializer, *graph.input, *graph.output):
        value.name = names[value.name]


def values_of(graph: onnx.GraphProto) -> list[str]:
    """The names of all values, each once."""
    found = [v.name for v in (*graph.input, *graph.initializer)]
    return list(dict.fromkeys([*found, *(x for node in graph.node for x in node.output)]))


def what_runs(model: CompiledModel) -> list[object]:
    """All of the programs but names that come from the model."""
    found: list[object] = []
    for segment in model.programs:
        program = segment.program
        found += [program.code, dict(program.used)]
        places = (*program.inputs, *program.outputs, *program.constants)
        found += [(b.dtype, b.shape, b.memory, b.address) for b in places]
        found += [program.values[b.name].tobytes() for b in program.constants]
        found += [(k.first, k.count, k.macs) for k in program.kernels]
    return found


@pytest.mark.parametrize("name", NETS)
@FEW
@given(data=st.data())
def test_names_and_order_do_not_matter(name: str, data: st.DataObject) -> None:
    model = onnx.load_from_string(source(name))
    nodes = shuffled(model.graph.node, data)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    weights = data.draw(st.permutations(list(model.graph.initializer)), label="initializers")
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    values = values_of(model.graph)
    numbers = data.draw(st.permutations(range(len(values))), label="names")
    renamed(model, {v: f"v{i}" for v, i in zip(values, numbers, strict=True)})
    onnx.checker.check_model(model)
    assert what_runs(kcompiler.compile(model)) == what_runs(compiled(name))


def test_that_law_would_notice() -> None:
    """Another weight is another program: the comparison is not vacuous."""
    model = onnx.load_from_string(source("convolutional"))
    weight = model.graph.initializer[0]
    weight.raw_data = weight.raw_data[4:] + weight.raw_data[:4]
    assert what_runs(kcompiler.compile(model)) != what_runs(compiled("convolutional"))


# ------------------------------------------------------------------ hash seeds


def test_hash_seeds_do_not_matter(tmp_path: Path, examples: Path) -> None:
    """The same bytes from processes whose sets and dicts of text are ordered differently."""
    found = set()
    for seed in ("0", "1", "4242"):
        package = tmp_path / f"{seed}.kpkg"
        command = [sys.executable, "-m", "kcompiler.cli", str(examples / "mnistnet.onnx")]
        command += ["--target", "rebel", "--dim", "s77=2", "--no-verify", "-o", str(package)]
        subprocess.run(
            command, check=True, cwd=ROOT, capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        found.add(package.read_bytes())
    assert len(found) == 1


# ------------------------------------------------------------------ tilings


def chip_of(
    *, cores: int = 64, scratchpad: int = 4 << 20, array: int = 64, bandwidth: float = 1.0
) -> Target:
    """Rebel with other numbers; `bandwidth` scales that of every shared memory."""
    target = find_target("rebel")
    chip = target.chip
    memories = tuple(
        replace(m, size=Fact(scratchpad, "A", "a test's choice"))
        if m.per_core
        else replace(m, bandwidth=Fact(m.bandwidth.value * bandwidth, "A", "a test's choice"))
        for m in chip.memories
    )
    size = Fact(array, "A", "a test's choice")
    return replace(
        target,
        chip=replace(
            chip,
            cores=Fact(cores, "A", "a test's choice"),
            memories=memories,
            dies=None,  # cores are drawn freely
            matrix=replace(chip.matrix, rows=size, columns=size),
        ),
    )


def rebuilt(model: CompiledModel, target: Target, tools: Tools) -> CompiledModel:
    """The same kernels, tiled and placed anew."""
    segments = []
    for segment in model.programs:
        assert segment.graph is not None
        program = build_program(segment.graph, target, tools)
        segments.append(NpuSegment(program, segment.graph))
    return CompiledModel(replace(model.compilation, segments=tuple(segments)), target)


def check_numbers(name: str, model: CompiledModel) -> None:
    """Each kernel inside its error bound, no hazard; integers as the usual tiling gives them."""
    result = verify(model.compilation, model.target, source(name))
    assert result.ok, result.first_failure
    if name == "integer":
        assert {n: e.max_abs_err for n, e in result.outputs.items()} == {"y": 0, "z": 0}


@pytest.mark.parametrize("name", NETS)
@FEW
@given(
    cores=st.sampled_from([1, 3, 16, 64]),
    scratchpad=st.sampled_from([24 << 10, 96 << 10, 4 << 20]),
    array=st.sampled_from([8, 64]),
    share=st.sampled_from([0.25, 0.5, 1.0]),
)
def test_chips_of_any_size_compute_the_same(
    name: str, cores: int, scratchpad: int, array: int, share: float
) -> None:
    target = chip_of(cores=cores, scratchpad=scratchpad, array=array)
    tools = replace(tools_for(target), tile=Tile(chip=target.chip, scratchpad_share=share).run)
    check_numbers(name, rebuilt(compiled(name), target, tools))


@pytest.mark.parametrize("name", NETS)
@FEW
@given(data=st.data())
def test_any_legal_tiling_computes_the_same(name: str, data: st.DataObject) -> None:
    """Not only what the tiler finds best: a plan of the whole space for each kernel."""
    target = chip_of(cores=4, scratchpad=64 << 10, array=16)
    search = Search(target.chip, 32 << 10, "cycles", True)

    def tile(region: Region) -> Kernel:
        plan = data.draw(legal_plans(region, search), label="plan")
        if plan.cycles > LONG:  # tiles of one element make programs of a million instructions
            plan = find_plan(region, search)
        return emit(plan, region, target.chip.scratchpad)

    check_numbers(name, rebuilt(compiled(name), target, replace(tools_for(target), tile=tile)))


def test_cores_may_each_compute_what_all_of_them_need() -> None:
    """Attention whose values are split: each core multiplies queries with keys for itself."""
    name, target = "small_transformer", chip_of(cores=4, scratchpad=64 << 10, array=16)
    search, chosen = Search(target.chip, 32 << 10, "cycles", True), list[Plan]()

    def split(plan: Plan) -> bool:
        return plan.sections[0].axis("i2").cores > 1 and plan.cycles <= LONG

    def tile(region: Region) -> Kernel:
        plan = find_plan(region, search)
        products = [n.write.operand for n in region.nests if n.is_contraction]
        if products == ["t0", "t4"]:
            plan = find(legal_plans(region, search), split)
            chosen.append(plan)
        return emit(plan, region, target.chip.scratchpad)

    check_numbers(name, rebuilt(compiled(name), target, replace(tools_for(target), tile=tile)))
    assert chosen


# ------------------------------------------------------------------ time


@pytest.mark.parametrize("name", NETS)
@FEW
@given(factors=st.tuples(st.floats(1e-4, 20), st.floats(1, 100)))
def test_a_program_is_never_slower_with_more_bandwidth(
    name: str, factors: tuple[float, float]
) -> None:
    program = compiled(name).programs[0].program
    less, more = factors[0], factors[0] * factors[1]
    slow = simulate_time(program, chip_of(bandwidth=less)).cycles
    assert simulate_time(program, chip_of(bandwidth=more)).cycles <= slow


def test_bandwidth_matters() -> None:
    """The law above is not vacuous."""
    program = compiled("small_transformer").programs[0].program
    slow, fast = (simulate_time(program, chip_of(bandwidth=b)).cycles for b in (1e-3, 1.0))
    assert fast < slow


# ------------------------------------------------------------------ running


def test_running_twice_gives_the_same() -> None:
    """Nothing of an inference stays behind for the next one."""
    model = compiled("convolutional")
    assert model.compilation.graph is not None
    executor = Executor(model.compilation, model.target)
    feeds = sample_inputs(model.compilation.graph)
    other: dict[str, Array] = {k: np.asarray(v * 3 + 1, v.dtype) for k, v in feeds.items()}
    first = executor.run(feeds)
    executor.run(other)
    again = executor.run(feeds)
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)
