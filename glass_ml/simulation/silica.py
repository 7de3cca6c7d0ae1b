"""Vitreous silica: Vashishta for training, BKS with a short-range core as reference."""

from glass_ml.simulation.recipe import Potential, Quench, Recipe

VASHISHTA = Potential(
    name="Vashishta 1994",
    citation="Nakano, Kalia and Vashishta, J. Non-Cryst. Solids 171, 157 (1994)",
    commands=("pair_style vashishta", "pair_coeff * * SiO.1994.vashishta Si O"),
    cost_us=1.8,
)


def _mie(epsilon: float, sigma: float) -> str:
    """Coefficients of LAMMPS' mie/cut for 4 epsilon [(sigma/r)^30 - (sigma/r)^6]."""
    prefactor = (30 / 24) * (30 / 6) ** (6 / 24)
    return f"{4 * epsilon / prefactor:.9g} {sigma} 30 6"


# BKS diverges to minus infinity at short distance, where a hot melt gets: the 30-6 term closes that hole.
BKS = Potential(
    name="BKS with 30-6 core",
    citation="van Beest, Kramer and van Santen, Phys. Rev. Lett. 64, 1955 (1990); "
    "core of Guissani and Guillot, J. Chem. Phys. 104, 7633 (1996), "
    "as in Saika-Voivod, Sciortino and Poole, Phys. Rev. E 63, 011202 (2000)",
    commands=(
        "pair_style hybrid/overlay buck/coul/long 6.0 8.0 mie/cut 3.5",
        "pair_coeff 1 1 buck/coul/long 0.0 1.0 0.0",
        f"pair_coeff 1 2 buck/coul/long 18003.7572 {1 / 4.87318:.9g} 133.5381",
        f"pair_coeff 2 2 buck/coul/long 1388.7730 {1 / 2.76:.9g} 175.0",
        "pair_coeff 1 1 mie/cut 0.0 1.0 30 6",
        f"pair_coeff 1 2 mie/cut {_mie(3.097948e-3, 1.313635)}",
        f"pair_coeff 2 2 mie/cut {_mie(1.051050e-3, 1.779239)}",
        "kspace_style pppm 1e-4",
    ),
    charges={"Si": 2.4, "O": -1.2},
    cost_us=2.9,
)

SILICA_COMPOSITION = {"Si": 1, "O": 2}

SILICA = Recipe(
    system="a-SiO2",
    quenches=(
        Quench(
            name="vashishta-216",
            collection="train",
            potential=VASHISHTA,
            composition=SILICA_COMPOSITION,
            n_atoms=216,
            density=(2.05, 2.35),
            count=40,
            melt_temperature=4000.0,
            melt_time=5.0,
            quench_time=14.8,
            timestep=0.001,
        ),
        Quench(
            name="vashishta-648",
            collection="train",
            potential=VASHISHTA,
            composition=SILICA_COMPOSITION,
            n_atoms=648,
            density=(2.20, 2.20),
            count=4,
            melt_temperature=4000.0,
            melt_time=5.0,
            quench_time=14.8,
            timestep=0.001,
        ),
        Quench(
            name="bks-216",
            collection="reference-bks",
            potential=BKS,
            composition=SILICA_COMPOSITION,
            n_atoms=216,
            density=(2.20, 2.20),
            count=4,
            melt_temperature=5000.0,
            melt_time=5.0,
            quench_time=94.0,
            timestep=0.001,
        ),
    ),
)
