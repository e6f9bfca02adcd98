"""The errors that users see: what went wrong, where, why, and what to do.

An error is part of the product: whoever reads it can act on it without reading our source. Every
error that kcompiler raises on purpose is a `KcompilerError`; anything else that escapes is a bug.
"""

from __future__ import annotations

REPORT = "this is a bug in kcompiler, not in your model: please report it and attach the model"


class KcompilerError(Exception):
    """The base of all errors shown to users. Parts left empty do not appear in the message.

    `where` is an ONNX node name or a file. `exit_code` is what the command line returns: 2 when the
    input or the request must change, 1 when a check of a result failed.
    """

    exit_code: int = 2

    def __init__(self, what: str, where: str = "", why: str = "", fix: str = "") -> None:
        # All of them go to Exception.args, so that the error survives pickling between processes.
        super().__init__(what, where, why, fix)
        self.what = what
        self.where = where
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        parts = (("  at: ", self.where), ("  because: ", self.why), ("  try: ", self.fix))
        lines = ["error: " + _shown(self.what)]
        lines += [label + _shown(text) for label, text in parts if text]
        return "\n".join(lines)


class ModelError(KcompilerError):
    """The model is not valid: broken file, wrong types, missing weights."""


class UsageError(KcompilerError):
    """The request makes no sense: unknown target, options that exclude each other."""


class UnsupportedError(KcompilerError):
    """The model is valid, but kcompiler or the target cannot do what it asks for."""


class PackageError(KcompilerError):
    """A `model.kpkg` cannot be written, or is damaged, hostile or of another version."""


class CapacityError(KcompilerError):
    """Something does not fit into the chip: a memory, a queue, a field of an instruction."""


class VerificationError(KcompilerError):
    """Two things that must agree do not: the ladder of `kcompiler.verify` found a difference."""

    exit_code = 1


class IRError(KcompilerError):
    """A verifier found that `node` breaks `rule`; `level` is "graph", "kernel" or "program"."""

    exit_code = 1

    def __init__(
        self, level: str, rule: str, node: str = "", why: str = "", fix: str = REPORT
    ) -> None:
        super().__init__(f"the {level} breaks the rule {rule!r}", node, why, fix)
        # Unpickling calls the class with args: these must be our parameters, not those of the base.
        self.args = (level, rule, node, why, fix)
        self.level = level
        self.rule = rule
        self.node = node


def _shown(text: str) -> str:
    """Text made safe for a terminal: names come from untrusted files and may hold escape codes."""
    lines = text.split("\n")
    return "\n    ".join("".join(map(_printable, line)) for line in lines)


def _printable(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
