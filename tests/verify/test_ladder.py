"""The ladder finds what is wrong, and says where; every fault here is planted."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.compilation import Compilation, NpuSegment
from kcompiler.errors import UsageError, VerificationError
from kcompiler.kernel.statements import Compute, For
from kcompiler.verify import Verification, verify
from kcompiler.verify.kernels import Parts
from tests.runtime import models


def checked(model: CompiledModel, segment: NpuSegment, parts: Parts | None = None) -> Verification:
    """The verification of a model with its only segment replaced."""
    compilation: Compilation = replace(model.compilation, segments=(segment,))
    return verify(compilation, model.target, models.linear(), parts=parts or model.parts)


def code_of(model: CompiledModel) -> list[Any]:
    """The decoded instructions."""
    return list(model.target.isa.decode_program(model.programs[0].program.code))


def planted(model: CompiledModel, place: int, **fields: Any) -> Verification:
    """The verification of a model with one instruction changed."""
    code = code_of(model)
    code[place] = replace(code[place], **fields)
    segment = model.programs[0]
    program = replace(segment.program, code=model.target.isa.encode_program(code))
    return checked(model, replace(segment, program=program))


def places(model: CompiledModel, mnemonic: str) -> list[int]:
    """Where an instruction occurs."""
    return [i for i, x in enumerate(code_of(model)) if x.mnemonic == mnemonic]


def test_a_right_model_verifies(linear: CompiledModel) -> None:
    result = linear.verify()
    assert result.ok
    assert result.first_failure is None
    assert result.reference == "onnxruntime"
    assert result.kernels == len(linear.programs[0].program.kernels)
    assert result.generated == ("x",)
    assert 0 < result.outputs["y"].max_abs_err < 0.02
    assert result.outputs["y"].nonfinite == 0
    result.raise_for_failure()


def test_given_inputs_are_used(linear: CompiledModel) -> None:
    result = linear.verify({"x": np.zeros((50, 96), np.float32)})
    assert result.ok
    assert result.generated == ()


def test_given_inputs_are_checked(linear: CompiledModel) -> None:
    with pytest.raises(UsageError, match="input 'x' has the shape"):
        linear.verify({"x": np.zeros((1, 96), np.float32)})
    with pytest.raises(UsageError, match="the model has no input 'z'"):
        linear.verify({"z": np.zeros((50, 96), np.float32)})


def test_a_wrong_computation_names_kernel_tile_and_instruction(linear: CompiledModel) -> None:
    """The epilogue of the kernel with the product: its first micro-operation doubles instead."""
    kernel = next(k for k in linear.programs[0].program.kernels if k.macs)
    block = range(kernel.first, kernel.first + kernel.count)
    place = max(i for i in places(linear, "vector.nest") if i in block)
    nest = code_of(linear)[place]
    steps = nest.result if any(s.function == "relu" for s in nest.result) else nest.body
    wrong = tuple(replace(s, function="neg") if s.function == "relu" else s for s in steps)
    assert wrong != steps
    field = "result" if steps is nest.result else "body"
    failure = planted(linear, place, **{field: wrong}).first_failure
    assert failure is not None
    assert (failure.rung, failure.level, failure.kernel) == ("kernels", "program", kernel.name)
    assert failure.origins == kernel.origins
    assert failure.instruction in places(linear, "ndma.store")
    assert failure.instruction in block
    assert failure.tile.startswith("tile [0:")
    assert failure.tile.endswith("] of core 0")
    lines = failure.text.splitlines()
    assert lines[0].startswith(f"kernel {kernel.name} computes -")
    assert "for element [0, " in lines[0]
    assert lines[1] == f"instruction {failure.instruction} (ndma.store) writes it, {failure.tile}"
    assert lines[2] == "the tiled kernel, run as written, is right: lowering or placing is at fault"


def test_the_error_of_a_failure(linear: CompiledModel) -> None:
    place = places(linear, "ndma.load")[0]
    dims = code_of(linear)[place].dims
    result = planted(linear, place, dims=(replace(dims[0], origin=1), *dims[1:]))
    assert not result.ok
    failure = result.first_failure
    assert failure is not None
    with pytest.raises(VerificationError) as caught:
        result.raise_for_failure()
    assert caught.value.exit_code == 1
    lines = str(caught.value).splitlines()
    assert lines[0] == "error: the compiled model does not do what the model says"
    assert "  because: kernel " in str(caught.value)
    assert lines[-1].startswith("  try: this is a bug in kcompiler, not in your model")


def test_a_core_in_the_middle_is_named(linear: CompiledModel) -> None:
    """A load that loses its last row: the tile is that of the core that had it."""
    place = places(linear, "ndma.load")[0]
    load = code_of(linear)[place]
    dims = (replace(load.dims[0], extent=load.dims[0].extent - 1), *load.dims[1:])
    failure = planted(linear, place, dims=dims).first_failure
    assert failure is not None
    assert failure.rung == "kernels"
    assert not failure.tile.endswith("core 0")


def test_a_lost_wait_is_a_hazard(linear: CompiledModel) -> None:
    waits = places(linear, "sync.wait")
    found = [planted(linear, place, count=0).first_failure for place in waits]
    assert all(failure is not None for failure in found)
    assert [f.rung for f in found if f] == ["hazards"] * len(waits)


def test_a_wait_for_ever_is_found(linear: CompiledModel) -> None:
    place = places(linear, "sync.wait")[0]
    failure = planted(linear, place, count=1000).first_failure
    assert failure is not None
    assert failure.rung == "hazards"
    assert "the queue would stand still" in failure.text


def test_a_store_that_misses_is_found(linear: CompiledModel) -> None:
    place = places(linear, "ndma.store")[-1]
    store = code_of(linear)[place]
    dims = (*store.dims[:-1], replace(store.dims[-1], extent=store.dims[-1].extent - 1))
    failure = planted(linear, place, dims=dims).first_failure
    assert failure is not None
    kernel = linear.programs[0].program.kernels[-1]
    assert failure.text.startswith(f"kernel {kernel.name} writes nothing to element [")


def test_uninitialized_bytes_are_found(linear: CompiledModel) -> None:
    place = places(linear, "vector.nest")[-1]
    nest = code_of(linear)[place]
    failure = planted(linear, place, out=nest.out + 8192).first_failure
    assert failure is not None
    assert re.search("that nothing has written|outside its .* bytes in use", failure.text)


def test_a_wrong_constant_is_found(linear: CompiledModel) -> None:
    segment = linear.programs[0]
    values = {name: value.copy() for name, value in segment.program.values.items()}
    large = max(values, key=lambda n: values[n].size)
    values[large].flat[-1] += 1
    program = replace(segment.program, values=values)
    failure = checked(linear, replace(segment, program=program)).first_failure
    assert failure is not None
    assert failure.level == "program"


def test_a_wrong_tiling_is_the_kernels_fault(linear: CompiledModel) -> None:
    """Kernel and program agree with each other and not with the graph."""
    segment = linear.programs[0]
    number = next(i for i, k in enumerate(segment.program.kernels) if k.macs)
    parts = list(linear.parts(segment))
    kernel = parts[number].kernel
    kernel = replace(kernel, body=without_work(kernel.body))
    parts[number] = replace(parts[number], kernel=kernel)
    values = {n: np.zeros_like(v) for n, v in segment.program.values.items()}
    program = replace(segment.program, values=values)
    result = checked(linear, replace(segment, program=program), lambda _: tuple(parts))
    failure = result.first_failure
    assert failure is not None
    assert failure.level == "kernel"
    assert failure.text.splitlines()[-1] == (
        "the tiled kernel, run as written, is wrong too: fusing or tiling is at fault"
    )


def without_work(body: tuple[Any, ...]) -> tuple[Any, ...]:
    """A kernel's statements without its computations."""
    found: list[Any] = []
    for statement in body:
        if isinstance(statement, For):
            found.append(replace(statement, body=without_work(statement.body)))
        elif not isinstance(statement, Compute):
            found.append(statement)
    return tuple(found)


