"""Which targets there are: the folders of `kcompiler.targets`, and what other packages register.

A folder's target is its `TARGET`; `VARIANTS` are others of the same chip, called `NAME-WHAT`. Only
the target that is asked for is imported; a list of all imports all folders.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from kcompiler.machine.target import Target

GROUP = "kcompiler.targets"
"""The entry-point group: a name is what `--target` takes, its value a module with a `TARGET`."""


def targets() -> tuple[str, ...]:
    """The names of all targets, sorted."""
    variants = [name for folder in _folders() for name in _variants(folder)]
    return tuple(sorted({*_folders(), *variants, *_registered()}))


def find_target(name: str) -> Target:
    """The target of a name; raises `UsageError` when there is none or when it cannot be loaded."""
    if name in _folders():
        return _checked(name, import_module(f"{GROUP}.{name}").TARGET)
    folder = name.partition("-")[0]
    if folder in _folders() and name in _variants(folder):
        return _checked(name, _variants(folder)[name])
    registered = _registered()
    if name not in registered:
        raise _unknown(name)
    return _load(name, registered[name])


def _folders() -> tuple[str, ...]:
    folder = import_module(GROUP)

    return tuple(m.name for m in iter_modules(folder.__path__) if not m.name.startswith("_"))


def _variants(folder: str) -> dict[str, Any]:
    """The variants of a folder's target by name."""
    return {v.name: v for v in getattr(import_module(f"{GROUP}.{folder}"), "VARIANTS", ())}


def _registered() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def _load(name: str, point: EntryPoint) -> Target:
    try:
        found = point.load()
        return _checked(name, getattr(found, "TARGET", found))
    except UsageError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        fix = "this is a bug in the package that registers it, not in kcompiler"
        raise UsageError(f"the target {name!r} cannot be loaded", point.value, why, fix) from error


def _checked(name: str, found: Any) -> Target:
    from kcompiler.machine.target import Target

    if not isinstance(found, Target) or found.name != name:
        why = f"what it names is {found!r:.60}, not a Target called {name!r}"
        raise UsageError(f"the target {name!r} cannot be loaded", why=why)
    return found


def _unknown(name: str) -> UsageError:
    known = targets()
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    fix = f"did you mean {' or '.join(near)}?" if near else "take one of these"
    return UsageError(f"there is no target {name!r}", why=f"known: {', '.join(known)}", fix=fix)
