"""One folder per NPU. Called, `kcompiler.targets()`, it gives the names of all targets."""

from __future__ import annotations

import sys
from types import ModuleType


class _Targets(ModuleType):
    """A package that can be called: the function and the folder have one name."""

    def __call__(self) -> tuple[str, ...]:
        """The names of all targets, those of other packages included."""
        from kcompiler.registry import targets

        return targets()


sys.modules[__name__].__class__ = _Targets
