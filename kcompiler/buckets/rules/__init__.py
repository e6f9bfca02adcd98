"""The rules of the analysis by topic; importing this package fills the table."""

import kcompiler.buckets.rules.elementwise
import kcompiler.buckets.rules.movement
import kcompiler.buckets.rules.products
import kcompiler.buckets.rules.reductions  # noqa: F401
