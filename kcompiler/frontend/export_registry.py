"""Exporters: one function for each operator of the graph, found in the modules of `exporters/`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

from kcompiler.graph.node import Op
from kcompiler.graph.operators import Elementwise

Exporter: TypeAlias = Callable[..., str]
"""Takes a `Net`, the operator, and the names of its operands; gives the name of the result."""
Form: TypeAlias = Callable[..., str]
"""Takes a `Net` and the names of operands of the type that a scalar function computes in."""

_EXPORTERS: dict[type[Op], Exporter] = {}
_FORMS: dict[str, Form] = {}


def exports(*kinds: type[Op]) -> Callable[[Exporter], Exporter]:
    """Register a function as the exporter of operators."""

    def register(exporter: Exporter) -> Exporter:
        for kind in kinds:
            if kind in _EXPORTERS:
                raise TypeError(f"operator {kind.__name__} has two exporters")
            _EXPORTERS[kind] = exporter
        return exporter

    return register


def form(*functions: str) -> Callable[[Form], Form]:
    """Register a function as what scalar functions are in ONNX."""

    def register(made: Form) -> Form:
        for name in functions:
            if name in _FORMS:
                raise TypeError(f"the scalar function {name} has two forms")
            _FORMS[name] = made
        return made

    return register


def exporter_of(op: Op) -> Exporter:
    """The exporter of an operator; the nearest class above it that has one."""
    found = _loaded()
    return next(found[kind] for kind in type(op).__mro__ if kind in found)


def form_of(op: Elementwise) -> Form:
    """What the scalar function of an operator is in ONNX."""
    _loaded()
    return _FORMS[op.function]


@cache
def _loaded() -> Mapping[Any, Exporter]:
    package = importlib.import_module("kcompiler.frontend.exporters")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return _EXPORTERS
