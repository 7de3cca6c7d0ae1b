"""The mutex between machines, and passwords that nobody shows."""

import os
import threading

import pytest

from glass_ml.errors import InputError, without_passwords
from glass_ml.tracking import mutex
from glass_ml.tracking.health import examine
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
        mutex.hold(store.client, "x", lease=0.4),
        pytest.raises(InputError),
        mutex.hold(store.client, "x", timeout=1.5),
    ):
        pass


def test_that_of_a_dead_process_is_taken_over_by_one(store):
    dead = mutex._acquire(store.client, "x", lease=0.3, timeout=0)  # and no sign of life any more
    got = []

    def take_over():
        with mutex.hold(store.client, "x", timeout=20):
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
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 0)
    shown = [f"{finding.name} {finding.detail}" for finding in examine()]
    assert any("127.0.0.1" in text for text in shown) and not any("s3cret" in text for text in shown)
