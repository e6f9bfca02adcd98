"""Faults planted in rebel, one a mutant, each of a kind that compilers for NPUs have had.

A mutant changes what `lower` gives, what an instruction does, says or costs, or what the target
declares. What it is about stands in its name; `only` is the category that has to notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pytest import MonkeyPatch  # noqa: PT013 - a type

from kcompiler.graph.node import Op
from kcompiler.kernel.statements import Kernel
from kcompiler.machine.encoding import EncodingError
from kcompiler.machine.facts import Fact
from kcompiler.machine.instruction import Isa
from kcompiler.machine.program import Binding
from kcompiler.machine.simulator import boxes, contraction, elementwise
from kcompiler.machine.target import Target
from kcompiler.registry import find_target
from kcompiler.scalar import apply, convert
from kcompiler.targets.rebel import isa

Addresses = Mapping[str, tuple[int, ...]]
Change = Callable[[list[Any], Addresses], Sequence[Any]]
Move = Callable[[Addresses], Addresses]


def unchanged(code: list[Any], _: Addresses) -> Sequence[Any]:
    return code


def unmoved(addresses: Addresses) -> Addresses:
    return addresses


@dataclass(frozen=True)
class Mutated(Target):
    """A target with other instructions than it would have, or at other addresses."""

    inner: Target = field(kw_only=True)
    change: Change = unchanged
    move: Move = unmoved
    awaited: Callable[[dict[str, Any]], None] | None = None

    def lower(
        self, kernel: Kernel, bindings: Mapping[str, Binding], addresses: Addresses
    ) -> Sequence[Isa]:
        """What the target gives, changed."""
        target = replace(self.inner, chip=self.chip)
        found = self.move(addresses)
        return tuple(self.change(list(target.lower(kernel, bindings, found)), addresses))

    def wait(self, queue: str, engine: str, count: int, all_cores: bool) -> Isa:
        """The target's wait, changed."""
        made: dict[str, Any] = {"queue": queue, "engine": engine, "count": count}
        made["all_cores"] = all_cores
        if self.awaited is not None:
            self.awaited(made)
        return self.inner.wait(**made)


def mutated(**how: Any) -> Target:
    """Rebel, changed."""
    inner = find_target("rebel")
    own = {k: how.pop(k) for k in ("change", "move", "awaited") if k in how}
    fields = {n: getattr(inner, n) for n in ("chip", "isa", "precisions", "constraints")}
    return Mutated("mutant", **{**fields, **how}, inner=inner, **own)


Build = Callable[[MonkeyPatch], Target]


@dataclass(frozen=True)
class Mutant:
    """A fault; `topic` names the cases of the operator suite that notice, the others too maybe."""

    name: str
    only: str
    build: Build
    topic: str = ""
    slow: bool = False


ALL: list[Mutant] = []


def mutant(
    name: str, only: str, topic: str = "", *, slow: bool = False
) -> Callable[[Build], Build]:
    """Register what builds a mutant."""

    def register(build: Build) -> Build:
        ALL.append(Mutant(name, only, build, topic, slow))
        return build

    return register


def each(*kinds: type[Isa]) -> Callable[[Callable[[Any], Any]], Change]:
    """A change of every instruction of some kinds; None removes it."""

    def made(step: Callable[[Any], Any]) -> Change:
        def change(code: list[Any], _: Addresses) -> Sequence[Any]:
            found = [step(item) if isinstance(item, kinds) else item for item in code]
            return [item for item in found if item is not None]

        return change

    return made


# ---------------------------------------------------------------- boxes of tensors


def moved(load: isa.NdmaLoad) -> isa.NdmaLoad:
    """The box of a padded tensor begins one element later."""
    dims = tuple(replace(d, origin=d.origin + 1) if d.origin < 0 else d for d in load.dims)
    return replace(load, dims=dims)


@mutant("halo off by one", "operators", "products")
def halo(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.NdmaLoad)(moved))


def unclipped(load: isa.NdmaLoad) -> isa.NdmaLoad:
    """The tensor is taken for one element longer."""
    last = load.dims[-1]
    return replace(load, dims=(*load.dims[:-1], replace(last, extent=last.extent + 1)))


