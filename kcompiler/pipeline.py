"""Passes and the one hook between them.

A pass is a frozen dataclass: its fields are its options, its docstring is its contract. A pipeline
is a literal list of passes. This module names none of them: whoever composes one hands it in.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, dataclass_transform

from kcompiler.errors import UsageError


@dataclass_transform(frozen_default=True)
class Pass:
    """A step of the compiler: valid IR in, valid IR out, in new objects shared where unchanged.

    Subclasses declare options as fields with defaults, and `run`. The name of a pass is the name of
    its module. Options of the types bool, int, float and str can be written in text,
    `fuse{max_inputs=4}`; others (a chip, a callable) are given in Python only.
    """

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if not cls.__doc__:
            raise TypeError(f"pass {cls.__name__} has no docstring")
        dataclass(frozen=True)(cls)
        required = [f.name for f in _options(cls) if _default(f) is dataclasses.MISSING]
        if required:
            raise TypeError(f"pass {cls.__name__}: option {required[0]} has no default")
        cls.name = cls.__module__.rpartition(".")[2]

    def run(self, ir: Any) -> Any:
        """The IR after this pass; the IR given stays as it was."""
        raise NotImplementedError(type(self).__name__)

    def __str__(self) -> str:
        changed = [
            f"{field.name}={_shown(value)}"
            for field in _options(type(self))
            if (value := getattr(self, field.name)) != _default(field)
        ]
        return self.name + ("{" + ", ".join(changed) + "}" if changed else "")


@dataclass(frozen=True)
class Step:
    """What the hook sees: a pass that has just run, its IR before and after, its CPU seconds."""

    index: int
    step: Pass
    before: Any
    after: Any
    seconds: float


Hook: TypeAlias = Callable[[Step], None]


def run(pipeline: Iterable[Pass], ir: Any, hook: Hook | None = None) -> Any:
    """The IR after all passes, in order; `hook` (dump, verify, time, compare) runs after each."""
    for index, step in enumerate(pipeline):
        start = time.process_time()
        after = step.run(ir)
        seconds = time.process_time() - start
        if hook is not None:
            hook(Step(index, step, ir, after, seconds))
        ir = after
    return ir


def hooks(*several: Hook | None) -> Hook:
    """One hook that calls several in order; None is left out."""
    present = [h for h in several if h is not None]

    def call(step: Step) -> None:
        for each in present:
            each(step)

    return call


def print_pipeline(pipeline: Sequence[Pass]) -> str:
    """The text of a pipeline: `simplify, precision{float=bf16}`; defaults are left out."""
    return ", ".join(map(str, pipeline))


def parse_pipeline(text: str, registry: Mapping[str, type[Pass]]) -> tuple[Pass, ...]:
    """The pipeline that a text describes; raises `UsageError` for what it cannot mean."""
    return tuple(_parse_pass(name, options, registry) for name, options in _split(text))


_ITEM = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\{([^{}]*)\})?\s*(,|$)")
_OPTION = re.compile(r"""\s*(\w+)\s*=\s*("[^"]*"|'[^']*'|[^,\s]+)\s*(,|$)""")


def _split(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text) and text.strip():
        found = _ITEM.match(text, position)
        if not found or (found[3] == "," and found.end() == len(text)):
            raise UsageError(
                f"cannot read the pipeline {text!r}",
                where=f"column {position + 1}",
                fix="write it as: name, name{option=value, option=value}",
            )
        yield found[1], found[2] or ""
        position = found.end()


def _parse_pass(name: str, text: str, registry: Mapping[str, type[Pass]]) -> Pass:
    if name not in registry:
        known = ", ".join(sorted(registry))
        raise UsageError(f"there is no pass named {name!r}", fix=f"one of: {known}")
    cls = registry[name]
    fields = {f.name: f for f in _options(cls)}
    values: dict[str, Any] = {}
    position = 0
    while position < len(text) and text.strip():
        found = _OPTION.match(text, position)
        if not found or found[1] in values:
            raise UsageError(f"cannot read the options {text!r} of the pass {name!r}")
        if found[1] not in fields:
            known = ", ".join(fields) or "it has none"
            raise UsageError(
                f"the pass {name!r} has no option {found[1]!r}", fix=f"its options: {known}"
            )
        values[found[1]] = _value(name, fields[found[1]], found[2])
        position = found.end()
    return cls(**values)


def _value(name: str, field: dataclasses.Field[Any], text: str) -> Any:
    """The value of an option; its type is that of the default."""
    default = _default(field)
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default) or not isinstance(value, bool | int | float | str):
        kind = type(default).__name__
        raise UsageError(f"option {field.name!r} of the pass {name!r} is a {kind}, not {text!r}")
    return value


def _options(cls: type[Pass]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)  # type: ignore[arg-type]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][\w.:-]*", value) and value not in {"true", "false"}
        return value if plain else repr(value)
    if isinstance(value, int | float):
        return repr(value)
    return f"<{type(value).__name__}>"
