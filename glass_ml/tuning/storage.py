"""Where trials are kept: a journal file that survives kills, a database, or a gRPC proxy of one."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from glass_ml.errors import InputError

GRPC_PORT = 13000


class KernelLock(JournalFileOpenLock):
    """A lock on a journal that ends with the process that holds it, however it dies.

    Optuna's own locks are files; one that is left behind holds everybody up for half a minute.

    Args:
        journal: the file that is locked, by another file beside it.
    """

    def __init__(self, journal: Path):
        self._lock = FileLock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Let it go."""
        self._lock.release()


def open_storage(place: str) -> BaseStorage:
    """The storage of a sweep.

    Args:
        place: path of a journal file, a database URL such as postgresql://host/name, or grpc://host:port.

    Raises:
        InputError: it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    scheme = urlsplit(place).scheme if "://" in place else ""
    if scheme == "grpc":
        return _grpc(place)
    if scheme:
        return _database(place)
    journal = Path(place)
    lock = KernelLock(journal)
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        mend_journal(journal, lock)
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the storage cannot be opened: {error}", place, "give another place") from None


def mend_journal(journal: Path, lock: KernelLock) -> None:
    """Cut off a last line that a kill has left half-written; the journal could not be read any more."""
    lock.acquire()
    try:
        if journal.is_file():
            content = journal.read_bytes()
            if content and not content.endswith(b"\n"):
                with journal.open("r+b") as stream:
                    stream.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _database(url: str) -> BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.storages.get_storage(url)
    except ImportError as error:
        raise InputError(f"the driver is missing: {error}", "--storage", "pip install it") from None
    except (SQLAlchemyError, ValueError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InputError(f"cannot be opened: {cause}", url, "check the URL, and the server") from None


def _grpc(place: str) -> BaseStorage:
    if importlib.util.find_spec("grpc") is None:
        raise InputError("the gRPC library is missing", "--storage", "pip install grpcio")
    from optuna.storages import GrpcStorageProxy

    parts = urlsplit(place)
    if not parts.hostname:
        raise InputError(f"'{place}' names no host", "--storage", "write grpc://host:port")
    storage = GrpcStorageProxy(host=parts.hostname, port=parts.port or GRPC_PORT)
    try:
        storage.wait_server_ready(timeout=20)
    except Exception as error:  # grpc's own, which are imported only with it
        raise InputError(f"no answer: {str(error).splitlines()[0]}", place, "start the proxy first") from None
    return storage
