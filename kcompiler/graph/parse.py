"""The parser of the text form of graphs; the form is described in `kcompiler.graph.text`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kcompiler.errors import UsageError
from kcompiler.graph import operators
from kcompiler.graph.node import Array, Constant, Graph, Input, Op
from kcompiler.graph.types import BOOL, F32, F64, I64, TensorType, is_float, parse_dtype

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+) | (?P<line>\n) | (?P<comment>\#[^\n]*) | (?P<node>%\d+)
    | (?P<hash>sha256:[0-9a-f]{16}) | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<number>-?(?:(?:inf|nan)\b|\d+(?:\.\d+)?(?:e[+-]?\d+)?)) | (?P<name>[A-Za-z_]\w*)
    | (?P<mark>[][(){}:=,])""",
    re.VERBOSE,
)
# What an attribute of the wrong kind may raise in `infer`.
_BROKEN = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
_WORDS = {"true": True, "false": False, "none": None}


def parse_graph(text: str, constants: Mapping[str, Array] | None = None) -> Graph:
    """The graph of a text; `constants` gives the arrays that it names by hash.

    Raises `UsageError`, with the line, for a text that is no graph or whose types are not those
    that its operators infer.
    """
    parser = _Parser(text, constants or {})
    try:
        return parser.whole()
    except _BROKEN as problem:
        raise UsageError("the text is not a graph", parser.place, str(problem)) from problem


@dataclasses.dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    line, at = 1, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UsageError("the text is not a graph", f"line {line}", f"unexpected {text[at]!r}")
        kind = str(match.lastgroup)
        if kind not in {"space", "line"}:
            found.append(_Token(kind, match.group(), line))
        line += kind == "line"
        at = match.end()
    return [*found, _Token("end", "the end", line)]


