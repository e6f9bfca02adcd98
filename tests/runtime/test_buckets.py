"""Models with open dimensions: buckets, padding, and the proof that padding does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner

import kcompiler
from kcompiler.api import CompiledModel
from kcompiler.artifact import pack, unpack
from kcompiler.buckets.compile import witnesses
from kcompiler.buckets.spec import Extents, parse
from kcompiler.cli import cli
from kcompiler.errors import PackageError, UnsupportedError, UsageError
from kcompiler.package import from_bytes, to_bytes
from kcompiler.report.summary import _rows as summary_rows
from tests.runtime import dynamic_models as models

Arrays = dict[str, Any]
RNG = np.random.default_rng(7)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def expected(model: bytes, feeds: Arrays) -> Arrays:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def check(compiled: CompiledModel, model: bytes, feeds: Arrays) -> None:
    found = compiled.run(feeds)
    for name, value in expected(model, feeds).items():
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-5)


# What the caller asks for


@pytest.mark.parametrize(
    ("wish", "low", "buckets"),
    [
        ("1..512:128", 1, (128, 256, 384, 512)),
        (range(1, 513, 128), 1, (128, 256, 384, 512)),
        ("1..500:128", 1, (128, 256, 384, 500)),
        ("200..512:128", 200, (256, 384, 512)),
        ("0..64:64", 0, (64,)),
        ("1..7", 1, (7,)),
        ("32,1,8", 1, (1, 8, 32)),
        ([8, 32], 1, (8, 32)),
    ],
)
def test_ranges(wish: Any, low: int, buckets: tuple[int, ...]) -> None:
    assert parse({"n": wish}).ranged == {"n": Extents(low, buckets)}


def test_a_dimension_may_be_a_sum_of_others() -> None:
    spec = parse({"all": "past+seq+2", "past": "0..4:4", "seq": "1,8", "batch": 3, "same": "batch"})
    assert spec.all_dims({"past": 4, "seq": 8}) == {
        "batch": 3, "past": 4, "seq": 8, "all": 14, "same": 3,
    }  # fmt: skip
    assert [list(c.values()) for c in spec.combinations()] == [[4, 1], [4, 8]]


@pytest.mark.parametrize("wish", ["", "5..1", "1..8:0", "x", "1..", "-1..4", "a+", [], range(0)])
def test_what_is_no_extent(wish: Any) -> None:
    with pytest.raises(UsageError, match="is no extent, no range and no sum"):
        parse({"n": wish})


def test_too_many_buckets() -> None:
    with pytest.raises(UsageError, match="200 buckets are more than 64"):
        parse({"n": "1..40:2", "m": "1..10:1"})
    with pytest.raises(UsageError, match="more than 64 buckets"):
        parse({"n": "1..1000000000000:1"})


def test_an_unknown_dimension() -> None:
    with pytest.raises(UsageError, match="the model has no dimension 'sq'"):
        kcompiler.compile(models.rows(), dims={"sq": "1..8:4"})


def test_other_imports_differ_in_every_dimension() -> None:
    for dims in witnesses({"a": 64, "b": 64}, {"a": 1, "b": 33}):
        assert 2 <= dims["a"] < 64
        assert 33 <= dims["b"] < 64
        assert dims["a"] != dims["b"]


# Running


@pytest.fixture(scope="module")
def rows() -> CompiledModel:
    return kcompiler.compile(models.rows(), dims={"seq": "1..48:16"}, precision="f32")


@pytest.mark.parametrize(("size", "bucket"), [(1, 16), (15, 16), (16, 16), (17, 32), (48, 48)])
def test_the_smallest_bucket_that_fits(rows: CompiledModel, size: int, bucket: int) -> None:
    check(rows, models.rows(), {"x": floats(size, 16)})
    assert rows.last_padding is not None
    assert rows.last_padding.rows == {"seq": (size, bucket)}
    assert rows.last_padding.waste == {"seq": 1 - size / bucket}


@pytest.mark.parametrize("size", [0, 49])
def test_beyond_the_limits(rows: CompiledModel, size: int) -> None:
    with pytest.raises(UsageError) as error:
        rows.run({"x": floats(size, 16)})
    assert error.value.what == f"dimension 'seq' cannot be {size}"
    assert error.value.why == "the model was compiled for 1 to 48"


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"input 'x' is missing\n  because: the model takes x: f32\[seq,16\]$"),
        ({"z": 0}, r"'x' is missing\n  .*x: f32\[seq,16\], and there is no input 'z'$"),
        ({"x": np.zeros((4, 16))}, "has the element type float64"),
        ({"x": np.zeros((4, 17), np.float32)}, r"has the shape \[4, 17\]"),
        ({"x": np.zeros(16, np.float32)}, r"has the shape \[16\]"),
        (
            {"x": np.zeros((4, 16), np.float32), "y": 0},
            r"no input 'y'\n  because: it takes x: f32\[seq,16\]$",
        ),
    ],
)
def test_inputs_that_do_not_fit(rows: CompiledModel, feeds: Arrays, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rows.run(feeds)


def test_several_dimensions_are_a_cross_product() -> None:
    dims = {"batch": "1..4:2", "seq": "1..16:8"}
    compiled = kcompiler.compile(models.encoder(), dims=dims, precision="f32")
    sizes = [tuple(b.dims.values()) for b, _ in compiled.buckets]
    assert sizes == [(2, 8), (2, 16), (4, 8), (4, 16)]
    for batch, seq in ((1, 3), (2, 9), (3, 8), (4, 16)):
        mask = np.ones((batch, seq), np.int64)
        mask[0, seq // 2 + 1 :] = 0
        ids = RNG.integers(0, 11, (batch, seq))
        check(compiled, models.encoder(), {"ids": ids, "attention_mask": mask})


# With infinity, what is not hidden is 0 * -inf: NaN in the model as it is, and so here.
@pytest.mark.parametrize("hidden", [-10000.0, -3.4e38, float("-inf")])
def test_masked_words(hidden: float) -> None:
    model = models.encoder(hidden)
    compiled = kcompiler.compile(model, dims={"batch": 1, "seq": "1..8:8"}, precision="f32")
    ids, mask = RNG.integers(0, 11, (1, 5)), np.array([[1, 1, 1, 0, 1]])
    check(compiled, model, {"ids": ids, "attention_mask": mask})


@pytest.mark.parametrize("masked", [-1e9, float("-inf")])
def test_a_causal_model_needs_no_mask(masked: float) -> None:
    compiled = kcompiler.compile(models.causal(masked), dims={"seq": "1..16:8"}, precision="f32")
    for size in (2, 7, 8, 11):
        check(compiled, models.causal(masked), {"x": floats(size, 16)})


def test_a_cache_in_buckets() -> None:
    dims = {"past": "0..8:8", "seq": "1,4", "all": "past+seq"}
    compiled = kcompiler.compile(models.cached(), dims=dims, precision="f32")
    assert [i.name for i in kcompiler.Session(compiled.to_bytes()).get_inputs()] == [
        "x", "positions", "mask", "past",
    ]  # fmt: skip
    for past, seq in ((0, 3), (3, 1), (4, 1), (5, 4), (8, 2)):
        feeds = {
            "x": floats(seq, 8),
            "positions": np.arange(past, past + seq),
            "mask": np.ones(past + seq, np.int64),
            "past": floats(past, 8),
        }
        check(compiled, models.cached(), feeds)
    feeds["mask"] = np.ones(11, np.int64)
    with pytest.raises(UsageError) as error:
        compiled.run(feeds)
    assert error.value.why == "the model was compiled for [past + seq]"


def test_a_sum_in_the_wrong_order_is_refused() -> None:
    dims = {"past": "0..8:8", "seq": "1..4:4", "all": "seq+past"}
    with pytest.raises(UnsupportedError, match="one operand has"):
        kcompiler.compile(models.cached(), dims=dims)


def test_zeros_do_not_change_a_sum() -> None:
    compiled = kcompiler.compile(models.summed(), dims={"seq": "1..8:8"}, precision="f32")
    check(compiled, models.summed(), {"x": floats(5, 16)})
    compiled = kcompiler.compile(models.two_dims(), dims={"m": "1..4:4", "k": "1..8:8"})
    found = compiled.run({"a": np.ones((3, 5), np.float32), "b": np.ones((5, 8), np.float32)})
    assert (found["y"] == np.full((3, 8), 5)).all()


def test_a_window_that_only_looks_back() -> None:
    model = models.convolved([2, 0])
    compiled = kcompiler.compile(model, dims={"time": "3..16:8"}, precision="f32")
    for size in (3, 8, 12):
        check(compiled, model, {"x": floats(1, 4, size)})


# Refused, each with its reason

REFUSED = {
    "mean": (models.mean(), "seq", "its numbers depend on the extent (a count,"),
    "last word": (models.last_word(), "seq", "fixed elements from its beginning"),
    "two windows": (models.convolved([1, 1]), "time", "reads only zeros beyond the kept elements"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_padded(name: str) -> None:
    model, dim, reason = REFUSED[name]
    with pytest.raises(UnsupportedError) as error:
        kcompiler.compile(model, dims={dim: "3..8:8"})
    assert error.value.what == f"the model's outputs cannot be padded along {dim}"
    assert reason in error.value.why
    assert error.value.where
    assert error.value.fix == f"compile it for fixed extents: --dim {dim}=8"


# In a package


def test_weights_lie_in_a_package_once(rows: CompiledModel) -> None:
    _, sections = pack(rows.compilation, rows.target)
    names = [name for name in sections if name.startswith("constant/")]
    assert len(names) == 1
    assert len([name for name in sections if name.endswith("/code")]) == 3


def test_a_package_keeps_buckets(rows: CompiledModel) -> None:
    data = rows.to_bytes()
    back, target = unpack(from_bytes(data))
    assert to_bytes(*pack(back, target)) == data
    session = kcompiler.Session(data)
    assert [i.shape for i in session.get_inputs()] == [("seq", 16)]
    assert [o.shape for o in session.get_outputs()] == [("seq", 8), ("seq", 8)]
    assert session.last_padding is None
    (found,) = session.run(["r"], {"x": floats(3, 16)})
    assert found.shape == (3, 8)
    assert str(session.last_padding) == "3 of 16 rows of seq used (81.2 % padding)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b["members"].pop(), "the buckets have 2 segments, the package 3"),
        (lambda b: b["members"][1].update(segments=[0, 1]), "begins at segment 0, not at 1"),
        (lambda b: b["limits"].update(seq=[1, 99]), "its last bucket is not the largest"),
        (lambda b: b["inputs"].update(x=[[["m", 1]], [["", 16]]]), "names the dimension 'm'"),
        (lambda b: b["members"][0]["dims"].update(seq=8), "have other shapes than its layouts"),
        (lambda b: b["members"][0].update(dims={}), "has other dimensions"),
        (lambda b: b["members"][0].update(positions={"x": [[["seq", 1]]]}), "has the positions"),
        (lambda b: b.update(members=[]), "the buckets have 0 segments"),
    ],
)
def test_a_package_that_was_altered(rows: CompiledModel, change: Any, message: str) -> None:
    manifest, sections = pack(rows.compilation, rows.target)
    change(manifest["buckets"])
    with pytest.raises(PackageError, match=message):
        unpack(from_bytes(to_bytes(manifest, sections)))


def test_the_command_line(tmp_path: Path) -> None:
    path, package = tmp_path / "rows.onnx", tmp_path / "rows.kpkg"
    path.write_bytes(models.rows())
    runner = CliRunner()
    arguments = [str(path), "--target", "rebel", "--dim", "seq=1..8:4", "-o", str(package)]
    made = runner.invoke(cli, arguments)
    assert made.exit_code == 0, made.output
    assert "seq=4: " in made.output
    np.save(tmp_path / "x.npy", floats(3, 16))
    ran = runner.invoke(cli, ["run", str(package), "--input", f"x={tmp_path / 'x.npy'}"])
    assert "p: f32[3,8]" in ran.output
    assert "padding: 3 of 4 rows of seq used (25.0 % padding)" in ran.output
    shown = runner.invoke(cli, ["inspect", str(package)])
    assert "seq=8: " in shown.output
    assert runner.invoke(cli, ["disasm", str(package)]).output.count("; bucket seq=") == 2


def test_verification_runs_every_bucket_and_with_padding(rows: CompiledModel) -> None:
    result = rows.verify()
    assert result.ok
    programs = [s.program for _, model in rows.buckets for s in model.programs]
    assert result.kernels == sum(len(p.kernels) for p in programs)
    assert rows.verify({"x": floats(20, 16)}).generated == ()


def test_a_package_says_which_extents_it_takes(rows: CompiledModel) -> None:
    for model in (rows, kcompiler.load(rows.to_bytes())):
        assert model.report().limits == {"seq": (1, 48)}
        assert ("extents", "seq 1 to 48") in list(summary_rows(model.report()))
