"""What another process compiles, to compare bytes: `python -m kcompiler.conformance.child`."""

from __future__ import annotations

import hashlib
import pickle
import sys

from kcompiler.conformance.models import compiled, precisions
from kcompiler.machine.target import Target
from kcompiler.registry import find_target

_COMPILED = ("residual", "transformer", "lstm", "quantized")


def digests(target: Target) -> dict[str, str]:
    """Name -> SHA-256 of the package of each network."""
    found = {}
    for name in _COMPILED:
        package = compiled(name, target, precisions(target)[0]).to_bytes()
        found[name] = hashlib.sha256(package).hexdigest()
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
