"""The summary table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from kcompiler.report.quantization import output_lines
from kcompiler.report.units import capacity, count, nbytes, percent, printable, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kcompiler.graph.types import OpenType, TensorType
    from kcompiler.report.data import BucketTime, Report
    from kcompiler.verify import Audit, OutputError, Verification


SIDES = ("npu", "host")


def summary(report: Report) -> Table:
    """A report as a table of two columns."""
    table = Table(
        title=Text(printable(f"{report.model} on {report.target} in {report.precision}"), "bold"),
        caption=Text(f"modelled from public facts, {report.calibrated}"),
        title_justify="left",
        caption_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(report):
        table.add_row(name, Text(text))
    return table


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    yield "inputs", _interface(report.inputs)
    yield "outputs", _interface(report.outputs)
    yield "operators", f"{report.npu_nodes} on the NPU, {report.host_nodes} on the host"
    macs = report.npu_macs + report.host_macs
    yield "MACs", f"{percent(report.mac_share)} of {count(macs)} on the NPU" if macs else "none"
    predicted = f"{seconds(report.seconds)} predicted ({report.cycles:,} cycles)"
    yield "latency", f"{predicted}, roofline bound {seconds(report.bound_seconds)}"
    if report.buckets:
        ends = (f"{printable(n)} {a:,} to {b:,}" for n, (a, b) in report.limits.items())
        yield "extents", ", ".join(ends)
        yield "buckets", "\n".join(_bucket(bucket) for bucket in report.buckets)
    moved, least = nbytes(report.dram_bytes), nbytes(report.compulsory_bytes)
    yield "DRAM traffic", f"{moved}, compulsory {least}"
    yield "on-chip peak", _memory(report)
    yield "host link", _link(report)
    if report.verification is not None:
        yield from _verification(report.verification)
    else:
        loaded = report.cost is None
        yield "verified", "a package does not say" if loaded else "no"
    if report.quantization is not None and report.quantization["outputs"]:
        yield "calibration", "\n".join(output_lines(report.quantization["outputs"]))
    if report.cost is not None:
        rss = nbytes(report.cost.peak_rss_mb * (1 << 20))
        yield "compile", f"{report.cost.cpu_seconds:.1f} s CPU, {rss} resident"
    known = f"{report.unknown_facts} of {report.total_facts} numbers of the chip"
    yield "unknown facts", f"{known} are assumed or unverified"
    if report.package is not None:
        info = report.package
        yield "package", f"{printable(str(info.path))}, {nbytes(info.bytes)}"
    for note in report.notes:
        yield "note", printable(note)


def _link(report: Report) -> str:
    """What crosses, in which time; the latency above is without it."""
    sizes = {side: sum(c.nbytes for c in report.crossings if c.to == side) for side in SIDES}
    text = f"{nbytes(sizes['npu'])} in, {nbytes(sizes['host'])} out, {seconds(report.link_seconds)}"
    between = [c.nbytes for c in report.crossings if not c.border]
    if not between:
        return text
    times = "1 value" if len(between) == 1 else f"{len(between)} values"
    crossed = f"{nbytes(sum(between))} in {seconds(report.link_between)}"
    return f"{text}; of this between parts of the model {times}, {crossed}"


def _bucket(bucket: BucketTime) -> str:
    dims = " ".join(f"{printable(name)}={size}" for name, size in bucket.dims.items())
    return f"{dims}: {seconds(bucket.seconds)} predicted, {nbytes(bucket.dram_bytes)} of DRAM"


def _interface(tensors: Sequence[tuple[str, TensorType | OpenType]]) -> str:
    return "\n".join(f"{printable(name)}: {kind}" for name, kind in tensors) or "none"


def _memory(report: Report) -> str:
    return ", ".join(
        f"{name} {capacity(report.memory[name][0])} of {capacity(report.memory[name][1])}"
        for name in report.on_chip
    )


def _verification(result: Verification) -> Iterator[tuple[str, str]]:
    random = ", ".join(map(printable, result.generated))
    inputs = f"random data for {random}" if random else "the inputs given"
    number = f"{result.kernels} kernel{'' if result.kernels == 1 else 's'}"
    found = f"yes: {number} inside their error bounds" if result.ok else "NO: see the error"
    yield "verified", f"{found}; on {inputs}"
    blank = [name for name, error in result.outputs.items() if not error.proves]
    if blank:
        names = ", ".join(map(printable, blank))
        yield "", f"{names}: nothing was compared, no element is finite; give inputs with --input"
    if result.undefined:
        names = ", ".join(map(printable, result.undefined))
        yield "", f"{names}: NaN among them, and what follows from NaN proves nothing"
    if result.audit is not None:
        yield "audited", audited(result.audit)
    for name, error in result.outputs.items():
        yield "error", f"{printable(name)}: {describe(error)} against {result.reference}"
    for name in result.random:
        yield "error", f"{printable(name)}: random, cannot be compared"


def audited(audit: Audit) -> str:
    """An audit in words."""
    if not audit.ok:
        number = f"{len(audit.findings)} finding{'' if len(audit.findings) == 1 else 's'}"
        return f"NO: {number}, the first is {printable(str(audit.findings[0]))}"
    text = f"yes: {audit.instructions:,} instructions"
    if not audit.macs:
        return text
    text += f"; {count(audit.macs)} MACs"
    share = percent(audit.derived / audit.macs)
    return f"{text}, {share} counted in the ONNX graph too" if audit.derived else f"{text} counted"


def describe(error: OutputError) -> str:
    """An output's error in words."""
    skipped = f", {error.alike} of {error.elements} not finite, not compared" if error.alike else ""
    if not error.proves:
        return skipped.removeprefix(", ")
    if error.max_abs_err == 0 and not error.nonfinite:
        return f"none{skipped}"
    ratio = "" if error.sqnr_db is None else f", SQNR {error.sqnr_db:.1f} dB"
    odd = f", {error.nonfinite} elements not finite in one of them" if error.nonfinite else ""
    return f"at most {error.max_abs_err:.2g}{ratio}{odd}{skipped}"
