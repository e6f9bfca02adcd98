"""kcompiler: an open neural-network compiler for NPUs.

    import kcompiler

    model = kcompiler.compile("model.onnx", target="rebel", dims={"batch": 1})
    model.verify()
    model.save("model.kpkg")
    outputs = kcompiler.Session("model.kpkg").run(None, {"x": x})

What is heavy is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcompiler.api import CompiledModel, compile, load, targets  # noqa: A004
    from kcompiler.calibration import Quantization
    from kcompiler.session import Session

__version__ = "0.1.0"
__all__ = [
    "CompiledModel",
    "Quantization",
    "Session",
    "__version__",
    "compile",
    "load",
    "targets",
]

_HOMES = {
    "CompiledModel": "kcompiler.api",
    "Quantization": "kcompiler.calibration",
    "Session": "kcompiler.session",
    "compile": "kcompiler.api",
    "load": "kcompiler.api",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "targets":  # the folder of targets, which can be called
        return import_module("kcompiler.targets")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
