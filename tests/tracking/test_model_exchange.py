"""A model goes to a colleague as one file and comes back the same; a file that is not what it says is refused."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from glass_ml.cli.main import main
from glass_ml.provenance.models import model_sha256
from glass_ml.tracking.exchange import MANIFEST, MEMBERS, export_model, import_model
from glass_ml.tracking.inversions import log_evaluation
from glass_ml.tracking.registry import register_prior, resolve_model
from glass_ml.tracking.store import open_store
from glass_ml.tracking.versions import get_version

NAME = "glass-a-Si"


@pytest.fixture
def exported(project, store, tools):
    register_prior("models/a-Si", system="a-Si", store=store)
    log_evaluation(tools.write_inversion("out/one"), {"reference.angle.rmse": 0.2}, target="one", store=store)
    return export_model(NAME, 1, project / "prior.glass", store).path


@pytest.fixture
def elsewhere(project, tmp_path, monkeypatch):
    """Another project, with a store of its own and without models."""
    root = tmp_path / "colleague"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("mlruns", "models", "out"))
    monkeypatch.chdir(root)
    return open_store()


def rewritten(path, change):
    """A copy of an exported file with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    other = path.with_name("changed.glass")
    with zipfile.ZipFile(other, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return other


def test_a_model_arrives_with_its_lineage(exported, store, elsewhere, project, tools):
    sent = get_version(store, NAME, 1)
    done = import_model(exported, elsewhere)
    got = get_version(elsewhere, NAME, done.version)
    for tag in (
        "model_sha256",
        "data_md5",
        "data_path",
        "git_commit",
        "code_sha256",
        "evaluation/one/reference.angle.rmse",
    ):
        assert got.tags[tag] == sent.tags[tag]
    assert got.tags["origin"].startswith("glass-a-Si version 1, imported from prior.glass by ")
    assert "one/reference.angle.rmse | &emsp;0.2" in got.description and "imported from" in got.description
    again = import_model(exported, elsewhere)
    assert (again.version, again.created) == (done.version, False)
    assert model_sha256(resolve_model(done.uri, store=elsewhere).folder) == model_sha256(project / "models" / "a-Si")


def test_an_imported_prior_gives_the_same_structures(exported, elsewhere, project):
    from glass_ml.priors.checkpoint import load_prior, read_card
    from glass_ml.sampling.run import sample_prior
    from glass_ml.settings.resolution import sampling_settings

    folder = resolve_model(import_model(exported, elsewhere).uri, store=elsewhere).folder
    made = []
    for place in (folder, project / "models" / "a-Si"):
        config = sampling_settings("a-Si", read_card(place)).settings
        made.append(sample_prior(load_prior(place), {"Si": 1.0}, 0.048, 16, 1, 3, config).positions.numpy())
    np.testing.assert_array_equal(*made)


def test_the_same_version_gives_the_same_file(exported, store, project):
    again = export_model(NAME, "candidate", project / "again.glass", store)
    assert again.path.read_bytes() == exported.read_bytes()


def test_commands(exported, elsewhere, capsys):
    assert main(["models", "import", str(exported)]) == 0
    assert capsys.readouterr().out.strip().endswith("is models:/glass-a-Si/1")
    assert main(["models", "export", NAME, "1", "--out", "back.glass", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "back.glass"
    assert main(["models", "import", "absent.glass"]) == 2
    assert main(["models", "export", NAME, "7"]) == 2


def _longer(members):
    members["model.safetensors"] += b"0"


def _other_weight(members):
    weights = bytearray(members["model.safetensors"])
    weights[-1] ^= 1
    members["model.safetensors"] = bytes(weights)


def _escape(members):
    members["../evil.py"] = b"print()"


def _no_card(members):
    del members[MEMBERS[-1]]


def _future(members):
    members[MANIFEST] = json.dumps({**json.loads(members[MANIFEST]), "format": 2}).encode()


def _foreign(members):
    manifest = json.loads(members[MANIFEST])
    manifest["tags"]["model_sha256"] = "0" * 64
    members[MANIFEST] = json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_longer, "model.safetensors is not what its manifest says"),
        (_other_weight, "model.safetensors is not what its manifest says"),
        (_escape, "'../evil.py' does not belong in an exported model"),
        (_no_card, "not an exported model"),
        (_future, "format 2 is not known here"),
        (_foreign, "its lineage is of another model"),
        (lambda members: members.update({MANIFEST: b"[]"}), "not an exported model, or a damaged one"),
    ],
)
def test_a_changed_file_is_refused_and_leaves_nothing(exported, elsewhere, change, words, capsys):
    assert main(["models", "import", str(rewritten(exported, change))]) == 2
    assert words in capsys.readouterr().err
    assert elsewhere.client.search_registered_models() == []


def test_a_file_of_another_kind_is_refused(project, capsys):
    assert main(["models", "import", "dvc.yaml"]) == 2
    assert "not an exported model, or a damaged one" in capsys.readouterr().err
