"""What another process compiles, to compare bytes: `python -m kcompiler.conformance.child`."""

from __future__ import annotations

import hashlib
import pickle
import sys

from kcompiler.conformance.nets import lstm, quantized, residual, transformer
from kcompiler.machine.target import Target
from kcompiler.registry import find_target


def digests(target: Target) -> dict[str, str]:
    """Name -> SHA-256 of the package of each network."""
    from kcompiler.api import compile as compile_model
    from kcompiler.frontend.export import export_model

    found = {}
    for make in (residual, transformer, lstm, quantized):
        graph = make()
        package = compile_model(export_model(graph), target).to_bytes()
        found[graph.name] = hashlib.sha256(package).hexdigest()
    return found


def main() -> int:
    """Print the digests for the target on standard input, or for the one whose name is there."""
    given = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the process that started this
    target = find_target(given) if isinstance(given, str) else given
    for name, digest in digests(target).items():
        sys.stdout.write(f"{name} {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