def test_the_models_meaning_is_compared(linear: CompiledModel) -> None:
    """A model that says something else than the one that was compiled."""
    other = models.linear().replace(b"Relu", b"Tanh")
    result = verify(linear.compilation, linear.target, other)
    failure = result.first_failure
    assert failure is not None
    assert failure.rung == "model"
    assert failure.text.startswith("output 'y' agrees with the reference to ")
    assert failure.text.endswith(" dB only; f16 should give 20 dB at least")
    with pytest.raises(VerificationError, match="compile with --precision f32"):
        result.raise_for_failure()


def test_overflow_is_not_silent() -> None:
    data = models.model(
        [models.node("MatMul", "x large", "h", "a"), models.node("MatMul", "h small", "y", "b")],
        [("x", 1, [2, 8])],
        [("y", 1, [2, 2])],
        large=np.full((8, 8), 1e4, np.float32),
        small=np.full((8, 2), 1e-4, np.float32),
    )
    model = kcompiler.compile(data)
    failure = model.verify({"x": np.ones((2, 8), np.float32)}).first_failure
    assert failure is not None
    assert failure.rung == "model"
    assert "4 of 4 elements are infinite or NaN here and not in the reference" in failure.text
    assert model.verify({"x": np.zeros((2, 8), np.float32)}).ok
    assert kcompiler.compile(data, precision="bf16").verify({"x": np.ones((2, 8), np.float32)}).ok


def test_integers_agree_bit_for_bit() -> None:
    result = kcompiler.compile(models.lookup()).verify()
    assert result.first_failure is None
    assert result.outputs["best"].max_abs_err == 0
    assert result.outputs["best"].sqnr_db is None
