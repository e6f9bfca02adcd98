"""The format itself: the bytes of one tiny package, written down by hand."""

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import kcompiler
from kcompiler.package import from_bytes, to_bytes, write
from tests.package.craft import MANIFEST, SECTIONS

SCRIPT = """
import hashlib
from kcompiler.package import to_bytes
keys = list({f"key{i}" for i in range(50)})
blob = to_bytes({k: {k: 1} for k in keys}, {k: k.encode() for k in keys})
print(hashlib.sha256(blob).hexdigest(), ",".join(keys))
"""


def test_golden_bytes() -> None:
    envelope = (
        b'{"manifest":{"model":"tiny","program":{"code_bytes":5}},"sections":['
        b'{"length":5,"name":"code","offset":0,"sha256":'
        b'"74f81fe167d99b4cb41d6d0ccda82278caee9f3e2f25d5e5a3936ff3dcec60d0"},'
        b'{"length":3,"name":"weights/w0","offset":4096,"sha256":'
        b'"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]}'
    )
    head = b"KPKG\r\n\x1a\n" + struct.pack("<IIQQ", 1, 0, 4096 + 4096 + 3, len(envelope))
    front = head + hashlib.sha256(head + envelope).digest() + envelope
    golden = front + bytes(4096 - len(front)) + b"\x01\x02\x03\x04\x05" + bytes(4091) + b"abc"
    assert to_bytes(MANIFEST, SECTIONS) == golden
    package = from_bytes(golden)
    assert package.manifest == MANIFEST
    assert package.sections == SECTIONS


def test_the_file_is_those_bytes(tmp_path: Path) -> None:
    info = write(tmp_path / "m.kpkg", MANIFEST, SECTIONS)
    blob = to_bytes(MANIFEST, SECTIONS)
    assert info.path.read_bytes() == blob
    assert (info.bytes, info.sha256) == (len(blob), hashlib.sha256(blob).hexdigest())


def test_order_does_not_matter() -> None:
    backwards = dict(reversed(MANIFEST.items())), dict(reversed(SECTIONS.items()))
    assert to_bytes(*backwards) == to_bytes(MANIFEST, SECTIONS)


def test_no_hash_seed_matters() -> None:
    digests, orders = zip(*(_run(seed) for seed in ("0", "1", "4711")), strict=True)
    assert len(set(digests)) == 1
    assert len(set(orders)) > 1  # the seeds did change what was passed in


def _run(seed: str) -> tuple[str, str]:
    root = Path(kcompiler.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    digest, order = run.stdout.split()
    return digest, order
