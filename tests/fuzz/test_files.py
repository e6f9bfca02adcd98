"""Damaged files: a message, never a traceback, in bounded time and memory."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from onnx import ModelProto

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.errors import KcompilerError
from kcompiler.graph.node import Array
from kcompiler.verify import Audit
from tests.fuzz import inputs, tasks
from tests.fuzz.campaign import Campaign
from tests.fuzz.files import damaged, try_file
from tests.fuzz.maker import Discarded
from tests.fuzz.mutate import mutated_model, parse, serialize
from tests.fuzz.recipe import seeded_case
from tests.fuzz.worker import Lost, Worker


@pytest.mark.parametrize("kind", ["model file", "package"])
def test_the_same_few_files(kind: str, tmp_path: Path) -> None:
    campaign = Campaign(7, (kind,), tmp_path)
    campaign.run(count=100)
    assert campaign.report().endswith("faults: 0")
    assert campaign.tried[kind] > 70


def test_structure_is_kept_where_nothing_is_changed() -> None:
    data: bytes = seeded_case(1, 5).model.SerializeToString()
    assert serialize(parse(data, ModelProto.DESCRIPTOR)) == data


def test_changed_models_are_mostly_still_messages() -> None:
    """Otherwise the search would not get past the parser."""
    source = random.Random(0)  # noqa: S311 - no secrets here
    data: bytes = seeded_case(1, 5).model.SerializeToString()
    sound = 0
    for _ in range(200):
        try:
            ModelProto.FromString(mutated_model(data, source))
        except Exception:  # noqa: BLE001, S112 - protobuf's error has no public name
            continue
        sound += 1
    assert sound > 120


def test_changed_packages_get_past_the_hashes() -> None:
    """Some are accepted, and most are refused for what they say."""
    texts = []
    for index in range(30):
        try:
            data = damaged("package", 1, index)
        except Discarded:
            continue
        try:
            kcompiler.load(data)
        except KcompilerError as error:
            texts.append(str(error))
        else:
            texts.append("")
    assert sum("SHA-256" in t for t in texts) < len(texts) / 4
    assert "" in texts


def test_a_crash_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault."""

    def broken(*_: object, **__: object) -> None:
        raise IndexError("planted")

    monkeypatch.setattr(kcompiler, "compile", broken)
    fault = try_file("model file", b"")
    assert fault is not None
    assert fault.kind == "IndexError"


def test_damaged_packages_are_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are read; damage is found in some, and a crash of the audit is a fault."""
    audits: list[Audit] = []
    right = CompiledModel.audit

    def audit(model: CompiledModel) -> Audit:
        audits.append(right(model))
        return audits[-1]

    monkeypatch.setattr(CompiledModel, "audit", audit)
    packages = []
    for index in range(30):
        with contextlib.suppress(Discarded):
            packages.append(damaged("package", 1, index))
    assert [try_file("package", data) for data in packages] == [None] * len(packages)
    assert any(found.findings for found in audits)

    def broken(_: CompiledModel) -> Audit:
        raise IndexError("planted")

    monkeypatch.setattr(CompiledModel, "audit", broken)
    faults = [fault for data in packages if (fault := try_file("package", data)) is not None]
    assert [(f.stage, f.kind) for f in faults] == [("package", "IndexError")] * len(audits)


@pytest.mark.parametrize(
    ("harm", "patience", "why"),
    [
        ("end", 100, "code 3"),
        ("hang", 3, "no result after 6 s"),
        ("work", 100, "no result after 2 s of CPU time"),
    ],
)
def test_a_lost_process_is_seen_and_replaced(harm: str, patience: float, why: str) -> None:
    worker = Worker(2, patience)
    try:
        lost = worker.run(harm, 0, 0)
        assert isinstance(lost, Lost)
        assert why in lost.why
        worker.seconds = 20
        assert isinstance(worker.run("model", 1, 0), tasks.Outcome)
    finally:
        worker.close()


def test_the_same_few_inputs(tmp_path: Path) -> None:
    campaign = Campaign(7, ("input",), tmp_path)
    campaign.run(count=1000)
    assert campaign.report().endswith("faults: 0")
    assert all(campaign.ways[reader] > 10 for reader in inputs._READERS)


@pytest.mark.parametrize("kind", sorted(inputs._READERS))
def test_sound_inputs_are_read(kind: str) -> None:
    """Otherwise damage would never get far."""
    source = random.Random(3)  # noqa: S311 - no secrets here
    sound = [s for s in (inputs._sound(source) for _ in range(300)) if s[0] == kind]
    assert any(_is_read(*each) for each in sound)


def _is_read(reader: str, content: bytes | str, constants: dict[str, Array]) -> bool:
    try:
        inputs._READERS[reader](content, constants)
    except KcompilerError:
        return False  # two options may contradict each other
    return True


def test_a_reader_that_breaks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault."""
    monkeypatch.setitem(inputs._READERS, "npy", lambda data, _: data[1 << 40])
    fault = inputs.try_input("npy", b"", {})
    assert fault is not None
    assert fault.kind == "IndexError"
