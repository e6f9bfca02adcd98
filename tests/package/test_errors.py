"""What users see when something goes wrong."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import kcompiler
from kcompiler import errors
from kcompiler.errors import IRError, KcompilerError

CODES = {
    "KcompilerError": 2,
    "ModelError": 2,
    "UsageError": 2,
    "UnsupportedError": 2,
    "PackageError": 2,
    "CapacityError": 2,
    "VerificationError": 1,
    "IRError": 1,
}


def test_the_whole_message() -> None:
    error = KcompilerError("cannot do it", "conv_3", "it is too big", "make it small")
    assert str(error) == (
        "error: cannot do it\n  at: conv_3\n  because: it is too big\n  try: make it small"
    )
    assert (error.what, error.where, error.why, error.fix, error.exit_code) == (*error.args, 2)


def test_absent_parts_are_left_out() -> None:
    assert str(KcompilerError("no")) == "error: no"
    assert str(KcompilerError("no", fix="yes")) == "error: no\n  try: yes"


def test_further_lines_are_indented() -> None:
    assert str(KcompilerError("no", why="a\nb")) == "error: no\n  because: a\n    b"


def test_a_name_cannot_steer_the_terminal() -> None:
    assert str(KcompilerError("no", "\x1b[2J합성곱\u202e\x00")) == (
        "error: no\n  at: \\x1b[2J합성곱\\u202e\\x00"
    )


def test_a_broken_rule() -> None:
    error = IRError("graph", "inputs come first", "conv_3", "its input relu_2 comes later")
    assert str(error) == (
        "error: the graph breaks the rule 'inputs come first'\n"
        "  at: conv_3\n"
        "  because: its input relu_2 comes later\n"
        f"  try: {errors.REPORT}"
    )
    assert (error.level, error.rule, error.node) == ("graph", "inputs come first", "conv_3")


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_every_kind(name: str, code: int) -> None:
    kind: type[KcompilerError] = getattr(errors, name)
    error = kind("a", "b", "c", "d")
    assert error.exit_code == code
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


def test_every_kind_is_tested() -> None:
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert kinds == CODES.keys()


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, kcompiler.package; print({'click', 'numpy', 'onnx'} & set(sys.modules))"
    root = Path(kcompiler.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout == "set()\n"
