"""The model that MLflow serves for a surrogate: structures in, spectra with their uncertainty out.

MLflow copies this file beside the checkpoint and runs it to load the model (models-from-code: no pickle).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel
from mlflow.types.schema import ColSpec, Schema

from glass_ml.errors import InputError
from glass_ml.tracking.requests import answering

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "structure")]),
    outputs=Schema(
        [
            ColSpec("long", "row"),
            ColSpec("double", "energy"),
            ColSpec("double", "intensity"),
            ColSpec("double", "uncertainty"),
        ]
    ),
)

EXAMPLE = pd.DataFrame(
    {"structure": ['1\nLattice="2.5 0 0 0 2.5 0 0 0 2.5" Properties=species:S:1:pos:R:3 pbc="T T T"\nC 0 0 0\n']}
)


class ServedSurrogate(PythonModel):
    """Spectra of structures.

    A row of the input holds one `structure` as extended-XYZ text. The output has one row an energy: `row` of the input,
    `energy` on the surrogate's own axis, `intensity` of the cell average, and `uncertainty`, its standard deviation.
    """

    _skip_type_hint_validation = True  # the signature above is explicit; else MLflow warns that types are missing

    def load_context(self, context: Any) -> None:
        """Load the folder that was logged with the model."""
        from glass_ml.observables.xanes import Xanes

        self.xanes = Xanes(context.artifacts["prior"])

    # without types: MLflow takes them for the signature
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """See the class; raises InputError for what is no structure, or not one that the surrogate knows."""
        with answering():
            return self._spectra(pd.DataFrame([model_input] if isinstance(model_input, Mapping) else model_input))

    def _spectra(self, rows: pd.DataFrame) -> pd.DataFrame:
        import torch
        from ase.io import iread

        from glass_ml.structures.io import from_atoms

        found = []
        for k, text in enumerate(rows["structure"]):
            try:
                frames = list(iread(io.StringIO(str(text)), format="extxyz"))
            except Exception:  # the reader raises anything at a malformed text
                raise InputError("not a structure", f"row {k}", "give extended-XYZ text") from None
            structure = from_atoms(frames)
            with torch.no_grad():
                values = self.xanes.forward(structure)[0].tolist()
                uncertainty = self.xanes.uncertainty(structure)[0].tolist()
            found += [(k, *point) for point in zip(self.xanes.grid.tolist(), values, uncertainty, strict=True)]
        return pd.DataFrame(found, columns=["row", "energy", "intensity", "uncertainty"])


set_model(ServedSurrogate())
