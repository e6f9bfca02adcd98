"""Kernels as text, for tests."""

# A matrix product cut into tiles that do not divide it: 2 cores over rows, K in steps of 4.
MATMUL = """
kernel "matmul" {
  in0: input f32[5,7]
  c0: constant f32[7,6]
  out: output f32[5,6]
  core m < 2 {
    double n < 2 {
      alloc acc: f32[3,4] in sram
      alloc y: f32[3,4] in sram
      sequential k < 2 {
        alloc a: f32[3,4] in sram
        alloc b: f32[4,4] in sram
        copy a[0 +: 3, 0 +: 4] = in0[3*m +: 3, 4*k +: 4] else 0
        copy b[0 +: 4, 0 +: 4] = c0[4*k +: 4, 4*n +: 4] else 0
        compute i<3, j<4, reduce r<4 carry k {
          %0 = a[i, r]
          %1 = b[r, j]
          acc = sum mul:f32(%0:f32, %1:f32)
          acc[i, j] = acc:f32
        }
      }
      compute i<3, j<4 {
        %0 = acc[i, j]
        y[i, j] = relu:f32(%0:f32)
      }
      copy out[3*m +: 3, 4*n +: 4] = y[0 +: 3, 0 +: 4] else 0
    }
  }
}
"""

# Rows of a table by index, every other column, backwards.
GATHER = """
kernel "rows" {
  in0: input i64[3]
  in1: input f32[5,6]
  out: output f32[3,3]
  alloc ids: i64[3] in sram
  alloc rows: f32[3,3] in sram
  copy ids[0 +: 3] = in0[0 +: 3] else 0
  copy rows[0 +: 3, 0 +: 3] = in1[0 +: 5, 5 +: 3 step -2] else 0 gather 0 by ids
  copy out[0 +: 3, 0 +: 3] = rows[0 +: 3, 0 +: 3] else 0
}
"""
