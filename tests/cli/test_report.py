"""Numbers as people read them, and signs of life."""

from __future__ import annotations

import io
import sys
import time

import pytest

from kcompiler.report import console, units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1000, "1.00 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (46_816_768, "46.8 M"),
        (4.09e9, "4.09 G"),
        (1e21, "1000000 P"),
    ],
)
def test_count(value: float, text: str) -> None:
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12 B"), (2048, "2.05 kB"), (51_700_000, "51.7 MB")]
)
def test_bytes(value: int, text: str) -> None:
    assert units.nbytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (64, "64 B"), (4 << 20, "4 MiB"), (140 << 30, "140 GiB"), (1536, "1.50 KiB")],
)
def test_capacity(value: int, text: str) -> None:
    assert units.capacity(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (93.5e-9, "93.5 ns"), (1.155e-4, "116 µs"), (0.0123, "12.3 ms"), (61, "61.0 s")],
)
def test_seconds(value: float, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100 %"), (0.999999, "99.99 %"), (0.5, "50.00 %"), (0, "0.00 %")]
)
def test_percent(share: float, text: str) -> None:
    assert units.percent(share) == text


def test_printable() -> None:
    assert units.printable("a\x1b[31mß\u202e\n") == "a\\x1b[31mß\\u202e\\n"


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("patience", "shown"), [(0.0, True), (60.0, False)])
def test_phase(patience: float, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(console, "PATIENCE", patience)
    with console.phase("compiling"):
        time.sleep(0.3)
    assert ("compiling" in terminal.getvalue()) == shown


def test_no_phase_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.phase("compiling"):
        pass
    assert capsys.readouterr() == ("", "")
