"""The kit itself: what it looks at, what it says, and how it is asked."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from kcompiler import cli
from kcompiler.api import CompiledModel
from kcompiler.conformance import Card, Finding, Score, check_target
from kcompiler.conformance.bench import Bench, with_chip
from kcompiler.conformance.cases import Case, Sizes, all_cases
from kcompiler.conformance.categories import ORDER
from kcompiler.conformance.categories.models import _package
from kcompiler.conformance.models import MODELS, compiled, precisions
from kcompiler.errors import UsageError
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Constant, Op
from kcompiler.graph.operators import Binary, Elementwise, Fused, Host, Input, Item, Unary
from kcompiler.graph.table import operator_kinds
from kcompiler.registry import find_target
from kcompiler.report.score import score_tables

STRUCTURE: tuple[type[Op], ...] = (Input, Constant, Host, Item, Fused, Binary, Elementwise, Unary)

LONG = ("encoding", "operators", "models", "monotonicity")


@cache
def suite() -> tuple[Case, ...]:
    return tuple(all_cases(Sizes(64, 64)))


def test_every_operator_has_cases() -> None:
    """A new operator must get some."""
    found = Counter(type(n) for case in suite() for n in case.graph.nodes)
    missing = [k.__name__ for k in operator_kinds() if k not in STRUCTURE and not found[k]]
    assert missing == []


def test_cases_have_names_of_their_own() -> None:
    names = Counter(case.name for case in suite())
    assert [name for name, count in names.items() if count > 1] == []
    inputs = Counter(name for case in suite() for name in case.values)
    assert [name for name, count in inputs.items() if count > 1] == []


def test_the_suite_is_the_same_every_time() -> None:
    again = {case.name: case for case in all_cases(Sizes(64, 64))}
    for case in suite():
        other = again[case.name].values
        assert {n: v.tobytes() for n, v in case.values.items()} == {
            n: v.tobytes() for n, v in other.items()
        }


def test_the_small_chip_is_small() -> None:
    """Tiles, split sums and double buffers occur: programs are longer than on the whole chip."""
    bench = Bench(find_target("rebel"))
    assert bench.small.chip.cores.value == 3
    lengths: dict[str, list[int]] = {}
    for name, target, made in bench.programs():
        kind = "small" if target is bench.small else "whole"
        lengths.setdefault(kind, []).append(len(made.segment.program.code))
        assert made.refusals == {}, name
    assert sum(lengths["small"]) > 3 * sum(lengths["whole"])


def test_with_chip_changes_what_it_is_told() -> None:
    target = find_target("rebel")
    small = with_chip(target, scratchpad=4096, cores=2, bandwidth=0.5)
    assert (small.chip.cores.value, small.chip.memory("l1").size.value) == (2, 4096)
    assert small.chip.memory("hbm").bandwidth.value * 2 == target.chip.memory("hbm").bandwidth.value
    assert small.chip.memory("hbm").size == target.chip.memory("hbm").size


def test_unknown_category() -> None:
    with pytest.raises(UsageError) as error:
        check_target(find_target("rebel"), ["hazard"])
    assert str(error.value) == (
        "error: the kit has no category 'hazard'\n"
        f"  because: known: {', '.join(ORDER)}\n"
        "  try: did you mean hazards?"
    )


# ------------------------------------------------------------------ the card


def card(*statuses: str) -> Card:
    found = (Finding(f"case {i}", s, f"text {i}", "do it") for i, s in enumerate(statuses))  # type: ignore[arg-type]
    return Card("operators", "they compute", tuple(found), 1.25)


def test_scores() -> None:
    assert (card("passed", "refused").score, card("passed", "refused").ok) == (1.0, True)
    assert (card("passed", "failed").score, card("passed", "failed").ok) == (0.5, False)
    assert not card("refused", "absent").ok, "nothing is shown by refusals alone"
    assert card().score == 0.0
    assert not Score("t", (card("passed"), card())).ok


def test_json_has_everything_but_what_passed() -> None:
    found = Score("t", (card("passed", "failed", "refused"),)).json()
    assert found["ok"] is False
    (category,) = found["categories"]
    assert (category["passed"], category["failed"], category["refused"]) == (1, 1, 1)
    assert [f["case"] for f in category["findings"]] == ["case 1", "case 2"]
    assert json.dumps(found)


def test_tables_name_case_reason_and_cure(capsys: pytest.CaptureFixture[str]) -> None:
    from kcompiler.commands import _options as options

    options.print_table(*score_tables(Score("t", (card("passed", "failed", "refused"),))))
    text = capsys.readouterr().out
    for part in ("t does not conform", "50.0 %", "case 1", "text 1", "try: do it", "text 2"):
        assert part in text


def test_a_score_is_never_rounded_up() -> None:
    many = replace(card(), findings=(*card(*["passed"] * 2999).findings, *card("failed").findings))
    (table, *_) = score_tables(Score("t", (many,)))
    assert list(table.columns[1].cells) == ["99.9 %"]


# ------------------------------------------------------------------ the command


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-target", "rebel", "--only", "facts", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == "[1/1] facts\n"
    assert json.loads(said.out)["categories"][0]["score"] == 1.0
    assert cli.main(["check-target", "rebel", "--only", "errors"]) == 0
    assert "rebel conforms" in capsys.readouterr().out


def test_golden_listings(tmp_path: Path) -> None:
    """Every instruction is in it; a changed line is named."""
    from kcompiler.conformance.golden import differences

    path = tmp_path / "golden.txt"
    assert cli.main(["check-target", "rebel", "--golden", str(path)]) == 0
    isa, text = find_target("rebel").isa, path.read_text()
    assert list(differences(text, isa)) == []
    lines = text.splitlines()
    waits = [line for line in lines if "sync.wait" in line]
    assert list(differences(text.replace(waits[0][:4], "0201", 1), isa))
    without = "\n".join(line for line in lines if "ndma.gather" not in line)
    assert list(differences(without, isa)) == ["the listing has no ndma.gather"]
    assert next(differences("nothing", isa)).startswith("nothing\nis no longer understood")


def test_golden_listings_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-target", "rebel", "--golden", "/nowhere/at/all"]) == 2
    assert "the listing cannot be written" in capsys.readouterr().err


def test_command_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-target", "rebl"]) == 2
    assert "did you mean rebel?" in capsys.readouterr().err
    assert cli.main(["check-target", "rebel", "--only", "everything"]) == 2
    assert "known: facts, errors" in capsys.readouterr().err


# ------------------------------------------------------------------ rebel


@pytest.mark.parametrize("name", [n for n in ORDER if n not in LONG])
def test_rebel(name: str) -> None:
    perfect(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_rebel_at_length(name: str) -> None:
    perfect(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ORDER)
def test_warboy(name: str) -> None:
    perfect(name, "warboy")


def perfect(name: str, target: str = "rebel") -> None:
    (found,) = check_target(find_target(target), [name]).cards
    assert [(f.case, f.text) for f in found.failures] == []
    assert found.ok
    assert found.counts["absent"] == 0


def test_doubles_inside_of_a_kernel_are_refused() -> None:
    """What the kit found: bytes between kernels, but a type inside that no instruction names."""
    from kcompiler.conformance.trial import Trials

    (wanted,) = [c for c in suite() if "computed in f64" in c.name]
    bench = Bench(find_target("warboy"))
    (found,) = Trials(bench, bench.target, "").run([wanted])
    assert (found.status, found.text.split(",")[0]) == ("refused", "Elements must be f16")


def test_sums_of_padded_narrow_floats_have_a_kernel() -> None:
    """What the kit found: in f16 the window reads a cast, around which there can be no padding."""
    wanted = [c for c in suite() if isinstance(c.root, ops.Window) and c.floats() == {"f16"}]
    from kcompiler.conformance.trial import Trials

    bench = Bench(find_target("rebel"))
    assert {f.status for f in Trials(bench, bench.target, "").run(wanted)} == {"passed"}


def test_a_package_that_cannot_be_read_back_is_absent() -> None:
    """A target of its own, as the kit's small chip is: nothing is shown, so nothing is passed."""
    own = replace(find_target("rebel"), name="nobody")
    made = compiled(MODELS[-1], own, precisions(own)[0])
    found = _package("a package", made, own)
    assert found.status == "absent"
    assert "not registered" in found.text
    bare = CompiledModel(replace(made.compilation, graph=None), made.target)
    assert _package("a package", bare, find_target("rebel")).status == "absent"
