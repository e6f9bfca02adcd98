"""Samples from arrays, mappings, generators, files and folders: what fits a model's inputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompiler.calibration import MOST_SAMPLES, Preprocess, read_samples
from kcompiler.calibration.data import Inputs
from kcompiler.errors import UsageError
from kcompiler.graph.node import Array
from kcompiler.graph.types import F16, F32, I32, I64, TensorType

IMAGES: Inputs = [("x", TensorType(F32, (1, 3, 4, 6)))]
SIXTEEN: Inputs = [("x", TensorType(F32, (16, 3, 4, 6)))]
TWO: Inputs = [("a", TensorType(F32, (2, 3))), ("ids", TensorType(I64, (2,)))]
RNG = np.random.default_rng(0)


def nchw(count: int) -> Array:
    return RNG.normal(size=(count, 3, 4, 6)).astype(np.float32)


def runs(source: Any, inputs: Inputs = IMAGES, **how: Any) -> list[dict[str, Array]]:
    return list(read_samples(source, inputs, Preprocess(**how)).runs)


def values(source: Any, inputs: Inputs = IMAGES, **how: Any) -> Array:
    return np.stack([run["x"] for run in runs(source, inputs, **how)])


@pytest.mark.parametrize("shape", [(5, 1, 3, 4, 6), (5, 3, 4, 6)])
def test_arrays_hold_runs_in_their_first_dimension(shape: tuple[int, ...]) -> None:
    x = nchw(5)
    assert np.array_equal(values(x.reshape(shape)), x.reshape(5, 1, 3, 4, 6))


@pytest.mark.parametrize("shape", [(1, 3, 4, 6), (3, 4, 6)])
def test_one_run(shape: tuple[int, ...]) -> None:
    x = nchw(1)
    assert np.array_equal(values(x.reshape(shape))[0], x)


def test_batches_are_filled_and_the_rest_is_left_out() -> None:
    x = nchw(7)
    found = values(x, [("x", TensorType(F32, (3, 3, 4, 6)))])
    assert np.array_equal(found, x[:6].reshape(2, 3, 3, 4, 6))


def test_images_are_turned_and_scaled_by_channel() -> None:
    pixels = RNG.integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = values(pixels, scale=(255.0,), mean=mean, std=std, layout="NHWC")
    wide = (pixels.astype(np.float64) / 255 - mean) / std
    assert found.shape == (5, 1, 3, 4, 6)
    assert np.allclose(found[:, 0], wide.transpose(0, 3, 1, 2), atol=1e-6)


def test_images_of_a_model_that_takes_channels_last() -> None:
    inputs = [("x", TensorType(F32, (1, 4, 6, 3)))]
    x = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)
    assert np.array_equal(values(x, inputs), x[:, None])
    turned = values(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), inputs, layout="NCHW")
    assert np.array_equal(turned, x[:, None])


def test_generators_are_read_as_far_as_needed() -> None:
    drawn: list[int] = []

    def forever() -> Iterator[Array]:
        while True:
            drawn.append(1)
            yield nchw(1)

    found = read_samples(forever(), IMAGES, limit=4)
    assert len(found.runs) == 4
    assert found.more
    assert len(drawn) == 5


def test_the_limit_of_samples() -> None:
    found = read_samples(np.zeros((MOST_SAMPLES + 3, 3, 4, 6), np.float32), IMAGES)
    assert len(found.runs) == MOST_SAMPLES
    assert found.more
    assert not read_samples(np.zeros((3, 3, 4, 6), np.float32), IMAGES).more


def test_several_inputs_by_name() -> None:
    given = {"a": RNG.normal(size=(5, 2, 3)), "ids": RNG.integers(0, 9, (5, 2))}
    found = runs(given, TWO)
    assert [set(r) for r in found] == [{"a", "ids"}] * 5
    assert found[0]["a"].dtype == np.float32
    assert np.array_equal(found[3]["ids"], given["ids"][3])


def test_scalars_and_vectors_have_no_layout() -> None:
    inputs = (("s", TensorType(F32, ())), ("v", TensorType(F32, (3,))))
    given = {"s": np.float32(2.5), "v": np.arange(3, dtype=np.float32)}
    (found,) = runs(given, inputs)
    assert found["s"].shape == ()
    assert found["s"] == 2.5
    assert found["v"].tolist() == [0, 1, 2]


def test_a_number_is_a_vector_of_one() -> None:
    assert values(np.array(2.5), [("x", TensorType(F32, (1,)))]).tolist() == [[2.5]]


def test_labels_go_with_their_runs() -> None:
    given = {"x": nchw(4), "labels": np.array([3, 1, 4, 1])}
    found = read_samples(given, IMAGES)
    assert found.labels is not None
    assert [int(v[0]) for v in found.labels] == [3, 1, 4, 1]
    batches = read_samples(given, [("x", TensorType(F32, (2, 3, 4, 6)))])
    assert batches.labels is not None
    assert [v.tolist() for v in batches.labels] == [[3, 1], [4, 1]]
    assert read_samples([given, {"x": nchw(1)}], IMAGES).labels is None  # not of all


def test_an_input_named_labels_is_an_input() -> None:
    inputs = [("labels", TensorType(I64, (1,)))]
    found = read_samples({"labels": np.arange(4)}, inputs)
    assert [int(r["labels"][0]) for r in found.runs] == [0, 1, 2, 3]
    assert found.labels is None


def test_files_and_folders(tmp_path: Path) -> None:
    x = nchw(3)
    np.save(tmp_path / "b.npy", x[2:])
    np.savez_compressed(tmp_path / "a.npz", x=x[:2], labels=np.array([7, 8]))
    (tmp_path / "notes.txt").write_text("not data", encoding="utf-8")
    assert np.array_equal(values(tmp_path), x[:, None])
    assert np.array_equal(values(str(tmp_path / "b.npy")), x[2:, None])
    alone = read_samples(tmp_path / "a.npz", IMAGES)
    assert alone.labels is not None
    assert [int(v[0]) for v in alone.labels] == [7, 8]


def test_the_one_array_of_an_archive_needs_no_name(tmp_path: Path) -> None:
    x = nchw(2)
    np.savez(tmp_path / "a.npz", x)
    assert np.array_equal(values(tmp_path / "a.npz"), x[:, None])


def test_folders_of_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = RNG.integers(0, 256, (4, 4, 6, 3)).astype(np.uint8)
    for number, each in enumerate(pixels):
        image.fromarray(each).save(tmp_path / f"{number}.png")
    found = values(tmp_path, scale=(255.0,))
    assert np.allclose(found[:, 0], pixels.transpose(0, 3, 1, 2) / 255, atol=1e-6)
    pairs = values(tmp_path, [("x", TensorType(F32, (3, 3, 4, 6)))])
    assert np.array_equal(pairs, pixels[None, :3].transpose(0, 1, 4, 2, 3))
    last = values(tmp_path / "1.png", [("x", TensorType(F32, (1, 4, 6, 3)))])
    assert np.array_equal(last[0], pixels[1:2])


def test_pictures_of_another_size_are_cropped_in_the_middle(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    wide = np.zeros((4, 16, 3), np.uint8)
    wide[:, 5:11] = 200  # what is left of 16 columns when 6 are wanted
    image.fromarray(wide).save(tmp_path / "w.png")
    assert (values(tmp_path / "w.png")[0] == 200).all()


BAD: list[tuple[Any, Inputs, str]] = [
    (np.zeros((2, 5)), IMAGES, "the calibration data do not fit"),
    (np.zeros((2, 4, 6, 3)), IMAGES, "layout=NHWC"),
    (np.zeros((2, 3, 4, 6)), [("x", TensorType(F32, (1, 4, 6, 3)))], "layout=NCHW"),
    (np.zeros((2, 3, 4, 7)), IMAGES, "try: give arrays of the input's shape"),
    (np.zeros((2, 3, 4, 6)), SIXTEEN, "try: give 16 or more, or compile for fewer at a time"),
    (np.array(["a", "b"]), IMAGES, "calibration data must be numbers"),
    (np.zeros((2, 3, 4, 6), complex), IMAGES, "calibration data must be numbers"),
    (np.full((2, 3, 4, 6), np.nan), IMAGES, "calibration data must be finite"),
    (np.full((2, 3, 4, 6), 1e9), [("x", TensorType(F16, (1, 3, 4, 6)))], "must be finite"),
    (np.array([[1.5]]), [("x", TensorType(I64, (1,)))], "are no such integers"),
    (np.array([[1 << 40]]), [("x", TensorType(I32, (1,)))], "are no such integers"),
    (np.zeros((0, 3, 4, 6)), IMAGES, "because: they are [0, 3, 4, 6]: no runs of f32[1,3,4,6]"),
    (np.zeros((0, 3, 4, 6)), SIXTEEN, "try: give 16 or more, or compile for fewer at a time"),
    (np.zeros((0, 3, 4, 6)), IMAGES, "try: give arrays of one run or more"),
    ({"x": np.zeros((0, 3, 4, 6))}, IMAGES, "there are no calibration data"),
    ({"y": np.zeros((2, 3, 4, 6))}, IMAGES, "because: given: y\n  try: numpy.savez(path, x=array)"),
    ([], IMAGES, "there are no calibration data"),
    (iter([3]), IMAGES, "calibration data yield a int"),
    (iter(["x.npy"]), IMAGES, "calibration data yield a str"),
    (5, IMAGES, "calibration data cannot be a int"),
    (np.float32(2.5), IMAGES, "calibration data cannot be a float32"),
    (np.array(2.5), [("x", TensorType(F32, (3,)))], "the calibration data do not fit"),
    (np.zeros((2, 2, 3)), TWO, "the model has several inputs"),
    ({"a": np.zeros((2, 2, 3))}, TWO, "an input has no calibration data"),
    ({"a": np.zeros((5, 2, 3)), "ids": np.zeros((4, 2), int)}, TWO, "different numbers"),
    ({"x": np.zeros((2, 3, 4, 6)), "labels": np.zeros(3, int)}, IMAGES, "the labels do not fit"),
    ({"x": np.zeros((2, 3, 4, 6)), "labels": np.zeros(2)}, IMAGES, "the labels do not fit"),
    ({"x": np.zeros((2, 3, 4, 6)), "labels": np.array([0, -1])}, IMAGES, "the least is -1"),
    ("/no/such/file.npy", IMAGES, "there is no such file or folder"),
]


@pytest.mark.parametrize(("source", "inputs", "text"), BAD)
def test_data_that_do_not_fit(source: Any, inputs: Inputs, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_samples(source, inputs)
    assert text in str(caught.value)


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder has no calibration data"):
        read_samples(tmp_path, IMAGES)


def test_too_few_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="takes 3 pictures at a time, and there are 1"):
        read_samples(tmp_path, [("x", TensorType(F32, (3, 3, 4, 6)))])


def test_a_model_that_takes_no_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="the model does not take pictures"):
        read_samples(tmp_path, [("x", TensorType(F32, (1, 1, 4, 6)))])


def notes(source: Any, inputs: Inputs = IMAGES, **how: Any) -> tuple[str, ...]:
    return read_samples(source, inputs, Preprocess(**how)).notes


def test_data_as_they_should_be_have_no_notes() -> None:
    assert notes(nchw(4)) == ()
    assert notes(RNG.integers(0, 256, (2, 3, 4, 6)).astype(np.uint8), scale=(255.0,)) == ()
    assert notes({"x": nchw(32), "labels": np.arange(32)}, SIXTEEN) == ()


def test_bytes_as_they_are_are_said() -> None:
    pixels = np.arange(72, dtype=np.uint8).reshape(1, 3, 4, 6)
    (note,) = notes(pixels, layout="NCHW")
    assert note.startswith("the calibration data of x are bytes as they are, from 0 to 71: no ")
    assert "--preprocess scale=255" in note
    assert notes(pixels, [("x", TensorType(I64, (1, 3, 4, 6)))]) == ()  # they are what it takes


def test_what_fills_no_batch_is_said() -> None:
    assert notes(nchw(17), SIXTEEN) == (
        "the calibration data: 17 samples for runs of 16: the last 1 is left out",
    )
    (note,) = notes({"x": nchw(35)}, SIXTEEN)
    assert note.endswith("35 samples for runs of 16: the last 3 are left out")


def test_pictures_that_fill_no_batch_and_other_files_are_said(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for i in range(3):
        pixels = RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8)
        image.fromarray(pixels).save(tmp_path / f"{i}.png")
    for name in ("a.gif", "b.txt", "c.md", "d", ".hidden"):
        (tmp_path / name).touch()
    other, rest = notes(tmp_path, [("x", TensorType(F32, (2, 3, 4, 6)))], scale=(255.0,))
    assert other.startswith(f"{tmp_path}: left out a.gif, b.txt, c.md and 1 more: what is read are")
    assert rest == f"{tmp_path}: 3 samples for runs of 2: the last 1 is left out"


def test_arrays_of_no_input_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=nchw(2), mask=nchw(2), labels=np.arange(2))
    (note,) = notes(tmp_path / "a.npz")
    assert note == f"{tmp_path}/a.npz: left out mask: the model has no such input"


def test_an_array_of_another_name_is_no_input() -> None:
    with pytest.raises(UsageError, match="an input has no calibration data"):
        read_samples({"image": nchw(2)}, IMAGES)
    assert len(runs({"arr_0": nchw(2)})) == 2


def test_data_that_are_constant_are_said() -> None:
    (note,) = notes(np.full((4, 3, 4, 6), 2.5, np.float32))
    assert note.startswith("the calibration data of x are 2.5 everywhere: ")
    assert notes({"x": np.zeros((1, 1))}, [("x", TensorType(F32, (1, 1)))]) == ()  # one number
    both = np.stack([np.zeros((3, 4, 6)), np.ones((3, 4, 6))])  # constant each, not together
    assert notes(both) == ()
