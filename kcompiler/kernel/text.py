"""The text form of regions and kernels: what it prints, parses back to the same object.

    region {
      in0: input f16[64,56,56]
      c0: constant f16[64,64] strides(1,64) offset 0
      t0: local f32[64,56,56]
      out: output f16[64,56,56]
      for m<64, y0<56, y1<56, reduce c<64 {
        %0 = in0[c, y0 - 1, y1] else 0
        %1 = c0[m, c]
        acc = sum mul:f32(%0:f32, %1:f32)
        t0[m, y0, y1] = acc:f32
      }
      for i0<64, i1<56, i2<56 {
        %0 = t0[i0, i1, i2]
        out[i0, i1, i2] = cast:f16(relu:f32(%0:f32))
      }
    }

A nest lists its reads by number, `else` their fill outside the bounds, and `%n` in an index is the
value of another read (a gather). Every expression ends with its element type; without a line for
`acc` nothing is combined. Strides and offset appear where an operand is not the whole of a dense
buffer. Kernels:

    kernel "conv" {
      in0: input f16[64,3136]
      core n0 < 4 {
        double j < 7 {
          alloc a: f16[64,64] in sram
          copy a[0 +: 64, 0 +: 64] = in0[0 +: 64, 64*j +: 64 step 2] else 0
          compute i0<64, reduce r0<64 carry j { … }
        }
      }
    }

A box `origin +: length step n` is a range of each dimension; `gather 0 by ids` takes dimension 0 of
the source at the indices in a buffer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from kcompiler.graph.types import dtype_name
from kcompiler.kernel.expr import Acc, Apply, Const, Expr, Load
from kcompiler.kernel.nest import Access, Affine, Axis, Nest, Operand, Region, row_major
from kcompiler.kernel.parse import parse_kernel, parse_region
from kcompiler.kernel.statements import Alloc, Box, Compute, Copy, For, Kernel, Statement

__all__ = ["parse_kernel", "parse_region", "print_kernel", "print_region"]


def print_region(region: Region) -> str:
    """The text of a region; ends with a newline."""
    lines = [show_operand(o) for o in region.operands]
    for nest in region.nests:
        lines += [f"for {_axes(nest)}{{", *_indented(_nest(nest)), "}"]
    return "\n".join(["region {", *_indented(lines), "}"]) + "\n"


def print_kernel(kernel: Kernel) -> str:
    """The text of a kernel; ends with a newline."""
    lines = [*map(show_operand, kernel.operands), *_statements(kernel.body)]
    return "\n".join([f"kernel {json.dumps(kernel.name)} {{", *_indented(lines), "}"]) + "\n"


def show_operand(operand: Operand) -> str:
    """The declaration of an operand."""
    text = f"{operand.name}: {operand.role} {dtype_name(operand.dtype)}{_shape(operand.shape)}"
    if operand.strides != row_major(operand.shape):
        text += f" strides({','.join(map(str, operand.strides))})"
    return text + (f" offset {operand.offset}" if operand.offset else "")


def show_affine(form: Affine) -> str:
    """An index: `2*y0 + k0 - 1`."""
    parts = [(c, n if abs(c) == 1 else f"{abs(c)}*{n}") for n, c in form.terms]
    if form.offset or not parts:
        parts.append((form.offset, str(abs(form.offset))))
    text = "".join(f" {'-' if c < 0 else '+'} {part}" for c, part in parts)
    return text[3:] if text.startswith(" + ") else "-" + text[3:]


def show_expr(expr: Expr) -> str:
    """An expression: `add:f32(%0:f32, 1.0:f32)`."""
    kind = dtype_name(expr.dtype)
    match expr:
        case Load(read=read):
            return f"%{read}:{kind}"
        case Const(value=value):
            return f"{_literal(value)}:{kind}"
        case Acc():
            return f"acc:{kind}"
        case Apply(function=function, arguments=arguments):
            return f"{function}:{kind}({', '.join(map(show_expr, arguments))})"
    raise TypeError(f"{expr!r} is no expression")


def show_access(access: Access) -> str:
    """A read or write: `in0[c, y0 - 1] else 0`."""
    index = [show_affine(form) for form in access.index]
    if access.indirect is not None:
        dimension, read = access.indirect
        index[dimension] = f"%{read}"
    fill = "" if access.fill is None else f" else {_literal(access.fill)}"
    return f"{access.operand}[{', '.join(index)}]{fill}"


def show_box(box: Box) -> str:
    """A box: `in0[0 +: 64, 2*j +: 8 step 2]`."""
    parts = [
        f"{show_affine(origin)} +: {length}" + ("" if step == 1 else f" step {step}")
        for origin, length, step in zip(box.origin, box.shape, box.step, strict=True)
    ]
    return f"{box.tensor}[{', '.join(parts)}]"


def _axes(nest: Nest) -> str:
    return ", ".join(map(_axis, nest.axes)) + (" " if nest.axes else "")


def _axis(axis: Axis) -> str:
    return f"{'reduce ' if axis.reduced else ''}{axis.name}<{axis.extent}"


def _nest(nest: Nest) -> Iterator[str]:
    for number, access in enumerate(nest.reads):
        yield f"%{number} = {show_access(access)}"
    plain = nest.combine == "none" and nest.result == Acc(nest.body.dtype)
    if not plain:
        yield f"acc = {nest.combine} {show_expr(nest.body)}"
    yield f"{show_access(nest.write)} = {show_expr(nest.body if plain else nest.result)}"


def _statements(body: tuple[Statement, ...]) -> Iterator[str]:
    for statement in body:
        match statement:
            case Alloc(name=name, dtype=dtype, shape=shape, memory=memory):
                yield f"alloc {name}: {dtype_name(dtype)}{_shape(shape)} in {memory}"
            case Copy(dst=dst, src=src, fill=fill, indirect=indirect):
                gather = "" if indirect is None else f" gather {indirect[0]} by {indirect[1]}"
                outside = f" else {_literal(fill)}"
                yield f"copy {show_box(dst)} = {show_box(src)}{outside}{gather}"
            case Compute(nest=nest, carry=carry):
                carried = "" if carry is None else f"carry {carry} "
                yield from (f"compute {_axes(nest)}{carried}{{", *_indented(_nest(nest)), "}")
            case For(var=var, extent=extent, kind=kind, body=inner):
                yield from (f"{kind} {var} < {extent} {{", *_indented(_statements(inner)), "}")


def _indented(lines: list[str] | Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _literal(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
