"""The commands that README and docs print are commands that the program takes; the files they link to are there."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from glass_ml.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def command_lines(page: Path) -> list[str]:
    """Indented lines with a glass-ml command; a line that ends in a backslash goes on in the next."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^(?: {4}|\t).*?\b(glass-ml (?!\.\.\.).*)$", text, re.MULTILINE)
    return [re.split(r"\s#\s|[;|]|&&|\s[0-9]?>\s", line)[0].rstrip(" &") for line in found]


COMMAND_LINES = [pytest.param(line, id=f"{page.name}: {line}") for page in PAGES for line in command_lines(page)]


def test_the_documentation_has_commands():
    assert len(COMMAND_LINES) > 15


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_printed_command_is_understood(line, monkeypatch):
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    build_parser().parse_args()  # ends the test with the parser's own complaint


def test_every_command_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if not re.search(rf"glass-ml {name}\b|`{name}`", text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for place in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / place).exists(), place
