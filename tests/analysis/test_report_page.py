"""The report stands alone, says what the files say, and works in a browser."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from test_shells_and_angles import cristobalite, noisy

from glass_ml.analysis import figures
from glass_ml.analysis.ensemble import describe, summary
from glass_ml.analysis.references import reference_record
from glass_ml.analysis.report import write_report
from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.files import write_json
from glass_ml.structures.io import from_atoms, write_frames

HOSTILE = "</script><script>alert(1)</script><b>&"


def write_folder(folder: Path, frames: list, system: str = "a-Test", references: list | None = None) -> Path:
    """An inversion folder with two measurements, as `glass-ml invert` leaves it."""
    folder.mkdir()
    write_frames(folder / "structures.extxyz", frames)
    x = np.linspace(1, 20, 150)
    with (folder / "spectra.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["measurement", "kind", "use", "x", "target", "sigma", "fit", "spread", "residual"])
        for name, kind, use in (("diffraction", "xray-sq", "fit"), ("second & last", "neutron-fq", "validate")):
            for q in x:
                target = 1 + np.sin(2.4 * q) / q
                writer.writerow([name, kind, use, q, target, 0.02, target + 0.01, 0.005, 0.01])
    measured = {"n_points": 150, "chi2_reduced": 0.25, "r_factor": 0.0421, "scale": 1.0, "offset": 0.0}
    metrics = {
        "n_structures": len(frames),
        "network_calls": 150,
        "measurements": {
            "diffraction": {"kind": "xray-sq", "use": "fit", **measured},
            "second & last": {"kind": "neutron-fq", "use": "validate", **measured},
        },
        "structure": summary(describe(from_atoms(frames))),
        "diversity": {"mean": 1.02, "min": 0.97},
        "copies": {
            "fraction": [0.005],
            "mean": 0.005,
            "max": 0.005,
            "nearest": [3],
            "independent": 54,
            "training": "p",
        },
    }
    if references:
        metrics["references"] = reference_record({"reference-test.extxyz": references})
    write_json(folder / "metrics.json", metrics)
    lineage = {"system": system, "seed": 7, "model_name": HOSTILE, "params": json.dumps({"steps": 150})}
    write_json(folder / "lineage.json", lineage)
    (folder / "target.yaml").write_text(f"system: {HOSTILE}\n")
    return folder


@pytest.fixture(scope="module")
def silica(tmp_path_factory) -> Path:
    frames = [noisy(cristobalite() * (2, 2, 1), 0.06, seed) for seed in range(6)]
    return write_folder(tmp_path_factory.mktemp("report") / "silica", frames[:3], references=frames[3:])


@pytest.fixture(scope="module")
def page(silica) -> str:
    return write_report(silica)[0].read_text(encoding="utf-8")


class Loads(HTMLParser):
    """Collects what a page would fetch, and its visible text."""

    def __init__(self):
        super().__init__()
        self.found, self.tags, self.words, self.silent = [], [], [], 0

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.silent += tag in ("script", "style")
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
                self.found.append(value)

    def handle_endtag(self, tag):
        self.silent -= tag in ("script", "style")

    def handle_data(self, data):
        if not self.silent:
            self.words.append(data)


def test_nothing_is_loaded_from_anywhere(page):
    loads = Loads()
    loads.feed(page)
    assert all(value.startswith("#") for value in loads.found)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(", page)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_no_field_of_a_file_is_markup(silica, tmp_path):
    """Every text of every file says something else to a browser than to a reader."""
    folder = tmp_path / "hostile"
    shutil.copytree(silica, folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["note"] = HOSTILE
    metrics["measurements"] = {HOSTILE: metrics["measurements"]["diffraction"]}
    metrics["structure"][HOSTILE] = {"mean": 1.0, "std": 0.0}
    metrics["copies"] = {"not_checked": HOSTILE}
    metrics["references"]["groups"][0] |= {"file": HOSTILE, "potential": HOSTILE}
    write_json(folder / "metrics.json", metrics)
    write_json(
        folder / "lineage.json", {"system": HOSTILE, "seed": HOSTILE, HOSTILE: HOSTILE, "params": f'["{HOSTILE}"]'}
    )
    table = (folder / "spectra.csv").read_text().replace("diffraction,xray-sq", f"{HOSTILE},{HOSTILE}")
    (folder / "spectra.csv").write_text(table)
    loads = Loads()
    loads.feed(write_report(folder)[0].read_text(encoding="utf-8"))
    assert loads.tags.count("script") == 2 and loads.tags.count("b") == 0
    assert "".join(loads.words).count("alert(1)") >= 14


def test_text_from_files_is_never_markup(page):
    loads = Loads()
    loads.feed(page)
    assert loads.tags.count("script") == 2
    assert "alert(1)" in "".join(loads.words)
    assert loads.tags.count("b") == 0


def test_the_answer_comes_first_and_everything_is_there(page):
    loads = Loads()
    loads.feed(page)
    text = " ".join(" ".join(loads.words).split())
    order = [
        "The structures fit the measurement and are like the reference structures.",
        "Is it like the reference structures?",
        "Coordination of Si is as in the reference structures: 4-fold 100.0% (100.0%).",
        "The replicas are distinct: they differ by 1.02 on average",
        "No copies of training data: 0.5% of the surroundings or less",
        "Replica ",
        "The measurements",
        "diffraction: X-ray S(Q)",
        "second & last: Neutron F(Q)",
        "Partial g(r)",
        "Bond angles",
        "nfold.Si.4",
        "Where this comes from",
        "glass-ml trace structures.extxyz",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert loads.tags.count("svg") == 6
    assert "R 0.042" in text
    assert re.search(r"Si atoms with 4 neighbours nfold\.Si\.4 100\.0 % 100\.0 %", text)


def test_the_viewer_has_every_atom_and_every_bond_once(page, silica):
    data = json.loads(re.search(r'id="viewer-data">(.*?)</script>', page, re.DOTALL).group(1))
    assert [e["symbol"] for e in data["elements"]] == ["Si", "O"]
    assert data["usual"] == [4, 2]
    for replica in data["replicas"]:
        n = len(replica["kind"])
        assert n == 96
        assert len(replica["position"]) == 3 * n
        assert len(replica["bonds"]) / 2 + len(replica["crossing"]) / 5 == 4 * n / 3
        assert sum(replica["count"]) == 2 * 4 * n / 3


def test_the_same_files_give_the_same_page(page, silica):
    assert write_report(silica)[0].read_text(encoding="utf-8") == page


def test_figures_follow_the_colours_of_the_page(page):
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    defined = set(re.findall(r"(--[a-z]+):", style))
    assert set(re.findall(r"var\((--[a-z]+)\)", page)) <= defined | {"--level"}
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--blue)" in drawn
    assert not any(colour in drawn for colour in figures.CSS_COLOURS)


def test_png_figures_for_the_tracking_page(silica, tmp_path):
    paths = write_report(silica, tmp_path)[1:]
    assert [p.name for p in paths] == [
        "spectrum-diffraction.png",
        "spectrum-second-last.png",
        "partial-gr.png",
        "bond-angles.png",
        "coordination.png",
        "rings.png",
    ]
    assert all(p.read_bytes().startswith(b"\x89PNG") and p.stat().st_size > 5000 for p in paths)


def test_one_structure_without_lineage_and_without_bonds(tmp_path):
    rng = np.random.default_rng(0)
    atoms = bulk("Ar", cubic=True) * (5, 5, 5)
    atoms.positions = rng.uniform(0, 30, atoms.positions.shape)
    atoms.cell = [30, 30, 30]
    folder = write_folder(tmp_path / "gas", [atoms])
    (folder / "lineage.json").unlink()
    (folder / "target.yaml").unlink()
    text = write_report(folder)[0].read_text(encoding="utf-8")
    assert "There is no lineage.json" in text
    assert "No bonds were found" in text
    assert ">reference</th>" not in text
    assert "One structure only" in text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("structures.extxyz", None, "structures.extxyz"),
        ("metrics.json", None, "metrics.json"),
        ("metrics.json", "{", "not JSON"),
        ("metrics.json", "[]", "not a JSON object"),
        ("metrics.json", "{}", "measurements"),
        ("spectra.csv", "measurement,kind\n", "column"),
        ("spectra.csv", "measurement,kind,use,x,target,sigma,fit,spread,residual\na,gr,fit,1,x,1,1,1,1\n", "line 2"),
    ],
)
def test_a_broken_folder_is_named(silica, tmp_path, name, content, words, capsys):
    folder = tmp_path / "broken"
    shutil.copytree(silica, folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=words):
        write_report(folder)
    assert main(["report", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_report_command(silica, tmp_path, capsys):
    assert main(["report", str(silica), "--json", "--figures", str(tmp_path / "images")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert Path(answer["report"]).is_file()
    assert answer["verdict"]["level"] == "good"
    assert len(answer["figures"]) == 6
    assert main(["report", str(silica)]) == 0
    assert "Is it like the reference structures?" in capsys.readouterr().out


PROBE = """<script>
(() => {
  const result = { errors: [] };
  window.requestAnimationFrame = (callback) => setTimeout(callback, 5); // frames are not promised without a screen
  window.addEventListener("error", (event) => result.errors.push(event.message));
  const canvas = document.getElementById("viewer"), pixels = () => canvas.toDataURL();
  const inked = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    .data.filter((v) => v).length;
  const point = (type, id, x, y) => canvas.dispatchEvent(
    new PointerEvent(type, { pointerId: id, clientX: x, clientY: y, bubbles: true }));
  canvas.setPointerCapture = () => {};
  const wait = () => new Promise((done) => setTimeout(done, 50));
  const set = (id, value) => {
    const box = document.getElementById(id);
    if (box.type === "checkbox") box.checked = value; else box.value = value;
    box.dispatchEvent(new Event("change"));
    box.dispatchEvent(new Event("input"));
  };
  (async () => {
    const shots = [pixels()];
    const step = async (action) => { action(); await wait(); shots.push(pixels()); };
    result.inked = inked();
    await step(() => {
      point("pointerdown", 1, 100, 100); point("pointermove", 1, 160, 130); point("pointerup", 1, 160, 130);
    });
    const before = inked();
    await step(() => {
      point("pointerdown", 1, 150, 150); point("pointerdown", 2, 200, 150); point("pointermove", 2, 230, 150);
      point("pointerup", 1, 0, 0); point("pointerup", 2, 0, 0);
    });
    result.grown = inked() > before;
    await step(() => set("viewer-colour", "coordination"));
    result.legend = document.getElementById("viewer-legend").textContent;
    await step(() => set("viewer-replica", "1"));
    await step(() => set("viewer-bonds", false));
    await step(() => set("viewer-cut", "0.4"));
    await step(() => document.getElementById("viewer-reset").click());
    await step(() => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" })));
    result.changed = shots.slice(1).map((shot, k) => shot !== shots[k]);
    result.wide = document.documentElement.scrollWidth <= window.innerWidth;
    document.body.setAttribute("data-result", JSON.stringify(result));
  })();
})();
</script></body>"""


def test_the_page_works_in_a_browser(page, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    probe = tmp_path / "probe.html"
    probe.write_text(page.replace("</body>", PROBE), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,900", "--virtual-time-budget=6000"]
    done = subprocess.run(
        [browser, *options, "--dump-dom", probe.as_uri()], capture_output=True, timeout=60, check=True
    )
    found = re.search(r'data-result="([^"]*)"', done.stdout.decode())
    assert found, done.stderr.decode()[-2000:]
    result = json.loads(found.group(1).replace("&quot;", '"'))
    assert result["errors"] == []
    assert result["inked"] > 10_000
    assert result["changed"] == [True] * 8
    assert result["grown"]
    assert "Si, 4 (32)" in result["legend"]
    assert result["wide"]
