"""SIGKILL of recommend and retrain, and parallel runs: the publication stays, and a rerun ends like a clean run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from flows import ingest, recommend, retrain
from flows.ingest import main as ingest_main
from tests.conftest import BASE_DAY, ROOT, MockApi, Query
from tests.database_state import assert_rows_add_up, database_state
from tests.ingest_runs import warehouse_and_marts
from tests.integration.recommend.conftest import DatabaseCopy, FilledDatabase, UseDatabase
from tests.publications import live_publication, live_recommendations, quick_settings, recommendation_tables


def killed_at(flow: str, step: str, position: str) -> None:
    """Run a flow that is killed at a step."""
    from prefect.settings import PREFECT_API_URL

    command = [sys.executable, "-m", "tests.e2e.interrupted_recommendation", flow, "SIGKILL", step, position]
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def lists_and_ledger(place: DatabaseCopy) -> dict[str, Any]:
    """The content of the ledger and the publication, without ids and times."""
    return {
        "lists": place.query("select user_id, rank, track_id, score from ml.current_recommendations order by 1, 2"),
        "fallbacks": place.query(
            "select genre, rank, track_id, score from ml.fallbacks"
            " where publication_id = (select publication_id from ml.current_publication) order by 1, 2"
        ),
        "similar": place.query(
            "select track_id, rank, similar_track_id, score from ml.similar_tracks"
            " where publication_id = (select publication_id from ml.current_publication) order by 1, 2"
        ),
        "times live": place.query("select count(*) from ml.live_publications"),
        "decisions": place.query(
            "select model, params, decision, why, model_digest from ml.model_runs"
            " where decision in ('published', 'fallback', 'kept') order by model_run_id"
        ),
    }


# Steps of the first training, before any publication.
FIRST_TRAINING = {
    "the model is trained": ("recommender.evaluation.promotion:train_model", "after"),
    "recommendations are staged": ("recommender.publishing.publication:stage_recommendations", "after"),
    "publishing is about to commit": ("recommender.publishing.publication:go_live", "after"),
}


@pytest.mark.parametrize("step", FIRST_TRAINING)
def test_training_killed_at_any_step_is_repeated(
    step: str, taste_groups: FilledDatabase, trained_groups: FilledDatabase, use: UseDatabase
) -> None:
    clean = lists_and_ledger(use(trained_groups))
    place = use(taste_groups)

    killed_at("retrain", *FIRST_TRAINING[step])

    assert live_publication(place.query) is None
    assert live_recommendations(place.query) == {}
    assert place.query("select decision from ml.model_runs") == [("running",)]
    assert retrain.main([]) == 0
    assert lists_and_ledger(place) == clean
    assert place.query("select decision, why from ml.model_runs order by model_run_id limit 1") == [
        ("failed", "it was interrupted: nothing of it was published")
    ]
    # Tables of the killed run do not interfere, and are pruned later.
    place.query("update ml.publications set made_at = made_at - interval '2 days' returning 1")
    assert recommend.main([]) == 0
    assert {name.removeprefix("ml.") for name in recommendation_tables(place.query) if name.startswith("ml.")} == {
        f"{table}_{number}"
        for (number,) in place.query("select publication_id from ml.publications where pruned_at is null")
        for table in ("recommendations", "similar_tracks")
    }


REFRESHING = {
    "recommendations are staged": ("recommender.publishing.publication:stage_recommendations", "after"),
    "partitions are attached": ("recommender.publishing.publication:attach_partitions", "after"),
}


@pytest.mark.parametrize("step", REFRESHING)
def test_refresh_killed_at_any_step_is_repeated(step: str, trained_groups: FilledDatabase, use: UseDatabase) -> None:
    clean_place = use(trained_groups)
    assert recommend.main([]) == 0
    clean = lists_and_ledger(clean_place)
    place = use(trained_groups)
    before = live_recommendations(place.query)

    killed_at("recommend", *REFRESHING[step])

    assert live_publication(place.query) == (1, 1, "ease", "published")
    assert live_recommendations(place.query) == before
    assert recommend.main([]) == 0
    assert live_publication(place.query) == (3, 1, "ease", "published")
    assert lists_and_ledger(place) == clean


def test_ingest_and_training_run_at_the_same_time(
    environment: Path,
    no_settings: None,
    database: str,
    api: MockApi,
    query: Query,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in quick_settings(database, environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MOOVITAMIX_API_URL", api.url)
    monkeypatch.setenv("LOCK_WAIT_SECONDS", "600")
    assert ingest_main(["--day", BASE_DAY]) == 0
    assert recommend.main([]) == 0
    api.set_day("2026-11-28")
    codes: dict[str, int] = {}
    threads = [
        threading.Thread(target=lambda: codes.update(retrain=retrain.main([]))),
        threading.Thread(target=lambda: codes.update(ingest=ingest.main(["--day", "2026-11-28"]))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert codes == {"retrain": 0, "ingest": 0}
    assert_rows_add_up(query)
    assert warehouse_and_marts(database_state(query))["warehouse.users"]
    assert query("select count(*) from ops.runs where finished_at is null") == [(0,)]
    assert query("select count(*) from ml.model_runs where decision = 'running'") == [(0,)]
    assert recommend.main([]) == 0
    users = query("select user_id from mart.dim_users where removed_at is null order by 1")
    assert [(user,) for user in sorted(live_recommendations(query))] == users
