"""The parser of the text form of regions and kernels, which `kcompiler.kernel.text` describes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import numpy as np

from kcompiler.errors import UsageError
from kcompiler.graph.types import parse_dtype
from kcompiler.kernel.expr import Acc, Apply, Const, Expr, Load
from kcompiler.kernel.nest import (
    Access,
    Affine,
    Axis,
    Combine,
    Nest,
    Operand,
    Region,
    Role,
    row_major,
)
from kcompiler.kernel.statements import Alloc, Box, Compute, Copy, For, Kernel, Statement

T = TypeVar("T")

_TOKEN = re.compile(
    r"""(?P<space>\s+ | \#[^\n]*) | (?P<read>%\d+) | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?) | (?P<name>[A-Za-z_~][\w.~]*)
    | (?P<mark>\+: | [][(){}:=,<*+-])""",
    re.VERBOSE,
)
_NAMED: dict[str, float | bool] = {"true": True, "false": False, "inf": math.inf, "nan": math.nan}
_ROLES = ("input", "constant", "output", "local")
_COMBINES = ("none", "sum", "max", "min", "prod")
_KINDS = ("core", "sequential", "double")
_MARKS = frozenset("[](){}:=,<*+-") | {"+:"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_region(text: str) -> Region:
    """The region of a text; raises `UsageError` with the line for a text that is none."""
    return _read(_Parser("region", text), _Parser.region)


def parse_kernel(text: str) -> Kernel:
    """The kernel of a text; raises `UsageError` with the line for a text that is none."""
    return _read(_Parser("kernel", text), _Parser.kernel)


def _read(parser: _Parser, rule: Callable[[_Parser], T]) -> T:
    try:
        return rule(parser)
    except RecursionError:
        raise parser.problem(parser.line, "expressions are nested too deeply") from None
    except ValueError as error:  # of a string's escapes, or of what the parts make together
        raise parser.problem(parser.line, str(error)) from None


class _Parser:
    """A recursive descent over the tokens of one text."""

    def __init__(self, what: str, text: str) -> None:
        self.what = what
        self.tokens = list(self._tokens(text))
        self.at = 0

    def _tokens(self, text: str) -> list[_Token]:
        found, at, line = [], 0, 1
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.problem(line, f"unexpected {text[at]!r}")
            if match.lastgroup != "space":
                found.append(_Token(str(match.lastgroup), match.group(), line))
            line += match.group().count("\n")
            at = match.end()
        return [*found, _Token("end", "the end", line)]

    # ---- tokens -----------------------------------------------------

    @property
    def here(self) -> _Token:
        return self.tokens[self.at]

    @property
    def line(self) -> int:
        """Where the last token was."""
        return self.tokens[self.at - 1].line

    def problem(self, line: int, why: str) -> UsageError:
        return UsageError(f"the text is not a {self.what}", f"line {line}", why)

    def _expected(self, wanted: str) -> UsageError:
        return self.problem(self.here.line, f"expected {wanted}, found {self.here.text!r}")

    def take(self, text: str) -> bool:
        """Whether this mark or word comes next; it is consumed then."""
        if self.here.text != text or self.here.kind == "string":
            return False
        self.at += 1
        return True

    def expect(self, *texts: str) -> None:
        for text in texts:
            if not self.take(text):
                raise self._expected(repr(text))

    def kind(self, kind: str) -> str:
        """The text of the next token, which must be of a kind."""
        if self.here.kind != kind:
            raise self._expected(f"a {kind}")
        self.at += 1
        return self.tokens[self.at - 1].text

    def one_of(self, words: tuple[str, ...]) -> str:
        if self.here.text not in words:
            raise self._expected(" or ".join(words))
        return self.kind("name")

    def many(self, item: Callable[[], T], end: str) -> tuple[T, ...]:
        """Items with commas between them, up to a closing mark."""
        found: list[T] = []
        while not self.take(end):
            if found:
                self.expect(",")
            found.append(item())
        return tuple(found)

    def integer(self) -> int:
        sign = -1 if self.take("-") else 1
        text = self.kind("number")
        if not text.isdigit():
            raise self.problem(self.line, f"{text} is no integer")
        return sign * int(text)

    def literal(self) -> float | int | bool:
        if self.take("-"):
            return -self.literal()
        if self.here.text in _NAMED:
            return _NAMED[self.kind("name")]
        text = self.kind("number")
        return int(text) if text.isdigit() else float(text)

    def dtype(self) -> np.dtype[Any]:
        name = self.kind("name")
        try:
            return parse_dtype(name)
        except (KeyError, TypeError):
            raise self.problem(self.line, f"{name} is no element type") from None

    # ---- nests ------------------------------------------------------

    def region(self) -> Region:
        self.expect("region", "{")
        operands = self.operands()
        nests = []
        while self.take("for"):
            nests.append(self.nest()[0])
        self.expect("}", "the end")
        return Region(operands, tuple(nests))

    def operands(self) -> tuple[Operand, ...]:
        found = []
        while self.tokens[self.at + 1].text == ":":
            found.append(self.operand())
        return tuple(found)

    def operand(self) -> Operand:
        name = self.kind("name")
        self.expect(":")
        role = cast("Role", self.one_of(_ROLES))
        dtype, shape = self.dtype(), self.shape()
        strides = row_major(shape)
        if self.take("strides"):
            self.expect("(")
            strides = self.many(self.integer, ")")
        offset = self.integer() if self.take("offset") else 0
        return Operand(name, role, dtype, shape, strides, offset)

    def shape(self) -> tuple[int, ...]:
        self.expect("[")
        return self.many(self.integer, "]")

    def axis(self) -> Axis:
        reduced = self.take("reduce")
        name = self.kind("name")
        self.expect("<")
        return Axis(name, self.integer(), reduced)

    def nest(self) -> tuple[Nest, str | None]:
        """A nest from its axes on, and the loop that carries its result."""
        axes: list[Axis] = []
        while self.here.text not in {"{", "carry"}:
            if axes:
                self.expect(",")
            axes.append(self.axis())
        carry = self.kind("name") if self.take("carry") else None
        self.expect("{")
        reads = self.reads()
        combine: Combine = "none"
        body: Expr | None = None
        if self.here.text == "acc" and self.tokens[self.at + 1].text == "=":
            self.expect("acc", "=")
            combine = cast("Combine", self.one_of(_COMBINES))
            body = self.expr()
        write = self.access()
        self.expect("=")
        value = self.expr()
        self.expect("}")
        if body is None:
            return Nest(tuple(axes), reads, value, "none", Acc(value.dtype), write), carry
        return Nest(tuple(axes), reads, body, combine, value, write), carry

    def reads(self) -> tuple[Access, ...]:
        found: list[Access] = []
        while self.take(f"%{len(found)}"):
            self.expect("=")
            found.append(self.access())
        return tuple(found)

    def access(self) -> Access:
        name = self.kind("name")
        self.expect("[")
        index = self.many(self.position, "]")
        fill = self.literal() if self.take("else") else None
        indirect = [(d, read) for d, (_, read) in enumerate(index) if read is not None]
        if len(indirect) > 1:
            raise self.problem(self.line, "only one dimension can be gathered")
        forms = tuple(form for form, _ in index)
        return Access(name, forms, fill, indirect[0] if indirect else None)

    def position(self) -> tuple[Affine, int | None]:
        if self.here.kind == "read":
            return Affine(), int(self.kind("read")[1:])
        return self.affine(), None

    def affine(self) -> Affine:
        total = self.term(-1 if self.take("-") else 1)
        while self.here.text in {"+", "-"}:
            total = total.plus(self.term(1 if self.take("+") else -self.take("-")))
        return total

    def term(self, sign: int) -> Affine:
        if self.here.kind == "name":
            return Affine.axis(self.kind("name"), sign)
        factor = sign * self.integer()
        return Affine.axis(self.kind("name"), factor) if self.take("*") else Affine((), factor)

    def expr(self) -> Expr:
        if self.here.kind == "read":
            read = int(self.kind("read")[1:])
            return Load(self.of_type(), read)
        if self.here.kind == "number" or self.here.text in {"-", *_NAMED}:
            value = self.literal()
            return Const(self.of_type(), value)
        name = self.kind("name")
        dtype = self.of_type()
        if name == "acc":
            return Acc(dtype)
        self.expect("(")
        return Apply(dtype, name, self.many(self.expr, ")"))

    def of_type(self) -> np.dtype[Any]:
        self.expect(":")
        return self.dtype()

    # ---- kernels ----------------------------------------------------

    def kernel(self) -> Kernel:
        self.expect("kernel")
        name = str(json.loads(self.kind("string")))
        self.expect("{")
        operands = self.operands()
        body = self.block()
        self.expect("the end")
        return Kernel(name, operands, body)

    def block(self) -> tuple[Statement, ...]:
        """Statements up to a closing brace."""
        found: list[Statement] = []
        while not self.take("}"):
            found.append(self.statement())
        return tuple(found)

    def statement(self) -> Statement:
        word = self.one_of(("alloc", "copy", "compute", *_KINDS))
        match word:
            case "alloc":
                return self.alloc()
            case "copy":
                return self.copy()
            case "compute":
                nest, carry = self.nest()
                return Compute(nest, carry)
        var = self.kind("name")
        self.expect("<")
        extent = self.integer()
        self.expect("{")
        return For(var, extent, cast('Literal["core", "sequential", "double"]', word), self.block())

    def alloc(self) -> Alloc:
        name = self.kind("name")
        self.expect(":")
        dtype, shape = self.dtype(), self.shape()
        self.expect("in")
        return Alloc(name, dtype, shape, self.kind("name"))

    def copy(self) -> Copy:
        dst = self.box()
        self.expect("=")
        src = self.box()
        self.expect("else")
        fill = self.literal()
        indirect = None
        if self.take("gather"):
            dimension = self.integer()
            self.expect("by")
            indirect = (dimension, self.kind("name"))
        return Copy(dst, src, fill, indirect)

    def box(self) -> Box:
        name = self.kind("name")
        self.expect("[")
        parts = self.many(self.range, "]")
        origins, lengths, steps = (tuple(part[k] for part in parts) for k in range(3))
        return Box(name, cast("tuple[Affine, ...]", origins), lengths, steps)  # type: ignore[arg-type]

    def range(self) -> tuple[Affine, int, int]:
        origin = self.affine()
        self.expect("+:")
        length = self.integer()
        return origin, length, self.integer() if self.take("step") else 1
