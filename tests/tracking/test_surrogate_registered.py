"""A surrogate from its data to the registry: trained by the command, found, shown, promoted and served."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import yaml
from ase.io import write
from small_surrogate import CONFIG, ENERGIES, batch, carbon, write_toy

from glass_ml.cli.main import main
from glass_ml.observables.xanes import Xanes
from glass_ml.tracking.health import examine
from glass_ml.tracking.store import open_store
from glass_ml.tracking.versions import get_version, versions

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def recipe(project):
    """A project with the recipe of a toy surrogate; its data are elsewhere."""
    write_toy(project.parent / "toy")
    training = {"steps": 4, "epoch_steps": 2, "warmup": 1, "average_size": 4, "hold_out": "label"}
    surrogate = json.loads(json.dumps({**asdict(CONFIG), "members": 2}))
    content = {"data": "../toy", "absorber": "C", "surrogate": surrogate, "training": training}
    (project / "params.yaml").write_text(yaml.safe_dump({"surrogates": {"toy": content}}))
    return project


def test_the_command_trains_registers_and_serves(recipe, tools, capsys, tmp_path):
    import mlflow

    assert main(["train", "toy", "--observable", "xanes", "--json"]) == 0
    errors = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(errors) == {"a3.4", "a3.57", "a3.7", "all"} and not list(recipe.glob("training/toy*"))
    store = open_store()
    (version,) = versions(store, "glass-toy")
    run = store.client.get_run(version.run_id)
    assert run.data.metrics["held_out/a3.57/atom_rmse"] == pytest.approx(errors["a3.57"]["atom_rmse"])
    assert (
        run.data.params["absorber"] == "C" and run.inputs.dataset_inputs[0].dataset.digest == version.tags["data_md5"]
    )
    assert main(["models", "show", "glass-toy", "--json"]) == 0
    shown = tools.run_json(capsys)
    assert shown["data_path"] == "../toy" and shown["system"] == "toy" and shown["elements"] == "[6]"
    assert float(shown["evaluation"]["held-out/atom_rmse"]) == pytest.approx(errors["all"]["atom_rmse"], rel=1e-4)
    assert main(["models", "list"]) == 0 and "held-out" in capsys.readouterr().out
    limits = {part: errors["all"][f"{part}_rmse"] / errors["all"][f"{part}_spread"] for part in ("atom", "cell")}
    recipe_file = recipe / "params.yaml"
    strict = {"surrogate": {**limits, "cell": 0.9 * limits["cell"]}, "clean": False}
    recipe_file.write_text(recipe_file.read_text() + f"promotion: {json.dumps(strict)}\n")
    assert main(["models", "promote", "glass-toy", "1", "--to", "champion"]) == 1
    assert "FAILED held-out error per cell over the spread of the data" in capsys.readouterr().err
    recipe_file.write_text(recipe_file.read_text().replace(f"{0.9 * limits['cell']}", f"{1.1 * limits['cell']}"))
    recipe_file.write_text(recipe_file.read_text().replace(f"{limits['atom']}", f"{1.1 * limits['atom']}"))
    assert main(["models", "promote", "glass-toy", "1", "--to", "champion"]) == 0
    assert {f.name: f.status for f in examine(recipe)}["model toy"] == "ok"

    write(tmp_path / "one.xyz", carbon(3), format="extxyz")
    with store.current():
        model = mlflow.pyfunc.load_model("models:/glass-toy@champion")
    said = model.predict(pd.DataFrame({"structure": [(tmp_path / "one.xyz").read_text()]}))
    xanes = Xanes(recipe / "models" / "toy")
    np.testing.assert_allclose(said["energy"], ENERGIES)
    np.testing.assert_allclose(said["intensity"], xanes.forward(batch(carbon(3)))[0], atol=1e-5)
    np.testing.assert_allclose(said["uncertainty"], xanes.uncertainty(batch(carbon(3)))[0], atol=1e-5)


def test_the_same_surrogate_is_one_version(recipe, store):
    from glass_ml.tracking.registry import register_prior

    assert main(["train", "toy", "--observable", "xanes"]) == 0
    again = register_prior("models/toy", system="toy", store=store)
    assert (again.version, again.created) == (1, False)
    assert get_version(store, "glass-toy", "candidate").version in (1, "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["other", "--observable", "xanes"], "params.yaml: surrogates: unknown surrogate 'other' (known: toy"),
        (["toy", "--observable", "xanes", "--data", "nowhere"], "nowhere: no data of spectra per atom here"),
        (["toy", "--observable", "xanes", "--devices", "2"], "trains in one process on the CPU"),
        (["toy", "--data", "x"], "--data: a folder of data for a prior"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(recipe, capsys, arguments, message):
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
