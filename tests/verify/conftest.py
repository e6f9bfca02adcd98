"""Models that are compiled once."""

import pytest

import kcompiler
from kcompiler.api import CompiledModel
from tests.runtime import models


@pytest.fixture(scope="session")
def linear() -> CompiledModel:
    """`models.linear` for rebel."""
    return kcompiler.compile(models.linear())
