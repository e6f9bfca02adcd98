"""The pages of this folder that are printed from the source: `python docs/generate.py`.

Writes the pages that are out of date. With `--check` it only names them, and fails if there are
any.
"""
# ruff: noqa: INP001 - a script beside the pages that it writes

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from kcompiler.compiler import graph_pipeline
from kcompiler.frontend import schemas
from kcompiler.frontend.control import IMPORTERS as CONTROL
from kcompiler.frontend.registry import importers
from kcompiler.graph.table import operator_table
from kcompiler.machine.generic.isa import Generic
from kcompiler.machine.instruction import Isa
from kcompiler.machine.manual import manual
from kcompiler.machine.target import Target
from kcompiler.passes.quantize import Quantize
from kcompiler.pipeline import Pass
from kcompiler.registry import find_target
from kcompiler.rewrite import Rule

HERE = Path(__file__).parent
MARK = "<!-- Written by docs/generate.py; change the source and run it again. -->\n"
BELOW_THE_GRAPH = ("partition", "tile", "place", "synchronize")


def pages() -> dict[str, str]:
    """Every generated page by its name in this folder."""
    found = [find_target(name) for name in _members("kcompiler.targets")]
    texts = {"operators.md": operators(), "passes.md": passes(), "supported.md": supported(found)}
    texts |= {
        f"{target.name}-isa.md": instruction_set(target.isa, f"`{target.name}`") for target in found
    }
    texts["generic-isa.md"] = instruction_set(Generic, "a chip description alone")
    return {name: MARK + text for name, text in texts.items()}


def operators() -> str:
    """The operators of the graph, and the ONNX operators that become them."""
    rows = [
        f"| {topic} | {' '.join(f'`{name}`' for name in names)} |" for topic, names in _topics()
    ]
    return "\n".join([_OPERATORS, operator_table(), _ONNX, *rows, "", _ONNX_REST]) + "\n"


_OPERATORS = """\
# Operators

## Of the graph

What a model is made of after import. An operator is declared once, in `kcompiler/graph/operators/`;
types, meaning (numpy), cost and this table follow from the declaration. An operand in brackets may
be left out; `…` means several. Element-wise operators broadcast as numpy does. Float operators
compute in float32 where their elements are narrower, and round once, to the type of the result.
"""
_ONNX = f"""\
## Of ONNX

These have an importer in `kcompiler/frontend/importers/`, from opset {schemas.OLDEST} on;
older models are converted first. An importer may refuse an option that the graph cannot express;
then the node goes on as below.

| topic | operators |
| --- | --- |"""
_ONNX_REST = f"""\
{", ".join(f"`{name}`" for name in sorted(CONTROL))} vanish when what controls them is known: the
branch is picked, the rounds are unrolled. A function of the model is replaced by its body, and so
is an operator that ONNX itself defines by other operators. A node whose operands are all known is
computed while importing.

What is left becomes a host operator that keeps its ONNX node. The model compiles all the same: the
host runs that part on onnxruntime, or on ONNX's reference where onnxruntime lacks the operator, and
`kcompile explain` says which nodes these are, and why. An operator that ONNX does not know is an
error. What runs where in ONNX's own suite: [onnx-suite.md](onnx-suite.md)."""


def _topics() -> Iterator[tuple[str, list[str]]]:
    """(topic, operators) for each module of importers."""
    found: dict[str, list[str]] = {}
    for (domain, name), importer in importers().items():
        found.setdefault(importer.__module__, []).append(f"{domain}::{name}" if domain else name)
    for module in sorted(found):
        lines = inspect.cleandoc(import_module(module).__doc__ or "").splitlines()
        yield lines[0].rstrip("."), sorted(found[module])


def passes() -> str:
    """Every pass with its contract, options and rules, in the order in which they run."""
    return "\n".join([_PASSES, *(line for cls in _passes() for line in _pass(cls))]) + "\n"


_PASSES = """\
# Passes

In the order in which they run; at the end those that no compilation runs by themselves. A pass
takes valid IR and returns valid IR of the same meaning. Each is a file or folder of `passes/`; its
docstring is its contract and its fields are its options, both printed here. The pipeline is in
`kcompiler/compiler.py`. A rule is right on its own: their order may improve the result, never its
truth. "Bit for bit" says that both sides of a rule agree exactly, "rounding" that floats may differ
by it.
"""


def _passes() -> list[type[Pass]]:
    found = {name: _pass_of(name) for name in _members("kcompiler.passes")}
    order = [*(step.name for step in graph_pipeline("f16", quantize=Quantize())), *BELOW_THE_GRAPH]
    order += [name for name in found if name not in order]
    return [found[name] for name in order]


def _pass_of(name: str) -> type[Pass]:
    module = import_module(f"kcompiler.passes.{name}")
    own = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, Pass)]
    (found,) = (c for c in own if c.__module__ == module.__name__)
    return found


def _pass(cls: type[Pass]) -> Iterator[str]:
    yield from (f"## `{cls.name}`", "", _prose(cls.__doc__), "")
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # every pass is a dataclass
    if fields:
        yield from ("| option | type | default |", "| --- | --- | --- |")
        yield from (
            f"| `{f.name}` | {_cell(str(f.type))} | {_default(f.default)} |" for f in fields
        )
        yield ""
    rules: Iterable[Rule] = getattr(import_module(cls.__module__), "RULES", ())
    if rules:
        yield from ("| rule | what it does | exact |", "| --- | --- | --- |")
        yield from map(_rule, rules)
        yield ""


def _rule(rule: Rule) -> str:
    meaning = " ".join(_prose(type(rule).__doc__).split())
    return f"| `{rule.name}` | {_cell(meaning)} | {'bit for bit' if rule.exact else 'rounding'} |"


def _default(value: object) -> str:
    return "given in Python" if value is None or callable(value) else f"`{value!r}`"


def instruction_set(isa: type[Isa], owner: str) -> str:
    """The manual of a target's instructions."""
    head, rest = manual(isa).split("\n", 1)
    return f"{head}: the instruction set of {owner}\n{rest}"


def supported(targets: Iterable[Target]) -> str:
    """What each target takes."""
    return "\n".join([_SUPPORTED, *(line for t in targets for line in _constraints(t))]) + "\n"


_SUPPORTED = """\
# What each target takes

What keeps all of a target's constraints runs on the NPU. The host runs the rest, and the first
constraint that is broken is the reason that `kcompile explain` gives. The sentences are the
docstrings of the functions that decide. Which ONNX operators have a form that a target can be asked
about: [operators.md](operators.md).
"""


def _constraints(target: Target) -> Iterator[str]:
    precisions = ", ".join(f"`{p}`" for p in target.precisions)
    yield from (f"## `{target.name}`: {target.chip.title}", "")
    yield f"Precisions: {precisions}; the first is the default. What is known of the chip, and what"
    yield from (f"is assumed: [targets/{target.name}](../targets/{target.name}/README.md).", "")
    yield from (f"* {_prose(c.__doc__)} (`{c.__name__}`)" for c in target.constraints)
    yield ""


def _members(package: str) -> list[str]:
    path = import_module(package).__path__
    return [m.name for m in iter_modules(path) if not m.name.startswith("_")]


def _prose(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").replace("``", "`")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def main(arguments: list[str]) -> int:
    """Write or check the pages; the result is the exit code."""
    stale = [
        (HERE / name, text)
        for name, text in pages().items()
        if not (HERE / name).exists() or (HERE / name).read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        print(path.name)
    return int("--check" in arguments and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