@mutant("wrong clip at an edge", "operators", "reductions")
def clip(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.NdmaLoad)(unclipped))


@mutant("wrong fill value of padding", "operators", "reductions")
def fill(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.NdmaLoad)(lambda x: replace(x, fill=0)))


def other_core(load: isa.NdmaLoad) -> isa.NdmaLoad:
    """Cores take each other's boxes along the first axis of the grid."""
    dims = tuple(replace(d, core_steps=d.core_steps[::-1]) for d in load.dims)
    return replace(load, dims=dims)


@mutant("wrong core offset", "operators", "products", slow=True)
def core_offset(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.NdmaLoad)(other_core))


def without_last(kind: type[Isa], least: int, holds: Callable[[Any], bool]) -> Change:
    """The last instruction of a kind is missing where there are several."""

    def change(code: list[Any], _: Addresses) -> Sequence[Any]:
        places = [i for i, x in enumerate(code) if isinstance(x, kind) and holds(x)]
        gone = places[-1] if len(places) >= least else -1
        return [x for i, x in enumerate(code) if i != gone]

    return change


@mutant("missing last partial tile", "operators", "products")
def last_tile(_: MonkeyPatch) -> Target:
    return mutated(change=without_last(isa.NdmaStore, 2, lambda _: True))


@mutant("last core left out", "operators", "elementwise")
def last_core(_: MonkeyPatch) -> Target:
    fewer = each(isa.VectorNest)(lambda x: replace(x, cores=max(1, x.cores - 1)))
    return mutated(change=fewer)


@mutant("off by one in a gather's negative index", "operators", "movement")
def negative_index(patch: MonkeyPatch) -> Target:
    right = boxes.gather

    def wrong(m: Any, *args: Any, axis: int, indices: Any, **kwargs: Any) -> None:
        late = np.where(indices == args[3].dims[axis].extent - 1, 0, indices)
        right(m, *args, axis=axis, indices=late, **kwargs)

    patch.setattr(boxes, "gather", wrong)
    return mutated()


# ---------------------------------------------------------------- products


def swapped(key: str) -> Callable[[Any], Any]:
    """Two loops have each other's stride of a factor."""

    def change(work: isa.MatrixContract) -> isa.MatrixContract:
        moving = [i for i, loop in enumerate(work.loops) if getattr(loop, key)]
        if len(moving) < 2:
            return work
        loops, (i, j) = list(work.loops), moving[:2]
        one, other = getattr(loops[i], key), getattr(loops[j], key)
        loops[i], loops[j] = replace(loops[i], **{key: other}), replace(loops[j], **{key: one})
        return replace(work, loops=tuple(loops))

    return change


@mutant("swapped strides", "operators", "products")
def strides(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(swapped("a")))


@mutant("transposed weight tile", "operators", "products")
def transposed(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(swapped("b")))


@mutant("accumulator not cleared", "operators", "products")
def not_cleared(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(lambda x: replace(x, accumulate=1)))


@mutant("partial sums lost", "operators", "products")
def sums_lost(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(lambda x: replace(x, accumulate=0)))


@mutant("K-slice dropped", "operators", "products")
def slice_dropped(_: MonkeyPatch) -> Target:
    return mutated(change=without_last(isa.MatrixContract, 2, lambda x: bool(x.accumulate)))


@mutant("sums kept in f16", "operators", "products", slow=True)
def narrow_sums(patch: MonkeyPatch) -> Target:
    right = contraction.contract

    def wrong(m: Any, scratchpad: str, cores: int, work: Any) -> None:
        right(m, scratchpad, cores, work)
        data = m.stores[scratchpad].data
        if work.a.dtype.kind == "f":
            shape, steps = _sums(work)
            view = np.ndarray(
                (len(data), *shape), np.float32, data, work.acc, (data.strides[0], *steps)
            )
            view[...] = view.astype(np.float16)

    patch.setattr(contraction, "contract", wrong)
    return mutated()


def _sums(work: Any) -> tuple[list[int], list[int]]:
    kept = [loop for loop in work.loops if loop.acc]
    return [loop.extent for loop in kept], [loop.acc for loop in kept]


# ---------------------------------------------------------------- vector work


