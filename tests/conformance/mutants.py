"""All planted faults."""

from __future__ import annotations

from tests.conformance import (
    mutants_of_claims,
    mutants_of_generic,
    mutants_of_meaning,
    mutants_of_places,
    mutants_of_warboy,
)
from tests.conformance.mutants_of_generic import plain
from tests.conformance.mutants_of_warboy import warboy
from tests.conformance.planted import ALL, Mutant, mutated

__all__ = [
    "ALL",
    "Mutant",
    "mutants_of_claims",
    "mutants_of_generic",
    "mutants_of_meaning",
    "mutants_of_places",
    "mutants_of_warboy",
    "mutated",
    "plain",
    "warboy",
]
