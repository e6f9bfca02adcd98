"""The ladder for models with buckets: each program by itself, and once with padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kcompiler.buckets.layout import is_position, unpad
from kcompiler.buckets.session import BucketExecutor
from kcompiler.verify import verify
from kcompiler.verify.audit import together
from kcompiler.verify.inputs import sample_inputs
from kcompiler.verify.ladder import compare_outputs
from kcompiler.verify.result import Failure, Verification

if TYPE_CHECKING:
    from kcompiler.buckets.bucket import Bucket, Buckets
    from kcompiler.compilation import Compilation
    from kcompiler.graph.node import Array
    from kcompiler.machine.target import Target
    from kcompiler.verify.kernels import Parts


def verify_buckets(
    compilation: Compilation,
    target: Target,
    source: str | bytes,
    given: Mapping[str, Array] | None = None,
    parts: Parts | None = None,
) -> Verification:
    """Verify each bucket at its full extents, and at smaller ones against the model as it is.

    `given` inputs have any extents and are for the latter check alone.
    """
    buckets = compilation.buckets
    assert buckets is not None  # noqa: S101 - the caller looked
    kernels, audits = 0, []
    for bucket in buckets.members:
        found = verify(bucket.compilation, target, source, None, parts)
        if found.first_failure is not None:
            return found
        kernels += found.kernels
        audits += [found.audit] if found.audit is not None else []
    executor = BucketExecutor(compilation, buckets, target)
    for bucket in buckets.members if not given else buckets.members[-1:]:
        feeds = dict(given) if given else _smaller(buckets, bucket)
        reference, outputs, failure, random = compare_outputs(
            compilation, source, feeds, executor.run(feeds)
        )
        if failure is not None:
            text = f"padded to {bucket}: {failure.text}"
            failure = Failure("model", text)
            break
    generated = () if given else tuple(buckets.inputs)
    audited = together(audits)
    result = failure is None, reference, outputs, kernels, generated, failure, audited
    return Verification(*result, random=random)


def _smaller(buckets: Buckets, bucket: Bucket) -> dict[str, Array]:
    """Inputs of extents in the middle of what falls into a bucket."""
    graph = bucket.compilation.graph
    assert graph is not None  # noqa: S101 - `verify` looked
    actual = {n: max(size // 2 + 1, buckets.limits[n][0]) for n, size in bucket.dims.items()}
    actual = {name: min(size, bucket.dims[name]) for name, size in actual.items()}
    return {
        name: unpad(value, buckets.inputs[name], bucket.dims, actual)
        for name, value in sample_inputs(graph).items()
        if not is_position(name)
    }
