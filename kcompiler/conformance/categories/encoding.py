"""Laws of the instruction set: bytes and text say everything, once, and nothing else is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kcompiler.conformance.bench import Bench
from kcompiler.conformance.drawn import form, samples, variants
from kcompiler.conformance.golden import NAME, differences, golden_path, listing
from kcompiler.conformance.score import Finding, judged
from kcompiler.conformance.values import generator
from kcompiler.machine.assembly import AssemblyError, format_program, parse_program
from kcompiler.machine.fields import Choice, Kind
from kcompiler.machine.instruction import EncodingError, Isa

TITLE = "instructions survive bytes and text, and damage is refused"
_SAMPLES = 6  # of each class, whose fields are varied
_GOLDEN = 2  # of each class in a golden listing
_FLIPS = 160  # bits of each class's samples
_BLOBS = 200
_FIX = "encoder, decoder, printer and parser must follow from one declaration of the field"


def findings(bench: Bench) -> Iterator[Finding]:
    """Each law for each instruction, then the laws of the whole set."""
    isa = bench.target.isa
    yield from _names(isa)
    drawn = samples(isa, bench.instructions(), _SAMPLES)
    laws = _Laws(isa)
    for cls, known in drawn.items():
        if not known:
            text = "no program of the kit has one, and none could be made up"
            yield Finding(f"{cls.mnemonic}: can be made", "absent", text)
            continue
        yield from laws.of(cls, known)
    yield _golden(isa)
    yield judged("programs: bytes and text round trip", laws.programs(), _FIX)
    yield judged("random bytes are refused or canonical", laws.noise(), _FIX)


def _golden(isa: type[Isa]) -> Finding:
    """What was written once still holds."""
    name = "the golden listing holds"
    path = golden_path(isa)
    if path is None or not path.is_file():
        text = f"there is no {NAME} beside the instruction set, so that no change of both is seen"
        return Finding(name, "absent", text, "write it: kcompile check-target T --golden FILE")
    text = path.read_text(encoding="utf-8")
    fix = "keep the encoding, or write the listing anew: kcompile check-target T --golden FILE"
    return judged(name, next(differences(text, isa), None), fix)


def golden_listing(bench: Bench) -> str:
    """A listing of what the kit's programs have, two instructions of each class."""
    isa = bench.target.isa
    drawn = samples(isa, bench.instructions(), _GOLDEN)
    return listing((x for known in drawn.values() for x in known), isa)


def _names(isa: type[Isa]) -> Iterator[Finding]:
    """Opcodes, mnemonics, engines and what the manual says."""
    classes = isa.instructions()
    yield judged("there are instructions", None if classes else "the set is empty", _FIX)
    for what in ("opcode", "mnemonic"):
        twice = [v for v, n in Counter(getattr(c, what) for c in classes).items() if n > 1]
        problem = f"{what} {twice[0]} has two meanings" if twice else None
        yield judged(f"each {what} is one instruction's", problem, "choose another one")
    for cls in classes:
        silent = not cls.meaning.strip()
        problem = "it has no docstring, so the manual cannot say what it does" if silent else None
        yield judged(f"{cls.mnemonic}: has a meaning", problem, "write its docstring")


