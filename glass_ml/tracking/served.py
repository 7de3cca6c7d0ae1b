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
    """Structures out of a prior.

    A row of the input asks either for an inversion or for samples of the prior:

    - `target`: the text of a TARGET.yaml, or the path of one; `files`: JSON object of the measured files that the text
      names (name -> content), for a caller whose files this machine does not have;
    - `composition` (element -> amount, as a mapping or as JSON) and `density` (atoms/Å^3, or such as "2.28 g/cm3").

    Parameters: `n_structures`, `n_atoms` of each and `seed`. The output has one row a structure: `row` of the input,
    `replica`, and `structure` as extended-XYZ text that carries its lineage.
    """

    _skip_type_hint_validation = True  # the signature above is explicit; else MLflow warns that types are missing

    def load_context(self, context: Any) -> None:
        """Load the checkpoint folder that was logged with the model."""
        from glass_ml.priors.checkpoint import load_prior

        self.folder = Path(context.artifacts["prior"])
        self.prior = load_prior(self.folder)

    def predict(self, context, model_input, params=None):
        """See the class; raises InputError for a row that asks for neither or for what the prior cannot do."""
        rows = pd.DataFrame([model_input] if isinstance(model_input, Mapping) else model_input)
        settings = {"n_structures": 1, "n_atoms": 216, "seed": 0, **(params or {})}
        found = []
        for k, row in enumerate(rows.to_dict("records")):
            asked = {key: value for key, value in row.items() if isinstance(value, Mapping) or pd.notna(value)}
            structures = self._structures(asked, f"row {k}", {key: int(value) for key, value in settings.items()})
            found += [(k, replica, text) for replica, text in enumerate(structures)]
        return pd.DataFrame(found, columns=["row", "replica", "structure"])

    def _structures(self, row: dict[str, Any], where: str, settings: dict[str, Any]) -> list[str]:
        if "target" in row:
            return self._inverted(str(row["target"]), row.get("files"), settings)
        if {"composition", "density"} <= set(row):
            return self._sampled(row["composition"], row["density"], where, settings)
        raise InputError("neither a target nor a composition with a density", where, "give one of them")

    def _inverted(self, target: str, files: str | None, settings: dict[str, Any]) -> list[str]:
        from glass_ml.measurements.target import load_target
        from glass_ml.sampling.run import invert_target

        with tempfile.TemporaryDirectory() as folder:
            if "\n" in target:
                path = Path(folder) / "target.yaml"
                path.write_text(target, encoding="utf-8")
                for name, content in json.loads(files or "{}").items():
                    (Path(folder) / Path(name).name).write_text(content, encoding="utf-8")
            else:
                path = Path(target)
            aim = load_target(path, beside=bool(files))
            return self._texts(invert_target(aim, self.prior, **settings), path, settings)

    def _sampled(self, composition: Any, density: Any, where: str, settings: dict[str, Any]) -> list[str]:
        from glass_ml.sampling.run import sample_prior
        from glass_ml.units import parse_density

        elements = composition if isinstance(composition, Mapping) else yaml.safe_load(str(composition))
        value = parse_density(density, elements, where)
        structures = sample_prior(self.prior, dict(elements), value, **settings)
        with tempfile.TemporaryDirectory() as folder:
            request = Path(folder) / "request.json"
            request.write_text(json.dumps({"composition": elements, "density": value}, sort_keys=True))
            return self._texts(structures, request, settings)

    def _texts(self, structures: Any, target: Path, settings: dict[str, Any]) -> list[str]:
        from ase.io import write

        from glass_ml.provenance.lineage import make_lineage, stamp
        from glass_ml.structures.io import to_atoms

        lineage = make_lineage(
            model=self.folder,
            model_uri="",
            target=target,
            measurements=(),
            params=settings,
            seed=settings["seed"],
            device=str(structures.device),
        )
        texts = []
        for atoms in stamp(to_atoms(structures), lineage):
            with io.StringIO() as stream:
                write(stream, atoms, format="extxyz")
                texts.append(stream.getvalue())
        return texts


set_model(ServedPrior())
