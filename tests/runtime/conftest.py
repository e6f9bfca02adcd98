"""Compiled models that several tests share."""

import pytest

import kcompiler
from kcompiler.api import CompiledModel
from tests.runtime import models


@pytest.fixture(scope="session")
def linear() -> CompiledModel:
    """`models.linear` for rebel."""
    return kcompiler.compile(models.linear())


@pytest.fixture(scope="session")
def divided() -> CompiledModel:
    """`models.divided` for rebel: three segments."""
    return kcompiler.compile(models.divided())
