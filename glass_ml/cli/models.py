"""glass-ml models: the registry of priors."""

import argparse
import json
import sys
import time
from typing import Any

from glass_ml.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every registered version")
    show = actions.add_parser("show", help="all that is known of one version")
    show.add_argument("name", help="registered model, such as glass-a-Si")
    show.add_argument("version", nargs="?", help="number or alias (default: the newest)")
    promote = actions.add_parser("promote", help="give a version an alias, if it may have it")
    promote.add_argument("name", help="registered model, such as glass-a-Si")
    promote.add_argument("version", help="number, or an alias that it holds")
    promote.add_argument("--to", required=True, metavar="ALIAS", help="candidate, champion or production")
    for action in (listing, show, promote):
        action.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action; 1 when a promotion is refused."""
    return {"list": _list, "show": _show, "promote": _promote}[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from glass_ml.tracking.registry import describe, versions
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


def _show(arguments: argparse.Namespace) -> int:
    from glass_ml.tracking.registry import describe, get_version, versions
    from glass_ml.tracking.store import open_store, store_exists

    if not store_exists():
        raise InputError(f"no registered model '{arguments.name}'", mend="nothing is registered yet")
    store = open_store()
    newest = versions(store, arguments.name)
    which = arguments.version or (newest[0].version if newest else "latest")
    found = describe(store, get_version(store, arguments.name, which))
    if arguments.json:
        print(json.dumps(found, indent=2, sort_keys=True))
    else:
        _print({**found, "created": _date(found["created"])})
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

    from glass_ml.tracking.promotion import promote
    from glass_ml.tracking.store import store_exists

    if not store_exists():
        raise InputError(f"no registered model '{arguments.name}'", mend="nothing is registered yet")
    done = promote(arguments.name, arguments.version, arguments.to)
    if arguments.json:
        print(json.dumps({**asdict(done), "promoted": not done.refusals}, indent=2, sort_keys=True))
    title = f"version {done.version} of {done.name}"
    if done.refusals:
        print(f"refused: {title} is not '{done.alias}', because", file=sys.stderr)
        for reason in done.refusals:
            print(f"  - {reason}", file=sys.stderr)
        return 1
    before = f" (before: version {done.previous})" if done.previous not in (None, done.version) else ""
    print(f"{title} is now '{done.alias}'{before}", file=sys.stderr if arguments.json else sys.stdout)
    return 0


def _date(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
