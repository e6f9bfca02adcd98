"""What else is read, sound at first, then damaged: text forms, values of options, arrays."""

from __future__ import annotations

import io
import random
import re
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import kcompiler
from kcompiler.buckets.spec import parse
from kcompiler.calibration.files import read_archive, read_array
from kcompiler.calibration.preprocess import parse_preprocess
from kcompiler.commands._options import parse_dims, parse_shapes, parse_values
from kcompiler.errors import KcompilerError
from kcompiler.graph.node import Array
from kcompiler.graph.parse import parse_graph
from kcompiler.graph.text import constants_of, print_graph
from kcompiler.kernel.parse import parse_kernel, parse_region
from kcompiler.kernel.text import print_kernel, print_region
from kcompiler.machine.assembly import AssemblyError, format_program, parse_program
from kcompiler.registry import find_target
from tests.fuzz.check import Fault, text_of
from tests.fuzz.maker import Discarded
from tests.fuzz.mutate import mutated_bytes
from tests.fuzz.recipe import random_case

_TOKEN = re.compile(r"\s+|\w+|.", re.DOTALL)
_ODD = (
    *(
        "-1",
        "0",
        "1",
        "9" * 30,
        "1e999",
        "nan",
        "-inf",
        "0x",
        "1_0",
        "\u0663",
        "\x00",
        "\u2028",
        "",
    ),
    *('"', "\\", "'", "[", "]", "(", ")", "{", "}", "=", ",", ":", "..", "+", "%", "%0", "#", ";"),
    *("f32", "f16", "i4", "true", "none", "Constant", "Fused", "graph", "kernel", "\n", "\\u12"),
)
_OPTIONS = {
    "dims": ("seq=1..512:128", "n=3", "all=past+seq+2", "a=1,32,128", "b=a", "x.0=4"),
    "shapes": ("x=1,3,8,8", "x=", "y=4"),
    "values": ("mode=1", "rate=0.5", "k=1,2", "on=true", "v=1,"),
    "preprocess": ("scale=255,layout=NHWC", "mean=0.5,0.4,0.3,std=0.2", "scale=2,mean=1"),
}


@cache
def _model(seed: int) -> Any:
    """A compiled random model; the next one where that one is none."""
    for number in range(seed, seed + 1000, 50):
        try:
            found = kcompiler.compile(random_case(random.Random(number)).model)  # noqa: S311
        except (Discarded, KcompilerError):
            continue
        if found.programs and found.programs[0].graph is not None:
            return found
    raise Discarded("no model was found")


def _sound(source: random.Random) -> tuple[str, bytes | str, dict[str, Array]]:
    """A reader's name, what it takes, and constants that a graph names."""
    kind = source.choice(["graph", "kernel", "region", "assembly", "manifest", *_OPTIONS, "array"])
    if kind in _OPTIONS:
        texts = source.sample(_OPTIONS[kind], 1 if kind == "preprocess" else source.randint(1, 2))
        return kind, "\n".join(texts), {}
    if kind == "array":
        return _arrays(source)
    model = _model(source.randrange(8))
    segment = model.programs[0]
    if kind == "graph":
        return kind, print_graph(segment.graph), constants_of(segment.graph)
    if kind == "assembly":
        code = model.target.isa.decode_program(segment.program.code)
        return kind, format_program(code[: source.choice([3, 30, 200])]), {}
    if kind == "manifest":
        return kind, model.to_bytes(), {}
    part = source.choice(model.parts(segment))
    shown = print_kernel(part.kernel) if kind == "kernel" else print_region(part.bound.region)
    return kind, shown, {}


def _arrays(source: random.Random) -> tuple[str, bytes, dict[str, Array]]:
    rng = np.random.default_rng(source.getrandbits(32))
    dtype = source.choice(["f4", "i8", "u1", "?", "U3", "c8", "f2"])
    value = rng.integers(0, 2, (2, 3)).astype(dtype)
    value = np.asfortranarray(value) if source.random() < 0.3 else value
    file = io.BytesIO()
    if source.random() < 0.5:
        np.save(file, value)
        return "npy", file.getvalue(), {}
    save = np.savez_compressed if source.random() < 0.5 else np.savez
    save(file, x=value, labels=np.arange(2))
    return "npz", file.getvalue(), {}


