"""What a person sees in the MLflow page, looked at in a browser.

The screenshots are kept in $GLASS_ML_SCREENSHOTS, where it is set.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from browser import Browser, chromium
from ports import free_port
from small_project import git, write_small_prior, write_target
from small_sweep import TUNING, write_hidden, write_recipe

from glass_ml.analysis.references import reference_record
from glass_ml.stages.evaluate import evaluate
from glass_ml.stages.invert import invert
from glass_ml.stages.tune import tune
from glass_ml.tracking.experiments import EXPERIMENTS, VIEW, VIEW_NAME, WORKFLOW
from glass_ml.tracking.headline import inversion_numbers
from glass_ml.tracking.promotion import promote
from glass_ml.tracking.registry import register_prior
from glass_ml.tracking.store import Store, open_store
from glass_ml.tuning.record import record_sweep
from glass_ml.tuning.results import final_values

pytestmark = pytest.mark.slow
NAME = "glass-a-Si"
REASON = "a test without a trained prior"
LOSSES = ({"0.12": 0.5, "0.40": 0.9}, {"0.12": 0.4, "0.40": 0.8})
RUNS = ("a-Si one v1 seed 0", "a-Si two v2 seed 1")


@dataclass(frozen=True)
class Place:
    """A project with two priors, an inversion by each, and a sweep; in MLflow, by their run ids."""

    root: Path
    store: Store
    priors: list[str]
    inversions: list[str]
    sweep: str

    def file(self, number: int, name: str) -> dict:
        """A JSON file of an inversion."""
        return json.loads((self.root / "inversions" / ("one", "two")[number] / name).read_text())

    def headline(self, number: int) -> dict[str, float]:
        """The headline metrics of an inversion, as its files have them."""
        return inversion_numbers({**self.file(number, "metrics.json"), **self.file(number, "evaluation.json")})


def make_place(root: Path) -> Place:
    """Fill a project, the current folder."""
    target = write_target(root / "targets" / "a-Si")
    hidden = write_hidden(root)
    write_small_prior(root / "trained" / "a-Si")
    known = reference_record([hidden])
    write_recipe(root, TUNING.replace("seeds: [0, 1, 2]", "seeds: [0]"))
    git(root, "add", "targets", "params.yaml")
    git(root, "commit", "-q", "-m", "recipe")
    store = open_store(root)
    priors = []
    for seed, (name, losses) in enumerate(zip(("one", "two"), LOSSES, strict=True)):
        model = write_small_prior(root / "models" / "a-Si", seed, held_out_loss=losses, references=known)
        priors.append(register_prior(model, system="a-Si", store=store).run_id)
        out = root / "inversions" / name
        invert(target, out, n_structures=2, n_atoms=32, seed=seed, processes=1, progress=False)
        evaluate(out, hidden)
    runs = {run.info.run_name: run.info.run_id for run in store.client.search_runs([store.experiments["inversions"]])}
    promote(NAME, 2, "production", force=REASON, store=store)
    tune("a-Si", trials=3, workers=1, progress=False)
    sweep = record_sweep(root / "sweeps" / "a-Si", store=store)
    return Place(root, store, priors, [runs[name] for name in RUNS], sweep)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a store and nothing in it, as the current folder."""
    chromium()  # skips where there is none
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("page") / "project"
        root.mkdir()
        patch.chdir(root)
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "DVC_STAGE", "DVC_EXP_NAME"):
            patch.delenv(name, raising=False)
        (root / "dvc.yaml").write_text("stages: {}\n")
        (root / ".gitignore").write_text("/data\n/inversions\n/mlruns\n/models\n/sweeps\n/tuned\n/ui.log\n")
        git(root, "init", "-q")
        git(root, "add", ".")
        git(root, "commit", "-q", "-m", "project")
        open_store(root)
        yield root


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    """Where `glass-ml ui` serves the page, started as a person starts it; it comes up while the project is filled."""
    port = free_port()
    command = [sys.executable, "-m", "glass_ml.cli.main", "ui", "--port", str(port)]
    with (root / "ui.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}"
        assert server.poll() is None, (root / "ui.log").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.fixture(scope="module")
def place(root: Path, address: str) -> Place:
    return make_place(root)


class Page:
    """The MLflow page of a store in a browser, and where its pictures go."""

    def __init__(self, browser: Browser, address: str, pictures: Path):
        self.browser, self.address, self.pictures = browser, address, pictures

    def open(self, place: str) -> Browser:
        """Go to a place of the page, given as what follows "#/"."""
        self.browser.open("about:blank")
        self.browser.open(f"{self.address}/#/{place}")
        return self.browser

    def shot(self, name: str) -> None:
        self.browser.shot(self.pictures / f"{name}.png")


@pytest.fixture(scope="module")
def page(address: str, place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page in a browser, its menu set to trainings, without the panel that MLflow opens at the first visit."""
    pictures = Path(os.environ.get("GLASS_ML_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")).resolve()
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            break
        time.sleep(0.2)
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.screen(1440, 1000)
        page = Page(browser, address, pictures)
        page.open("experiments").sees("inversions")
        browser.click("Model training")
        browser.sees("Model registry")
        browser.js("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
        yield page
    print(f"screenshots: {pictures}")


def table(browser: Browser) -> dict[str, dict[str, str]]:
    """The runs table: name of a run -> column -> what its cell says."""
    cells = browser.js(
        """[...document.querySelectorAll("[role=gridcell]")].map((cell) => [cell.closest("[row-index]").getAttribute(
          "row-index"), cell.getAttribute("col-id"), cell.innerText.replace("Pin run", "").trim()])"""
    )
    rows: dict[str, dict[str, str]] = {}
    for row, column, text in cells:
        rows.setdefault(row, {})[column.replace("`", "")] = text
    return {row["attributes.Run Name"].splitlines()[-1]: row for row in rows.values() if "attributes.Run Name" in row}


def compared(browser: Browser) -> dict[str, list[float]]:
    """The metrics of the comparison page: name -> a number for each run; those in sight and some below."""
    found = browser.js(
        """(() => {
          const middle = (e) => { const box = e.getBoundingClientRect(); return Math.round(box.y + box.height / 2); };
          return [...document.querySelectorAll("a[title='Plot chart']")].map((name) => {
            let part = name;
            while (part.querySelectorAll("[role=grid]").length < 2) part = part.parentElement;
            const cells = [...part.querySelectorAll("[role=grid] span")];
            const row = cells.filter((e) => Math.abs(middle(e) - middle(name)) < 8);
            return [name.innerText.trim(), row.map((e) => e.innerText.trim())];
          });
        })()"""
    )
    return {name: [float(value) for value in values] for name, values in found}


def compare(page: Page, experiment: str, runs: list[str]) -> Browser:
    """The comparison page of runs, in a window that is high enough for all of it."""
    page.browser.screen(1440, 2600)
    return page.open(f"compare-runs?runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([experiment]))}")


def headline_view(page: Page, experiment: str) -> Browser:
    """The runs of an experiment with its headline metrics, as `glass-ml ui` prints the address."""
    page.browser.screen(1900, 900)
    return page.open(f"experiments/{experiment}/runs?{WORKFLOW}&viewStateShareKey={VIEW}")


def test_experiments_say_what_their_runs_are(page: Page, place: Place) -> None:
    printed = (place.root / "ui.log").read_text()
    for number in place.store.experiments.values():
        assert f"{page.address}/#/experiments/{number}/runs?{WORKFLOW}&viewStateShareKey={VIEW}" in printed
    page.browser.screen(1440, 1000)
    browser = page.open("experiments")
    browser.sees(*EXPERIMENTS, *(experiment.runs[:12] for experiment in EXPERIMENTS.values()))
    page.shot("experiments")


def test_runs_are_found_by_name_and_compare_in_columns(page: Page, place: Place) -> None:
    browser = headline_view(page, place.store.experiments["inversions"])
    browser.sees(*RUNS, VIEW_NAME, EXPERIMENTS["inversions"].runs, "held_out.r")
    page.shot("runs")
    rows = table(browser)
    for number, name in enumerate(RUNS):
        numbers = place.headline(number)
        assert rows[name]["tags.model_version"] == f"{NAME}/{number + 1}"
        for metric in ("fit.r", "held_out.r", "realism.worst", "realism.coordination", "gr.rmse", "angle.rmse"):
            assert float(rows[name][f"metrics.{metric}"]) == numbers[metric]


def test_the_comparison_of_inversions_says_which_is_better_and_why(page: Page, place: Place) -> None:
    browser = compare(page, place.store.experiments["inversions"], place.inversions)
    browser.sees("Comparing 2 Runs", *RUNS, "held_out.r", "realism.coordination", "fit.r")
    browser.until("document.querySelectorAll('a[title=\\'Plot chart\\']').length > 10")
    page.shot("compare-inversions")
    shown = compared(browser)
    both = [place.headline(number) for number in range(2)]
    assert len(both[0]) >= 12
    assert list(shown)[: len(both[0])] == sorted(both[0])
    for name in both[0]:
        assert shown[name] == pytest.approx([numbers[name] for numbers in both], rel=1e-3, abs=1e-3)


def test_the_comparison_of_priors_says_which_has_learned_more(page: Page, place: Place) -> None:
    browser = compare(page, place.store.experiments["priors"], place.priors)
    browser.sees("prior a-Si v1", "prior a-Si v2", "loss.mean", "parameters")
    page.shot("compare-priors")
    shown = compared(browser)
    assert shown == {
        "loss.0.12": [0.5, 0.4], "loss.0.40": [0.9, 0.8], "loss.mean": [0.7, 0.6], "parameters": [995, 995]
    }  # fmt: skip


def test_a_version_shows_its_card_its_holders_and_the_evidence(page: Page, place: Place) -> None:
    page.browser.screen(1440, 1000)
    browser = page.open(f"models/{NAME}/versions/2")
    browser.sees("Version 2", "@ production", "@ candidate", "prior a-Si v2", "Structures of a-Si")
    page.shot("version")
    numbers = place.file(1, "evaluation.json")
    angle = numbers["reference"]["angle.rmse"]["mean"]
    browser.sees("Held-out loss", "0.400", "Evaluations", "two/reference.angle.rmse", f"{angle:.6g}", "Limits")
    browser.sees("Promotions", REASON, "asked: at most 0.4", "model_sha256", "git_commit", "data_md5")


def test_the_report_opens_among_the_files_of_a_run(page: Page, place: Place) -> None:
    page.browser.screen(1440, 1000)
    where = f"experiments/{place.store.experiments['inversions']}/runs/{place.inversions[0]}"
    browser = page.open(where)
    verdict = place.file(0, "evaluation.json")["verdict"]
    browser.sees(RUNS[0], verdict, "fit.r")
    page.shot("run")
    browser = page.open(f"{where}/artifacts/report.html")
    browser.sees("report.html", "structures.extxyz", "figures")
    assert verdict in browser.in_frame("document.body.innerText")
    assert browser.in_frame("document.getElementById('viewer').toDataURL().length") > 20_000
    page.shot("report")


def test_a_sweep_shows_its_winner_and_its_trials(page: Page, place: Place) -> None:
    result = json.loads((place.root / "sweeps" / "a-Si" / "result.json").read_text())
    browser = headline_view(page, place.store.experiments["tuning"])
    browser.sees("tune a-Si")
    browser.js("document.querySelector(\"[col-id='attributes.`Run Name`'] button\").click()")
    browser.sees(*(f"trial {row['number']}" for row in result["trials"]))
    page.shot("sweep-trials")
    rows = table(browser)
    for row in result["trials"]:
        if "values" in row:
            assert float(rows[f"trial {row['number']}"]["metrics.held_out"]) == row["values"]["held_out"]
    winner = final_values(result)["winner"]
    assert float(rows["tune a-Si"]["metrics.realism"]) == winner["realism"]
    page.browser.screen(1440, 1000)
    browser = page.open(f"experiments/{place.store.experiments['tuning']}/runs/{place.sweep}")
    browser.sees("tune a-Si", "default", f"winner (trial {result['winner']})", f"{winner['held_out']:.4g}", "trial 1")
    page.shot("sweep")


def test_the_page_asks_nobody_else(page: Page) -> None:
    assert all(url.startswith((page.address, "about:")) for url in page.browser.requests())
