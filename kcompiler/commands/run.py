"""`kcompile run PKG`: run a package on the simulator."""

from __future__ import annotations

from typing import Any

import click

from kcompiler.commands import _options as options


@click.command("run")
@click.argument("package", type=click.Path())
@options.input_option("Array file for an input.")
@click.option("--output", "-o", "outputs", metavar="O=F", multiple=True, help="File for an output.")
def command(package: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    """Run a package and say what comes out."""
    from kcompiler.errors import UsageError
    from kcompiler.report.console import phase

    model = options.read_package(package)
    wanted = dict(options.pairs("--output", "O=file.npy", outputs))
    names = [name for name, _ in model.compilation.outputs]
    unknown = next((name for name in wanted if name not in names), None)
    if unknown is not None:
        why = f"its outputs are {', '.join(names)}"
        raise UsageError(f"the model has no output {unknown!r}", why=why)
    with phase(f"running {package}"):
        results = model.run(options.load_arrays(inputs))
    for name, value in results.items():
        click.echo(_summary(name, value))
    if model.last_padding is not None:
        click.echo(f"padding: {model.last_padding}")
    for name, path in wanted.items():
        options.save_array(path, results[name])


def _summary(name: str, value: Any) -> str:
    """`logits: f32[16,10], -12.3 to 8.7, mean 0.12, NaN 3`."""
    import numpy as np

    from kcompiler.graph.types import TensorType, is_float
    from kcompiler.report.units import printable

    name = printable(name)
    if value is None or isinstance(value, list | tuple | dict):
        return f"{name}: " + ("nothing" if value is None else f"{len(value)} values")
    if value.dtype.kind in "OUS":
        return f"{name}: text{list(value.shape)}"
    text = f"{name}: {TensorType(value.dtype, value.shape)}"
    if not value.size:
        return text
    if not is_float(value.dtype):
        return f"{text}, {value.min()} to {value.max()}"
    real = value.astype(np.float64)
    finite = real[np.isfinite(real)]
    if finite.size:
        text += f", {finite.min():.4g} to {finite.max():.4g}, mean {finite.mean():.4g}"
    odd = value.size - finite.size
    return text + (f", {odd} not finite" if odd else "")