def damaged_input(source: random.Random) -> tuple[str, bytes | str, dict[str, Array]]:
    """A reader's name, and what it is to make sense of."""
    kind, content, constants = _sound(source)
    if kind == "manifest":
        return kind, _with_manifest(bytes(content), source), {}  # type: ignore[arg-type]
    if isinstance(content, bytes):
        return kind, mutated_bytes(content, source), {}
    return kind, mutated_text(content, source), constants


def mutated_text(text: str, source: random.Random) -> str:
    """Tokens replaced, dropped, repeated and exchanged; now and then very often or very deep."""
    tokens = _TOKEN.findall(text)
    for _ in range(source.choice([1, 1, 1, 2, 3, 6])):
        at = source.randrange(len(tokens) + 1)
        kind = source.randrange(7)
        if kind == 0:
            tokens[at : at + 1] = [source.choice(_ODD)]
        elif kind == 1:
            del tokens[at : at + source.randint(1, 12)]
        elif kind == 2:
            tokens[at:at] = tokens[at : at + source.randint(1, 40)] * source.choice([1, 2, 50])
        elif kind == 3 and tokens:
            tokens[at : at + 1] = [source.choice(tokens)]
        elif kind == 4:
            tokens[at:at] = [source.choice('([{"-%,')] * source.choice([1, 3000])
        elif kind == 5:
            tokens[at:at] = [chr(source.choice([0, 9, 127, 233, 0x2028, 0xD7FF, 0x1F600]))]
        else:
            tokens[at : at + 1] = source.choices("-0123456789", k=source.choice([1, 20]))
    return "".join(tokens)


def _with_manifest(data: bytes, source: random.Random) -> bytes:
    """A package whose manifest's text is damaged; lengths and hash are right."""
    from tests.package.craft import seal

    length = int.from_bytes(data[24:32], "little")
    envelope, rest = data[64 : 64 + length], data[4096 * -(-(64 + length) // 4096) :]
    text = mutated_text(envelope.decode(), source)
    return seal(text.encode("utf-8", "surrogatepass"), rest)


def _graph(text: str, constants: dict[str, Array]) -> None:
    found = parse_graph(text, constants)
    again = print_graph(found)
    if print_graph(parse_graph(again, constants | constants_of(found))) != again:
        raise AssertionError("printed and parsed, it is another graph")


def _printed(parse_text: Callable[[str], Any], show: Callable[[Any], str], text: str) -> None:
    again = show(parse_text(text))
    if show(parse_text(again)) != again:
        raise AssertionError("printed and parsed, it is another one")


def _assembly(text: str) -> None:
    isa = find_target("rebel").isa
    found = parse_program(isa, text)
    if isa.decode_program(isa.encode_program(found)) != found:
        raise AssertionError("encoded and decoded, it is another program")


def _file(read: Callable[[Path], object], data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.write_bytes(data)
        read(path)


_READERS: dict[str, Callable[[Any, dict[str, Array]], object]] = {
    "graph": _graph,
    "kernel": lambda text, _: _printed(parse_kernel, print_kernel, text),
    "region": lambda text, _: _printed(parse_region, print_region, text),
    "assembly": lambda text, _: _assembly(text),
    "dims": lambda text, _: parse(parse_dims(text.split("\n"))),
    "shapes": lambda text, _: parse_shapes(text.split("\n")),
    "values": lambda text, _: parse_values(text.split("\n")),
    "preprocess": lambda text, _: parse_preprocess(text),
    "npy": lambda data, _: _file(read_array, data),
    "npz": lambda data, _: _file(read_archive, data),
    "manifest": lambda data, _: kcompiler.load(data),
}


def try_input(kind: str, content: bytes | str, constants: dict[str, Array]) -> Fault | None:
    """Read it: a `KcompilerError`, an `AssemblyError`, or a result that prints as it was read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _READERS[kind](content, constants)
    except (KcompilerError, AssemblyError):
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
        return Fault(kind, type(error).__name__, text_of(error))
    return None


def seeded(seed: int, index: int) -> tuple[str, bytes | str, dict[str, Array]]:
    """The input of a seed and a number."""
    return damaged_input(random.Random(f"input/{seed}/{index}"))  # noqa: S311 - no secrets here


def as_file(seed: int, index: int) -> bytes:
    """What to keep of an input that shows a fault: the reader's name, and what it read."""
    reader, content, _ = seeded(seed, index)
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return reader.encode() + b"\n" + data
