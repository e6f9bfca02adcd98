"""Files made to harm: each is refused with a message that says what is wrong, at little cost."""

import hashlib
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import kcompiler
from kcompiler.errors import PackageError
from kcompiler.package import from_bytes, to_bytes
from tests.package.craft import PAGE, entry, forge, refusal, seal, text

GB = 1 << 30
A = entry("a", 0, b"12345")
B = entry("b", PAGE, b"678")
DATA = b"12345" + bytes(PAGE - 5) + b"678"
FIX = "the file is damaged or was altered: copy it again, or compile the model again"
RULE = "names have up to 255 of A-Z a-z 0-9 _ . - and /, no part empty or starting with . or -"


def with_manifest(raw: bytes) -> bytes:
    """A file whose manifest is any text, with a correct hash."""
    return seal(b'{"manifest":{"x":' + raw + b'},"sections":[]}')


def many(count: int) -> bytes:
    """A file with so many empty sections."""
    return forge(*(entry(f"{i:06}", 0, b"") for i in range(count)))


HEADERS = {
    "1 GB manifest in a small file": (
        seal(b"{}", length=GB),
        (
            f"the header declares a manifest of {GB} bytes, "
            "the file has 4032 and the limit is 16777216"
        ),
    ),
    "the largest manifest length": (
        seal(b"{}", length=2**64 - 1),
        (
            "the header declares a manifest of 18446744073709551615 bytes, "
            "the file has 4032 and the limit is 16777216"
        ),
    ),
    "a manifest over the limit": (
        seal(b'{"m":"' + b"x" * (16 << 20) + b'"}'),
        (
            "the header declares a manifest of 16777224 bytes, "
            "the file has 16781248 and the limit is 16777216"
        ),
    ),
    "1 GB file in a small file": (
        seal(b"{}", size=GB),
        f"the header declares {GB} bytes, the file has 4096",
    ),
    "reserved": (seal(b"{}", reserved=7), "the reserved field of the header is 7, not 0"),
    "cut in the header": (seal(b"{}")[:63], "the file has 63 bytes, a header has 64"),
    "cut in the padding": (
        seal(b"{}", size=100)[:100],
        "the section data starts at 4096, the file ends at 100",
    ),
    "hidden bytes": (
        seal(b"{}")[:4000] + b"x" + bytes(95),
        "the padding before the section data is not zero",
    ),
}
TABLES = {
    "overlap": (
        forge(entry("a", 0, bytes(5000)), B, data=bytes(5000)),
        "section b starts at 4096, inside a which ends at 5000",
    ),
    "same place": (
        forge(A, entry("b", 0, b"12345"), data=b"12345"),
        "section b starts at 0, inside a which ends at 5",
    ),
    "1 GB section": (
        forge(entry("a", 0, b"12345", length=GB), data=b"12345"),
        f"section a ends at {GB}, the data at 5",
    ),
    "sum beyond 64 bits": (
        forge(A, entry("b", PAGE, b"678", length=2**64 - 1), data=DATA),
        f"section b ends at {2**64 - 1 + PAGE}, the data at 4099",
    ),
    "offset beyond the file": (
        forge(A, entry("b", 16 * PAGE, b"678"), data=DATA),
        "section b ends at 65539, the data at 4099",
    ),
    "negative offset": (
        forge(entry("a", -PAGE, b"12345"), data=DATA),
        "section a has the offset -4096",
    ),
    "negative length": (
        forge(entry("a", 0, b"12345", length=-1), data=DATA),
        "section a has the length -1",
    ),
    "offset is a bool": (forge(entry("a", False, b""), data=b""), "section a has the offset False"),
    "offset is a float": (forge(entry("a", 0.0, b""), data=b""), "section a has the offset 0.0"),
    "misaligned": (
        forge(A, entry("b", 4097, b"78"), data=DATA),
        "section b starts at 4097, not a multiple of 4096",
    ),
    "a hole": (
        forge(A, entry("b", 2 * PAGE, b"678"), data=bytes(2 * PAGE) + b"678"),
        "section b starts at 8192 instead of 4096",
    ),
    "bytes in the padding": (
        forge(A, B, data=DATA[:100] + b"x" + DATA[101:]),
        "the padding before section b is not zero",
    ),
    "bytes after the end": (
        forge(A, data=b"12345x"),
        "the last section ends at 5, the section data at 6",
    ),
    "a name twice": (
        forge(A, entry("a", PAGE, b"678"), data=DATA),
        "section a follows a: names must be sorted and unique",
    ),
    "unsorted": (
        forge(entry("b", 0, b"12345"), entry("a", PAGE, b"678"), data=DATA),
        "section a follows b: names must be sorted and unique",
    ),
    "wrong hash": (
        forge(entry("a", 0, b"12345", sha256=64 * "0"), data=b"12345"),
        (
            f"the SHA-256 of section a is {hashlib.sha256(b'12345').hexdigest()}, "
            f"recorded is {64 * '0'}"
        ),
    ),
    "not a hash": (
        forge(entry("a", 0, b"12345", sha256=64 * "G"), data=b"12345"),
        f"section a has the sha256 '{56 * 'G'}...",
    ),
    "a field too many": (
        forge(A | {"x": 1}, data=b"12345"),
        "entry 0 of the section table must hold length, name, offset, sha256",
    ),
    "no entry": (forge(7), "entry 0 of the section table must hold length, name, offset, sha256"),
    "too many": (many(65537), "there are 65537 sections, at most 65536 may be"),
    "no table": (
        seal(text({"manifest": {}, "sections": {}})),
        "the section table is {}, not a list",
    ),
}
NAMES = ["../etc/passwd", "a/../b", "/a", "a/", "a//b", ".", "-rf", "a\n", "a b", "ä", "", 7, None]
ENVELOPES = {
    "deep": (
        with_manifest(b"[" * 100_000 + b"]" * 100_000),
        "the manifest nests deeper than 64 levels or has an unmatched bracket",
    ),
    "too deep by one": (
        with_manifest(b"[" * 63 + b"]" * 63),
        "the manifest nests deeper than 64 levels or has an unmatched bracket",
    ),
    "open brackets": (
        with_manifest(b"[" * 1000),
        "the manifest nests deeper than 64 levels or has an unmatched bracket",
    ),
    "many values": (
        with_manifest(b"[" + b"[]," * (1 << 20) + b"[]]"),
        "the manifest has 2097158 commas and opening brackets, at most 1048576 may be",
    ),
    "NaN": (with_manifest(b"NaN"), "the manifest has NaN, which is not JSON"),
    "infinity": (with_manifest(b"-Infinity"), "the manifest has -Infinity, which is not JSON"),
    "hidden infinity": (
        with_manifest(b"1e999"),
        "the manifest has the number '1e999', which no float64 holds",
    ),
    "65 bits": (
        with_manifest(b"18446744073709551616"),
        "the manifest has the integer '18446744073709551616', beyond 64 bits",
    ),
    "a million digits": (
        with_manifest(b"9" * 1_000_000),
        f"the manifest has the integer '{56 * '9'}..., beyond 64 bits",
    ),
    "a million decimals": (
        with_manifest(b"0." + b"9" * 1_000_000),
        f"the manifest has the number '0.{54 * '9'}..., which no float64 holds",
    ),
    "a key twice": (
        seal(b'{"manifest":{"a":1,"a":2},"sections":[]}'),
        "the manifest is not canonical JSON (sorted unique keys, no spaces)",
    ),
    "a space": (
        seal(b'{"manifest": {},"sections":[]}'),
        "the manifest is not canonical JSON (sorted unique keys, no spaces)",
    ),
    "no UTF-8": (
        with_manifest(b'"\xff"'),
        (
            "the manifest is not JSON: 'utf-8' codec can't decode byte 0xff in position 18: "
            "invalid start byte"
        ),
    ),
    "half a surrogate pair": (
        with_manifest(b'"\\ud800"'),
        (
            "the manifest is not JSON: 'utf-8' codec can't encode character '\\ud800' "
            "in position 18: surrogates not allowed"
        ),
    ),
    "an open string": (
        seal(b'{"manifest'),
        "the manifest nests deeper than 64 levels or has an unmatched bracket",
    ),
    "nothing": (seal(b""), "the manifest is not JSON: Expecting value: line 1 column 1 (char 0)"),
    "no object": (seal(b"[]"), "the envelope must hold exactly a manifest and sections"),
    "a part too many": (
        seal(b'{"extra":1,"manifest":{},"sections":[]}'),
        "the envelope must hold exactly a manifest and sections",
    ),
    "manifest is a list": (
        seal(b'{"manifest":[1],"sections":[]}'),
        "the manifest is [1], not an object",
    ),
}
CASES = HEADERS | TABLES | ENVELOPES