@dataclass
class _Laws:
    """The laws, and what they have seen so far."""

    isa: type[Isa]

    def __post_init__(self) -> None:
        self.by_bytes: dict[bytes, Any] = {}
        self.by_text: dict[str, Any] = {}
        self.seen: list[Isa] = []

    def of(self, cls: type[Isa], known: Sequence[Isa]) -> Iterator[Finding]:
        """The laws of one instruction's variants."""
        try:
            drawn = [v for each in known for v in variants(each)]
        except ValueError as error:
            yield Finding(f"{cls.mnemonic}: takes every legal value", "failed", str(error), _FIX)
            return
        self.seen += drawn[:: max(1, len(drawn) // 40)]
        laws: dict[str, Callable[[Isa], str | None]] = {
            "bytes round trip": self.bytes_round_trip,
            "text round trips": self.text_round_trips,
            "different ones have different bytes and text": self.told_apart,
        }
        for name, law in laws.items():
            yield judged(f"{cls.mnemonic}: {name}", _first(law, drawn), _FIX)
        yield judged(f"{cls.mnemonic}: every field counts", _still(cls, drawn), _FIX)
        damage = _first(self.truncated, known) or self.flipped(known)
        yield judged(f"{cls.mnemonic}: damage is refused or canonical", damage, _FIX)

    def bytes_round_trip(self, each: Isa) -> str | None:
        """Decoding undoes encoding, wherever in a program."""
        data, said = self.isa.encode(each), form(each)
        for before in (b"", bytes(8)):
            made, size = self.isa.decode(before + data + data, len(before))
            if size != len(data):
                return f"{each}: {len(data)} bytes are decoded as {size}"
            if form(made) != said:
                return f"{each}\nis decoded as\n{made}"
            if self.isa.encode(made) != data:
                return f"{each}: its bytes differ when they are encoded again"
        return None

    def text_round_trips(self, each: Isa) -> str | None:
        """Parsing undoes printing."""
        text = str(each)
        made = parse_program(self.isa, text)
        if "\n" in text or len(made) != 1 or form(made[0]) != form(each):
            return f"{text}\nis parsed as\n{format_program(made)}"
        return None

    def told_apart(self, each: Isa) -> str | None:
        """No two instructions share bytes or a line of assembly."""
        said = form(each)
        known = self.by_bytes.setdefault(self.isa.encode(each), said)
        if known != said:
            return f"{each} has the bytes of another instruction: {known}"
        known = self.by_text.setdefault(str(each), said)
        return None if known == said else f"{each} is the text of another instruction: {known}"

    def truncated(self, each: Isa) -> str | None:
        """No beginning of an instruction is one."""
        data = self.isa.encode(each)
        for length in {0, 1, *range(8, len(data), 8), len(data) - 1}:
            try:
                made, size = self.isa.decode(data[:length])
            except EncodingError:
                continue
            return f"{each}: its first {length} bytes are decoded as {made} ({size} bytes)"
        return None

    def flipped(self, known: Sequence[Isa]) -> str | None:
        """A changed bit makes another instruction or an error."""
        for each in known:
            data = self.isa.encode(each)
            rng = generator("flips", data.hex())
            count = min(8 * len(data), _FLIPS // len(known))
            for place in sorted(rng.permutation(8 * len(data))[:count].tolist()):
                bits = int.from_bytes(data, "little") ^ 1 << place
                problem = self.canonical(bits.to_bytes(len(data), "little"))
                if problem is not None:
                    return f"{each} with bit {place} flipped: {problem}"
        return None

    def canonical(self, data: bytes) -> str | None:
        """Bytes are refused with an EncodingError, or are what their program encodes to."""
        try:
            program = self.isa.decode_program(data)
        except EncodingError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no refusal
            return f"decoding raises {type(error).__name__}: {error}"
        if self.isa.encode_program(program) == data:
            return None
        return f"it is decoded as {format_program(program)!r:.200}, whose bytes are others"

    def programs(self) -> str | None:
        """All that was drawn as one program."""
        data = self.isa.encode_program(self.seen)
        if list(map(form, self.isa.decode_program(data))) != list(map(form, self.seen)):
            return "a program is decoded as another one"
        try:
            made = parse_program(self.isa, format_program(self.seen))
        except AssemblyError as error:
            return f"a printed program is not parsed: {error}"
        same = list(map(form, made)) == list(map(form, self.seen))
        return None if same else "a printed program is parsed as another one"

    def noise(self) -> str | None:
        """Random bytes, half of them behind the first word of a real instruction."""
        rng = generator("noise")
        for number in range(_BLOBS):
            data = rng.bytes(8 * int(rng.integers(1, 6)))
            if number % 2 and self.seen:
                data = self.isa.encode(self.seen[number % len(self.seen)])[:8] + data
            problem = self.canonical(data)
            if problem is not None:
                return f"{data.hex()}: {problem}"
        return None


def _first(law: Callable[[Isa], str | None], drawn: Sequence[Isa]) -> str | None:
    """The first way in which a law breaks; what raises, breaks it."""
    for each in drawn:
        try:
            problem = law(each)
        except Exception as error:  # noqa: BLE001 - whatever it is, the law does not hold
            problem = f"{type(error).__name__}: {error}\nin {form(each)!r:.300}"
        if problem is not None:
            return problem
    return None


def _has_others(kind: Kind) -> bool:
    """Whether a field has more than one legal value."""
    return len(kind.names) > 1 if isinstance(kind, Choice) else True


def _still(cls: type[Isa], drawn: Sequence[Isa]) -> str | None:
    """The laws are not vacuous: every field takes several values."""
    for operand in cls.operands:
        if not _has_others(operand.kind):
            continue
        if len({str(form(getattr(each, operand.name))) for each in drawn}) < 2:
            return f"field {operand.name} has one value in all {len(drawn)} instructions drawn"
    return None
