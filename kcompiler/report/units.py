"""Numbers and names as people read them."""

from __future__ import annotations

_DECIMAL = ("", "k", "M", "G", "T", "P")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def count(value: float) -> str:
    """1234567 -> `1.23 M`."""
    scaled, prefix = float(value), 0
    while abs(scaled) >= 999.5 and prefix + 1 < len(_DECIMAL):
        scaled, prefix = scaled / 1000, prefix + 1
    if prefix == 0:
        return f"{value:g}"
    return f"{_three(scaled)} {_DECIMAL[prefix]}"


def nbytes(value: float) -> str:
    """1234567 -> `1.23 MB`: traffic and files."""
    text = count(value)
    return f"{text}B" if " " in text else f"{text} B"


def capacity(value: int) -> str:
    """4194304 -> `4 MiB`: memories, whose sizes are powers of two."""
    scaled, prefix = float(value), 0
    while scaled >= 1024 and prefix + 1 < len(_BINARY):
        scaled, prefix = scaled / 1024, prefix + 1
    return f"{_three(scaled) if scaled % 1 else int(scaled)} {_BINARY[prefix]}"


def seconds(value: float) -> str:
    """0.0000123 -> `12.3 µs`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{_three(value / size)} {unit}"
    return f"{_three(value / 1e-9)} ns" if value else "0 s"


def percent(share: float) -> str:
    """0.99951 -> `99.95 %`; never rounds up to 100 %."""
    shown = 100 * share
    return "100 %" if share == 1 else f"{min(shown, 99.99):.2f} %"


def printable(text: str) -> str:
    """A name from an untrusted file, safe for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _three(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