def message(why: str, fix: str = FIX) -> str:
    """The whole text that a user sees."""
    return f"error: cannot read the package\n  at: m.kpkg\n  because: {why}\n  try: {fix}"


@pytest.mark.parametrize(("blob", "why"), CASES.values(), ids=CASES)
def test_refused(blob: bytes, why: str) -> None:
    assert refusal(blob) == message(why)


@pytest.mark.parametrize("name", NAMES)
def test_names(name: object) -> None:
    assert refusal(forge(entry(name, 0, b""))) == message(
        f"a section has the name {name!r}; {RULE}"
    )


def test_a_long_name() -> None:
    assert refusal(forge(entry("x" * 255, 0, b""))) == ""
    why = f"a section has the name '{'x' * 56}...; {RULE}"
    assert refusal(forge(entry("x" * 256, 0, b""))) == message(why)


@pytest.mark.parametrize("blob", [b"", b"K", b"PK\x03\x04 a zip file, not a package", bytes(5000)])
def test_another_kind_of_file(blob: bytes) -> None:
    if blob == b"K":
        assert refusal(blob) == message("the file has 1 bytes, a header has 64")
        return
    why = f"it begins with {blob[:8]!r}, a package with b'KPKG\\r\\n\\x1a\\n'"
    assert refusal(blob) == message(why, "give the path of a model.kpkg, as kcompile writes it")


