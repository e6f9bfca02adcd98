"""Where text goes: consoles, and signs of life for what takes long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
from rich.console import Console

PATIENCE = 2.0
"""Seconds that a phase may take before it shows that it is alive."""
WIDTH = 100


def console(*, err: bool = False) -> Console:
    """A console without markup: names are shown as they are. Files get `WIDTH` columns."""
    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def say(text: Any) -> None:
    """A line on standard error for whoever looks: where it cannot be written, the work goes on."""
    with suppress(OSError):
        click.echo(text, err=True)


@contextmanager
def phase(text: str) -> Iterator[None]:
    """Show a spinner on a terminal's standard error from `PATIENCE` on."""
    if not sys.stderr.isatty():
        yield
        return
    status = console(err=True).status(text)
    timer = threading.Timer(PATIENCE, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
