"""Damage is found wherever it strikes; a forgery with correct hashes hides nothing."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kcompiler.errors import PackageError
from kcompiler.package import from_bytes, reader, to_bytes
from tests.package.craft import MANIFEST, SECTIONS, refusal, seal, text

BLOB = to_bytes(MANIFEST, SECTIONS)
(LENGTH,) = struct.unpack_from("<Q", BLOB, 24)
ENVELOPE = BLOB[64 : 64 + LENGTH]
REST = BLOB[4096:]


def test_every_truncation_is_found() -> None:
    assert [n for n in range(len(BLOB)) if not refusal(BLOB[:n])] == []


def test_every_extension_is_found() -> None:
    assert [n for n in (1, 4095, 4096) if not refusal(BLOB + bytes(n))] == []


def test_every_flip_is_found() -> None:
    assert _silent_flips() == []


def test_without_the_hashes_flips_stay_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: were the check of hashes lost, the test above would say so."""
    monkeypatch.setattr(reader, "check_hash", lambda *_: None)
    assert {4096, 4100, len(BLOB) - 1} <= set(_silent_flips())


def _silent_flips() -> list[int]:
    """The positions where changed bits change the content, or nothing, without an error."""
    silent = []
    for position in range(len(BLOB)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(BLOB)
            damaged[position] ^= mask
            if not refusal(bytes(damaged)):
                silent.append(position)
    return sorted(set(silent))


@given(st.data())
def test_what_is_accepted_is_what_would_be_written(data: st.DataObject) -> None:
    """A forger may change the envelope at will and fix all lengths and the hash."""
    forged = bytearray(ENVELOPE)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(forged)))
        stop = data.draw(st.integers(start, min(start + 4, len(forged))))
        forged[start:stop] = data.draw(st.sampled_from(PIECES) | st.binary(max_size=3))
    _accepted_only_if_canonical(seal(bytes(forged), REST))


PIECES = [
    b"0",
    b"1",
    b"-",
    b"4096",
    b"1e3",
    b"NaN",
    b" ",
    b",",
    b'"',
    b"[",
    b"]",
    b"{}",
    b"\\u0061",
]


@given(st.binary(max_size=300))
@example(text({"manifest": {"a": 1}, "sections": []}))
def test_any_bytes_as_envelope(envelope: bytes) -> None:
    _accepted_only_if_canonical(seal(envelope))


def test_the_law_is_not_vacuous() -> None:
    """A change that keeps the form is accepted, so both arms of the law are taken."""
    blob = seal(ENVELOPE.replace(b"tiny", b"huge"), REST)
    assert from_bytes(blob).manifest["model"] == "huge"
    _accepted_only_if_canonical(blob)


def _accepted_only_if_canonical(blob: bytes) -> None:
    try:
        package = from_bytes(blob)
    except PackageError:
        return
    assert to_bytes(dict(package.manifest), package.sections) == blob
