"""The model that MLflow serves: a prior that samples, with or without a measured target.

MLflow copies this file beside the checkpoint and runs it to load the model (models-from-code: no pickle), so it only
names what the glass_ml package does.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel
from mlflow.types.schema import AnyType, ColSpec, ParamSchema, ParamSpec, Schema

from glass_ml.errors import InputError
from glass_ml.provenance.models import Measured
from glass_ml.tracking.requests import answering, read_request

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec("string", "target", required=False),
            ColSpec("string", "files", required=False),
            ColSpec(AnyType(), "composition", required=False),
            ColSpec(AnyType(), "density", required=False),
        ]
    ),
    outputs=Schema([ColSpec("long", "row"), ColSpec("long", "replica"), ColSpec("string", "structure")]),
    params=ParamSchema(
        [ParamSpec("n_structures", "long", 1), ParamSpec("n_atoms", "long", 216), ParamSpec("seed", "long", 0)]
    ),
)

EXAMPLE = pd.DataFrame({"composition": ['{"Si": 1}'], "density": ["2.28 g/cm3"]})


class ServedPrior(PythonModel):
    """Structures out of a prior, by the sampling settings in its card.

    A row of the input asks either for an inversion or for samples of the prior:

    - `target`: the text of a TARGET.yaml, and `files`: JSON object of the measured files that it names (name ->
      content). Files of the machine that serves are never read;
    - `composition` (element -> amount, as a mapping or as JSON) and `density` (atoms/Å^3, or such as "2.28 g/cm3").

    Parameters: `n_structures`, `n_atoms` of each and `seed`. The output has one row a structure: `row` of the input,
    `replica`, and `structure` as extended-XYZ text that carries its lineage.
    """

    _skip_type_hint_validation = True  # the signature above is explicit; else MLflow warns that types are missing

    def load_context(self, context: Any) -> None:
        """Load the checkpoint folder that was logged with the model."""
        from glass_ml.priors.checkpoint import load_prior, read_card

        self.folder = Path(context.artifacts["prior"])
        self.card, self.prior = read_card(self.folder), load_prior(self.folder)

    # without types: MLflow takes them for the signature
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """See the class; raises InputError for a row that asks for neither or for what the prior cannot do."""
        rows = pd.DataFrame([model_input] if isinstance(model_input, Mapping) else model_input)
        sizes = {"n_structures": 1, "n_atoms": 216, "seed": 0, **(params or {})}
        found = []
        for k, row in enumerate(rows.to_dict("records")):
            asked = {key: value for key, value in row.items() if isinstance(value, Mapping) or pd.notna(value)}
            with tempfile.TemporaryDirectory() as folder, answering(folder):
                structures = self._structures(asked, f"row {k}", Path(folder), {n: int(v) for n, v in sizes.items()})
            found += [(k, replica, text) for replica, text in enumerate(structures)]
        return pd.DataFrame(found, columns=["row", "replica", "structure"])

    def _structures(self, row: dict[str, Any], where: str, folder: Path, sizes: dict[str, int]) -> list[str]:
        from glass_ml.measurements.target import parse_composition
        from glass_ml.sampling.run import sample_prior
        from glass_ml.settings.resolution import sampling_settings
        from glass_ml.units import parse_density

        if "target" in row:
            aim = read_request(folder, str(row["target"]), row.get("files"))
            system, path, composition, density = aim.system, aim.path, aim.composition, aim.density
            entries = [
                Measured(m.name, m.kind, m.use, Path(file).name, sha256, role)
                for m in aim.measurements
                for role, file, sha256 in m.files
            ]
        elif {"composition", "density"} <= set(row):
            aim, entries, system = None, [], str(self.card["system"])
            given = row["composition"]
            try:
                elements = given if isinstance(given, Mapping) else yaml.safe_load(str(given))
            except yaml.YAMLError:
                elements = given
            composition = parse_composition(elements, f"{where}: composition")
            density = parse_density(row["density"], composition, where)
            path = folder / "request.json"
            path.write_text(json.dumps({"composition": composition, "density": density}, sort_keys=True))
        else:
            raise InputError("neither a target nor a composition with a density", where, "give one of them")
        settings = sampling_settings(system, self.card, root=None).settings
        structures = sample_prior(self.prior, composition, density, config=settings, target=aim, **sizes)
        return self._texts(structures, path, entries, system, settings, sizes)

    def _texts(
        self, structures: Any, target: Path, entries: list[Measured], system: str, settings: Any,
        sizes: dict[str, int],
    ) -> list[str]:  # fmt: skip
        from ase.io import write

        from glass_ml.config import as_mapping
        from glass_ml.provenance.lineage import make_lineage, stamp
        from glass_ml.structures.io import to_atoms

        lineage = make_lineage(
            model=self.folder,
            model_uri="",
            target=target,
            measurements=entries,
            params={
                "sampling": as_mapping(settings),
                "n_structures": sizes["n_structures"],
                "n_atoms": sizes["n_atoms"],
            },
            seed=sizes["seed"],
            device=str(structures.device),
            system=system,
        )
        texts = []
        for atoms in stamp(to_atoms(structures), lineage):
            with io.StringIO() as stream:
                write(stream, atoms, format="extxyz")
                texts.append(stream.getvalue())
        return texts


set_model(ServedPrior())
