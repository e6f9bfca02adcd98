"""What several commands share: options, their values, and files that users name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from kcompiler.errors import UsageError

if TYPE_CHECKING:
    from kcompiler.api import CompiledModel
    from kcompiler.graph.node import Array

F = TypeVar("F", bound=Callable[..., Any])

MODEL = click.argument("model", type=click.Path())
TARGET = click.option("--target", "-t", metavar="T", required=True, help="NPU to compile for.")
PRECISION = click.option(
    "--precision",
    "-p",
    metavar="P",
    help="Numbers on the NPU, f16, int8, mixed, int4-weights…; by default the target's first.",
)
CALIBRATION = click.option(
    "--calibration",
    metavar="DATA",
    help="Samples for int8, mixed, fp8: .npy, .npz, a folder of them or of pictures.",
)
PREPROCESS = click.option(
    "--preprocess",
    metavar="P",
    help="How they become inputs: scale=255,mean=0.498,std=0.502,layout=NHWC.",
)
OBSERVER = click.option(
    "--observer",
    metavar="O",
    help="What chooses ranges: min-max, percentile, entropy, mse; auto: what fits each best.",
)
SYMMETRIC = click.option("--symmetric", is_flag=True, help="Activations with zero point 0.")
ASYMMETRIC = click.option(
    "--asymmetric", is_flag=True, help="Activations with any zero point, as without both."
)
EQUALIZE = click.option(
    "--equalize", is_flag=True, help="Move factors between the channels of neighbouring layers."
)
GROUP_SIZE = click.option(
    "--group-size",
    metavar="N",
    type=int,
    help="For int8-weights, int4-weights, fp8-weights: so many weights share a scale.",
)
MIN_SQNR = click.option(
    "--min-sqnr",
    metavar="DB",
    type=float,
    help="For mixed: layers stay float until the outputs are so near.",
)
DIM = click.option(
    "--dim",
    "dims",
    metavar="N=V",
    multiple=True,
    help="Extent of an open dimension; buckets: 1..512:128.",
)
SHAPE = click.option(
    "--shape", "shapes", metavar="I=a,b,c", multiple=True, help="Shape of an input."
)
VALUE = click.option(
    "--value",
    "values",
    metavar="I=V",
    multiple=True,
    help="Make an input a constant: a mode, a rate.",
)
_SHOWN = 40
"""Characters of a value that an error repeats."""
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


def input_option(help_: str) -> Callable[[F], F]:
    """The option `--input I=file.npy`."""
    return click.option("--input", "-i", "inputs", metavar="I=F", multiple=True, help=help_)


def model_options(function: F) -> F:
    """A model, a target, and how to compile the one for the other: `wish` has it all."""

    @wraps(function)
    def collected(**given: Any) -> Any:
        wish = Wish(**{name: given.pop(name) for name in Wish._fields})
        return function(wish=wish, **given)

    decorated: Any = collected
    for option in reversed((MODEL, TARGET, PRECISION, DIM, SHAPE, VALUE, *_QUANTIZATION)):
        decorated = option(decorated)
    found: F = decorated
    return found


_QUANTIZATION = (
    *(CALIBRATION, PREPROCESS, OBSERVER, SYMMETRIC, ASYMMETRIC),
    *(EQUALIZE, MIN_SQNR, GROUP_SIZE),
)


class Wish(NamedTuple):  # a dataclass would take its time at every start
    """What the options of `model_options` say."""

    model: str
    target: str
    precision: str | None
    dims: tuple[str, ...]
    shapes: tuple[str, ...]
    values: tuple[str, ...]
    calibration: str | None
    preprocess: str | None
    observer: str | None
    symmetric: bool
    asymmetric: bool
    equalize: bool
    min_sqnr: float | None
    group_size: int | None

    def compiled(self, *, strict: bool = False) -> CompiledModel:
        """The model, compiled so."""
        from kcompiler.api import compile as compile_model
        from kcompiler.commands._recipe import recipe_of
        from kcompiler.registry import find_target

        if not self.model:
            raise UsageError("the model has no name", fix="give the path of an .onnx file")
        target = find_target(self.target)
        recipe = recipe_of(self._asdict(), target, self.precision)
        return compile_model(
            self.model,
            target,
            precision=self.precision,
            dims=parse_dims(self.dims),
            shapes=parse_shapes(self.shapes),
            values=parse_values(self.values),
            calibration=self.calibration,
            preprocess=self.preprocess,
            quantization=recipe,
            strict=strict,
        )


def parse_dims(texts: Iterable[str]) -> dict[str, int | str]:
    """`N=V` -> {N: V}; what is no number is a range, a list or a sum (`kcompiler.buckets.spec`)."""
    whole = re.compile(r"[+-]?\d+")
    return {
        name: _integer(f"--dim {name}", value) if whole.fullmatch(value) else value
        for name, value in pairs("--dim", "N=V", texts)
    }


def parse_shapes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """`I=a,b,c` -> {I: (a, b, c)}; `I=` is a scalar."""
    return {
        name: tuple(_integer(f"--shape {name}={value}", v) for v in value.split(",") if value)
        for name, value in pairs("--shape", "I=a,b,c", texts)
    }


def parse_values(texts: Iterable[str]) -> dict[str, Array]:
    """`I=1` is a scalar, `I=1,2` a vector, and so is `I=1,`; `I=file.npy` is any array."""
    return {
        name: load_array(value) if value.endswith(".npy") else _numbers(f"--value {name}", value)
        for name, value in pairs("--value", "I=V", texts)
    }


def _numbers(option: str, text: str) -> Array:
    import numpy as np

    parts = [part.strip() for part in text.split(",")]
    one = len(parts) == 1
    found = [_number(option, part) for part in (parts if parts[-1] or one else parts[:-1])]
    return np.asarray(found[0] if one else found)


def _number(option: str, text: str) -> bool | int | float:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    fix = "give numbers, true or false, with commas between them, or a .npy file"
    raise UsageError(f"{option}: {text!r} is no number", fix=fix)


def pairs(option: str, form: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    """`name=value`, split at the last `=`, each name once."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r} is not of the form {form}")
        if name in found:
            raise UsageError(f"{option} names {name!r} twice", fix="give each name one value")
        found[name] = value
    return list(found.items())


