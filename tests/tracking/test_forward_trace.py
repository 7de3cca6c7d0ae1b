"""Everything that descends from data or a model is found: in the records, in the files, in DVC's history."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from glass_ml.cli.main import main
from glass_ml.files import sha256_file
from glass_ml.provenance.data import DataIdentity, entries_md5
from glass_ml.provenance.lineage import model_sha256
from glass_ml.provenance.results import lineages_of
from glass_ml.structures.io import read_frames, write_frames
from glass_ml.tracking.inversions import load_lineage, log_inversion
from glass_ml.tracking.registry import register_prior
from glass_ml.tracking.runs import start_run


@pytest.fixture
def family(project, store, tools):
    """Two priors of the same data; two inversions by the first, one of them recorded; one by the second."""
    md5 = json.loads(Path("models/a-Si/model.json").read_text())["data_md5"]
    tools.write_prior(project / "models" / "other", seed=5, system="other", data_md5=md5)
    register_prior("models/a-Si", system="a-Si", store=store)
    tools.write_inversion(project / "out" / "recorded", seed=1)
    log_inversion("out/recorded", store=store)
    tools.write_inversion(project / "out" / "only-a-file", seed=2)
    tools.write_inversion(project / "out" / "other", seed=3, model="models/other", model_uri="models/other")
    return project


def traced(capsys, *arguments):
    capsys.readouterr()
    assert main(["trace", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    return document, {node["key"]: node for node in document["graph"]["nodes"]}


def structure_files(nodes):
    return {name for node in nodes.values() if node["kind"] == "structures" for name in node["names"]}


def test_from_data_to_every_structure(family, capsys):
    md5 = json.loads(Path("models/a-Si/model.json").read_text())["data_md5"]
    everything = {f"out/{name}/structures.extxyz" for name in ("recorded", "only-a-file", "other")}
    for name in (md5, md5[:8], "data"):
        document, nodes = traced(capsys, "--data", name)
        assert document["of"] == [f"data:{md5}"]
        assert structure_files(nodes) == everything
        assert {n["identity"] for n in nodes.values() if n["kind"] == "model"} == {
            model_sha256("models/a-Si"),
            model_sha256("models/other"),
        }
    edges = {(edge["source"], edge["result"]) for edge in document["graph"]["edges"]}
    assert (f"data:{md5}", f"model:{model_sha256('models/other')}") in edges


def test_data_are_found_from_anywhere_without_what_dvc_ignores(family, capsys, monkeypatch, tmp_path):
    md5 = json.loads(Path("models/a-Si/model.json").read_text())["data_md5"]
    Path(".dvcignore").write_text("/data/a-Si/parts\n")
    Path("data/a-Si/parts").mkdir()
    Path("data/a-Si/parts/unfinished.extxyz").write_text("1\n")
    assert traced(capsys, "--data", "data")[0]["of"] == [f"data:{md5}"]
    monkeypatch.chdir(tmp_path)
    assert traced(capsys, "--data", "data", "--project", str(family))[0]["of"] == [f"data:{md5}"]


def test_from_a_model_however_it_is_called(family, capsys):
    for name in (
        "models:/glass-a-Si/1",
        "models:/glass-a-Si@candidate",
        "models/a-Si",
        model_sha256("models/a-Si")[:10],
    ):
        document, nodes = traced(capsys, "--model", name)
        assert document["of"] == [f"model:{model_sha256('models/a-Si')}"]
        assert structure_files(nodes) == {"out/recorded/structures.extxyz", "out/only-a-file/structures.extxyz"}
    recorded = nodes[f"structures:{sha256_file('out/recorded/structures.extxyz')}"]
    assert recorded["facts"]["run"] and recorded["facts"]["seed"] == "1"


def test_from_a_measurement(family, capsys):
    document, nodes = traced(capsys, "--data", "targets/sq.csv")
    assert document["of"] == [f"measurement:{sha256_file('targets/sq.csv')}"]
    assert len(structure_files(nodes)) == 3


def test_a_sweep_has_read_its_data_itself(family, store, capsys):
    """The data of today say nothing of the prior, which was trained on those of then."""
    today = DataIdentity("data/a-Si", "5" * 32 + ".dir")
    of_model = {"model_sha256": model_sha256("models/a-Si"), "model_uri": "models/a-Si"}
    for study, model in (("a-Si-1", of_model), ("a-Si-prior-1", {})):
        with start_run(
            stage="tune", system="a-Si", name=study, store=store, data=today, tags={"study": study, **model}
        ):
            pass
    _, nodes = traced(capsys, "--data", today.md5)
    assert set(nodes) == {f"data:{today.md5}", "sweep:a-Si-1", "sweep:a-Si-prior-1"}
    _, nodes = traced(capsys, "--model", "models/a-Si")
    assert "sweep:a-Si-1" in nodes and "sweep:a-Si-prior-1" not in nodes


def test_a_folder_is_the_model_that_is_in_it_now(family, store, capsys, tools):
    old = model_sha256("models/a-Si")
    tools.write_prior(family / "models" / "a-Si", seed=9)
    tools.write_inversion(family / "out" / "new", seed=4)
    document, nodes = traced(capsys, "--model", "models/a-Si")
    assert document["of"] == [f"model:{model_sha256('models/a-Si')}"]
    assert structure_files(nodes) == {"out/new/structures.extxyz"}
    assert traced(capsys, "--model", "models:/glass-a-Si/1")[0]["of"] == [f"model:{old}"]


def test_a_surrogate_is_a_model_in_the_records_too(family, store, capsys):
    weights = Path("models/other/model.safetensors")
    entry = {"name": "xanes", "kind": "xanes", "use": "fit", "file": str(weights), "sha256": sha256_file(weights)}
    lineage = replace(load_lineage("out/only-a-file"), measurements=json.dumps([entry]))
    log_inversion("out/only-a-file", lineage, store=store)
    identity = sha256_file("out/only-a-file/structures.extxyz")
    shutil.rmtree("out/only-a-file")
    _, nodes = traced(capsys, "--model", "models/other")
    assert f"structures:{identity}" in nodes
    _, nodes = traced(capsys, "--data", "data")
    assert f"measurement:{entry['sha256']}" not in nodes


def test_another_project_and_a_damaged_card(family, capsys, monkeypatch, tmp_path):
    (family / "models" / "other" / "model.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    document, nodes = traced(capsys, "--model", "models/a-Si", "--project", str(family / "out"))
    assert len(structure_files(nodes)) == 2 and document["registry"].endswith("project/mlruns/mlflow.db")
    assert any(node["facts"].get("run") for node in nodes.values())


def test_a_merged_file_descends_from_all_of_its_models(family, capsys):
    frames = [f for name in ("recorded", "other") for f in read_frames(f"out/{name}/structures.extxyz")]
    write_frames("merged.extxyz", frames)
    assert len(list(lineages_of(Path("merged.extxyz")))) == 2
    for model in ("models/a-Si", "models/other"):
        assert "merged.extxyz" in structure_files(traced(capsys, "--model", model)[1])


def test_records_outlive_their_files(family, capsys):
    identity = sha256_file("out/recorded/structures.extxyz")
    shutil.rmtree("out")
    shutil.rmtree("models")
    _, nodes = traced(capsys, "--model", "models:/glass-a-Si/1")
    assert f"structures:{identity}" in nodes


def test_data_of_which_a_part_was_used(family, capsys, tools):
    """The identity of the whole is in data.dvc; what a prior names is its own folder."""
    inside = [{"md5": "1" * 32, "relpath": "train.extxyz"}]
    part = entries_md5(inside)
    whole = [{"md5": "1" * 32, "relpath": "part/train.extxyz"}, {"md5": "2" * 32, "relpath": "rest/train.extxyz"}]
    md5 = entries_md5(whole)
    cache = family / ".dvc" / "cache" / "files" / "md5" / md5[:2]
    cache.mkdir(parents=True)
    (cache / md5[2:]).write_text(json.dumps(whole, sort_keys=True))
    tools.write_prior(family / "models" / "part", seed=6, data_path="data/part", data_md5=part)
    for name in (md5, md5[:10]):
        document, nodes = traced(capsys, "--data", name)
        assert document["of"] == [f"data:{part}"]
        assert f"model:{model_sha256('models/part')}" in nodes


def test_as_text_and_picture(family, capsys):
    assert main(["trace", "--data", "data", "--graph", "family.svg"]) == 0
    out = capsys.readouterr().out
    assert "├─ models:/glass-a-Si/1" in out and "3 structure files" in out
    assert out.index("models:/glass-a-Si/1") < out.index("out/only-a-file/structures.extxyz")
    assert "<svg" in Path("family.svg").read_text()
    assert main(["trace", "out/recorded/structures.extxyz", "--graph", "back.png"]) == 0
    assert Path("back.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "0123456789"], "nothing here was made of data '0123456789'"),
        (["--model", "models:/glass-a-Si/9"], "no version or alias '9'"),
        (["--model", "nonesuch"], "no prior 'nonesuch'"),
        ([], "nothing to trace"),
        (["--data", "data", "--model", "models/a-Si"], "2 things to trace"),
        (["--data", "data", "--graph", "family.docx"], "no format of a picture"),
    ],
)
def test_one_line_for_what_cannot_be_traced(family, capsys, arguments, words):
    assert main(["trace", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(Path().glob("family*"))


def test_what_stands_above_is_named_once():
    from glass_ml.provenance.graph import Graph

    graph = Graph()
    data, model, file = graph.add("data", "d"), graph.add("model", "m"), graph.add("structures", "s")
    for source, result in ((data, model), (model, file), (data, file)):
        graph.link(source, result)
    lines = list(graph.tree([data]))
    assert len(lines) == 4 and lines[-1].endswith("s  (above)")
    assert set(graph.descendants([model]).nodes) == {model, file}
