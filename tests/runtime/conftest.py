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
    """`models.divided` for rebel: three segments, although it is small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kcompiler.compiler.not_worth_crossing", lambda *_: None)
        return kcompiler.compile(models.divided())
