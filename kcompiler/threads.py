"""One thread for the products that decide what a compiled model is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS with a single thread: more of them cut sums elsewhere, and the last bit differs.

    Ranges, roundings and folded constants come from such sums; the same input shall give the same
    bytes, however many cores a computer has. What was set before is set again afterwards.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield
