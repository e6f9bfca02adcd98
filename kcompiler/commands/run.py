"""`kcompile run PKG`: run a package on the simulator."""

from __future__ import annotations

import click

from kcompiler.commands import _options as options
from kcompiler.commands import _places as places


@click.command("run")
@click.argument("package", type=click.Path())
@options.input_option("Array file for an input.")
@click.option("--output", "-o", "outputs", metavar="O=F", multiple=True, help="File for an output.")
@options.JSON
def command(package: str, inputs: tuple[str, ...], outputs: tuple[str, ...], as_json: bool) -> None:
    """Run a package and say what comes out."""
    from kcompiler.errors import UsageError
    from kcompiler.report.arrays import facts, summary
    from kcompiler.report.console import phase

    model = options.read_package(package)
    wanted = dict(options.pairs("--output", "O=file.npy", outputs))
    names = [name for name, _ in model.compilation.outputs]
    unknown = next((name for name in wanted if name not in names), None)
    if unknown is not None:
        why = f"its outputs are {', '.join(names)}"
        raise UsageError(f"the model has no output {unknown!r}", why=why)
    for path in wanted.values():
        options.check_place("the file cannot be written", path)
    given = options.pairs("--input", "I=F", inputs)
    read = (("the package", package), *places.array_files("--input", given))
    places.keep_apart({f"the output {name!r}": path for name, path in wanted.items()}, read)
    with phase(f"running {package}"):
        results = model.run(options.load_arrays(inputs))
    for name, path in wanted.items():
        options.save_array(path, results[name])
    padding = None if model.last_padding is None else str(model.last_padding)
    if as_json:
        outs = [{"name": name, **facts(value)} for name, value in results.items()]
        options.print_json({"outputs": outs, "padding": padding})
        return
    for name, value in results.items():
        click.echo(summary(name, value))
    if padding is not None:
        click.echo(f"padding: {padding}")
