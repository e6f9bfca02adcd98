"""`kcompile`: the command line. Commands are the files of `kcompiler/commands/`.

A first argument that is neither a command nor an option is a model to compile. Errors are for
people: no traceback without `--debug`. Exit codes are in the help of `cli`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import click

from kcompiler import __version__, commands
from kcompiler.errors import REPORT, KcompilerError, UsageError

DEFAULT = "compile"
INTERNAL = 1
INTERRUPTED = 130
UNREAD = 141  # as a program that a broken pipe ends


class Unread(Exception):
    """Whoever read the output has gone; under a name of its own, or click and rich exit with 1."""


@contextmanager
def _unread() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise Unread from error
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            raise Unread from error
        raise


class Commands(click.Group):
    """A group whose commands are files, imported when they are used; `compile` needs no name."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _unread():  # of `--help`
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _unread():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        found = (m.name for m in iter_modules(commands.__path__) if not m.name.startswith("_"))
        return sorted(name.replace("_", "-") for name in found)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for p in self.get_params(ctx) for name in p.opts}
        if args and args[0] not in own and args[0] not in self.list_commands(ctx):
            self._check_model(ctx, args[0])
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def _check_model(self, ctx: click.Context, name: str) -> None:
        """A word that is no option and no file may be a command with a slip."""
        near = get_close_matches(name, self.list_commands(ctx), 1)
        if near and not name.startswith("-") and not Path(name).exists():
            why = "there is no such file either"
            raise UsageError(f"there is no command {name!r}", why=why, fix=f"kcompile {near[0]}")

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        formatter.write_usage("kcompile", "MODEL --target T [OPTIONS]")
        formatter.write_usage("kcompile", "COMMAND [ARGUMENTS]", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        default = self.get_command(ctx, DEFAULT)
        params = default.params if default is not None else []
        options = [p for p in params if isinstance(p, click.Option)]
        records = [r for p in options if (r := p.get_help_record(ctx))]
        with formatter.section("Options of a compilation"):
            formatter.write_dl(records)
        super().format_options(ctx, formatter)


@click.command(cls=Commands, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(__version__, prog_name="kcompile", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show where in kcompiler an error comes from.")
def cli(debug: bool) -> None:
    """Compile neural networks (ONNX) into verified programs for NPUs.

    The NPUs are models made of public facts, and predicted times are estimates: see
    `kcompile targets T`.

    Exit codes: 0 done, 1 a check failed, 2 the request or the input must change, 130 interrupted,
    141 nobody reads the output to its end.
    """
    del debug  # taken out of the arguments by `main`, wherever it stands


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the result is the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    if _closed():
        return UsageError.exit_code
    try:
        code = cli.main(arguments or ["--help"], "kcompile", standalone_mode=False)
    except Unread:
        _drop_output()
        return UNREAD
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - nobody else catches it
        if debug:
            traceback.print_exception(error)
        return _report(error)
    return code if isinstance(code, int) else 0


def _closed() -> bool:
    """Whether standard output is closed, which is told; a closed standard error is replaced.

    Python has None for such a stream, and the next file that opens would get its number.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good
    if sys.stdout is None:
        click.echo(str(_unwritten("it is closed")), err=True)
    return sys.stdout is None


def _of_output(error: OSError) -> bool:
    """Whether what prints has raised an error.

    It writes to the standard streams alone, and what is said aside, on standard error, raises none:
    what is left there besides are listings (`--emit` with `--json`), of which nobody can be told.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    printer = str(frames[-1][0].f_globals.get("__name__")).partition(".")[0] if frames else ""
    return printer in {"click", "rich"}


def _drop_output() -> None:
    """Let the flush at exit, which would complain, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: BaseException) -> int:
    """Print an error for a person and return its exit code."""
    match error:
        case KcompilerError():
            text, code = str(error), error.exit_code
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            name = getattr(getattr(error, "ctx", None), "info_name", DEFAULT)
            fix = "kcompile --help" if name in {DEFAULT, "kcompile"} else f"kcompile {name} --help"
            text, code = f"error: {error.format_message()}\n  try: {fix}", error.exit_code
        case KeyboardInterrupt() | click.Abort():
            text, code = "interrupted", INTERRUPTED
        case OSError() if _of_output(error):
            _drop_output()
            text, code = str(_unwritten(error.strerror or "")), UsageError.exit_code
        case MemoryError():
            text, code = "error: this computer has too little memory for that", INTERNAL
        case _:
            text, code = _internal(error), INTERNAL
    with suppress(OSError):  # nobody can be told
        click.echo(text, err=True)
    return code


def _unwritten(why: str) -> UsageError:
    fix = "free space where it goes, or send it elsewhere"
    return UsageError("cannot write to standard output", why=why, fix=fix)


def _internal(error: BaseException) -> str:
    cause = (str(error).strip().splitlines() or [""])[0][:300]
    fault = KcompilerError(
        "internal error",
        why=f"{type(error).__name__}: {cause}",
        fix=f"--debug shows where it comes from; {REPORT}",
    )
    return str(fault)


if __name__ == "__main__":
    sys.exit(main())
