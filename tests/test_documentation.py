"""The documentation is right: commands parse, links lead somewhere, examples run, the site builds and stays at home."""

import dataclasses
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import glass_ml
from glass_ml.cli.main import COMMANDS, build_parser, main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), ROOT / "findings" / "README.md"]
PYTEST = ("pytest", "-p", "no:cacheprovider", "-rA")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The fenced code of a language on a page of the documentation."""
    return [text for kind, text in FENCE.findall((DOCS / page).read_text(encoding="utf-8")) if kind == language]


def command_lines(page: Path) -> list[str]:
    """Indented lines with a glass-ml command; a line that ends in a backslash goes on in the next."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^(?: {4}|\t).*?\b(glass-ml (?!\.\.\.).*)$", text, re.MULTILINE)
    return [re.split(r"\s#\s|[;|]|&&|\s[0-9]?>\s", line)[0].rstrip(" &") for line in found]


COMMAND_LINES = [pytest.param(line, id=f"{page.name}: {line}") for page in PAGES for line in command_lines(page)]


@pytest.fixture(scope="module")
def reference():
    """The script that makes parts of the site from the code."""
    found = importlib.util.spec_from_file_location("reference", DOCS / "hooks" / "reference.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_documentation_has_commands():
    assert len(COMMAND_LINES) > 60


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_printed_command_is_understood(line, monkeypatch):
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    try:
        build_parser().parse_args()  # ends the test with the parser's own complaint
    except SystemExit as end:
        assert end.code == 0  # --help, --version


def test_no_page_prints_a_broad_kill():
    assert not [p.name for p in PAGES if re.search(r"pkill|killall|kill -9 -1", p.read_text(encoding="utf-8"))]


def test_every_command_is_on_the_page_of_commands():
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"`glass-ml {name}" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for place in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / place).exists(), place


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_the_names_of_the_front_door_are_there():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"\bgm\.(\w+)", text))
    assert len(named) > 3 and named <= set(glass_ml.__all__)


def test_every_setting_is_documented(reference):
    walked = [section for top, cls in reference.SECTIONS.items() for section in reference.walk(top, cls)]
    described = {path.removesuffix(".NAME") for path, _ in walked}
    keys = {
        f"{path}.{field.name}".lstrip("."): reference.meanings(cls).get(field.name)
        for path, cls in walked
        for field in dataclasses.fields(cls)
    }
    assert len(keys) > 100 and not [key for key, text in keys.items() if not text and key not in described]


def test_every_command_is_in_the_reference(reference, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["glass-ml"])
    text = reference.commands()
    assert all(f"### glass-ml {name}\n" in text for name in COMMANDS) and "--cross-validate" in text


def test_every_room_has_a_page(reference):
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    rooms = {path.parent.name for path in (ROOT / "glass_ml").glob("*/__init__.py")}
    assert set(re.findall(r"api/(\w+)\.md", str(nav))) == set(reference.rooms()) == rooms


def test_the_version_is_written_once(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and said.startswith(f"glass-ml {glass_ml.__version__}")
    for file in ("pyproject.toml", "CITATION.cff", "mkdocs.yml", "Makefile", "README.md"):
        assert glass_ml.__version__ not in re.findall(r"\d+\.\d+\.\d+", (ROOT / file).read_text(encoding="utf-8"))


def test_the_version_says_the_commit_of_its_clone(tmp_path):
    """The code of a clone names its commit, and says if it was changed; a copy in another repository names none."""
    clone = tmp_path / "clone"
    who = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *who, *arguments], cwd=clone, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def version() -> str:
        line = [sys.executable, "-m", "glass_ml.cli.main", "--version"]
        environment = os.environ | {"PYTHONPATH": str(clone)}
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    shutil.copytree(ROOT / "glass_ml", clone / "glass_ml", ignore=shutil.ignore_patterns("__pycache__", "tables"))
    (clone / ".gitignore").write_text("__pycache__/\n")
    git("init", "-q")
    git("add", ".gitignore")
    git("commit", "-q", "-m", "no code")
    assert version() == f"glass-ml {glass_ml.__version__}\n"  # the package is not tracked here
    git("add", ".")
    git("commit", "-q", "-m", "code")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert version() == f"glass-ml {glass_ml.__version__}, commit {commit}\n"
    with (clone / "glass_ml" / "units.py").open("a") as file:
        file.write("\n# changed\n")
    assert version() == f"glass-ml {glass_ml.__version__}, commit {commit}+changes\n"


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    line = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loaded = re.compile(r"<(?:script|img|iframe|source)[^>]+src=.?https?:|<link[^>]+href=.?https?:|url\(.?https?:")
    assert not [page.name for page in pages if loaded.search(page.read_text(encoding="utf-8"))]
    assert not [sheet for sheet in tmp_path.rglob("*.css") if loaded.search(sheet.read_text(encoding="utf-8"))]
    assert "glass_ml.sampling.sampler" in (tmp_path / "api" / "sampling.html").read_text(encoding="utf-8")


def edit(file: Path, *changes: tuple[str, str]) -> None:
    """Replace texts that must be there."""
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"{file.name} has no {old!r}"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and its tests, and what runs them there."""
    for folder in ("glass_ml", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def run(*line: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *line], cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return tmp_path, run


@pytest.mark.slow
def test_the_kind_of_the_how_to_page_works_as_printed(copy):
    root, run = copy
    model, tests = blocks("kind.md", "python")
    (root / "glass_ml" / "observables" / "second_moment.py").write_text(model, encoding="utf-8")
    (root / "tests" / "observables" / "test_second_moment.py").write_text(tests, encoding="utf-8")
    assert run(*PYTEST, "tests/observables/test_second_moment.py").count("\nPASSED") == 2
    text = run("glass_ml.cli.main", "spectrum", "--help")
    assert "second-moment" in text and "--softness" in text


@pytest.mark.slow
def test_the_solver_of_the_how_to_page_works_as_printed(copy):
    root, run = copy
    step, _, branch, test = blocks("solver.md", "python")
    sampling = root / "glass_ml" / "sampling"
    edit(
        sampling / "sampler.py",
        ("def multistep(", f"{step}\n\ndef multistep("),
        ("        else:\n            fresh", f"{branch}        else:\n            fresh"),
    )
    edit(
        root / "glass_ml" / "settings" / "sampling.py",
        ('"] = "gibbs"', '", "diffusion"] = "gibbs"'),
        ("    kept: float = -0.6\n", "    kept: float = -0.6\n    eta: float = 1.0\n"),
    )
    with (root / "tests" / "sampling" / "test_steps.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{test}")
    assert run(*PYTEST, "tests/sampling/test_steps.py", "-k", "diffusion").count("\nPASSED") == 3
