"""Laws of regions: they compute what their graph does, keep every rule, and print and parse."""

from collections import Counter
from contextlib import suppress

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kcompiler.graph.bounds import error_bound
from kcompiler.graph.node import Constant
from kcompiler.graph.operators import Fused
from kcompiler.kernel.from_graph import BoundRegion, Unsupported, lowered, region_of
from kcompiler.kernel.measure import compulsory_bytes
from kcompiler.kernel.text import parse_region, print_region
from kcompiler.kernel.verify import verify_region
from tests.kernel import bodies

QUICK = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def supported(fused: Fused) -> BoundRegion:
    """The region of a body that has one."""
    bound = None
    with suppress(Unsupported):
        bound = region_of(fused)
    assume(bound is not None)
    assert bound is not None
    return bound


@QUICK
@given(bodies.bodies(), st.integers(0, 1000))
def test_a_region_computes_what_its_graph_does(body: bodies.Body, seed: int) -> None:
    fused = body.fused
    bound = supported(fused)
    given_values = [bodies.values(seed + k, x.dtype, x.shape) for k, x in enumerate(fused.operands)]
    wanted = error_bound(fused, given_values)
    result = bodies.run(bound, fused, given_values)
    assert result.dtype == fused.dtype
    finite = np.isfinite(wanted.value.astype(np.float64))
    assert np.all(wanted.contains(result) | ~finite)


@QUICK
@given(bodies.bodies())
def test_a_region_is_valid_and_prints_and_parses(body: bodies.Body) -> None:
    region = supported(body.fused).region
    verify_region(region)
    again = parse_region(print_region(region))
    assert again == region
    assert hash(again) == hash(region)
    assert (
        0 < compulsory_bytes(region) <= sum(o.nbytes for o in region.operands if o.role != "local")
    )


@QUICK
@given(bodies.bodies())
def test_equal_bodies_give_equal_regions(body: bodies.Body) -> None:
    """Of bodies that are alike, one is lowered: the others have its region, on their own nodes."""
    known, fresh = supported(body.fused), lowered(body.fused)
    assert known.region == fresh.region
    assert print_region(known.region) == print_region(fresh.region)
    # A counter is made anew each time.
    own = [op for op in fresh.operands if not isinstance(op, Constant)]
    assert [op for op in known.operands if not isinstance(op, Constant)] == own


def test_most_bodies_have_regions_of_every_kind() -> None:
    """The laws above are not about a few easy bodies."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=300, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(bodies.bodies())
    def count(body: bodies.Body) -> None:
        try:
            region = region_of(body.fused).region
        except Unsupported:
            seen["unsupported"] += 1
            return
        seen["supported"] += 1
        seen["contraction"] += any(n.is_contraction for n in region.nests)
        seen["several parts"] += sum(n.write.operand == "out" for n in region.nests) > 1
        seen["padding"] += any(r.fill is not None for n in region.nests for r in n.reads)
        seen["gather"] += any(r.indirect is not None for n in region.nests for r in n.reads)
        seen["locals"] += any(o.role == "local" for o in region.operands)

    count()
    assert seen["supported"] > 3 * seen["unsupported"]
    assert all(seen[kind] > 5 for kind in ("contraction", "several parts", "padding", "gather")), (
        seen
    )
