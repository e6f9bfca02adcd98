"""A table of all operators, written from their declarations."""

from __future__ import annotations

import dataclasses
import inspect

from kcompiler.graph import operators
from kcompiler.graph.node import Op


def operator_table() -> str:
    """Markdown: operator, operands, attributes and meaning; sorted by name."""
    head = ("| operator | operands | attributes | meaning |", "| --- | --- | --- | --- |")
    rows = (_row(kind) for kind in operator_kinds())
    return "\n".join((*head, *rows)) + "\n"


def operator_kinds() -> tuple[type[Op], ...]:
    """The operator classes of this package, sorted by name; abstract ones and plug-ins left out."""
    return tuple(Op.registry[name] for name in sorted(operators.__all__) if name in Op.registry)


def _row(kind: type[Op]) -> str:
    fields = [f for f in dataclasses.fields(kind) if f.name != "origin"]
    operands = ", ".join(_operand(f) for f in fields if f.name in kind.operand_fields)
    attributes = "; ".join(
        f"{f.name}: {_kind(f)}" for f in fields if f.name not in kind.operand_fields
    )
    meaning = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    cells = (f"`{kind.__name__}`", operands, attributes, meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _operand(field: dataclasses.Field[object]) -> str:
    hint = str(field.type)
    if hint.startswith("tuple"):
        return f"{field.name}…"
    return f"[{field.name}]" if hint.endswith("None") else field.name


def _kind(field: dataclasses.Field[object]) -> str:
    hint = str(field.type)
    if hint.startswith("Literal"):
        return hint[len("Literal[") : -1].replace('"', "").replace(", ", " | ")
    if hint.startswith("tuple"):
        return hint[len("tuple[") : -len(", ...]")] + "…"
    return "element type" if hint.startswith("np.dtype") else hint
