"""Sums of products against numpy.einsum, for types and roles that one target may not have."""

from dataclasses import dataclass

import numpy as np
import pytest

from kcompiler.machine.simulator.contraction import (
    Contraction,
    Factor,
    contract,
    exact_terms,
    roles,
)
from kcompiler.machine.simulator.memories import Machine
from tests.machine.toy import toy_chip

CORES = 2


@dataclass(frozen=True)
class Loop:
    extent: int
    a: int
    b: int
    acc: int


def letters(equation: str, extents: dict[str, int], size: int, wide: int) -> list[Loop]:
    """The loops of an einsum of dense operands; elements of `size` bytes, sums of `wide`."""
    inputs, out = equation.split("->")
    terms = [*inputs.split(","), out]

    def stride(term: str, letter: str, unit: int) -> int:
        if letter not in term:
            return 0
        return unit * int(np.prod([extents[x] for x in term[term.index(letter) + 1 :]]))

    return [
        Loop(n, *(stride(t, x, u) for t, u in zip(terms, (size, size, wide), strict=True)))
        for x, n in extents.items()
    ]


EQUATIONS = ["mk,kn->mn", "bmk,bkn->bmn", "k,k->", "m,n->mn", "bk,bk->b", "kbm,nbk->nbm", "mk,k->m"]


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "f2", "f4"])
@pytest.mark.parametrize("accumulate", [False, True])
def test_einsum(equation: str, dtype: str, accumulate: bool) -> None:
    kind = np.dtype(dtype)
    wide = np.dtype(np.float32 if kind.kind == "f" else np.int32)
    extents = {x: n for x, n in {"b": 3, "m": 4, "n": 5, "k": 70}.items() if x in equation}
    m = Machine(toy_chip(cores=CORES), {"pad": 1 << 14})
    chance = np.random.default_rng(0)
    x, y, out = (tuple(extents[c] for c in t) for t in equation.replace("->", ",").split(","))
    if kind.kind == "f":
        a, b = (chance.standard_normal((CORES, *s)).astype(kind) for s in (x, y))
    else:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        a, b = (chance.integers(low, high, (CORES, *s), kind, endpoint=True) for s in (x, y))
    for at, data in ((0, a), (4096, b)):
        m.stores["pad"].data[:, at : at + data[0].nbytes] = data.reshape(CORES, -1).view(np.uint8)
    m.stores["pad"].data[:, 9216:].view(wide)[...] = 3
    loops = letters(equation, extents, kind.itemsize, 4)
    contract(
        m, "pad", CORES, Contraction(Factor(0, kind), Factor(4096, kind), 9216, loops, accumulate)
    )
    left, right = equation.split("->")
    per_core = left.replace(",", ",Z").join(("Z", "")) + "->Z" + right
    exact = np.int64 if kind.kind != "f" else np.float64
    wanted = np.einsum(per_core, a.astype(exact), b.astype(exact)) + 3 * accumulate
    found = m.stores["pad"].data[:, 9216 : 9216 + 4 * int(np.prod(out))].copy().view(wide)
    found = found.reshape(CORES, *out)
    if kind.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    else:
        np.testing.assert_array_equal(found, wanted.astype(np.int32))


def test_roles() -> None:
    batch, row, column, term = (
        Loop(2, 4, 4, 4),
        Loop(2, 4, 0, 4),
        Loop(2, 0, 4, 4),
        Loop(2, 4, 4, 0),
    )
    nobody, once = Loop(2, 0, 0, 4), Loop(1, 4, 4, 4)
    by = roles([once, term, nobody, column, row, batch])
    assert (by.batch, by.m, by.n, by.k) == ((batch,), (nobody, row), (column,), (term,))


@pytest.mark.parametrize(
    ("a", "b", "working", "terms"),
    [
        ("i1", "i1", "f4", 1024),
        ("u1", "i1", "f4", 514),
        ("u1", "u1", "f4", 258),
        ("i2", "i2", "f8", 2**23),
        ("i2", "i2", "f4", 0),
        ("i4", "i4", "f8", 0),
    ],
)
def test_exact_terms(a: str, b: str, working: str, terms: int) -> None:
    assert exact_terms(np.dtype(a), np.dtype(b), np.dtype(working)) == terms
