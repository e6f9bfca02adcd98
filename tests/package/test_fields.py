"""Typed access to the manifest."""

from typing import Any

import pytest

from kcompiler.errors import PackageError
from kcompiler.package import Package, from_bytes, require, to_bytes

MANIFEST = {
    "program": {"code_bytes": 5, "name": "conv", "fast": True, "clock": 2},
    "layers": [{"macs": 7}],
}


def package() -> Package:
    """A package that was written and read."""
    return from_bytes(to_bytes(MANIFEST, {"a": b"1"}), origin="m.kpkg")


def test_fields() -> None:
    p = package()
    assert p.require("program", "code_bytes", kind=int, low=0, high=5) == 5
    assert p.require("program", "name", kind=str, low=4, high=4) == "conv"
    assert p.require("program", "fast", kind=bool) is True
    assert p.require("layers", 0, "macs", kind=int) == 7
    assert p.require("layers", kind=list, low=1) == MANIFEST["layers"]
    assert require(MANIFEST, "program", kind=dict) == MANIFEST["program"]
    clock = p.require("program", "clock", kind=float)
    assert (clock, type(clock)) == (2.0, float)


@pytest.mark.parametrize(
    ("keys", "kind", "low", "high", "why"),
    [
        (("program", "size"), int, None, None, "the field program.size is missing"),
        (("layers", 1, "macs"), int, None, None, "the field layers.1.macs is missing"),
        (("layers", -1), dict, None, None, "the field layers.-1 is missing"),
        (("program", 0), int, None, None, "the field program.0 is missing"),
        (("program", "name", 0), str, None, None, "the field program.name.0 is missing"),
        (("program", "name"), int, None, None, "program.name is 'conv', not of type int"),
        (("program", "fast"), int, None, None, "program.fast is True, not of type int"),
        (("program", "fast"), float, None, None, "program.fast is True, not of type float"),
        (("program", "clock"), bool, None, None, "program.clock is 2, not of type bool"),
        (("program", "code_bytes"), int, 6, 9, "program.code_bytes is 5, allowed is 6 to 9"),
        (("program", "code_bytes"), int, None, 4, "program.code_bytes is 5, allowed is any to 4"),
        (("layers",), list, 2, None, "the length of layers is 1, allowed is 2 to any"),
        (
            (),
            list,
            None,
            None,
            "manifest is {'layers': [{'macs': 7}], 'program': {'clock': 2, 'code_b...",
        ),
    ],
)
def test_unmet(
    keys: tuple[str | int, ...], kind: type[Any], low: int | None, high: int | None, why: str
) -> None:
    with pytest.raises(PackageError) as caught:
        package().require(*keys, kind=kind, low=low, high=high)
    tail = ", not of type list" if not keys else ""
    assert str(caught.value) == (
        "error: the manifest is not what kcompiler expects\n"
        "  at: m.kpkg\n"
        f"  because: {why}{tail}\n"
        "  try: compile the model again with this version of kcompiler"
    )


def test_a_missing_section() -> None:
    assert bytes(package().section("a")) == b"1"
    with pytest.raises(PackageError) as caught:
        package().section("b")
    assert str(caught.value) == (
        "error: the package lacks a section\n"
        "  at: m.kpkg\n"
        "  because: there is no 'b' among its 1 sections: a\n"
        "  try: compile the model again with this version of kcompiler"
    )