def constants(change: Callable[[float], float]) -> Callable[[Any], Any]:
    """Float constants of a micro-program are others."""

    def step(micro: isa.Micro) -> isa.Micro:
        if micro.function != "const" or micro.dtype != "f32":
            return micro
        value = float(np.array(micro.immediate, np.uint64).view(np.float64))
        bits = int(np.array(change(value), np.float64).view(np.uint64))
        return replace(micro, immediate=bits)

    def made(nest: isa.VectorNest) -> isa.VectorNest:
        return replace(nest, result=tuple(map(step, nest.result)), body=tuple(map(step, nest.body)))

    return made


@mutant("wrong requantize shift", "operators", "quantized")
def shift(_: MonkeyPatch) -> Target:
    halved = constants(lambda v: v / 2 if 0 < abs(v) < 1 else v)
    return mutated(change=each(isa.VectorNest)(halved))


@mutant("zero point off by one", "operators", "quantized")
def zero_point(_: MonkeyPatch) -> Target:
    later = constants(lambda v: v + 1 if v in {-7.0, 3.0, 128.0} else v)
    return mutated(change=each(isa.VectorNest)(later))


def scalar(patch: MonkeyPatch, name: str, wrong: Callable[..., Any]) -> Target:
    """One scalar function means something else on the chip."""

    def other(function: str, dtype: Any, *values: Any) -> Any:
        return wrong(*values).astype(dtype) if function == name else apply(function, dtype, *values)

    patch.setattr(elementwise, "apply", other)
    return mutated()


@mutant("halves rounded away from zero", "operators", "quantized")
def rounding(patch: MonkeyPatch) -> Target:
    return scalar(patch, "round", lambda x: np.floor(np.asarray(x, np.float32) + np.float32(0.5)))


@mutant("NaN lost in a maximum", "operators", "elementwise")
def lost_nan(patch: MonkeyPatch) -> Target:
    return scalar(patch, "max", np.fmax)


@mutant("operands exchanged", "operators", "elementwise")
def exchanged(patch: MonkeyPatch) -> Target:
    return scalar(patch, "sub", lambda x, y: np.subtract(y, x))


@mutant("wrapped, not saturated", "operators", "elementwise")
def wrapped(patch: MonkeyPatch) -> Target:
    def wrong(x: Any, dtype: np.dtype[Any]) -> Any:
        if x.dtype == np.float32 and dtype.kind in "iu" and dtype.itemsize == 1:
            return np.nan_to_num(x, nan=0, posinf=0, neginf=0).astype(np.int64).astype(dtype)
        return convert(x, dtype)

    def other(function: str, dtype: Any, *values: Any) -> Any:
        return (
            wrong(np.asarray(values[0]), dtype)
            if function == "cast"
            else apply(function, dtype, *values)
        )

    patch.setattr(elementwise, "convert", wrong)
    patch.setattr(elementwise, "apply", other)
    return mutated()


def unsigned(work: isa.MatrixContract) -> isa.MatrixContract:
    """Bytes with a sign are read without."""
    return replace(work, type_b="u8") if work.type_b == "i8" else work


@mutant("wrong sign extension of data", "operators", "products")
def sign_of_data(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(unsigned))


# ---------------------------------------------------------------- addresses


def stale(code: list[Any], addresses: Addresses) -> Sequence[Any]:
    """The array reads the first copy of every double buffer."""
    first = {places[1]: places[0] for places in addresses.values() if len(places) > 1}
    return [
        replace(x, a=first.get(x.a, x.a), b=first.get(x.b, x.b))
        if isinstance(x, isa.MatrixContract)
        else x
        for x in code
    ]


@mutant("stale double buffer", "operators", "products")
def stale_buffer(_: MonkeyPatch) -> Target:
    return mutated(change=stale)


def crowded(addresses: Addresses) -> Addresses:
    """The second buffer lies on the first."""
    names = list(addresses)
    return dict(addresses) | ({names[1]: addresses[names[0]]} if len(names) > 1 else {})


@mutant("overlapping allocation", "operators", "elementwise")
def overlapping(_: MonkeyPatch) -> Target:
    return mutated(move=crowded)


