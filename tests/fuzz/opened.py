"""A random model with one of its extents left open."""

from __future__ import annotations

import random

from onnx import ModelProto

from tests.fuzz.maker import Case


def opened(case: Case, chance: random.Random) -> tuple[ModelProto, int] | None:
    """The model with an extent of its inputs named "open", in one place or wherever it occurs.

    The types of outputs, which follow, are left out. None for a model without extents.
    """
    model = ModelProto()
    model.CopyFrom(case.model)
    dims = [d for info in model.graph.input for d in info.type.tensor_type.shape.dim]
    some = [d for d in dims if d.dim_value > 0]
    if not some:
        return None
    first = chance.choice(some)
    extent = first.dim_value
    chosen = [d for d in some if d.dim_value == extent] if chance.random() < 0.6 else [first]
    for dim in chosen:
        dim.dim_param = "open"
    del model.graph.value_info[:]
    for info in model.graph.output:
        for dim in info.type.tensor_type.shape.dim:
            dim.Clear()
    return model, extent
