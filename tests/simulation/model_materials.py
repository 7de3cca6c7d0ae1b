"""The potentials of the materials that come with the project."""

from pathlib import Path

from glass_ml.simulation.materials import recipe_of

PROJECT = Path(__file__).parents[2]
RECIPES = {name: recipe_of(PROJECT / "materials" / f"{name}.yaml") for name in ("a-Si", "a-SiO2")}
POTENTIALS = {quench.potential.name: quench.potential for recipe in RECIPES.values() for quench in recipe.quenches}
STILLINGER_WEBER = POTENTIALS["Stillinger-Weber"]
MODIFIED_STILLINGER_WEBER = POTENTIALS["modified Stillinger-Weber"]
TERSOFF = POTENTIALS["Tersoff"]
BKS = POTENTIALS["BKS with 30-6 core"]
