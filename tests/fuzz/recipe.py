"""Recipes: functions that add nodes of some operators to a model under construction."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

from tests.fuzz.maker import OPSETS, Case, Discarded, Maker

Recipe: TypeAlias = Callable[[Maker, str], object]
_RECIPES: dict[str, Recipe] = {}


def recipe(*operators: str) -> Callable[[Recipe], Recipe]:
    """Register a function that adds a node of any of these operators."""

    def register(function: Recipe) -> Recipe:
        for operator in operators:
            if operator in _RECIPES:
                raise TypeError(f"{operator} has two recipes")
            _RECIPES[operator] = function
        return function

    return register


@cache
def recipes() -> dict[str, Recipe]:
    """All recipes by operator; the modules `recipes_*` beside this one are the registry."""
    for path in sorted(Path(__file__).parent.glob("recipes_*.py")):
        importlib.import_module(f"tests.fuzz.{path.stem}")
    return dict(sorted(_RECIPES.items()))


def random_case(source: random.Random) -> Case:
    """A model of one to eight nodes; `Discarded` where chance did not find a valid one."""
    opset = source.choice(OPSETS) if source.random() < 0.5 else source.randint(13, 23)
    maker = Maker(source, opset)
    wanted = source.choice([1, 1, 2, 3, 4, 5, 6, 8])
    for _ in range(4 * wanted):
        if len(maker.nodes) >= wanted:
            break
        _step(maker)
    if not maker.nodes:
        raise Discarded("no node was possible")
    return maker.case()


def _step(maker: Maker) -> None:
    """Try one recipe; one that fails leaves no trace but unread inputs."""
    table = recipes()
    operator = maker.random.choice(list(table))
    before = len(maker.nodes), len(maker.values), dict(maker.open), set(maker.opaque)
    try:
        table[operator](maker, operator)
    except Discarded:
        del maker.nodes[before[0] :]
        maker.open, maker.opaque = before[2:]
        dropped = maker.values[before[1] :]
        del maker.values[before[1] :]
        for value in dropped:
            maker.inputs.pop(value.name, None)


def seeded_case(seed: int, index: int) -> Case:
    """The model of a seed and a number."""
    return random_case(random.Random(f"{seed}/{index}"))  # noqa: S311 - no secrets here
