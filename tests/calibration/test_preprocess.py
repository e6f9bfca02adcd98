"""`--preprocess`: what it means, and what it cannot mean."""

from __future__ import annotations

import numpy as np
import pytest

from kcompiler.calibration import Preprocess, Quantization, parse_preprocess
from kcompiler.calibration.recipe import quantization_of
from kcompiler.errors import UsageError


def test_numbers_and_channels() -> None:
    text = "scale=255,mean=0.485,0.456,0.406,std=0.229,0.224,0.225,layout=nhwc"
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert parse_preprocess(text) == Preprocess((255.0,), mean, std, "NHWC")
    assert parse_preprocess("mean=1") == Preprocess(mean=(1.0,))


def test_the_formula() -> None:
    x = np.arange(120, dtype=np.uint8).reshape(2, 3, 4, 5)
    found = parse_preprocess("scale=2,mean=1,2,3,std=4").apply(x)
    mean = np.array([1.0, 2, 3])[:, None, None]
    assert found.dtype == np.float32
    assert np.allclose(found, (x / 2 - mean) / 4)
    turned = parse_preprocess("scale=2,mean=1,2,3,std=4,layout=NHWC").apply(np.moveaxis(x, 1, 3))
    assert np.array_equal(turned, np.moveaxis(found, 1, 3))


def test_nothing_said_changes_nothing() -> None:
    x = np.array([1, 2], np.uint8)
    assert Preprocess(layout="NHWC").apply(x) is x


BAD = {
    "": "cannot read ''",
    "255": "cannot read '255'",
    "scale=": "scale='' is no number",
    "scale=nan": "scale='nan' is no number",
    "scale=0": "divides by 0",
    "std=1,0,1": "divides by 0",
    "scale=1e-300": "scale or std is 0, in float32",
    "mean=1e39": "mean='1e39' is too large",
    "size=3": "cannot read 'size=3'",
    "layout=HWC": "there is no layout 'HWC'",
    "scale=1,scale=2": "names 'scale' twice",
    "mean=1,x": "mean='x' is no number",
}


@pytest.mark.parametrize(("text", "why"), BAD.items())
def test_what_it_cannot_mean(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_preprocess(text)
    assert why in str(caught.value)
    assert "try:" in str(caught.value)


def test_channels_that_are_not_there() -> None:
    with pytest.raises(UsageError, match="3 values a channel do not fit"):
        parse_preprocess("mean=1,2,3").apply(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((1, 1, 28, 28), "in NCHW: 1 channels\n  try: give one value, or as many as the data have"),
        ((1, 28, 28, 3), "in NCHW: 28 channels\n  try: say how they lie with --preprocess layout"),
        ((5, 4), "in NCHW: no channels\n  try: give one value"),
    ],
)
def test_values_of_other_channels_say_where_and_what_to_do(
    shape: tuple[int, ...], text: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_preprocess("mean=1,2,3").apply(np.zeros(shape, np.uint8), "digits.npy")
    assert "  at: digits.npy\n" in str(caught.value)
    assert text in str(caught.value)


def test_what_is_beyond_float32_is_left_to_whoever_asks_for_finite_numbers() -> None:
    found = parse_preprocess("scale=1e-38").apply(np.full(2, 255, np.uint8))
    assert np.isinf(found).all()


def test_wishes_are_joined() -> None:
    data = np.zeros(3)
    found = quantization_of(data, "scale=2", Quantization(observer="mse"))
    assert found.data is data
    assert found.preprocess.scale == (2.0,)
    assert found.observer == "mse"
    assert quantization_of(None, None, found) is found


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"observer": "best"}, "there is no observer 'best'"),
        ({"min_sqnr": -3.0}, "the least SQNR is no sensible number"),
        ({"min_sqnr": float("nan")}, "the least SQNR is no sensible number"),
        ({"group_size": 0}, "a group has 0 weights"),
    ],
)
def test_recipes_that_make_no_sense(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Quantization(**wrong)  # type: ignore[arg-type]