def _integer(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise UsageError(f"{option}: {shown!r} is not a whole number") from None


def load_arrays(texts: Iterable[str]) -> dict[str, Array]:
    """`I=file.npy` -> {I: array}; raises `UsageError` for what is no array file."""
    return {name: load_array(path, name) for name, path in pairs("--input", "I=file.npy", texts)}


def load_array(path: str, name: str = "") -> Array:
    """The array of a .npy file, mapped into memory, or that of a name in a .npz file.

    Nothing in a file is executed.
    """
    from kcompiler.calibration.files import read_archive, read_array

    if Path(path).suffix.lower() != ".npz":
        return read_array(Path(path))
    found = read_archive(Path(path))
    if name not in found and len(found) == 1:
        name = next((only for only in found if only == "arr_0"), name)
    if name not in found:
        why = f"it holds {', '.join(found) or 'nothing'}"
        fix = "write it with numpy.savez(path, NAME=array), or give a .npy file"
        raise UsageError(f"the archive has no array {name!r}", path, why, fix)
    return found[name]


def save_array(path: str, value: Any) -> None:
    """Write a .npy file; raises `UsageError` when that is impossible."""
    import numpy as np

    if not isinstance(value, np.ndarray):
        why = "the output is a sequence or an empty optional, and a .npy file holds one tensor"
        raise UsageError("the output cannot be written", path, why)
    if value.dtype.kind == "O":
        value = value.astype(str)  # text: nothing in the file is to be executed
    try:
        with Path(path).open("wb") as file:
            np.lib.format.write_array(file, value, allow_pickle=False)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("the file cannot be written", path, why) from None


def check_place(what: str, path: str) -> None:
    """Whether a file may be written there, before the work for it begins; raises `UsageError`.

    `what` is said where it may not.
    """
    place = Path(path)
    if not path:
        raise UsageError(
            what, why="its file has no name", fix="name a file, or leave the option out"
        )
    try:
        other, folder = place.exists() and not place.is_file(), place.parent.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be searched
        fix = "choose another file name"
        raise UsageError(what, path, error.strerror or str(error), fix) from None
    if other:
        fix = "choose another file name"
        raise UsageError(what, path, "it exists and is not a regular file", fix)
    if not folder:
        fix = "make the folder first, or choose another one"
        raise UsageError(what, path, f"there is no folder {place.parent}", fix)


def read_package(path: str) -> CompiledModel:
    """The compiled model of a package."""
    from kcompiler.api import load

    return load(path)


def print_json(value: Any) -> None:
    """One object on standard output."""
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(*tables: Any, err: bool = False) -> None:
    """Tables on standard output, or on standard error."""
    from kcompiler.report.console import console

    with suppress(OSError) if err else nullcontext():  # what is said aside stops no work
        for table in tables:
            console(err=err).print(table)
