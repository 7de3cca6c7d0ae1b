"""Amorphous silicon: Stillinger-Weber for training, modified Stillinger-Weber and Tersoff as references."""

from glass_ml.simulation.recipe import Potential, Quench, Recipe

STILLINGER_WEBER = Potential(
    name="Stillinger-Weber",
    citation="Stillinger and Weber, Phys. Rev. B 31, 5262 (1985)",
    commands=("pair_style sw", "pair_coeff * * Si.sw Si"),
    cost_us=1.7,
)

MODIFIED_STILLINGER_WEBER = Potential(
    name="modified Stillinger-Weber",
    citation="Vink, Barkema, van der Weg and Mousseau, J. Non-Cryst. Solids 282, 248 (2001)",
    commands=("pair_style sw", "pair_coeff * * modified.sw Si"),
    files={
        "modified.sw": "Si Si Si 1.64833 2.0951 1.80 31.5 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"
    },
    cost_us=1.7,
)

TERSOFF = Potential(
    name="Tersoff",
    citation="Tersoff, Phys. Rev. B 37, 6991 (1988), set T2 (Si(B))",
    commands=("pair_style tersoff", "pair_coeff * * Si.tersoff Si"),
    cost_us=2.6,
)

SILICON = Recipe(
    system="a-Si",
    quenches=(
        # Fast quenches: over-coordinated, the low fidelity that a prior is trained on.
        Quench(
            name="sw-216",
            collection="train",
            potential=STILLINGER_WEBER,
            composition={"Si": 1},
            n_atoms=216,
            density=(2.1, 2.5),
            count=56,
            melt_temperature=3500.0,
            melt_time=5.0,
            quench_time=64.0,
            timestep=0.002,
        ),
        Quench(
            name="sw-512",
            collection="train",
            potential=STILLINGER_WEBER,
            composition={"Si": 1},
            n_atoms=512,
            density=(2.2, 2.4),
            count=6,
            melt_temperature=3500.0,
            melt_time=5.0,
            quench_time=64.0,
            timestep=0.002,
        ),
        # The stronger three-body term raises the melting point: the melt needs more heat to forget its start.
        Quench(
            name="msw-216",
            collection="reference-modified-sw",
            potential=MODIFIED_STILLINGER_WEBER,
            composition={"Si": 1},
            n_atoms=216,
            density=(2.30, 2.30),
            count=5,
            melt_temperature=4000.0,
            melt_time=5.0,
            quench_time=200.0,
            timestep=0.002,
        ),
        # Ten per cent below and above the densities of the training structures.
        *(
            Quench(
                name=f"msw-216-{density}",
                collection=f"reference-modified-sw-{density}",
                potential=MODIFIED_STILLINGER_WEBER,
                composition={"Si": 1},
                n_atoms=216,
                density=(density, density),
                count=3,
                melt_temperature=4000.0,
                melt_time=5.0,
                quench_time=200.0,
                timestep=0.002,
            )
            for density in (1.89, 2.75)
        ),
        Quench(
            name="msw-512",
            collection="reference-modified-sw-512",
            potential=MODIFIED_STILLINGER_WEBER,
            composition={"Si": 1},
            n_atoms=512,
            density=(2.28, 2.28),
            count=1,
            melt_temperature=4000.0,
            melt_time=5.0,
            quench_time=200.0,
            timestep=0.002,
        ),
        Quench(
            name="tersoff-216",
            collection="reference-tersoff",
            potential=TERSOFF,
            composition={"Si": 1},
            n_atoms=216,
            density=(2.30, 2.30),
            count=3,
            melt_temperature=4000.0,
            melt_time=5.0,
            quench_time=37.0,
            timestep=0.001,
        ),
    ),
)
