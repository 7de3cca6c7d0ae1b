"""The project around a run: its root folder, its git commit and the identity of the code."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import glass_ml

PACKAGE = Path(glass_ml.__file__).resolve().parent
UNKNOWN = "unknown"
CONFIGURATION = ("*.py", "*.yaml", "*.yml", "*.toml", "*.dvc", "constraints.txt")
"""Tracked files whose uncommitted changes make a run dirty: inputs only, as DVC rewrites `dvc.lock` while it runs."""


@dataclass(frozen=True)
class CodeIdentity:
    """What made a result.

    Attributes:
        git_commit: full hash of the project's commit, or "unknown" outside git.
        git_dirty: whether configuration or package differ from that commit; true where the commit is unknown.
        code_sha256: hash of the sources of the glass_ml package that ran.
    """

    git_commit: str
    git_dirty: bool
    code_sha256: str


def worktree(start: Path | str | None = None) -> Path:
    """The nearest folder at or above `start` (default: here) with `dvc.yaml` or `.dvc`; else `start` itself.

    This is the working tree, whose code, data and models a run uses.
    """
    start = Path(start or Path.cwd()).resolve()
    return next((p for p in (start, *start.parents) if is_project(p)), start)


def is_project(folder: Path) -> bool:
    """Whether a folder is the root of a project."""
    return (folder / "dvc.yaml").is_file() or (folder / ".dvc").is_dir()


def project_root(start: Path | str | None = None) -> Path:
    """Where the project's records live: `$DVC_ROOT` if set, else the working tree.

    They differ in `dvc exp run --temp`, which works in a copy that is thrown away.
    """
    named = os.environ.get("DVC_ROOT")
    return Path(named).resolve() if named and start is None else worktree(start)


def git(root: Path, *arguments: str) -> bytes | None:
    """Standard output of a git command in `root`; None where it fails or git is absent."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, timeout=60, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def commit_exists(root: Path, commit: str) -> bool:
    """Whether the repository around `root` has this commit."""
    return git(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def _source(path: str) -> bool:
    parts = path.split("/")
    return "__pycache__" not in parts and not any(p.startswith(".") for p in parts) and not path.endswith(".pyc")


def _tree_sha256(files: Iterable[tuple[str, bytes]]) -> str:
    lines = sorted(f"{path} {hashlib.sha256(content).hexdigest()}\n" for path, content in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def code_sha256(package: Path = PACKAGE) -> str:
    """SHA-256 over the lines "path sha256" of the package's files, sorted; byte code and hidden files left out."""
    found = ((p.relative_to(package).as_posix(), p) for p in package.rglob("*") if p.is_file())
    return _tree_sha256((name, path.read_bytes()) for name, path in found if _source(name))


def code_sha256_at(root: Path, commit: str) -> str | None:
    """`code_sha256` of the package as committed in the repository around `root`; None where it is not there."""
    prefix = package_in_repository(root)
    top = git(root, "rev-parse", "--show-toplevel")
    if top is None:
        return None
    archive = git(Path(top.decode().strip()), "archive", "--format=tar", commit, prefix)
    if archive is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {m.name.removeprefix(f"{prefix}/"): tar.extractfile(m) for m in tar.getmembers() if m.isfile()}
        return _tree_sha256((name, stream.read()) for name, stream in files.items() if stream and _source(name))


def package_in_repository(root: Path) -> str:
    """Path of the package inside the repository around `root`, with "/"; its name where the code runs elsewhere."""
    top = git(root, "rev-parse", "--show-toplevel")
    if top is not None:
        folder = Path(top.decode().strip()).resolve()
        if PACKAGE.is_relative_to(folder):
            return PACKAGE.relative_to(folder).as_posix()
    return PACKAGE.name


def code_identity(root: Path | str | None = None) -> CodeIdentity:
    """Commit of the working tree at `root` (default: around the current folder), and hash of the running code."""
    root = worktree(root)
    code = code_sha256()
    head = git(root, "rev-parse", "--verify", "HEAD^{commit}")
    if head is None:
        return CodeIdentity(UNKNOWN, True, code)
    commit = head.decode().strip()
    changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", *CONFIGURATION)
    committed = code_sha256_at(root, commit)
    return CodeIdentity(commit, bool(changed) or changed is None or committed not in (None, code), code)
