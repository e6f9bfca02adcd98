"""Importers: one function for each ONNX operator, found in the modules of `importers/`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

from kcompiler.frontend.node import Node
from kcompiler.graph.node import Op

Result: TypeAlias = "Op | Sequence[Op | None]"
Importer: TypeAlias = Callable[[Node], Result]

MICROSOFT = "com.microsoft"
_IMPORTERS: dict[tuple[str, str], Importer] = {}


def onnx_op(*names: str, domain: str = "") -> Callable[[Importer], Importer]:
    """Register a function as the importer of ONNX operators, of every opset."""

    def register(importer: Importer) -> Importer:
        for name in names:
            if (domain, name) in _IMPORTERS:
                raise TypeError(f"operator {domain}::{name} has two importers")
            _IMPORTERS[domain, name] = importer
        return importer

    return register


@cache
def importers() -> dict[tuple[str, str], Importer]:
    """All importers by domain and operator; the folder `importers/` is the registry."""
    package = importlib.import_module("kcompiler.frontend.importers")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return _IMPORTERS
