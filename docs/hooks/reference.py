"""The parts of the site that are made from the code: settings, commands, and the API by rooms.

A page asks for a part by a comment such as `<!-- generated: settings -->`.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import os
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import glass_ml
from glass_ml.cli.main import COMMANDS, build_parser
from glass_ml.settings.platform import GateConfig, TrackingConfig
from glass_ml.settings.recipe import SurrogateRecipe, SystemConfig

PACKAGE = Path(glass_ml.__file__).parent
SECTIONS = {
    "": SystemConfig,
    "surrogates.NAME": SurrogateRecipe,
    "promotion": GateConfig,
    "tracking": TrackingConfig,
}
ROOT_PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
PICTURES = re.compile(r"\.\./(benchmarks/results/([\w.-]+\.(?:png|svg)))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root, one for every room, and the pictures of benchmarks that pages show."""
    root = Path(config.config_file_path).parent
    for name, source in ROOT_PAGES.items():
        files.append(File.generated(config, name, content=_as_page((root / source).read_text(encoding="utf-8"))))
    for room, text in rooms().items():
        files.append(File.generated(config, f"api/{room}.md", content=text))
    for page in sorted(Path(config.docs_dir).glob("*.md")):
        for path, name in PICTURES.findall(page.read_text(encoding="utf-8")):
            if name not in files.src_uris:
                files.append(File.generated(config, name, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the generated parts in."""
    parts = {"settings": settings, "commands": commands, "front door": front_door}
    markdown = PICTURES.sub(r"\2", markdown)
    return re.sub(r"<!-- generated: ([\w ]+) -->", lambda found: parts[found[1]](), markdown)


def _as_page(text: str) -> str:
    """A page of the repository's root with the links of the site: docs/ is the site's root, other files are text."""
    text = text.replace("](docs/", "](")
    for name, source in ROOT_PAGES.items():
        text = text.replace(f"]({source})", f"]({name})")
    return re.sub(r"\[([^]]+)\]\((?:[\w.-]+/)*[\w.-]+\.cff\)", r"`\1`", text)


def rooms() -> dict[str, str]:
    """Room -> Markdown: its modules, in the order of the alphabet."""
    found = {}
    for init in sorted(PACKAGE.glob("*/__init__.py")):
        room = init.parent
        modules = sorted(".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in room.rglob("*.py"))
        bodies = [f"::: {name}\n" for name in modules if not name.endswith("__init__")]
        about = inspect.getdoc(importlib.import_module(f"glass_ml.{room.name}")) or ""
        found[room.name] = "\n".join([f"# glass_ml.{room.name}\n", f"{about}\n", *bodies])
    return found


def front_door() -> str:
    """What `import glass_ml` offers."""
    names = [name for name in getattr(glass_ml, "__all__", ()) if not name.startswith("_")]
    found = {name: getattr(glass_ml, name) for name in names}
    places = {name: f"{thing.__module__}.{thing.__qualname__}" for name, thing in found.items()}
    return "\n".join(f"::: {place}\n    options:\n      heading: {name}\n" for name, place in places.items())


def markdown_table(rows: list[list[str]]) -> str:
    """A table of Markdown; its first row is the head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]) + "\n"


def commands() -> str:
    """The help of every command and of its actions."""
    os.environ["COLUMNS"] = "100"
    text = []
    for name in COMMANDS:
        sys.argv = ["glass-ml", name]  # a command is declared where it is used
        parser = next(p for word, p in _actions(build_parser()) if word == name)
        parsers = [parser]
        for action in [word for word, _ in _actions(parser)]:
            sys.argv = ["glass-ml", name, action]  # and an action, too
            parsers += [p for word, p in _actions(dict(_actions(build_parser()))[name]) if word == action]
        helps = "\n\n".join(p.format_help().strip() for p in parsers)
        text.append(f"### glass-ml {name}\n\n```text\n{helps}\n```\n")
    return "\n".join(text)


def _actions(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def settings() -> str:
    """A table for every section of params.yaml: key, type, default, meaning."""
    return "\n".join(_table(where, found) for top, cls in SECTIONS.items() for where, found in walk(top, cls))


def walk(path: str, cls: type) -> Iterator[tuple[str, type]]:
    """A dataclass and those inside it, each with the dotted key that leads to it."""
    yield path, cls
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        for inner, many in _inside(hints[field.name]):
            yield from walk(f"{path}.{field.name}{many}".lstrip("."), inner)


def _inside(hint: Any) -> Iterator[tuple[type, str]]:
    if dataclasses.is_dataclass(hint):
        yield hint, ""
    for argument in typing.get_args(hint):
        for found, _ in _inside(argument):
            yield found, ".NAME" if typing.get_origin(hint) is dict else ""


def _table(path: str, cls: type) -> str:
    summary = inspect.cleandoc(cls.__doc__ or "").split("Attributes:")[0].strip()
    texts, hints = meanings(cls), typing.get_type_hints(cls)
    rows = [["key", "type", "default", "meaning"]]
    heading = "##" if path in SECTIONS else "###"
    for field in dataclasses.fields(cls):
        nested = any(True for _ in _inside(hints[field.name]))
        meaning = texts.get(field.name, "")
        meaning += " See the section below." if nested else ""
        rows.append([f"`{field.name}`", f"`{_type(hints[field.name])}`", _default(field, nested), meaning.strip()])
    return f"{heading} `{path or 'materials/NAME.yaml'}`\n\n{summary}\n\n{markdown_table(rows)}"


def meanings(cls: type) -> dict[str, str]:
    """Field -> text, from the section Attributes of the docstring."""
    _, _, section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif line.startswith(" " * 8):
            found[name] += " " + line.strip()
    return found


def _type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return re.sub(r"\b(?:\w+\.)+", "", str(hint)).replace(" | None", " or None")


def _default(field: dataclasses.Field, nested: bool) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is dataclasses.MISSING:
        return "**needed**"
    return "" if nested else f"`{field.default_factory()!r}`"
