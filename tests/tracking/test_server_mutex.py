"""The mutex between machines, and passwords that nobody shows."""

import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
import requests
from mlflow.exceptions import MlflowException
from waiting import until

from glass_ml.errors import InputError, without_passwords
from glass_ml.tracking import mutex, reach
from glass_ml.tracking.health import examine
from glass_ml.tracking.reach import StoreUnreachable
from glass_ml.tracking.runs import start_run
from glass_ml.tracking.store import open_store, tracking_uri


def names(store):
    return [model.name for model in store.client.search_registered_models()]


def test_one_at_a_time(store):
    inside, most, count = 0, 0, 0

    def work():
        nonlocal inside, most, count
        for _ in range(3):
            with mutex.hold(store.client, "x"):
                inside += 1
                most = max(most, inside)
                before = count
                store.client.search_registered_models()  # gives others the time to come in
                count = before + 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, count) == (1, 12)
    assert names(store) == ["glass_ml.lock.x.000000000012"]


def test_two_names_do_not_wait_for_each_other(store):
    with mutex.hold(store.client, "x"), mutex.hold(store.client, "y", timeout=0):
        assert names(store) == ["glass_ml.lock.x.000000000001", "glass_ml.lock.y.000000000001"]


def test_who_waits_too_long_is_told_who_holds_it(store):
    with (
        mutex.hold(store.client, "x"),
        pytest.raises(InputError, match=r"'x' of the server is held by .*:\d+ since 20"),
        mutex.hold(store.client, "x", timeout=0.1),
    ):
        pass


def test_a_sign_of_life_keeps_it(store):
    with (
        mutex.hold(store.client, "x", lease=2.0),
        pytest.raises(InputError),
        mutex.hold(store.client, "x", timeout=4.5),
    ):
        pass


def test_that_of_a_dead_process_is_taken_over_by_one(store):
    dead = mutex._acquire(store.client, "x", lease=0.3, timeout=0)  # and no sign of life any more
    got = []

    def take_over():
        with mutex.hold(store.client, "x", timeout=120):
            got.append(names(store)[-1])

    threads = [threading.Thread(target=take_over) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dead == 1 and sorted(got) == [f"glass_ml.lock.x.{k:012d}" for k in (2, 3, 4)]


def test_a_slow_caller_does_not_get_a_number_again_that_was_cleared_away(store):
    for _ in range(2):
        with mutex.hold(store.client, "x"):
            pass
    assert not mutex._make(store.client, "x", 1, lease=1)
    assert mutex._chain(store.client, "x")[0][0] == 2
    with mutex.hold(store.client, "x", timeout=0):
        assert names(store) == ["glass_ml.lock.x.000000000003"]


@contextmanager
def front(client):
    """A door to the store that can be shut: what answers, and then is not there any more."""
    state = {"open": True, "asked": 0}

    def through(name):
        def call(*arguments, **options):
            state["asked"] += 1
            if not state["open"]:
                try:
                    raise requests.exceptions.ConnectionError("connection refused")
                except requests.exceptions.ConnectionError as error:
                    raise MlflowException(f"API request failed: {error}") from error
            return getattr(client, name)(*arguments, **options)

        return call

    class Door:
        def __getattr__(self, name):
            return through(name)

    yield Door(), state


def remote(store, client):
    """The store as one behind a server's address, spoken to through `client`."""
    return replace(store, uri="http://127.0.0.1:9", client=client)


def test_a_server_that_is_away_when_the_lock_is_asked_for(store):
    with front(store.client) as (client, state):
        state["open"] = False
        with pytest.raises(StoreUnreachable), remote(store, client).lock():
            pytest.fail("nobody has it")


def test_a_server_that_goes_while_the_lock_is_waited_for(store):
    with front(store.client) as (client, state), mutex.hold(store.client, "registry"):
        shut = threading.Timer(0.5, lambda: state.update(open=False))
        shut.start()
        with pytest.raises(StoreUnreachable), remote(store, client).lock():
            pytest.fail("nobody has it")
        shut.join()


def test_a_server_that_goes_while_the_lock_is_held(store, caplog):
    with front(store.client) as (client, state):
        other = remote(store, client)
        with pytest.raises(StoreUnreachable), other.lock():
            state["open"] = False
            asked = state["asked"]
            other.client.search_registered_models()
        assert state["asked"] - asked <= 3  # it is not asked again for the sake of the lock, but for a sign of life
        # Work that needs nothing more of the server comes to its end, and the lock runs out.
        state["open"] = True
        with mutex.hold(client, "second", lease=0.4):
            state["open"], asked = False, state["asked"]
            until(lambda: state["asked"] > asked)  # a sign of life that does not get through
    assert "taken over" not in caplog.text
    assert len(mutex._chain(store.client, "second")) == 1
    with mutex.hold(store.client, "second", timeout=120):
        assert mutex._chain(store.client, "second")[0][0] == 2


def test_other_errors_stay_what_they_are_and_give_the_lock_back(store):
    with front(store.client) as (client, _):
        with pytest.raises(ZeroDivisionError), remote(store, client).lock():
            1 / 0  # noqa: B018
        with mutex.hold(store.client, "registry", timeout=0):
            pass


def test_who_has_lost_it_says_so(store, caplog):
    with mutex.hold(store.client, "x"):
        mutex._make(store.client, "x", 2, lease=0.1)
    assert "the lock 'x' was taken over" in caplog.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:s3cret@host:5432/db", "postgresql://ann@host:5432/db"),
        ("at https://ann:a%40b@host/ and https://:x@host", "at https://ann@host/ and https://@host"),
        ("postgresql://host/db?user=ann&password=s3cret&x=1", "postgresql://host/db?user=ann&password=...&x=1"),
        ("http://localhost:5000/#/models/a@b", "http://localhost:5000/#/models/a@b"),
        ("sqlite:////a:b/c@d", "sqlite:////a:b/c@d"),
    ],
)
def test_uris_are_shown_without_password(text, shown):
    assert without_passwords(text) == shown
    assert shown in str(InputError(text, text, text)) and "s3cret" not in str(InputError(text, text, text))


