"""Damaged files through the compiler: whatever the bytes are, a `KcompilerError` or a result."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import kcompiler
from kcompiler.artifact import pack
from kcompiler.errors import KcompilerError
from kcompiler.graph.types import TensorType
from kcompiler.package import Hashed, to_bytes
from kcompiler.verify import Audit
from tests.fuzz.check import Fault, text_of
from tests.fuzz.maker import Discarded
from tests.fuzz.mutate import mutated_bytes, mutated_model, mutated_package
from tests.fuzz.recipe import random_case

RANK = 64  # dimensions that an array of numpy may have
RUN = 1 << 16  # elements of inputs and outputs up to which a file that is accepted is also run


def damaged_model(source: random.Random) -> bytes:
    """A valid random model, then changed."""
    data: bytes = random_case(source).model.SerializeToString()
    return mutated_model(data, source)


def damaged_package(source: random.Random) -> bytes:
    """The package of a valid random model, then changed; the hashes are right, mostly."""
    model = random_case(source).model
    try:
        compiled = kcompiler.compile(model)
        manifest, sections = pack(compiled.compilation, compiled.target)
    except Exception as error:  # noqa: BLE001 - the other kinds of cases look for faults here
        raise Discarded(f"no package: {type(error).__name__}") from None
    plain = {name: _bytes(data) for name, data in sections.items()}
    if source.random() < 0.1:
        return mutated_bytes(to_bytes(manifest, plain), source)
    changed = mutated_package(dict(manifest), plain, source)
    try:
        return to_bytes(*changed)
    except KcompilerError as error:
        raise Discarded(error.what) from None


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "model file": damaged_model,
    "package": damaged_package,
}


def _bytes(data: Any) -> bytes:
    data = data.data if isinstance(data, Hashed) else data
    return data.tobytes() if isinstance(data, np.ndarray) else bytes(data)


def damaged(kind: str, seed: int, index: int) -> bytes:
    """The file of a kind, a seed and a number."""
    return MAKERS[kind](random.Random(f"{kind}/{seed}/{index}"))  # noqa: S311 - no secrets here


def try_file(kind: str, data: bytes) -> Fault | None:
    """Read the file, audit a package, and run it where it is accepted and small."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _use(kind, data)
    except KcompilerError:
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
        return Fault(kind, type(error).__name__, text_of(error))
    return None


def _report(audit: Audit) -> None:
    """All that an audit says, whatever it has found."""
    json.dumps(audit.json())
    for finding in audit.findings:
        str(finding)


def _use(kind: str, data: bytes) -> None:
    model = kcompiler.compile(data) if kind == "model file" else kcompiler.load(data)
    if kind == "package":  # what was compiled is audited when it is verified
        _report(model.audit())
    feeds: dict[str, Any] = {}
    ends = (*model.compilation.inputs, *model.compilation.outputs)
    if not all(isinstance(t, TensorType) and t.size <= RUN and t.rank <= RANK for _, t in ends):
        return
    for name, type_ in model.compilation.inputs:
        assert isinstance(type_, TensorType)
        feeds[name] = np.ones(type_.shape, type_.dtype)
    model.run(feeds)
