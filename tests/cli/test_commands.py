"""What the commands print and write."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import kcompiler
from kcompiler import cli
from kcompiler.machine.facts import TAGS
from tests.conftest import Golden
from tests.runtime import models

Capture = pytest.CaptureFixture[str]
T = ["--target", "rebel"]
pytestmark = pytest.mark.usefixtures("free_way")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, where models and inputs are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(models.linear())
    (tmp_path / "divided.onnx").write_bytes(models.divided())
    np.save(tmp_path / "x.npy", np.ones((50, 96), np.float32))
    return tmp_path


def output(capsys: Capture, *arguments: str, code: int = 0) -> str:
    """The standard output of a command that ends as expected."""
    result = cli.main(arguments)
    captured = capsys.readouterr()
    assert result == code, captured.err
    return captured.out


def plain(text: str) -> str:
    """A table without trailing blanks, and with this machine's times and sizes masked."""
    text = re.sub(r"[\d.]+ s CPU, [\d.]+ .B resident", "… s CPU, … MB resident", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_the_summary_of_the_example(capsys: Capture, golden: Golden, examples: Path) -> None:
    digits = f"input={examples / 'digits.npy'}"
    model = str(examples / "mnistnet.onnx")
    text = output(capsys, model, *T, "--dim", "s77=16", "--input", digits)
    golden("cli/mnistnet.txt", plain(text))


def test_the_example_names_its_digits(capsys: Capture, examples: Path) -> None:
    digits = f"input={examples / 'digits.npy'}"
    output(capsys, str(examples / "mnistnet.onnx"), *T, "--dim", "s77=16", "--no-verify")
    output(capsys, "run", "mnistnet.kpkg", "--input", digits, "--output", "logits=y.npy")
    labels = np.load(examples / "digits_labels.npy")
    np.testing.assert_array_equal(np.load("y.npy").argmax(1), labels)


def test_explain_of_the_example(capsys: Capture, golden: Golden, examples: Path) -> None:
    model = str(examples / "mnistnet.onnx")
    golden("cli/explain.txt", plain(output(capsys, "explain", model, *T, "--dim", "s77=16")))


def test_the_model_is_found_whatever_comes_first(capsys: Capture) -> None:
    first = output(capsys, "m.onnx", *T, "--no-verify", "-o", "a.kpkg")
    second = output(capsys, *T, "--no-verify", "-o", "b.kpkg", "m.onnx")
    third = output(capsys, "compile", "m.onnx", *T, "--no-verify", "-o", "c.kpkg")
    assert plain(first).replace("a.kpkg", "") == plain(second).replace("b.kpkg", "")
    assert plain(first).replace("a.kpkg", "") == plain(third).replace("c.kpkg", "")
    assert Path("a.kpkg").read_bytes() == Path("b.kpkg").read_bytes()
    assert "verified       no\n" in plain(first)


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_json(capsys: Capture) -> None:
    assert cli.main(["m.onnx", *T, "--json", "-v"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err.splitlines() == ["compiling m.onnx", "verifying m.onnx on the simulator"]
    assert list(found) == [
        "model", "target", "precision", "nodes", "mac_share", "time", "traffic", "memory", "link",
        "notes", "facts", "verify", "compile", "package",
    ]  # fmt: skip
    assert (found["model"], found["target"], found["precision"]) == ("m.onnx", "rebel", "f16")
    assert found["nodes"] == {"npu": 3, "host": 0}
    assert found["mac_share"] == 1
    assert list(found["time"]) == ["cycles", "seconds", "bound_seconds"]
    assert 0 < found["time"]["bound_seconds"] < found["time"]["seconds"]
    assert 0 < found["traffic"]["compulsory_bytes"] <= found["traffic"]["dram_bytes"]
    assert set(found["memory"]) == {"l1", "shm", "hbm"}
    for memory in found["memory"].values():
        assert 0 < memory["peak"] <= memory["size"]
    assert found["notes"] == list(kcompiler.compile("m.onnx").report().notes) != []
    assert 0 < found["facts"]["unknown"] < found["facts"]["total"]
    assert found["verify"]["ok"] is True
    assert found["verify"]["reference"] == "onnxruntime"
    assert list(found["verify"]["outputs"]) == ["y"]
    assert all(number(v) for v in found["verify"]["outputs"]["y"].values())
    assert list(found["verify"]["outputs"]["y"]) == ["max_abs_err", "sqnr_db", "not_finite"]
    assert list(found["compile"]) == ["cpu_seconds", "wall_seconds", "peak_rss_mb"]
    assert all(number(v) and v > 0 for v in found["compile"].values())
    package = found["package"]
    data = Path("m.kpkg").read_bytes()
    assert package == {
        "path": "m.kpkg",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def test_json_without_verification(capsys: Capture) -> None:
    found = json.loads(output(capsys, "divided.onnx", *T, "--json", "--no-verify"))
    assert found["verify"] is None
    assert found["nodes"] == {"npu": 2, "host": 1}


def test_a_failed_verification(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is another model: nothing is written, and both streams say so."""
    other = models.linear().replace(b"Relu", b"Tanh")
    monkeypatch.setattr("kcompiler.api._oracle", lambda _: other)
    assert cli.main(["m.onnx", *T, "--json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["verify"]["ok"] is False
    assert found["package"] is None
    assert captured.err.startswith("error: the compiled model does not do what the model says\n")
    assert not Path("m.kpkg").exists()
    assert "verified       NO" in output(capsys, "m.onnx", *T, code=1)


@pytest.mark.parametrize(
    ("level", "word"), [("graph", "Fused("), ("kernel", 'kernel "k0"'), ("asm", "; k0: ")]
)
def test_emit(level: str, word: str, capsys: Capture) -> None:
    assert cli.main(["m.onnx", *T, "--no-verify", "--emit", level]) == 0
    captured = capsys.readouterr()
    assert word in captured.out
    assert "latency" in captured.err
    assert "latency" not in captured.out
    assert cli.main(["m.onnx", *T, "--no-verify", "--emit", level, "--json"]) == 0
    again = capsys.readouterr()
    assert again.err == captured.out
    json.loads(again.out)


def test_the_emitted_assembly_is_the_program(capsys: Capture) -> None:
    from kcompiler.machine.assembly import parse_program

    text = output(capsys, "m.onnx", *T, "--no-verify", "--emit", "asm")
    model = kcompiler.load("m.kpkg")
    isa = model.target.isa
    assert isa.encode_program(parse_program(isa, text)) == model.programs[0].program.code
    assert output(capsys, "disasm", "m.kpkg") == text


def test_trace(capsys: Capture) -> None:
    output(capsys, "m.onnx", *T, "--no-verify", "--trace", "t.json")
    events = json.loads(Path("t.json").read_text())
    events = events["traceEvents"] if isinstance(events, dict) else events
    assert any(event["ph"] == "X" for event in events)
    output(capsys, "m.onnx", *T, "--no-verify", "--trace", "none/t.json", code=2)
    output(capsys, "divided.onnx", *T, "--no-verify", "--trace", "t.json", code=2)


def test_run(capsys: Capture) -> None:
    output(capsys, "m.onnx", *T, "--no-verify")
    text = output(capsys, "run", "m.kpkg", "--input", "x=x.npy", "--output", "y=y.npy")
    found = np.load("y.npy")
    (expected,) = ort.InferenceSession(models.linear()).run(None, {"x": np.load("x.npy")})
    np.testing.assert_allclose(found, expected, atol=0.02)
    pattern = rf"y: f32\[50,40\], {found.min():.4g} to {found.max():.4g}, mean [\d.]+\n"
    assert re.fullmatch(pattern, text)


@pytest.mark.parametrize(("mode", "shape"), [("1", (4, 1)), ("0", (4,)), ("mode.npy", (4, 1))])
def test_an_input_becomes_a_constant(capsys: Capture, mode: str, shape: tuple[int, ...]) -> None:
    Path("moded.onnx").write_bytes(models.moded())
    np.save("mode.npy", np.array(1))
    output(capsys, "moded.onnx", *T, "--value", f"mode={mode}")
    x = np.ones((4, 8), np.float32)
    found = kcompiler.load("moded.kpkg").run({"x": x})["y"]
    np.testing.assert_array_equal(found, np.full(shape, 8))


def test_run_without_an_input(capsys: Capture) -> None:
    output(capsys, "m.onnx", *T, "--no-verify")
    assert cli.main(["run", "m.kpkg"]) == 2
    assert capsys.readouterr().err == (
        "error: input 'x' is missing\n  because: the model takes x: f32[50,96]\n"
    )
    assert cli.main(["run", "m.kpkg", "--output", "z=z.npy"]) == 2
    assert capsys.readouterr().err == (
        "error: the model has no output 'z'\n  because: its outputs are y\n"
    )


def test_inspect(capsys: Capture) -> None:
    output(capsys, "divided.onnx", *T, "--no-verify")
    text = output(capsys, "inspect", "divided.kpkg")
    assert "\nverified       a package does not say" in text
    assert "divided.onnx on rebel in f16" in text
    assert "1/k0" in text
    found = json.loads(output(capsys, "inspect", "divided.kpkg", "--json"))
    assert found["inputs"] == [{"name": "x", "dtype": "f32", "shape": [6, 6]}]
    assert [o["name"] for o in found["outputs"]] == ["y", "d"]
    assert {"value", "tag", "source"} == set(found["chip"]["clock"])
    assert all(kernel["instructions"] > 0 for kernel in found["kernels"])
    assert found["nodes"] == {"npu": 2, "host": 1}


def test_explain(capsys: Capture) -> None:
    rows = json.loads(output(capsys, "explain", "divided.onnx", *T, "--json"))
    by_node = {row["node"]: row for row in rows}
    assert list(by_node) == ["x", "matmul", "det", "mul"]
    assert by_node["matmul"]["macs"] == 216
    assert by_node["matmul"]["seconds"] > 0
    assert by_node["det"]["engine"] == "host"
    assert by_node["det"]["why"]
    assert by_node["mul"]["kernel"].startswith("2/k")


def explained(capsys: Capture, *arguments: str) -> dict[str, dict[str, Any]]:
    """The rows of `kcompile explain` by node."""
    return {r["node"]: r for r in json.loads(output(capsys, "explain", *arguments, "--json"))}


def test_explain_a_product_whose_result_the_host_makes_float(
    capsys: Capture, examples: Path
) -> None:
    data = "--calibration", str(examples / "digits.npy")
    model = str(examples / "mnistnet.onnx")
    rows = explained(capsys, model, "-t", "warboy", "--dim", "s77=1", *data)
    last = rows["node_linear_1"]
    assert (last["engine"], last["macs"]) != ("host", None)
    assert last["macs"] == 640
    assert last["why"] == "DequantizeLinear of it on the host"
    assert rows["input"]["engine"] == "host"
    assert rows["node_relu_2"]["kernel"] == rows["node_Conv_55"]["kernel"]


def test_explain_names_the_kernel_that_does_the_work(capsys: Capture) -> None:
    """The projection reads the name of the attention behind it, and moves data for it."""
    Path("attention.onnx").write_bytes(models.masked_attention())
    rows = explained(capsys, "attention.onnx", *T)
    where = {name: rows[name]["kernel"] for name in rows}
    attention = {"scores", "mask", "softmax", "mix", "residual"}
    assert {where[name] for name in attention} == {where["unsqueeze"]}
    assert where["query"] == where["key"] == where["value"] != where["scores"]
    assert where["less"] not in {where["scores"], where["query"]}
    assert rows["scores"]["macs"] == 2 * 32 * 32 * 16
    assert rows["query"]["macs"] == 32 * 16 * 16
    assert [n for n in rows if rows[n]["macs"]] == ["query", "scores"]


def test_targets(capsys: Capture) -> None:
    assert re.search(r"^rebel .*f16, bf16, f32", output(capsys, "targets"), re.MULTILINE)
    text = output(capsys, "targets", "rebel")
    assert "not calibrated" in text
    assert re.search(r"^memories.l1.size +4,194,304 +D ", text, re.MULTILINE)
    assert all(meaning.split(":")[0][:20] in text for meaning in TAGS.values())


@pytest.mark.parametrize("command", ["run", "inspect", "disasm"])
def test_damaged_packages(command: str, capsys: Capture) -> None:
    output(capsys, "m.onnx", *T, "--no-verify")
    data = Path("m.kpkg").read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(20):
        place = int(rng.integers(len(data)))
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        cut = data[: int(rng.integers(len(data)))]
        for variant in (bytes(damaged), cut):
            Path("bad.kpkg").write_bytes(variant)
            assert cli.main([command, "bad.kpkg"]) == 2
            captured = capsys.readouterr()
            assert captured.out == ""
            assert captured.err.startswith("error: cannot read the package\n  at: bad.kpkg\n")


def test_names_cannot_control_the_terminal(capsys: Capture) -> None:
    evil = models.linear().replace(b"matmul", b"\x1b[31mm")
    Path("evil.onnx").write_bytes(evil)
    for arguments in (
        ["evil.onnx", *T, "--no-verify"],
        ["explain", "evil.onnx", *T],
        ["inspect", "evil.kpkg"],
        ["disasm", "evil.kpkg"],
    ):
        assert "\x1b" not in output(capsys, *arguments)


def test_int8_from_the_command_line(capsys: Capture, tmp_path: Path, examples: Path) -> None:
    digits, labels = (np.load(examples / f"digits{n}.npy") for n in ("", "_labels"))
    np.savez(tmp_path / "d.npz", input=np.rint(digits * 255).astype(np.uint8), labels=labels)
    arguments = (
        *(str(examples / "mnistnet.onnx"), "--target", "rebel", "--dim", "s77=1"),
        *(
            "--precision",
            "mixed",
            "--min-sqnr",
            "44",
            "--observer",
            "mse",
            "--symmetric",
            "--equalize",
        ),
        *("--calibration", str(tmp_path / "d.npz"), "--preprocess", "scale=255"),
        *("--output", str(tmp_path / "m.kpkg"), "--layers"),
    )
    text = " ".join(output(capsys, *arguments).split())
    assert re.search(r"logits: SQNR \d\d\.\d dB against float32, same class for 16 of 16", text)
    assert re.search(r"16 of 16; 1\d right, 1\d in float32", text)
    assert re.search(r"node_\w+ stays float: alone it leaves the outputs \d\d\.\d dB", text)
    assert "product operator SQNR dB cosine node_" in text
    assert "product kept alone dB share why node_" in text
    found = json.loads(output(capsys, "inspect", str(tmp_path / "m.kpkg"), "--json"))
    report = found["quantization"]
    assert report["samples"] == 16
    assert {row["observer"] for row in report["tensors"]} == {"mse"}
    assert any(row["kept"] for row in report["sensitivity"])
    given = json.loads(output(capsys, *arguments, "--json"))
    assert given["quantization"] == report
