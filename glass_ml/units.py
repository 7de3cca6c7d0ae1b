"""Unit conversions used at the edges: everything inside is Å, 1/Å, eV and atoms/Å^3."""

from collections.abc import Mapping

from ase.data import atomic_masses, atomic_numbers

from glass_ml.errors import InputError

ATOMIC_MASS_G = 1.66053906892e-24  # CODATA 2022
ANGSTROM3_CM3 = 1e-24

EV_TO_K2 = 0.26246843
"""2 m_e / hbar^2 in 1/(eV Å^2): k^2 = EV_TO_K2 (E - E0). Source: CODATA 2018."""


def mean_mass(composition: Mapping[str, float]) -> float:
    """Mean atomic mass (u) of a composition given as element symbol -> amount, in any common unit."""
    total = sum(composition.values())
    return sum(amount * atomic_masses[atomic_numbers[el]] for el, amount in composition.items()) / total


def number_density(mass_density: float, composition: Mapping[str, float]) -> float:
    """Number density (atoms/Å^3) of a material of `mass_density` (g/cm^3)."""
    return mass_density * ANGSTROM3_CM3 / (mean_mass(composition) * ATOMIC_MASS_G)


def mass_density(number_density: float, composition: Mapping[str, float]) -> float:
    """Mass density (g/cm^3) of a material of `number_density` (atoms/Å^3)."""
    return number_density * mean_mass(composition) * ATOMIC_MASS_G / ANGSTROM3_CM3


def parse_density(value: float | str, composition: Mapping[str, float], where: str = "density") -> float:
    """Number density (atoms/Å^3) from a number (atoms/Å^3) or a text such as "2.28 g/cm3".

    Raises:
        InputError: the value is not a positive density, or no material is that dense.
    """
    mend = "give atoms/Å^3 as a number, or a text such as '2.28 g/cm3'"
    try:
        if isinstance(value, str):
            number, _, unit = value.strip().partition(" ")
            unit = unit.strip().replace("^", "").replace("³", "3").replace("Å", "A").lower()
            if unit == "g/cm3":
                density = number_density(float(number), composition)
            elif unit in ("", "atoms/a3", "1/a3"):
                density = float(number)
            else:
                raise InputError(f"unknown unit '{unit}' of the density '{value}'", where, mend)
        elif isinstance(value, bool):
            raise ValueError
        else:
            density = float(value)
    except (ValueError, TypeError):
        raise InputError(f"'{value}' is not a density", where, mend) from None
    if not 0 < density < float("inf"):
        raise InputError(f"density {value} is not positive", where, mend)
    if density > MAX_DENSITY:
        raise InputError(
            f"density {value} is {density:.3g} atoms/Å^3, denser than any solid (diamond has 0.176)",
            where,
            mend,
        )
    return density


MAX_DENSITY = 0.3
"""Number density (atoms/Å^3) that no condensed phase at laboratory pressure reaches."""
