"""Experiments while the API serves: which publication a user gets, what is recorded, and faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from core.database import Connection, connect
from recommender.publishing import experiments
from recommender.publishing.publication import Publication, go_live, lock_live_publication
from tests.conftest import Query
from tests.integration.serving.api import NOW, USERS, serving, stage
from tests.integration.serving.test_switching import LoadGenerator

CONTROL, TREATMENT = range(1, 11), range(41, 51)


def serve_both(connection: Connection, control: int, treatment: int, experiment_id: int | None = None) -> int:
    """Make a publication live with a treatment beside it, in an experiment that is new by default; return its id."""
    with connection.transaction():
        lock_live_publication(connection)
        live_id = go_live(connection, Publication(control), NOW, "test")
        if experiment_id is None:
            row = connection.execute(
                "insert into ml.experiments (control_run_id, treatment_run_id, treatment_share, why, started_at)"
                " select control.model_run_id, treatment.model_run_id, 0.5, 'test', %s"
                " from ml.publications as control, ml.publications as treatment"
                " where control.publication_id = %s and treatment.publication_id = %s returning experiment_id",
                [NOW, control, treatment],
            ).fetchone()
            assert row
            experiment_id = int(row[0])
        connection.execute(
            "insert into ml.experiment_publications (live_id, experiment_id, publication_id) values (%s, %s, %s)",
            [live_id, experiment_id, treatment],
        )
    return experiment_id


def publications_of(read: Callable[[int], Any]) -> dict[int, int]:
    return {user: read(user).json()["publication_id"] for user in USERS}


def test_users_keep_their_variant_and_another_experiment_assigns_anew(populated: str) -> None:
    with serving(populated) as api, connect(populated) as connection:
        first, second = (stage(connection, dict.fromkeys(USERS, tracks)) for tracks in (CONTROL, TREATMENT))
        serve_both(connection, first, second)
        variants = publications_of(api.read)
        assert set(variants.values()) == {first, second}
        assert publications_of(api.read) == variants

        experiments.stop(connection, promote=False, why="enough", now=NOW)
        assert set(publications_of(api.read).values()) == {first}

        serve_both(connection, first, second)
        assert publications_of(api.read) != variants  # the id of the experiment is part of the hash


def test_first_exposure_of_each_user_is_recorded_once(populated: str, query: Query) -> None:
    with serving(populated) as api, connect(populated) as connection:
        first, second = (stage(connection, dict.fromkeys(USERS, tracks)) for tracks in (CONTROL, TREATMENT))
        api.read(1)  # before the experiment
        experiment_id = serve_both(connection, first, second)
        variants = publications_of(api.read)
        publications_of(api.read)
        api.read(404_000)  # an unknown user
        page = api.get("/v1/users/2/recommendations", params={"limit": 3}).json()
        assert api.get("/v1/users/2/recommendations", params={"cursor": page["next_cursor"]}).status_code == 200
    # The API stores what waits before it ends.
    recorded = query("select experiment_id, user_id, is_treatment from ml.experiment_exposures order by user_id")
    assert recorded == [(experiment_id, user, variant == second) for user, variant in variants.items()]


def test_erased_user_is_not_recorded_afterwards(populated: str, query: Query) -> None:
    with serving(populated) as api, connect(populated) as connection:
        first, second = (stage(connection, dict.fromkeys(USERS, tracks)) for tracks in (CONTROL, TREATMENT))
        serve_both(connection, first, second)
        api.read(1)
        connection.execute("delete from warehouse.users where id = 1")
        api.read(2)
    assert query("select user_id from ml.experiment_exposures") == [(2,)]


@pytest.mark.parametrize("fault", ["rolled back", "pruned"])
def test_all_users_get_the_live_publication_without_treatment(populated: str, fault: str) -> None:
    with serving(populated) as api, connect(populated) as connection:
        earlier, first, second = (stage(connection, {user: [track] for user in USERS}) for track in (1, 2, 3))
        connection.execute(  # both are of the same model
            "update ml.publications set model_run_id = first.model_run_id from ml.publications as first"
            " where first.publication_id = %s and publications.publication_id = %s",
            [first, earlier],
        )
        go_live(connection, Publication(earlier), NOW, "test")
        serve_both(connection, first, second)
        if fault == "rolled back":
            with connection.transaction():
                go_live(connection, Publication(earlier), NOW, "rolled back by hand")
        else:
            connection.execute("update ml.publications set pruned_at = %s where publication_id = %s", [NOW, second])
            connection.execute(f"drop table ml.recommendations_{second}, ml.similar_tracks_{second}")
        live = earlier if fault == "rolled back" else first
        assert set(publications_of(api.read).values()) == {live}
        state = experiments.newest_experiment(connection)
    assert state is not None and state.outcome is None
    expected = "the live recommendations have no treatment" if fault == "rolled back" else "was deleted"
    assert expected in str(state.paused_why)


def test_publishing_and_experiments_under_load_give_no_error_and_no_mixed_list(populated: str) -> None:
    with serving(populated, serving_requests_per_minute=1_000_000) as api, connect(populated) as connection:
        first, second = (stage(connection, dict.fromkeys(USERS, tracks)) for tracks in (CONTROL, TREATMENT))
        go_live(connection, Publication(first), NOW, "test")
        load = LoadGenerator(api, {first: CONTROL, second: TREATMENT})
        threads = [threading.Thread(target=load.read) for _ in range(4)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 3
        while time.monotonic() < until or not load.has_answers_of(first, second):
            serve_both(connection, first, second)
            fresh = stage(connection, dict.fromkeys(USERS, TREATMENT))
            load.tracks_by_publication[fresh] = TREATMENT
            time.sleep(0.02)
            experiments.stop(connection, promote=False, why="test", now=NOW)
            serve_both(connection, first, fresh)
            time.sleep(0.02)
            assert experiments.stop(connection, promote=True, why="test", now=NOW) == fresh
            with connection.transaction():
                go_live(connection, Publication(first), NOW, "rolled back by hand")
            time.sleep(0.02)
        load.stop.set()
        for thread in threads:
            thread.join()
    assert load.wrong == []


def test_cursor_continues_with_the_variant_after_the_experiment(populated: str) -> None:
    with serving(populated) as api, connect(populated) as connection:
        first, second = (stage(connection, dict.fromkeys(USERS, tracks)) for tracks in (CONTROL, TREATMENT))
        serve_both(connection, first, second)
        user = next(user for user, variant in publications_of(api.read).items() if variant == second)
        page = api.get(f"/v1/users/{user}/recommendations", params={"limit": 6}).json()
        experiments.stop(connection, promote=False, why="test", now=NOW)
        rest = api.get(f"/v1/users/{user}/recommendations", params={"cursor": page["next_cursor"]}).json()
    assert (rest["publication_id"], [track["track_id"] for track in rest["recommendations"]]) == (
        second,
        list(TREATMENT)[6:],
    )


def test_exposures_wait_for_the_database(populated: str, query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.exposure_log._RETRY_SECONDS", 0.05)
    monkeypatch.setattr("serving.exposure_log._FLUSH_SECONDS", 0.05)
    with serving(populated) as api, connect(populated) as connection:
        first, second = (stage(connection, dict.fromkeys(USERS, tracks)) for tracks in (CONTROL, TREATMENT))
        serve_both(connection, first, second)
        with connection.transaction():
            connection.execute("lock table ml.experiment_exposures in access exclusive mode")
            assert api.read(1).status_code == 200
            time.sleep(2)  # longer than the limit of a statement
            assert api.read(2).status_code == 200
        deadline = time.monotonic() + 60
        while len(query("select from ml.experiment_exposures")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_only_one_experiment_runs(populated: str) -> None:
    with connect(populated) as connection:
        first, second = (stage(connection, {1: [1]}) for _ in range(2))
        serve_both(connection, first, second)
        with pytest.raises(psycopg.errors.UniqueViolation):
            serve_both(connection, first, second)


def test_failed_requests_of_exposed_users_are_recorded(
    populated: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.exposure_log._RETRY_SECONDS", 0.05)
    monkeypatch.setattr("serving.exposure_log._FLUSH_SECONDS", 0.05)
    with serving(populated) as api, connect(populated) as connection:
        first, second = (stage(connection, dict.fromkeys(USERS, tracks)) for tracks in (CONTROL, TREATMENT))
        serve_both(connection, first, second)
        assert api.read(1).status_code == api.read(2).status_code == 200
        assert api.get("/v1/users/2/recommendations", params={"limit": 0}).status_code == 422  # an error of the client
        with connection.transaction():
            connection.execute("lock table ml.recommendations in access exclusive mode")
            assert api.read(1).status_code == api.read(3).status_code == 503
        deadline = time.monotonic() + 60
        while not query("select from ml.experiment_exposures where failed_at is not null"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    recorded = query("select user_id, failed_at > first_at from ml.experiment_exposures order by user_id")
    assert recorded == [(1, True), (2, None)]
