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
    variants = [name for folder in _folders() for name in _variants(f"{GROUP}.{folder}")]
    return tuple(sorted({*_folders(), *variants, *_registered()}))


def find_target(name: str) -> Target:
    """The target of a name; raises `UsageError` when there is none or when it cannot be loaded.

    A name that two packages give to different things is refused: nobody knows which one is meant.
    """
    points = _registered().get(name, ())
    own = _own(name)
    claims = [*([f"kcompiler ({own})"] if own else []), *map(_claim, points)]
    if len(claims) > 1:
        fix = "uninstall one of them"
        raise UsageError(f"two packages register a target {name!r}", why=", ".join(claims), fix=fix)
    if own:
        found = import_module(own)
        return _checked(name, found.TARGET if own.endswith(f".{name}") else _variants(own)[name])
    if not points:
        raise _unknown(name)
    return _load(name, points[0])


def _own(name: str) -> str:
    """The module of a target of ours, or of its variant; empty for others."""
    folder = name.partition("-")[0]
    module = f"{GROUP}.{folder}"
    known = folder in _folders() and (folder == name or name in _variants(module))
    return module if known else ""


def _folders() -> tuple[str, ...]:
    folder = import_module(GROUP)
    return tuple(m.name for m in iter_modules(folder.__path__) if not m.name.startswith("_"))


def _variants(module: str) -> dict[str, Any]:
    """The variants of a folder's target by name."""
    return {v.name: v for v in getattr(import_module(module), "VARIANTS", ())}


def _registered() -> dict[str, tuple[EntryPoint, ...]]:
    """What other packages register: name -> entry points of different values."""
    from importlib.metadata import entry_points

    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: tuple(points.values()) for name, points in found.items()}


def _claim(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'a package'} ({point.value})"


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