def test_credentials_leave_the_uri_of_a_server(project, monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s%2F3cret@127.0.0.1:9/base")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert tracking_uri() == "http://127.0.0.1:9/base"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("ann", "s/3cret")
    with pytest.raises(InputError) as caught:
        open_store()
    assert "127.0.0.1" in str(caught.value) and "3cret" not in str(caught.value)
    assert "3cret" not in "".join(finding.detail for finding in examine())


def test_the_password_of_a_database_is_in_no_message_and_no_tag(project, store, monkeypatch):
    secret = "postgresql://ann:s3cret@127.0.0.1:9/db"
    with pytest.raises(ValueError), start_run(stage="train", system="x", name="n", store=store) as run:
        raise ValueError(f"no answer from {secret}")
    assert (
        store.client.get_run(run.id).data.tags["error"] == "ValueError: no answer from postgresql://ann@127.0.0.1:9/db"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    shown = [f"{finding.name} {finding.detail}" for finding in examine()]
    assert any("127.0.0.1" in text for text in shown) and not any("s3cret" in text for text in shown)


def test_the_address_of_a_database_is_read_as_the_database_reads_it(monkeypatch):
    """A password may hold what ends a host elsewhere; and none is shown."""
    knocked = []
    monkeypatch.setattr("socket.create_connection", lambda address, timeout: knocked.append(address) or MagicMock())
    reach.knock("postgresql+psycopg://ann:s3#c/ret@db.example.org/glass")
    reach.knock("mysql://ann@db.example.org:3307/glass")
    reach.knock("sqlite:///mlflow.db")
    assert knocked == [("db.example.org", 5432), ("db.example.org", 3307)]
    with pytest.raises(InputError, match="not the address of a store") as caught:
        reach.knock("postgresql://ann:s3cret@db.example.org:port/glass")
    assert "s3cret" not in str(caught.value) and "MLFLOW_TRACKING_URI" in str(caught.value)
