"""The recorded table is what the benchmark computes, from the parameters that the chip has."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import warboy
from kcompiler import cli
from kcompiler.machine.chip import Chip
from kcompiler.machine.facts import facts
from kcompiler.machine.measured import read_measured
from kcompiler.registry import find_target

TABLE = read_measured(warboy.FILE)
PLANS = 0.01  # what another plan of the tiler may change before the table is recorded again


def test_every_published_row_is_there_as_published() -> None:
    """Nothing is left out because it does not fit."""
    found = {(r.what, r.target): (r.published, r.source) for r in TABLE.rows}
    wanted = {(r.what, r.target): (r.milliseconds / 1e3, r.source) for r in warboy.published()}
    assert found == wanted
    assert len(TABLE.rows) == len(wanted) == 25


def test_half_of_the_rows_of_each_target_are_held_back() -> None:
    fitted, held = warboy.halves()
    for target in (warboy.ONE, warboy.BOTH):
        counts = [sum(r.target == target for r in part) for part in (fitted, held)]
        assert abs(counts[0] - counts[1]) <= 1
    names = {(r.what, r.target) for r in fitted}
    assert {(r.what, r.target) for r in TABLE.rows if r.fitted} == names


def test_the_chip_has_the_parameters_that_were_fitted() -> None:
    assert len(TABLE.parameters) <= 3
    for each in TABLE.parameters:
        fact = facts(find_target(each.target).chip)[each.fact]
        assert fact.value == each.value
        assert fact.tag == "F"
        assert fact.uncertain


def test_no_other_number_is_fitted() -> None:
    fitted = {(each.fact, each.target) for each in TABLE.parameters}
    for target in (warboy.ONE, warboy.BOTH):
        found = {p for p, f in facts(find_target(target).chip).items() if f.tag == "F"}
        # one link, whose bandwidth is fitted with both elements
        assert found == {fact for fact, of in fitted if of == target} | {"host.bandwidth"}


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["targets", "warboy", "--calibration"]) == 0
    printed = capsys.readouterr().out
    assert "median absolute error" in printed
    assert printed.count("yolov") >= 19


def test_another_target_says_that_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["targets", "rebel", "--calibration"]) != 0
    assert "rebel is not calibrated" in capsys.readouterr().err


def test_a_part_of_the_table_is_never_recorded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(warboy, "FILE", tmp_path / "table.json")
    with pytest.raises(SystemExit):
        warboy.main(["--write", "no such row"])
    assert "leave the names out" in capsys.readouterr().err
    assert not warboy.FILE.exists()


def test_a_batch_runs_in_the_parts_that_take_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight pictures at once do not fit; two at once take half of what one takes twice."""
    run = {1: 1.0, 2: 1.5, 4: 4.0, 8: 10.0}
    seen: set[float] = set()

    def time(_: warboy.Published, chip: Chip, batch: int) -> float:
        seen.update([float(facts(chip)["matrix.sustained"].value)])
        return run[batch]

    monkeypatch.setattr(warboy, "_run", time)
    row = warboy.Published("a test", "none", warboy.ONE, 1.0, "", batch=8, link=False)
    assert warboy.parts_of(row) == 4
    assert seen == {1.0}  # how a batch is cut is no matter of fitted parameters
    assert warboy.seconds(row, find_target(warboy.ONE).chip) == 6.0


def recomputed(what: str, target: str) -> None:
    (row,) = (r for r in warboy.published() if (r.what, r.target) == (what, target))
    (recorded,) = (r for r in TABLE.rows if (r.what, r.target) == (what, target))
    found = warboy.measured([row], warboy.parameters()).rows[0]
    assert replace(found, predicted=recorded.predicted) == recorded
    assert found.predicted == pytest.approx(recorded.predicted, rel=PLANS)


def test_the_smallest_prediction_is_the_recorded_one() -> None:
    recomputed("mobilenet-v1, all operators", "warboy")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["warboy", "warboy-2pe"])
def test_some_predictions_are_the_recorded_ones(target: str) -> None:
    recomputed("yolov5n 640 x 640", target)
