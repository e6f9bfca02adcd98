"""Running a model with buckets: choose one, pad, run, take the kept elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kcompiler.buckets.bucket import Bucket, Buckets, Padding, shape_of
from kcompiler.graph.types import TensorType, dtype_name
from kcompiler.runtime import Executor, check_feeds, check_names

if TYPE_CHECKING:
    from kcompiler.compilation import Compilation
    from kcompiler.graph.node import Array
    from kcompiler.machine.target import Target


@dataclass
class BucketExecutor:
    """The executors of all buckets; each is made when it first runs, and kept."""

    compilation: Compilation
    buckets: Buckets
    target: Target
    last_padding: Padding | None = None
    _executors: dict[int, Executor] = field(default_factory=dict)

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """All outputs by name, for inputs of any extents within the limits."""
        check_names(self._words(), feeds)
        wanted = [
            (name, TensorType(kind.dtype, np.shape(feeds.get(name, ()))))
            for name, kind in self.compilation.inputs
            if name in self.buckets.inputs and isinstance(kind, TensorType)
        ]
        values = check_feeds(wanted, feeds)
        actual = self.buckets.measure(values)
        bucket = self.buckets.choose(actual)
        found = self.executor(bucket).run(self.buckets.feeds(bucket, actual, values))
        self.last_padding = Padding(bucket.dims, actual)
        return self.buckets.results(bucket, actual, found)

    def _words(self) -> dict[str, str]:
        """The inputs' types, with the names of the dimensions that have buckets."""
        return {
            name: f"{dtype_name(kind.dtype)}[{','.join(map(str, shape_of(axes)))}]"
            for name, kind in self.compilation.inputs
            if isinstance(kind, TensorType) and (axes := self.buckets.inputs.get(name)) is not None
        }

    def executor(self, bucket: Bucket) -> Executor:
        """The executor of one bucket."""
        number = self.buckets.members.index(bucket)
        if number not in self._executors:
            self._executors[number] = Executor(bucket.compilation, self.target)
        return self._executors[number]