def test_another_version() -> None:
    assert refusal(seal(b"{}", version=2)) == message(
        "it has format version 2, this kcompiler reads 1",
        "compile the model again, or use the version of kcompiler that wrote the file",
    )


def test_the_limits_themselves_are_allowed() -> None:
    assert refusal(with_manifest(b"[" * 62 + b"]" * 62)) == ""
    assert refusal(many(65536)) == ""
    assert refusal(with_manifest(b"[18446744073709551615,-9223372036854775808]")) == ""
    assert refusal(with_manifest(b'"' + b"[" * 1000 + b'"')) == ""  # brackets in a string
    assert refusal(forge(A, B, data=DATA)) == ""
    frame = len(b'{"manifest":{"x":""},"sections":[]}')
    for size in (PAGE - 64, 16 << 20):  # a full page without padding; the longest of all
        assert refusal(with_manifest(b'"' + b"x" * (size - frame) + b'"')) == ""
    commas = (1 << 20) - 4  # the frame has one, and three opening brackets
    assert refusal(with_manifest(b'"' + b"," * commas + b'"')) == ""


def test_strings_take_linear_time() -> None:
    """With a regular expression that backtracks this would take hours."""
    before = time.process_time()
    assert refusal(with_manifest(b'"' + b'\\"' * 2_000_000))
    assert time.process_time() - before < 5


def test_a_lazy_reader_meets_the_error_on_access() -> None:
    blob = bytearray(to_bytes({}, {"bad": b"12345", "good": b"678"}))
    blob[PAGE] ^= 1
    package = from_bytes(blob, verify=False, origin="m.kpkg")
    assert ("bad" in package.sections, len(package.sections)) == (True, 2)
    assert bytes(package.sections["good"]) == b"678"
    for _ in range(2):
        with pytest.raises(PackageError, match="the SHA-256 of section bad is") as caught:
            package.section("bad")
        assert caught.value.where == "m.kpkg"


SMALL = {name: case for name, case in CASES.items() if len(case[0]) < 100_000}


@pytest.mark.parametrize("blob", [blob for blob, _ in SMALL.values()], ids=SMALL)
def test_no_declared_size_is_allocated(blob: bytes) -> None:
    tracemalloc.start()
    try:
        assert refusal(blob)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


LIMITED = """
import resource, sys
from kcompiler.errors import PackageError
from kcompiler.package import read
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
try:
    bytearray(1 << 30)
except MemoryError:
    print("the limit holds")
for path in sys.argv[1:]:
    try:
        read(path)
    except PackageError as error:
        print(error.why)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource limits")
def test_1_gb_declared_under_a_memory_limit(tmp_path: Path) -> None:
    forged = [HEADERS["1 GB manifest in a small file"], TABLES["1 GB section"]]
    paths: list[Any] = [tmp_path / f"{i}.kpkg" for i in range(2)]
    for path, (blob, _) in zip(paths, forged, strict=True):
        path.write_bytes(blob)
    root = Path(kcompiler.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, *paths],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == ["the limit holds", *(why for _, why in forged)]
