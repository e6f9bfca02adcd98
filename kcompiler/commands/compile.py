"""`kcompile MODEL --target T`: compile, verify, write a package, print a summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kcompiler.commands import _options as options
from kcompiler.commands import _places as places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kcompiler.api import CompiledModel


_NO_TRACE = "the trace cannot be written"


@click.command("compile")
@options.model_options
@click.option("--output", "-o", metavar="OUT", help="Package to write; by default MODEL.kpkg here.")
@options.input_option("Array file to verify with; random data without it.")
@click.option("--strict", is_flag=True, help="Refuse a model that needs the host.")
@click.option("--no-verify", is_flag=True, help="Do not run the model on the simulator.")
@click.option(
    "--emit",
    type=click.Choice(["graph", "kernel", "asm"]),
    help="Print a level of the compilation; the summary goes to standard error.",
)
@click.option("--layers", is_flag=True, help="Say for each kernel how far it is from float32.")
@click.option("--trace", metavar="F", help="Write the predicted time line, for ui.perfetto.dev.")
@options.JSON
@click.option("--verbose", "-v", is_flag=True, help="Say on standard error what is being done.")
def command(  # noqa: PLR0917 - click passes them by name
    wish: options.Wish,
    output: str | None,
    inputs: tuple[str, ...],
    strict: bool,
    no_verify: bool,
    emit: str | None,
    layers: bool,
    trace: str | None,
    as_json: bool,
    verbose: bool,
) -> int:
    """Compile a model (this is what happens without a command)."""
    from kcompiler.errors import UsageError

    if no_verify and inputs and not layers:
        raise UsageError("--input and --no-verify exclude each other: inputs serve to verify")
    given = options.load_arrays(inputs)
    output = f"{Path(wish.model).stem}.kpkg" if output is None else output
    options.check_place("cannot write the package", output)
    if trace is not None:
        options.check_place(_NO_TRACE, trace)
    _keep_apart(wish, inputs, output, trace)
    say = _Speaker(verbose)
    model = wish.model
    with say.phase(f"compiling {model}"):
        compiled = wish.compiled(strict=strict)
    if emit is not None:
        click.echo(_emitted(compiled, emit), nl=False, err=as_json)
    if not no_verify:
        with say.phase(f"verifying {model} on the simulator"):
            compiled.verify(given)
    tables: list[Any] = []
    extra: dict[str, Any] = {}
    if layers:
        with say.phase(f"comparing the kernels of {model} with float32"):
            tables, extra = _layers(compiled, given)
    shown = extra if as_json else None
    return _finish(compiled, output, trace, tables, shown, err=emit is not None)


def _keep_apart(wish: options.Wish, inputs: Sequence[str], output: str, trace: str | None) -> None:
    """Nothing that is read may be written; raises `UsageError`."""
    outputs = {"the package": output} | ({} if trace is None else {"the trace": trace})
    pairs = options.pairs
    read: list[tuple[str, str | Path]] = [
        *places.model_files(wish.model, outputs.values()),
        *places.array_files("--input", pairs("--input", "I=F", inputs)),
        *places.array_files("--value", pairs("--value", "I=V", wish.values)),
        *places.calibration_files(wish.calibration),
    ]
    places.keep_apart(outputs, read)


def _layers(compiled: CompiledModel, given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """What `--layers` prints: tables, or members of the JSON object."""
    from kcompiler.report.layers import layer_table
    from kcompiler.report.quantization import quantization_tables

    report = compiled.report().quantization
    if report is not None:
        return quantization_tables(report), {"quantization": dict(report)}
    rows = compiled.layers(given)
    return [layer_table(rows)], {"layers": [row.json() for row in rows]}


def _finish(
    compiled: CompiledModel,
    output: str,
    trace: str | None,
    tables: Sequence[Any],
    extra: Mapping[str, Any] | None,
    *,
    err: bool,
) -> int:
    """Write files, print the summary; a model that fails its checks is not written.

    With `extra` members the summary is one JSON object, else it stands under the tables.
    """
    result = compiled.verification
    if result is None or result.ok:
        compiled.save(output)
    if trace is not None:
        _write_trace(compiled, trace)
    if extra is not None:
        options.print_json({**compiled.report().json(), **extra})
    else:
        from kcompiler.report.summary import summary

        options.print_table(*tables, summary(compiled.report()), err=err)
    if result is not None:
        result.raise_for_failure()
    return 0


def _emitted(compiled: CompiledModel, level: str) -> str:
    """The text of every NPU segment at a level."""
    from kcompiler.report.listing import listing

    return listing(compiled, level)


def _write_trace(compiled: CompiledModel, path: str) -> None:
    from kcompiler.errors import UsageError
    from kcompiler.report.timeline import write_timeline

    try:
        write_timeline(compiled, path)
    except OSError as error:
        raise UsageError(_NO_TRACE, path, error.strerror or "") from None


class _Speaker:
    """Tells on standard error what is being done, in words or by a spinner."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    def phase(self, text: str) -> Any:
        from kcompiler.report.console import phase, say

        if self.verbose:
            say(text)
        return phase(text)
