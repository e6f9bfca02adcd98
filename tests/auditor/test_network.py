"""Products that the ONNX model's shapes ask for, and the command that audits a package."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.cli import cli
from kcompiler.errors import VerificationError
from kcompiler.machine.auditor import audit_program
from kcompiler.verify import audit, verify
from kcompiler.verify.network import groups, network_macs
from tests.auditor.programs import net, parts
from tests.models import nets
from tests.runtime import models
from tests.runtime.models import model, node, values
from tests.targets.rebel_programs import small


def compiled(source: bytes) -> CompiledModel:
    return kcompiler.compile(source, small(4, 24 << 10))


@pytest.mark.parametrize("name", ["convolutional", "small_transformer", "integer"])
def test_all_products_are_those_of_the_network(name: str) -> None:
    found = compiled(getattr(nets, name)()).audit()
    assert found.ok
    assert 0 < found.derived <= found.macs


def test_products_by_hand() -> None:
    """1 x 3 x 21 x 18 to 16 channels of 11 x 9 by 3 x 3; 16 to 10."""
    made = compiled(nets.convolutional())
    asked = network_macs(nets.convolutional(), made.compilation)
    assert asked["conv"] == 16 * 11 * 9 * 3 * 3 * 3
    assert asked["depthwise"] == 16 * 11 * 9 * 3 * 3
    assert asked["gemm"] == 16 * 10


@settings(max_examples=12)
@given(
    st.integers(1, 40), st.integers(1, 70), st.integers(1, 40), st.integers(1, 3),
    st.sampled_from([(0, 0), (1, 2), (2, 1)]), st.integers(1, 2),
)  # fmt: skip
def test_random_networks_compile_without_findings(
    rows: int, terms: int, columns: int, kernel: int, pads: tuple[int, int], stride: int
) -> None:
    """Extents that no tile divides, windows that reach over the edge; every product derived."""
    low, high = pads
    weights: dict[str, Any] = {
        "w": values(5, 4, kernel, 1), "b": values(5), "m": values(terms, columns),
    }  # fmt: skip
    nodes = [
        node("Conv", "x w b", "c", pads=[low, 0, high, 0], strides=[stride, 1]),
        node("Relu", "c", "y"),
        node("MatMul", "a m", "p"),
        node("Tanh", "p", "z"),
    ]
    ends = [("x", TensorProto.FLOAT, [1, 4, 9, rows]), ("a", TensorProto.FLOAT, [rows, terms])]
    source = model(
        nodes, ends, [("y", TensorProto.FLOAT, None), ("z", TensorProto.FLOAT, None)], **weights
    )
    found = kcompiler.compile(source, small(4, 8 << 10)).audit()
    assert found.findings == ()
    assert found.derived == found.macs > 0


def test_a_program_of_another_network_is_found() -> None:
    """The manifest and the bytes agree; the ONNX model asks for more."""
    made = compiled(models.linear())
    bigger = model(
        [node("MatMul", "x w", "h"), node("Add", "h b", "a"), node("Relu", "a", "y")],
        [("x", TensorProto.FLOAT, [50, 96])], [("y", TensorProto.FLOAT, None)],
        w=values(96, 41), b=values(41),
    )  # fmt: skip
    names = {k.origins for s in made.programs for k in s.program.kernels if k.macs}
    assert network_macs(bigger, made.compilation).keys() & {n for o in names for n in o}
    (finding,) = audit(made.compilation, made.target, bigger).findings
    assert finding.property == "macs"
    assert "whose shapes in the ONNX model ask for" in str(finding)


def test_groups_join_what_shares_a_node() -> None:
    kernels = [["a", "r"], ["b"], ["a", "c"], ["r"], ["c", "b"]]
    assert groups(kernels, {"a": 1, "b": 1, "c": 1}) == [({0, 1, 2, 4}, {"a", "b", "c"})]


def faulty(made: CompiledModel) -> CompiledModel:
    """The last store is left out."""
    segment = made.programs[0]
    whole = parts(segment, made.target)
    k, i = list(whole.places("ndma.store"))[-1]
    program = whole.without(k, i).waiting().whole()
    compilation = replace(made.compilation, segments=(replace(segment, program=program),))
    return CompiledModel(compilation, made.target)


def test_a_verification_audits() -> None:
    made = compiled(models.linear())
    result = made.verify()
    assert result.audit is not None
    assert result.audit.ok
    assert result.audit.derived == result.audit.macs > 0
    wrong = verify(faulty(made).compilation, made.target, models.linear())
    assert not wrong.ok
    assert wrong.audit is not None
    assert wrong.audit.findings[0].property in {"writes", "macs"}
    with pytest.raises(VerificationError):
        wrong.raise_for_failure()


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["audit", *arguments], standalone_mode=False)


def test_the_command(tmp_path: Path) -> None:
    made = kcompiler.compile(models.linear())
    made.save(tmp_path / "right.kpkg")
    faulty(made).save(tmp_path / "wrong.kpkg")
    right, wrong = (invoke(str(tmp_path / f"{n}.kpkg")) for n in ("right", "wrong"))
    assert (right.return_value, wrong.return_value) == (0, 1)
    assert right.output.startswith("yes: ")
    kernel = made.programs[0].program.kernels[-1]
    lines = wrong.output.splitlines()
    assert any(
        line.startswith(f"writes: of kernel {kernel.name} ({', '.join(kernel.origins)}) ")
        and "bytes of" in line and "are never written; hbm bytes [0x" in line
        for line in lines
    )  # fmt: skip
    shown = json.loads(invoke(str(tmp_path / "wrong.kpkg"), "--json").output)
    assert shown["ok"] is False
    assert {f["property"] for f in shown["findings"]} >= {"writes"}


def test_a_finding_names_instruction_kernel_nodes_and_bytes() -> None:
    whole = net("convolutional")
    k, i = next(whole.places("ndma.store"))
    block = whole.blocks[k]
    doubled = whole.changed(k, (*block[: i + 1], *block[i:])).waiting()
    finding = next(f for f in doubled.audit() if f.property == "writes")
    kernel = doubled.whole().kernels[k]
    assert finding.place in range(kernel.first, kernel.first + kernel.count)
    assert finding.text.startswith("ndma.store ")
    assert (finding.kernel, finding.origins) == (kernel.name, kernel.origins)
    assert finding.memory == kernel.output.memory
    assert finding.span is not None
    assert kernel.output.address <= finding.span[0] < finding.span[1]
    assert f"instruction {finding.place} (ndma.store " in str(finding)


def test_budgets() -> None:
    whole = net("convolutional")
    program = whole.whole()
    used = {**program.used, "l1": 64}
    less = replace(program, used=used)
    found = audit_program(less, whole.target).findings
    assert {f.property for f in found} >= {"budgets"}
    assert any("beyond the 64 bytes in use" in f.why for f in found)
    more = replace(program, used={**program.used, "l1": 1 << 30})
    found = audit_program(more, whole.target).findings
    assert found[0].why.startswith("uses 1,073,741,824 bytes of l1, which has")


@pytest.mark.parametrize("shape", [(100 << 30,), (1 << 60,), (3, 1 << 36)])
def test_a_claim_of_any_size_is_a_finding(shape: tuple[int, ...]) -> None:
    """Forged bytes may say anything; the auditor takes no more room for it."""
    whole = net("convolutional")
    program = whole.whole()
    used = {m.name: m.size.value for m in whole.target.chip.memories}
    *others, kernel = program.kernels
    output = replace(kernel.output, shape=shape)
    forged = replace(program, kernels=(*others, replace(kernel, output=output)), used=used)
    tracemalloc.start()
    found = audit_program(forged, whole.target).findings
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 29
    assert any(f.property == "writes" and output.name in f.why for f in found)


def test_an_instruction_that_cannot_say_what_it_multiplies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = net("deep")
    kind = next(type(x) for block in whole.blocks for x in block if x.mnemonic == "matrix.contract")
    monkeypatch.setattr(kind, "products", lambda *_: 1 // 0)
    assert any("cannot say what it multiplies" in f.why for f in whole.audit())


def test_overlapping_tensors() -> None:
    """An intermediate tensor moves onto another one that is still needed."""
    whole = net("convolutional")
    program = whole.program
    kernels = list(program.kernels)
    victim, later = next(
        (one, two)
        for i, (one, two) in enumerate(pairwise(kernels))
        if one.output.memory == two.output.memory == "shm"
        and any(one.output in k.inputs for k in kernels[i + 2 :])
    )
    moved = replace(later.output, address=victim.output.address)

    def at(binding: Any) -> Any:
        return moved if binding == later.output else binding

    new = [replace(k, inputs=tuple(map(at, k.inputs)), output=at(k.output)) for k in kernels]
    shift = moved.address - later.output.address
    low, high = later.output.address, later.output.address + later.output.nbytes
    blocks = tuple(
        tuple(
            replace(x, base=x.base + shift)
            if getattr(x, "memory", "") == "shm" and low <= x.base < high
            and (k == kernels.index(later) or later.output in kernels[k].inputs)
            else x
            for x in block
        )
        for k, block in enumerate(whole.blocks)
    )  # fmt: skip
    faulty_parts = replace(whole, program=replace(program, kernels=tuple(new)), blocks=blocks)
    found = faulty_parts.waiting().audit()
    assert "buffers" in {f.property for f in found}
    assert any("lies by now" in f.why for f in found)


def test_a_constant_is_not_written_over() -> None:
    whole = net("convolutional")
    constant = next(b for b in whole.program.constants if b.nbytes)
    kernel = whole.program.kernels[-1]
    output = replace(kernel.output, address=constant.address, memory=constant.memory)
    kernels = (*whole.program.kernels[:-1], replace(kernel, output=output))
    blocks = list(whole.blocks)
    blocks[-1] = tuple(
        replace(x, base=x.base + constant.address - kernel.output.address, memory="hbm")
        if x.mnemonic == "ndma.store" else x
        for x in blocks[-1]
    )  # fmt: skip
    made = replace(whole, program=replace(whole.program, kernels=kernels), blocks=tuple(blocks))
    whys = [f.why for f in made.waiting().audit()]
    assert any("over the constant" in why for why in whys)


@pytest.mark.parametrize(("kind", "rank"), [("Conv", 0), ("MatMul", 0), ("Gemm", 1)])
def test_operands_of_a_rank_that_makes_no_product_are_left_out(kind: str, rank: int) -> None:
    """The auditor is asked about graphs that no checker has seen."""
    made = compiled(models.linear())
    shapes = {"x": (4,) * rank, "w": (4,) * rank, "y": (4,) * rank}
    one = node(kind, "x w", "y")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kcompiler.verify.network._shapes", lambda *_: shapes)
        source = model([one], [("x", TensorProto.FLOAT, [4])], [("y", TensorProto.FLOAT, None)])
        assert all(isinstance(n, int) for n in network_macs(source, made.compilation).values())
