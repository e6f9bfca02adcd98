"""Who may import whom, read from the source."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

# The composition root: it alone puts passes and targets together, and only when asked to.
ROOT_FILES = frozenset(
    {
        "kcompiler/__init__.py",
        "kcompiler/cli.py",
        "kcompiler/compiler.py",
        "kcompiler/registry.py",
    }
)
# Names all passes; whoever needs it imports it inside a function.
COMPILER = "kcompiler/compiler.py"
ONNX = frozenset({"onnx", "onnx_ir", "onnxruntime"})
ONNX_PLACES = (
    "kcompiler/frontend/",
    "kcompiler/host.py",
    "kcompiler/verify/",
    "kcompiler/backend.py",
)


@dataclass(frozen=True)
class Import:
    """One imported name: `from a.b import c` is "a.b.c".

    `lazy` where only a call runs it, `typing` where only a type checker reads it.
    """

    name: str
    line: int
    lazy: bool
    typing: bool = False


def violations(path: str, source: str) -> list[str]:
    """The broken rules of one file, each with its line."""
    found = []
    for item in imports(path, source):
        reason = forbidden(path, item)
        if reason:
            found.append(f"{path}:{item.line}: imports {item.name}: {reason}")
    return found


def forbidden(path: str, item: Import) -> str:
    """Why this file must not import this name; empty where it may."""
    parts = [*item.name.split("."), "", "", ""]
    if parts[0] in {"passes", "targets"}:
        return f"say kcompiler.{parts[0]}"
    if item.typing:
        return ""
    if parts[0] in ONNX and not path.startswith(ONNX_PLACES):
        return "only the frontend, the runtime, the backend and verify know ONNX"
    if parts[0] != "kcompiler" or parts[1] not in {"passes", "targets"}:
        return ""
    return _between_rooms(path, item, room=parts[1], member=parts[2])


def _between_rooms(path: str, item: Import, room: str, member: str) -> str:
    top, _, rest = path.partition("/")
    if top == "passes":
        return "a pass knows no target" if room == "targets" else ""
    if top == "targets":
        own = rest.split("/")[0].removesuffix(".py")
        return "a target knows no other target" if room == "targets" and member != own else ""
    if path not in ROOT_FILES:
        return "the kernel is handed its passes and targets"
    if item.lazy or path == COMPILER:
        return ""
    return "the composition root imports it inside a function"


def imports(path: str, source: str) -> Iterator[Import]:
    """Every import of a file, with relative ones resolved and import_module("...") understood."""
    package = PurePosixPath(path).parent.parts
    if package[0] in {"passes", "targets"}:
        package = ("kcompiler", *package)
    yield from _visit(ast.parse(source), package, lazy=False, typing=False)


def _visit(
    node: ast.AST, package: tuple[str, ...], *, lazy: bool, typing: bool
) -> Iterator[Import]:
    for name in _names(node, package):
        yield Import(name, getattr(node, "lineno", 0), lazy, typing)
    inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    types = typing or _only_for_types(node)
    for child in ast.iter_child_nodes(node):
        yield from _visit(child, package, lazy=inner or types, typing=types)


def _names(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = package[: len(package) - level + 1] if level else ()
            prefix = ".".join([*base, *([module] if module else [])])
            return [f"{prefix}.{alias.name}" for alias in names]
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str() as name), *_],
        ):
            return [name]
    return []


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