class _Parser:
    """Recursive descent; every method reads one thing and leaves the position behind it."""

    def __init__(self, text: str, constants: Mapping[str, Array]) -> None:
        self._all = _tokens(text)
        self._at = 0
        self._constants = constants

    @property
    def place(self) -> str:
        """Where the parser is."""
        return f"line {self._all[max(self._at - 1, 0)].line}"

    def whole(self) -> Graph:
        graph = self._graph()
        self._skip_comments()
        self._expect("end")
        return graph

    def _graph(self) -> Graph:
        self._skip_comments()
        self._expect("name", "graph")
        name = self._string()
        self._expect("mark", "(")
        inputs = self._list(")", lambda: self._expect("node"))
        nodes: dict[str, Op] = {}
        self._skip_comments()
        while self._peek().text != "return":
            self._node(nodes)
            self._skip_comments()
        self._expect("name", "return")
        outputs = self._outputs(nodes)
        found = (self._named(nodes, i) for i in inputs)
        return Graph(name, tuple(_input(node) for node in found), outputs)

    def _outputs(self, nodes: Mapping[str, Op]) -> tuple[tuple[str, Op], ...]:
        outputs: list[tuple[str, Op]] = []
        while self._peek().kind == "string":
            name = self._string()
            self._expect("mark", "=")
            outputs.append((name, self._named(nodes, self._expect("node"))))
            self._accept(",")
        return tuple(outputs)

    def _node(self, nodes: dict[str, Op]) -> None:
        name = self._expect("node")
        self._expect("mark", ":")
        declared = self._type()
        self._expect("mark", "=")
        operator = self._expect("name")
        self._expect("mark", "(")
        node = self._expression(operator, declared, nodes)
        if node.type != declared:
            raise ValueError(f"{name} is declared {declared}, but {operator} gives {node.type}")
        if name in nodes:
            raise ValueError(f"{name} is defined twice")
        nodes[name] = node.with_origin(self._origin())

    def _expression(self, operator: str, declared: TensorType, nodes: Mapping[str, Op]) -> Op:
        if operator == "input":
            name = self._string()
            self._expect("mark", ")")
            return Input(name, declared)
        if operator == "const":
            return Constant(self._content(declared))
        if operator not in operators.__all__:
            raise ValueError(f"there is no operator {operator!r}")
        return self._application(Op.registry[operator], nodes)

    def _application(self, kind: type[Op], nodes: Mapping[str, Op]) -> Op:
        operands: list[Op | tuple[Op, ...] | None] = []
        attributes: dict[str, Any] = {}
        while not self._accept(")"):
            if self._peek(1).text == "=":
                key = self._expect("name")
                self._expect("mark", "=")
                attributes[key] = self._value()
            else:
                operands.append(self._operand(nodes))
            if self._peek().text != ")":
                self._expect("mark", ",")
        fields: dict[str, Any] = dict(zip(kind.operand_fields, operands, strict=True))
        return kind(**fields, **attributes, **self._bodies(kind))

    def _operand(self, nodes: Mapping[str, Op]) -> Op | tuple[Op, ...] | None:
        if self._accept("none"):
            return None
        if self._accept("["):
            return tuple(self._list("]", lambda: self._named(nodes, self._expect("node"))))
        return self._named(nodes, self._expect("node"))

    def _bodies(self, kind: type[Op]) -> dict[str, Any]:
        fields = dataclasses.fields(kind)
        names = [f.name for f in fields if f.type == "Graph"]
        if not names:
            return {}
        self._expect("mark", "{")
        bodies = {name: self._graph() for name in names}
        self._skip_comments()
        self._expect("mark", "}")
        return bodies

    def _content(self, declared: TensorType) -> Array:
        if self._peek().kind == "hash":
            array = self._blob()
            self._expect("mark", ")")
            return array
        values = self._list(")", self._value)
        dtype = declared.dtype
        if dtype == BOOL or is_float(dtype):
            wide = np.array(values, BOOL if dtype == BOOL else F64)
        else:
            wide = np.array(values, dtype if dtype.kind == "u" else I64)
        middle = F32 if is_float(dtype) and dtype != F64 else wide.dtype
        return wide.astype(middle).astype(dtype).reshape(declared.shape)

    def _value(self) -> Any:
        token = self._peek()
        if token.kind == "hash":
            return self._blob().tobytes()
        if token.kind == "string":
            return self._string()
        if token.kind == "number":
            return _number(self._expect("number"))
        if self._accept("("):
            return tuple(self._list(")", self._value))
        if token.text in _WORDS:
            return _WORDS[self._expect("name")]
        has_shape = self._peek(1).text == "["
        return self._type() if has_shape else parse_dtype(self._expect("name"))

    def _type(self) -> TensorType:
        dtype = parse_dtype(self._expect("name"))
        self._expect("mark", "[")
        return TensorType(dtype, tuple(self._list("]", lambda: int(self._expect("number")))))

    def _blob(self) -> Array:
        key = self._expect("hash").removeprefix("sha256:")
        if key not in self._constants:
            raise ValueError(f"no constant was given for sha256:{key}")
        return self._constants[key]

    def _origin(self) -> tuple[str, ...]:
        token = self._peek()
        if token.kind != "comment" or token.line != self._all[self._at - 1].line:
            return ()
        self._at += 1
        try:
            return tuple(map(str, json.loads(f"[{token.text[1:]}]")))
        except json.JSONDecodeError:
            return ()  # a remark, not names

    def _list(self, end: str, item: Callable[[], Any]) -> list[Any]:
        found: list[Any] = []
        while not self._accept(end):
            found.append(item())
            if self._peek().text != end:
                self._expect("mark", ",")
        return found

    def _named(self, nodes: Mapping[str, Op], name: str) -> Op:
        if name not in nodes:
            raise ValueError(f"{name} is used before it is defined")
        return nodes[name]

    def _string(self) -> str:
        return str(json.loads(self._expect("string")))

    def _peek(self, ahead: int = 0) -> _Token:
        return self._all[min(self._at + ahead, len(self._all) - 1)]

    def _accept(self, text: str) -> bool:
        found = self._peek().text == text
        self._at += found
        return found

    def _expect(self, kind: str, text: str = "") -> str:
        token = self._peek()
        if token.kind != kind or (text and token.text != text):
            raise ValueError(f"expected {text or kind}, found {token.text}")
        self._at += 1
        return token.text

    def _skip_comments(self) -> None:
        while self._peek().kind == "comment":
            self._at += 1


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _input(node: Op) -> Input:
    if not isinstance(node, Input):
        raise ValueError("only an input can stand behind the name of a graph")
    return node
