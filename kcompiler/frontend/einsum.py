"""Einstein sums of any number of operands, as contractions of two."""

from __future__ import annotations

import string
from collections.abc import Sequence

from kcompiler.graph import build
from kcompiler.graph import operators as ops
from kcompiler.graph.node import Op


def einsum(equation: str, operands: Sequence[Op]) -> Op:
    """Numpy's einsum: ellipses, diagonals and extents of 1 included."""
    terms, result = _parse(equation.replace(" ", ""), operands)
    extents: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for letter, extent in zip(term, x.shape, strict=True):
            known = extents.setdefault(letter, extent)
            if extent != known and 1 not in {extent, known}:
                raise ValueError(f"{letter!r} is both {known} and {extent} in {equation!r}")
            extents[letter] = max(known, extent) if 0 not in {known, extent} else 0
    if not set(result) <= set(extents) or len(set(result)) != len(result):
        raise ValueError(f"the result of {equation!r} is not made of its operands")
    parts = [_simple(x, t, extents) for x, t in zip(operands, terms, strict=True)]
    x, term = parts[0]
    for i, (y, other) in enumerate(parts[1:], 2):
        later = "".join(t for _, t in parts[i:]) + result
        kept = "".join(dict.fromkeys(c for c in term + other if c in later))
        x, term = ops.Contract(x, y, f"{term},{other}->{kept}", x.dtype), kept
    return _finished(x, term, result, extents)


def _finished(x: Op, term: str, result: str, extents: dict[str, int]) -> Op:
    """Summed, transposed and repeated until the letters are those of the result."""
    alone = [i for i, c in enumerate(term) if c not in result]
    x = build.squeeze(build.reduce_sum(x, alone), alone)
    left = [c for c in term if c in result]
    x = build.transpose(x, [left.index(c) for c in result if c in left])
    missing = [i for i, c in enumerate(result) if c not in left]
    return build.broadcast(build.expand_dims(x, missing), [extents[c] for c in result])


def _parse(equation: str, operands: Sequence[Op]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with letters in the place of ellipses."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"{equation!r} has {len(terms)} operands, {len(operands)} are given")
    free = "".join(c for c in string.ascii_letters if c not in equation)
    hidden = [x.type.rank - len(t.replace("...", "")) for t, x in zip(terms, operands, strict=True)]
    longest = max((h for h, t in zip(hidden, terms, strict=True) if "..." in t), default=0)
    if any(h < 0 or (h and "..." not in t) for h, t in zip(hidden, terms, strict=True)):
        raise ValueError(f"{equation!r} does not fit the ranks of its operands")
    if longest > len(free):
        raise ValueError(f"{equation!r} has more dimensions than letters")
    stand_in = free[:longest]
    full = [
        t.replace("...", stand_in[longest - h :] if h else "")
        for t, h in zip(terms, hidden, strict=True)
    ]
    if any(not c.isalpha() for c in "".join(full)):
        raise ValueError(f"{equation!r} is no equation")
    if arrow:
        return full, right.replace("...", stand_in)
    letters = "".join(t.replace("...", "") for t in terms)
    return full, stand_in + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))


def _simple(x: Op, term: str, extents: dict[str, int]) -> tuple[Op, str]:
    """Without repeated letters (their diagonal) and without extents of 1 that broadcast."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            x, term = _diagonal(x, term, letter)
    dropped = [i for i, c in enumerate(term) if x.shape[i] == 1 and extents[c] != 1]
    return build.squeeze(x, dropped), "".join(c for i, c in enumerate(term) if i not in dropped)


def _diagonal(x: Op, term: str, letter: str) -> tuple[Op, str]:
    """The diagonal of two dimensions: every (n + 1)-th element of both flattened."""
    first = term.index(letter)
    second = term.index(letter, first + 1)
    rest = [i for i in range(len(term)) if i not in {first, second}]
    n = x.shape[first]
    if x.shape[second] != n:
        raise ValueError(f"the diagonal of {x.type} over {letter!r}")
    moved = build.transpose(x, [*rest, first, second])
    flat = build.reshape(moved, (*moved.shape[:-2], n * n))
    return build.slice_axis(flat, -1, 0, n, n + 1), "".join(term[i] for i in rest) + letter
