"""The materials that can be simulated, by name."""

from glass_ml.errors import InputError
from glass_ml.simulation.recipe import Recipe
from glass_ml.simulation.silica import SILICA
from glass_ml.simulation.silicon import SILICON

RECIPES: dict[str, Recipe] = {recipe.system: recipe for recipe in (SILICON, SILICA)}


def known_systems() -> list[str]:
    """Names of the materials that have a recipe."""
    return sorted(RECIPES)


def recipe_of(system: str) -> Recipe:
    """The recipe of a material.

    Raises:
        InputError: no recipe has that name.
    """
    if system not in RECIPES:
        raise InputError(f"no simulation recipe for '{system}'", "SYSTEM", f"known: {', '.join(known_systems())}")
    return RECIPES[system]