def beyond(addresses: Addresses) -> Addresses:
    """Every buffer lies higher than it was told to."""
    return {name: tuple(p + (1 << 16) for p in places) for name, places in addresses.items()}


@mutant("budget exceeded", "hazards", slow=True)
def over_budget(_: MonkeyPatch) -> Target:
    return mutated(move=beyond)


# ---------------------------------------------------------------- order


@mutant("lost sync", "hazards")
def lost_sync(_: MonkeyPatch) -> Target:
    return mutated(awaited=lambda wait: wait.update(count=max(0, wait["count"] - 1)))


@mutant("sync of one core for all", "hazards")
def one_core(_: MonkeyPatch) -> Target:
    return mutated(awaited=lambda wait: wait.update(all_cores=False))


@mutant("wait that never ends", "hazards")
def endless(_: MonkeyPatch) -> Target:
    return mutated(awaited=lambda wait: wait.update(count=wait["count"] + 10_000))


@mutant("store before the sums are finished", "hazards")
def undeclared_write(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.MatrixContract, "writes", lambda *_: ())
    return mutated()


@mutant("loads over what is still read", "hazards", slow=True)
def undeclared_read(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.MatrixContract, "reads", lambda *_: ())
    return mutated()


@mutant("a byte of the box undeclared", "hazards", slow=True)
def short_touch(patch: MonkeyPatch) -> Target:
    right = isa.NdmaLoad.writes

    def wrong(self: Any, chip: Any) -> Any:
        return tuple(replace(t, run=max(0, t.run - 1)) for t in right(self, chip))

    patch.setattr(isa.NdmaLoad, "writes", wrong)
    return mutated()


# ---------------------------------------------------------------- bytes and text


def recoded(**methods: Any) -> Target:
    """Rebel with other class methods of its instruction set."""
    faulty: Any = type("Faulty", (isa.Rebel,), {"__doc__": "Rebel's.", **methods})
    return mutated(isa=faulty)


def decoded(change: Callable[[Any], Any]) -> Target:
    """What is decoded, changed."""

    def decode(_: Any, buffer: Any, offset: int = 0) -> Any:
        made, size = isa.Rebel.decode(buffer, offset)
        return change(made), size

    return recoded(decode=classmethod(decode))


@mutant("decode of a field one bit short", "encoding")
def short_field(_: MonkeyPatch) -> Target:
    return decoded(
        lambda x: replace(x, local=x.local & 0x7FFFFF) if isinstance(x, isa.NeuralDma) else x
    )


@mutant("wrong sign extension of a field", "encoding", slow=True)
def sign_of_field(_: MonkeyPatch) -> Target:
    def wrong(x: Any) -> Any:
        if not isinstance(x, isa.NdmaStore):
            return x
        dims = tuple(replace(d, stride=abs(d.stride) % (1 << 39)) for d in x.dims)
        return replace(x, dims=dims)

    return decoded(wrong)


@mutant("padding bits ignored", "encoding")
def loose(_: MonkeyPatch) -> Target:
    def decode(_: Any, buffer: Any, offset: int = 0) -> Any:
        try:
            return isa.Rebel.decode(buffer, offset)
        except EncodingError as error:
            if "padding" not in error.reason:
                raise
            return isa.SyncWait(queue="matrix", on="matrix", count=0, all_cores=0), 8

    return recoded(decode=classmethod(decode))


@mutant("garbage is a crash", "encoding")
def crash(_: MonkeyPatch) -> Target:
    def decode(_: Any, buffer: Any, offset: int = 0) -> Any:
        try:
            return isa.Rebel.decode(buffer, offset)
        except EncodingError as error:
            raise IndexError(str(error)) from None

    return recoded(decode=classmethod(decode))


@mutant("text leaves a field out", "encoding")
def silent_text(patch: MonkeyPatch) -> Target:
    right = isa.NdmaLoad.__str__
    patch.setattr(isa.NdmaLoad, "__str__", lambda x: right(replace(x, fill=0)))
    return mutated()


@mutant("two mnemonics are one", "encoding")
def clash(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.NdmaStore, "mnemonic", isa.NdmaLoad.mnemonic)
    return mutated()


# ---------------------------------------------------------------- costs


