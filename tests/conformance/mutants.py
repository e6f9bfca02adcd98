"""All planted faults."""

from __future__ import annotations

from tests.conformance import mutants_of_claims, mutants_of_meaning, mutants_of_places
from tests.conformance.planted import ALL, Mutant, mutated

__all__ = [
    "ALL",
    "Mutant",
    "mutants_of_claims",
    "mutants_of_meaning",
    "mutants_of_places",
    "mutated",
]
