"""Kernels: loop nests with affine accesses, and what a chip's tiler makes of them."""