@mutant("work that costs nothing", "monotonicity")
def free(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.VectorNest, "cycles", lambda *_: 0)
    return mutated()


@mutant("negative cost", "monotonicity")
def negative(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.NdmaLoad, "cycles", lambda *_: -5)
    return mutated()


@mutant("bytes that nobody moves", "monotonicity")
def no_traffic(patch: MonkeyPatch) -> Target:
    patch.setattr(isa.NdmaStore, "traffic", lambda *_: {})
    return mutated()


@mutant("faster than the array", "monotonicity", slow=True)
def too_fast(patch: MonkeyPatch) -> Target:
    for cls in (isa.MatrixContract, isa.VectorNest, isa.NdmaLoad, isa.NdmaStore):
        patch.setattr(cls, "cycles", lambda *_: 1)
    return mutated()


@mutant("slower with more bandwidth", "monotonicity")
def contrary(patch: MonkeyPatch) -> Target:
    right = isa.NdmaLoad.cycles

    def wrong(self: Any, chip: Any) -> int:
        return right(self, chip) + int(chip.memory(chip.dram).bandwidth.value)

    patch.setattr(isa.NdmaLoad, "cycles", wrong)
    return mutated()


# ---------------------------------------------------------------- chance


def shuffled(code: list[Any], _: Addresses) -> Sequence[Any]:
    """Independent neighbours in an order that hangs on how text hashes."""
    if hash("order") % 2 and len(code) > 1 and isinstance(code[1], isa.NdmaLoad):
        return [code[1], code[0], *code[2:]]
    return code


@mutant("order of a set of words", "determinism", slow=True)
def hashed(_: MonkeyPatch) -> Target:
    return mutated(change=shuffled)


class _Counter:
    """Tells how often it was asked."""

    count = 0


def counted(code: list[Any], _: Addresses) -> Sequence[Any]:
    _Counter.count += 1
    extra = [x for x in code if isinstance(x, isa.NdmaLoad)][:1]
    return [*extra, *code] if _Counter.count % 7 == 0 else code


@mutant("state kept between compilations", "determinism")
def stateful(_: MonkeyPatch) -> Target:
    _Counter.count = 0
    return mutated(change=counted)


# ---------------------------------------------------------------- what is declared


def undocumented(_: Op) -> bool:
    return True


def raising(op: Op) -> bool:
    """An operator that has no window attribute is taken all the same."""
    return op.window is not None  # type: ignore[attr-defined]


def nothing(_: Op) -> bool:
    """Nothing runs on this chip, whatever it is."""
    return False


def curt(op: Op) -> bool:
    """No."""
    return op.type.rank < 6


def rebel_constraints(*more: Callable[[Op], bool], without: str = "") -> Target:
    kept = (c for c in find_target("rebel").constraints if c.__name__ != without)
    return mutated(constraints=(*kept, *more))


@mutant("constraint without docstring", "errors")
def no_docstring(_: MonkeyPatch) -> Target:
    return rebel_constraints(undocumented)


@mutant("constraint that raises", "errors")
def raises(_: MonkeyPatch) -> Target:
    return rebel_constraints(raising)


@mutant("refusal without a reason", "errors")
def unexplained(_: MonkeyPatch) -> Target:
    return rebel_constraints(curt)


@mutant("everything is refused", "errors")
def refusing(_: MonkeyPatch) -> Target:
    return rebel_constraints(nothing)


@mutant("the host's operators are taken", "errors")
def greedy(_: MonkeyPatch) -> Target:
    return rebel_constraints(without="not_left_to_the_host")


@mutant("an operator taken that has no kernel", "operators", "reductions", slow=True)
def hopeful(_: MonkeyPatch) -> Target:
    return rebel_constraints(without="has_a_kernel")


@mutant("number without a source", "facts")
def unsourced(_: MonkeyPatch) -> Target:
    chip = find_target("rebel").chip
    return mutated(chip=replace(chip, clock=Fact(chip.clock.value, "A", "guess")))


@mutant("models disagree with onnxruntime", "models")
def wrong_models(_: MonkeyPatch) -> Target:
    return mutated(change=each(isa.MatrixContract)(swapped("b")))
