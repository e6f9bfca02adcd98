"""Kernels run as numpy says."""

import numpy as np
import pytest

from kcompiler.graph.types import F16, F32, I32
from kcompiler.kernel.evaluate import strided
from kcompiler.kernel.interpreter import run_kernel, run_region, unwritten
from kcompiler.kernel.nest import Operand
from kcompiler.kernel.text import parse_kernel, parse_region
from tests.kernel.kernels import GATHER, MATMUL


def test_a_tiled_product_with_clipped_edges_and_a_split_sum() -> None:
    x = np.arange(35, dtype=F32).reshape(5, 7) - 17
    w = np.arange(42, dtype=F32).reshape(7, 6) - 20
    result = run_kernel(parse_kernel(MATMUL), {"in0": x, "c0": w})
    assert np.array_equal(result, np.maximum(x @ w, 0))


def test_a_gather_counts_negative_indices_from_the_end() -> None:
    table = np.arange(30, dtype=F32).reshape(5, 6)
    ids = np.array([4, -5, 2])
    result = run_kernel(parse_kernel(GATHER), {"in0": ids, "in1": table})
    assert np.array_equal(result, table[ids, 5::-2])


def test_memory_that_was_never_written_is_no_number() -> None:
    kernel = parse_kernel(MATMUL.replace("copy b[0 +: 4,", "copy b[0 +: 3,").replace(
        "c0[4*k +: 4,", "c0[4*k +: 3,"
    ))  # fmt: skip
    ones = {"in0": np.ones((5, 7), F32), "c0": np.ones((7, 6), F32)}
    assert np.isnan(run_kernel(kernel, ones)).any()
    assert unwritten(I32, (1,))[0] == np.iinfo(np.int32).min


@pytest.mark.parametrize("kind", ["i8", "u8", "i16", "i32", "i64"])
def test_integer_sums_are_exact(kind: str) -> None:
    acc = "i64" if kind == "i64" else "i32"
    region = parse_region(f"""
        region {{
          in0: input {kind}[3,2000]
          in1: input {kind}[2000,2]
          out: output {acc}[3,2]
          for i<3, j<2, reduce k<2000 {{
            %0 = in0[i, k]
            %1 = in1[k, j]
            acc = sum mul:{acc}(%0:{acc}, %1:{acc})
            out[i, j] = acc:{acc}
          }}
        }}""")
    dtype = region.operand("in0").dtype
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    rng = np.random.default_rng(1)
    x = rng.integers(low, high, (3, 2000), dtype, endpoint=True)
    y = rng.integers(low, high, (2000, 2), dtype, endpoint=True)
    wide = x.astype(object) @ y.astype(object)
    bits = 64 if kind == "i64" else 32
    wanted = [[(int(v) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1) for v in r] for r in wide]
    assert run_region(region, {"in0": x, "in1": y}).tolist() == wanted


def test_a_view_must_lie_inside_its_buffer() -> None:
    reversed_view = Operand("in0", "input", F32, (3,), (-1,), 2)
    assert strided(np.arange(3, dtype=F32), reversed_view).tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match=r"in0 needs elements 0\.\.2"):
        strided(np.zeros(2, F32), reversed_view)
    with pytest.raises(ValueError, match="float32"):
        strided(np.zeros(3, F16), reversed_view)


def test_an_index_outside_without_fill_is_an_error() -> None:
    region = parse_region("""
        region {
          in0: input f32[3]
          out: output f32[3]
          for i<3 { %0 = in0[i + 1] out[i] = %0:f32 }
        }""")
    with pytest.raises(IndexError):
        run_region(region, {"in0": np.zeros(3, F32)})


def test_a_sum_over_what_nobody_reads_repeats_the_term() -> None:
    region = parse_region("""
        region {
          in0: input f32[3]
          in1: input f32[2]
          out: output f32[3]
          for i<3, reduce j<2, reduce k<5 {
            %0 = in0[i]
            %1 = in1[j]
            acc = sum mul:f32(%0:f32, %1:f32)
            out[i] = acc:f32
          }
        }""")
    x, y = np.array([1, 2, 3], F32), np.array([4, 5], F32)
    assert run_region(region, {"in0": x, "in1": y}).tolist() == (x * 9 * 5).tolist()
