"""The conformance kit: whether a target does what kcompiler expects of it, by category.

It knows the interface `Target` alone, never a target's own parts. See docs/conformance.md for what
each category proves and what it does not.
"""

from __future__ import annotations

from kcompiler.conformance.run import check_target
from kcompiler.conformance.score import Card, Finding, Score

__all__ = ["Card", "Finding", "Score", "check_target"]
