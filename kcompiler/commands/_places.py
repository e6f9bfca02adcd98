"""Files that a command writes are none of those that it reads, and no two of them are one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kcompiler.errors import KcompilerError, UsageError

FIX = "choose another file name"


def keep_apart(outputs: Mapping[str, str], inputs: Iterable[tuple[str, str | Path]]) -> None:
    """Raise `UsageError` where an output, by what it is, would overwrite an input or another one.

    Links count as what they lead to. `inputs` are pairs of what a file is and its path.
    """
    read = list(inputs)
    written: list[tuple[str, str]] = []
    for what, path in outputs.items():
        for other, taken in (*read, *written):
            if _same(Path(path), Path(taken)):
                why = f"it is {other} too, which it would overwrite"
                raise UsageError(f"{what} cannot be written", path, why, FIX)
        written.append((what, path))


def model_files(model: str, outputs: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """A model and the files beside it that hold its weights.

    These lie in the model's folder: they are looked up only where an output is a file in there.
    """
    path = Path(model)
    yield "the model", path
    try:
        folder = path.parent.resolve()
        near = any(
            Path(o).is_file() and (Path(o).resolve().is_relative_to(folder) or _linked(Path(o)))
            for o in outputs
        )
        if not near or not path.is_file():
            return
        from kcompiler.frontend.external import locations
        from kcompiler.frontend.source import open_source

        found = locations(open_source(path).model)
    except (OSError, RuntimeError, KcompilerError):
        return  # the compilation says what is wrong with the model
    for location in found:
        yield "the model's external data", path.parent / location


def calibration_files(source: str | None) -> Iterator[tuple[str, Path]]:
    """What calibration reads: a file, or those of a folder that are arrays or pictures."""
    from kcompiler.calibration.files import PICTURES

    if not source:
        return
    path = Path(source)
    yield "the calibration data", path
    if path.is_dir():
        kinds = {".npy", ".npz", *PICTURES}
        yield from (
            ("a file of the calibration data", p)
            for p in sorted(path.iterdir())
            if p.suffix.lower() in kinds
        )


def array_files(option: str, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The array files that an option names."""
    for name, path in pairs:
        if Path(path).suffix.lower() in {".npy", ".npz"}:
            yield f"the file of {option} {name}", path


def _linked(path: Path) -> bool:
    """Whether a file has other names, which may be anywhere."""
    return path.stat().st_nlink > 1


def _same(one: Path, other: Path) -> bool:
    try:
        if one.exists() and other.exists():
            return one.samefile(other)
        return one.resolve() == other.resolve()
    except (OSError, ValueError, RuntimeError):  # no such place, or a loop of links
        return False
