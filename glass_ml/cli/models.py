"""glass-ml models: the registry of models."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from glass_ml.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    commands = {
        "list": "every registered version",
        "show": "all that is known of one version",
        "card": "the model card of one version",
        "promote": "give a version an alias, if it passes the gate of params.yaml",
        "rollback": "give an alias back to the version that held it before",
        "history": "who held an alias, when and why",
        "export": "one version as one file, with its lineage",
        "import": "register the model of an exported file",
    }
    parts = {name: actions.add_parser(name, help=text) for name, text in commands.items()}
    for name in ("show", "card", "promote", "rollback", "history", "export"):
        parts[name].add_argument("name", help="registered model, such as glass-a-Si")
    for name in ("show", "card"):
        parts[name].add_argument("version", nargs="?", help="number or alias (default: the newest)")
    for name in ("promote", "export"):
        parts[name].add_argument("version", help="number, or an alias that it holds")
    parts["promote"].add_argument("--to", required=True, metavar="ALIAS", help="candidate, champion or production")
    parts["promote"].add_argument("--force", action="store_true", help="whatever the gate says; needs --reason")
    parts["rollback"].add_argument("--from", dest="alias", default="production", help="alias (default: production)")
    for name in ("promote", "rollback"):
        parts[name].add_argument("--reason", default="", help="kept in the history")
    parts["export"].add_argument("--out", type=Path, help="the file (default: NAME-VERSION.glass here)")
    parts["import"].add_argument("file", type=Path, help="file of 'glass-ml models export'")
    for action in parts.values():
        action.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action; 1 when a promotion is refused."""
    actions = {
        "list": _list,
        "show": _show,
        "card": _card,
        "promote": _promote,
        "rollback": _rollback,
        "history": _history,
        "export": _export,
        "import": _import,
    }
    return actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from glass_ml.tracking.description import describe
    from glass_ml.tracking.registry import versions
    from glass_ml.tracking.store import open_store, store_exists

    store = open_store() if store_exists() else None
    found = [describe(store, v) for v in versions(store)] if store else []
    if arguments.json:
        print(json.dumps(found, indent=2, sort_keys=True))
        return 0
    if not found:
        print("no registered priors yet: 'glass-ml train' registers one", file=sys.stderr)
        return 0
    rows = [("MODEL", "VERSION", "ALIASES", "SHA256", "COMMIT", "DATA", "CREATED", "EVALUATED ON")]
    for v in found:
        targets = sorted({key.split("/")[0] for key in v["evaluation"]})
        text = [v["name"], str(v["version"]), " ".join(v["aliases"]) or "-", v["model_sha256"][:12]]
        text += [v["git_commit"][:12], v["data_md5"][:12] or "-", _date(v["created"]), ", ".join(targets) or "-"]
        rows.append(tuple(text))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _store(arguments: argparse.Namespace) -> Any:
    """The store; a project that has none is not given one by a question."""
    from glass_ml.tracking.store import open_store, store_exists

    if not store_exists():
        raise InputError(f"no registered model '{arguments.name}'", mend="nothing is registered yet")
    return open_store()


def _version(store: Any, arguments: argparse.Namespace) -> Any:
    from glass_ml.tracking.registry import get_version, known_versions

    newest = known_versions(store, arguments.name)[0].version
    return get_version(store, arguments.name, arguments.version or newest)


def _show(arguments: argparse.Namespace) -> int:
    from glass_ml.tracking.description import describe

    store = _store(arguments)
    found = describe(store, _version(store, arguments))
    if arguments.json:
        print(json.dumps(found, indent=2, sort_keys=True))
    else:
        _print({**found, "created": _date(found["created"])})
    return 0


def _card(arguments: argparse.Namespace) -> int:
    from glass_ml.tracking.description import version_card

    store = _store(arguments)
    text = version_card(store, _version(store, arguments))
    print(json.dumps({"card": text}) if arguments.json else text.rstrip())
    return 0


def _print(content: dict[str, Any], indent: str = "") -> None:
    width = max((len(key) for key in content), default=0)
    for key, value in content.items():
        if isinstance(value, dict):
            print(f"{indent}{key}:" + ("" if value else " none"))
            _print(value, indent + "  ")
        else:
            text = " ".join(value) if isinstance(value, list) else value
            print(f"{indent}{key.ljust(width)}  {text if text not in ('', None) else '-'}")


def _promote(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from glass_ml.settings.recipe import gate_config
    from glass_ml.tracking.promotion import promote

    if arguments.force and not arguments.reason.strip():
        raise InputError("no reason given", "--force", "say why: --reason TEXT; it is kept")
    gate, store = gate_config(), _store(arguments)
    force = arguments.reason.strip() if arguments.force else ""
    done = promote(arguments.name, arguments.version, arguments.to, gate=gate, force=force, store=store)
    refused = bool(done.refusals) and not done.forced
    if arguments.json:
        print(json.dumps({**asdict(done), "promoted": not refused}, indent=2, sort_keys=True))
    out = sys.stderr if arguments.json or refused else sys.stdout
    title = f"version {done.version} of {done.name}"
    before = f" (before: version {done.previous})" if done.previous not in (None, done.version) else ""
    if refused:
        print(f"refused: {title} is not '{done.alias}', because", file=out)
    else:
        print(f"{title} is now '{done.alias}'{before}" + (", by force" if done.forced else ""), file=out)
    for condition in done.refusals if refused else done.conditions:
        mark = "ok    " if condition.passed else "FAILED"
        print(f"  {mark} {condition.name}: {condition.detail}", file=out)
    return 1 if refused else 0


def _rollback(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from glass_ml.tracking.promotion import rollback

    event = rollback(arguments.name, arguments.alias, arguments.reason, _store(arguments))
    if arguments.json:
        print(json.dumps(asdict(event), indent=2, sort_keys=True))
    else:
        before = "nobody" if event.previous is None else f"version {event.previous}"
        print(f"version {event.version} of {arguments.name} is '{event.alias}' again (before: {before})")
    return 0


def _history(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from glass_ml.tracking.promotion import history

    events = history(arguments.name, _store(arguments))
    if arguments.json:
        print(json.dumps([asdict(event) for event in events], indent=2, sort_keys=True))
        return 0
    for event in events:
        holder = f"version {event.version}" if event.version is not None else "nobody"
        after = f" after version {event.previous}" if event.previous is not None else ""
        print(f"{event.time}  {event.alias}: {holder}{after}, {event.kind} by {event.user}")
        print(f"    {event.reason}")
    if not events:
        print(f"nobody has held an alias of {arguments.name} yet", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from glass_ml.tracking.exchange import export_model

    path = arguments.out or Path(f"{arguments.name}-{arguments.version}.glass")
    done = export_model(arguments.name, arguments.version, path, _store(arguments))
    if arguments.json:
        print(json.dumps(asdict(done), indent=2, sort_keys=True, default=str))
    else:
        print(f"{done.uri} is in {done.path}, sha256 {done.sha256}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from glass_ml.tracking.exchange import import_model

    done = import_model(arguments.file)
    if arguments.json:
        print(json.dumps({**asdict(done), "uri": done.uri}, indent=2, sort_keys=True))
    else:
        print(f"{arguments.file} is {done.uri}" + ("" if done.created else ", which was registered already"))
    return 0


def _date(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
