"""How far EXAFS is from FEFF's own sums of single and of multiple scattering.

    python benchmarks/exafs.py        # two minutes; needs xraylarch, LAMMPS, and the structures of data/ (dvc pull)

sum (k^2 (ours - FEFF))^2 / sum (k^2 FEFF)^2 over k = 3-12 1/Å, neighbours to 5.2 Å (crystals: 5.0 and 4.7). Crystals
with tables of their own; glasses with the tables of the package, the mean chi(k) over six sites, and the mean misfit of
each. The metallic glass is quenched from 2000 K in 20 ps by the potential of Mendelev et al. that comes with LAMMPS.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read
from baselines.feff import K, feff_chi, misfit, our_chi, table_of
from timed import machine

from glass_ml.files import write_json
from glass_ml.observables.exafs import Exafs
from glass_ml.observables.scattering_table import find_table, load_table
from glass_ml.simulation.melt_quench import melt_quench
from glass_ml.simulation.recipe import Job, LammpsPotential, Quench
from glass_ml.structures.io import from_atoms

CRYSTALS = (("diamond", 5.431, "Si K", 5.3), ("fcc", 3.615, "Cu K", 5.05))
GLASSES = (
    ("a-Si/reference-modified-sw.extxyz", "Si K"),
    ("a-SiO2/reference-bks.extxyz", "Si K"),
    ("a-SiO2/reference-bks.extxyz", "O K"),
    ("Cu50Zr50", "Cu K"),
    ("Cu50Zr50", "Zr K"),
)
COPPER_ZIRCONIUM = Quench(
    name="fast", collection="train", composition={"Cu": 1, "Zr": 1}, n_atoms=256, density=(7.3, 7.3), count=1,
    melt_temperature=2000.0, melt_time=5.0, quench_time=20.0, timestep=0.002, snapshots=1,
    potential=LammpsPotential(
        name="EAM", citation="Mendelev et al., Philos. Mag. 89, 967 (2009)",
        commands=("pair_style eam/fs", "pair_coeff * * CuZr_mm.eam.fs Cu Zr"), cost_us=3.0,
    ),
)  # fmt: skip
REACH = 5.2  # Å
SITES = 6


@cache
def copper_zirconium() -> Atoms:
    """A quickly quenched metallic glass at 300 K."""
    job = Job("Cu50Zr50", COPPER_ZIRCONIUM, index=0, density=COPPER_ZIRCONIUM.density[0], seed=1)
    return melt_quench(job)[0]


def main() -> None:
    rows = []
    for lattice, a, edge, limit in CRYSTALS:
        atoms = bulk(edge.split()[0], lattice, a, cubic=True)
        model = Exafs(torch.from_numpy(K), table_of(atoms, edge), limit=limit, taper=0.3)
        ours = model.forward(from_atoms([atoms]))[0].numpy()
        rows.append({"case": f"{lattice} {edge}", "single": misfit(ours, feff_chi(atoms, 0, edge, limit - 0.3, 2))})
    for file, edge in GLASSES:
        atoms = copper_zirconium() if file == "Cu50Zr50" else read(Path("data") / file, "-1")
        table = load_table(find_table(edge, set(atoms.symbols)))
        sites = np.flatnonzero(atoms.numbers == table.absorber)[::12][:SITES]
        ours = [our_chi(atoms, s, table, REACH) for s in sites]
        single, multiple = ([feff_chi(atoms, s, edge, REACH, legs) for s in sites] for legs in (2, 4))
        rows.append(
            {
                "case": f"{file.split('/')[0]} {edge}",
                "single": misfit(np.mean(ours, 0), np.mean(single, 0)),
                "single, one site": float(np.mean([misfit(o, s) for o, s in zip(ours, single, strict=True)])),
                "multiple": misfit(np.mean(ours, 0), np.mean(multiple, 0)),
                "multiple, one site": float(np.mean([misfit(o, m) for o, m in zip(ours, multiple, strict=True)])),
            }
        )
    for row in rows:
        print(
            row["case"].ljust(16), *(f"{name} {value:.1e}" for name, value in row.items() if name != "case"), sep="  "
        )
    write_json("benchmarks/results/exafs.json", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
