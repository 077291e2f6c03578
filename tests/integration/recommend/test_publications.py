"""Publications: visibility, rollback and retention, and the artifact of a rollback."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from prefect.artifacts import Artifact

from core.database import Connection, connect
from core.errors import DatabaseError, PublicationError
from core.file_store import FolderStore
from flows.rollback import rollback
from recommender.models.ease import EASE
from recommender.models.popularity import GenrePopularity
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs, publication, retention
from recommender.publishing.model_runs import TrainingOutcome
from recommender.publishing.publication import Publication, PublicationOptions
from tests.conftest import Query
from tests.publications import live_publication, live_recommendations, quick_settings, recommendation_tables

NOW = datetime(2024, 5, 1, tzinfo=UTC)
PERSONAL = PublicationOptions(per_user=2, exclude_seen=True, personal=True)
NO_FALLBACKS = pl.DataFrame(schema={"genre": pl.String, "rank": pl.Int32, "track_id": pl.Int64, "score": pl.Float64})


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with connect(database) as connection:
        yield connection


def recommendations_from(track: int, users: Sequence[int] = (1, 2)) -> pl.DataFrame:
    """Two recommendations per user: this track, then the next."""
    return pl.DataFrame(
        [(user, rank, track + rank - 1, 1 / rank) for user in users for rank in (1, 2)],
        schema=["user_id", "rank", "track_id", "score"],
        orient="row",
    )


def similar_tracks_of(track: int) -> pl.DataFrame:
    return pl.DataFrame({"track_id": [track], "rank": [1], "similar_track_id": [track + 1], "score": [0.5]})


def staged(connection: Connection, track: int, now: datetime = NOW) -> Publication:
    """Stage a publication with its model run."""
    recipe = Recipe(EASE.name)
    run = model_runs.start_model_run(
        connection, recipe=recipe, seed=0, data_as_of=now, batches=["b"], code_version="v", now=now
    )
    model_runs.record_outcome(
        connection, run, TrainingOutcome(recipe, "published", "won", {}, f"model-{run}.npz", "digest"), now
    )
    staged_publication = publication.start_publication(
        connection, model_run_id=run, flow="test", data_as_of=now, batches=["b"], now=now
    )
    publication.stage_recommendations(
        connection, staged_publication, [recommendations_from(track)], similar_tracks_of(track), PERSONAL
    )
    return staged_publication


def published(connection: Connection, track: int, now: datetime = NOW) -> int:
    """Publish recommendations, and return the publication id."""
    staged_publication = staged(connection, track, now)
    fallbacks = pl.DataFrame({"genre": [""], "rank": [1], "track_id": [track], "score": [1.0]})
    publication.attach_partitions(connection, staged_publication)
    publication.publish_recommendations(
        connection, staged_publication, fallbacks, replacing=publication.newest_live_id(connection), now=now, why="new"
    )
    return staged_publication.publication_id


def test_publication_is_invisible_until_it_is_published(connection: Connection, query: Query) -> None:
    staged_publication = staged(connection, 10)
    assert (live_recommendations(query), live_publication(query)) == ({}, None)
    assert query("select status, listeners from ml.publications") == [("staged", 0)]
    publication.attach_partitions(connection, staged_publication)
    assert (live_recommendations(query), live_publication(query)) == ({}, None)

    publication.publish_recommendations(
        connection, staged_publication, NO_FALLBACKS, replacing=None, now=NOW, why="first"
    )

    assert live_recommendations(query) == {1: [10, 11], 2: [10, 11]}
    assert query("select status, listeners, rows, tracks_covered, reason from ml.publications") == [
        ("published", 2, 4, 2, "first")
    ]
    assert query("select track_id, similar_track_id from ml.similar_tracks") == [(10, 11)]
    assert recommendation_tables(query) == {
        "ml.recommendations_1",
        "ml.similar_tracks_1",
        "staging.recommendations_1_profile",
    }


def test_failure_during_publishing_changes_nothing(connection: Connection, query: Query) -> None:
    published(connection, 10)
    staged_publication = staged(connection, 20)
    publication.attach_partitions(connection, staged_publication)
    tables_before = recommendation_tables(query)
    duplicate_fallbacks = pl.DataFrame({"genre": ["", ""], "rank": [1, 1], "track_id": [1, 1], "score": [1.0, 1.0]})

    with pytest.raises(DatabaseError):
        publication.publish_recommendations(
            connection, staged_publication, duplicate_fallbacks, replacing=1, now=NOW, why="new"
        )

    assert live_recommendations(query) == {1: [10, 11], 2: [10, 11]}
    assert recommendation_tables(query) == tables_before
    assert query("select status from ml.publications order by 1") == [("published",), ("staged",)]


def test_unattached_publication_cannot_go_live(connection: Connection, query: Query) -> None:
    staged_publication = staged(connection, 10)
    with pytest.raises(PublicationError, match="recommendations-1 is not attached, so it cannot be read"):
        publication.publish_recommendations(
            connection, staged_publication, NO_FALLBACKS, replacing=None, now=NOW, why="new"
        )
    assert live_publication(query) is None


def test_publication_is_refused_when_another_went_live_meanwhile(connection: Connection, query: Query) -> None:
    published(connection, 10)
    published(connection, 20)
    staged_publication, live_id_before = staged(connection, 30), publication.newest_live_id(connection)
    publication.attach_partitions(connection, staged_publication)
    publication.roll_back(connection, 1, now=NOW, why="by hand")

    with pytest.raises(PublicationError, match=r"recommendations-3 is not published, because another .* run again"):
        publication.publish_recommendations(
            connection, staged_publication, NO_FALLBACKS, replacing=live_id_before, now=NOW, why="new"
        )

    assert live_recommendations(query) == {1: [10, 11], 2: [10, 11]}


def test_rollback_to_an_older_publication_and_back(connection: Connection, query: Query) -> None:
    for track in (10, 20, 30):
        published(connection, track)

    publication.roll_back(connection, 1, now=NOW, why="by hand")

    assert live_recommendations(query)[1] == [10, 11]
    champion = model_runs.find_champion(connection)
    assert champion is not None
    assert (champion.publication_id, champion.model_run_id, champion.model_file) == (1, 1, "model-1.npz")
    assert publication.previous_live_publication(connection) == 3
    publication.roll_back(connection, 3, now=NOW, why="by hand")
    assert live_recommendations(query)[1] == [30, 31]
    assert query("select publication_id, why from ml.live_publications order by live_id") == [
        (1, "new"),
        (2, "new"),
        (3, "new"),
        (1, "by hand"),
        (3, "by hand"),
    ]


def test_flow_of_a_rollback_leaves_an_artifact(
    database: str, connection: Connection, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in quick_settings(database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)
    first = published(connection, track=10)
    published(connection, track=20, now=NOW + timedelta(days=1))
    assert rollback(why="the new tracks are worse") == first
    artifact = Artifact.get("rollback-publication")
    assert artifact is not None and artifact.type == "table"
    assert json.loads(str(artifact.data)) == [{"publication": first, "why": "the new tracks are worse"}]


def test_rollback_to_the_live_publication_changes_nothing(connection: Connection, query: Query) -> None:
    published(connection, 10)
    publication.roll_back(connection, 1, now=NOW, why="by hand")
    assert query("select count(*) from ml.live_publications") == [(1,)]


def test_rollback_without_an_earlier_publication_is_refused(connection: Connection) -> None:
    with pytest.raises(PublicationError, match="no earlier live publication is kept"):
        publication.previous_live_publication(connection)
    published(connection, 10)
    with pytest.raises(PublicationError, match="no earlier live publication is kept"):
        publication.previous_live_publication(connection)


def test_rollback_to_an_unusable_publication_is_refused(connection: Connection, query: Query) -> None:
    for track in (10, 20):
        published(connection, track)
    publication.block_publication(connection, staged(connection, 30), "coverage 0 % is below 1 %")
    staged_publication = staged(connection, 40)
    retention.prune_publications(connection, keep=1, now=NOW)

    for number, message in (
        (1, "was pruned on 2024-05-01; choose a newer publication, or raise PUBLICATIONS_KEPT"),
        (3, "publication 3 is blocked and was never live; choose another"),
        (staged_publication.publication_id, "publication 4 is staged and was never live"),
        (5, "there is no publication 5; ml.publications lists all publications"),
        (2**63, "there is no publication 9223372036854775808"),
    ):
        with pytest.raises(PublicationError, match=message):
            publication.roll_back(connection, number, now=NOW, why="by hand")
    assert live_recommendations(query)[1] == [20, 21]


def test_retention_keeps_the_newest_live_publications(connection: Connection, query: Query) -> None:
    for track in (10, 20, 30, 40):
        published(connection, track)
    publication.roll_back(connection, 1, now=NOW, why="by hand")

    # The order is by live time: 1 is live again, then 4.
    assert retention.prune_publications(connection, keep=2, now=NOW) == 2
    assert query("select publication_id, pruned_at is null from ml.publications order by 1") == [
        (1, True),
        (2, False),
        (3, False),
        (4, True),
    ]
    assert query("select distinct publication_id from ml.recommendations order by 1") == [(1,), (4,)]
    assert query("select distinct publication_id from ml.similar_tracks order by 1") == [(1,), (4,)]
    assert query("select distinct publication_id from ml.fallbacks order by 1") == [(1,), (4,)]
    assert {name.rpartition("_")[2] for name in recommendation_tables(query) if name.startswith("ml.")} == {"1", "4"}
    assert live_recommendations(query)[1] == [10, 11]
    assert retention.prune_publications(connection, keep=2, now=NOW) == 0
    assert publication.previous_live_publication(connection) == 4


def test_unpublished_recommendations_are_kept_for_a_day(connection: Connection, query: Query) -> None:
    published(connection, 10)
    publication.block_publication(connection, staged(connection, 20), "why")
    publication.attach_partitions(connection, staged(connection, 30))

    assert retention.prune_publications(connection, keep=5, now=NOW + timedelta(hours=23)) == 0
    assert "staging.recommendations_2" in recommendation_tables(query)
    assert retention.prune_publications(connection, keep=5, now=NOW + timedelta(hours=25)) == 2
    assert {name.partition("_")[2] for name in recommendation_tables(query)} == {"1", "tracks_1", "1_profile"}
    assert query("select status, reason, pruned_at is null from ml.publications order by publication_id") == [
        ("published", "new", True),
        ("blocked", "why", False),
        ("staged", None, False),
    ]


class SimulatedKill(Exception):
    """Simulates a kill: nothing runs after it."""


@pytest.mark.parametrize("calls", range(8))
def test_next_run_completes_an_interrupted_pruning(
    calls: int, connection: Connection, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    for track in (10, 20, 30):
        published(connection, track)
    remaining_calls = calls

    def interrupt_after_calls(real: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal remaining_calls
            remaining_calls -= 1
            if remaining_calls < 0:
                raise SimulatedKill
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("_detach", "_drop"):
            patch.setattr(retention, name, interrupt_after_calls(getattr(retention, name)))
        with pytest.raises(SimulatedKill):
            retention.prune_publications(connection, keep=1, now=NOW)

    assert live_recommendations(query)[1] == [30, 31]
    retention.prune_publications(connection, keep=1, now=NOW)
    assert {name.rpartition("_")[2] for name in recommendation_tables(query) if name.startswith("ml.")} == {"3"}
    assert retention.prune_publications(connection, keep=1, now=NOW) == 0


def interrupt_detach(database: str, connection: Connection, number: int) -> None:
    """Interrupt the detach of a partition while it waits for a reader."""
    with psycopg.connect(database) as reader, psycopg.connect(database, autocommit=True) as connection_to_cancel:
        reader.execute("select count(*) from ml.recommendations")
        connection_to_cancel.execute("set statement_timeout = 300")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection_to_cancel.execute(
                f"alter table ml.recommendations detach partition ml.recommendations_{number} concurrently"
            )
    assert connection.execute("select count(*) from pg_inherits where inhdetachpending").fetchone() == (1,)


def test_interrupted_detach_is_completed(database: str, connection: Connection, query: Query) -> None:
    for track in (10, 20, 30):
        published(connection, track)
    interrupt_detach(database, connection, 1)

    assert retention.prune_publications(connection, keep=1, now=NOW) == 2

    assert {name.rpartition("_")[2] for name in recommendation_tables(query) if name.startswith("ml.")} == {"3"}
    assert live_recommendations(query)[1] == [30, 31]


def test_partly_pruned_publication_is_refused_for_rollback_and_pruned_later(
    database: str, connection: Connection, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    for track in (10, 20, 30):
        published(connection, track)

    def interrupt_detach_and_kill(*_: Any) -> None:
        interrupt_detach(database, connection, 1)
        raise SimulatedKill

    with monkeypatch.context() as patch:
        patch.setattr(retention, "_detach", interrupt_detach_and_kill)
        with pytest.raises(SimulatedKill):
            retention.prune_publications(connection, keep=2, now=NOW)

    with pytest.raises(PublicationError, match="was pruned"):
        publication.roll_back(connection, 1, now=NOW, why="by hand")
    retention.prune_publications(connection, keep=9, now=NOW)
    assert {name.rpartition("_")[2] for name in recommendation_tables(query) if name.startswith("ml.")} == {"2", "3"}
    assert published(connection, 40) == 4


def test_rollback_during_retention_is_never_dropped(
    connection: Connection, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    for track in (10, 20, 30):
        published(connection, track)
    real, outcomes = retention._detach, []

    def roll_back_meanwhile(*arguments: Any) -> None:
        if not outcomes:
            try:
                publication.roll_back(connection, 2, now=NOW, why="just now")
                outcomes.append("no")
            except PublicationError as error:
                outcomes.append(str(error))
        real(*arguments)

    monkeypatch.setattr(retention, "_detach", roll_back_meanwhile)
    retention.prune_publications(connection, keep=1, now=NOW)

    # Without the refusal, the live publication would be pruned.
    ((number,),) = query("select publication_id from ml.current_publication")
    assert live_recommendations(query)[1] == [10 * number, 10 * number + 1]
    assert "was pruned" in outcomes[0]


def test_long_reader_does_not_block_retention(
    database: str, connection: Connection, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_STATEMENT_TIMEOUT", "300ms")
    for track in (10, 20, 30):
        published(connection, track)
    with psycopg.connect(database) as backup:
        backup.execute("select count(*) from ml.recommendations")
        assert retention.prune_publications(connection, keep=1, now=NOW) == 0
        assert live_recommendations(query)[1] == [30, 31]
        assert retention.prune_publications(connection, keep=1, now=NOW) == 0
        # The backup sees the same rows as at its start.
        assert backup.execute("select count(*) from ml.current_recommendations").fetchone() == (4,)
    assert retention.prune_publications(connection, keep=1, now=NOW) == 2
    assert connection.execute("show statement_timeout").fetchone() == ("0",)


def test_readers_see_one_complete_publication_during_changes(
    database: str, connection: Connection, query: Query
) -> None:
    published(connection, 10)
    stop, first_tracks, failures = threading.Event(), set(), []

    def read() -> None:
        with psycopg.connect(database, autocommit=True) as reader:
            while not stop.is_set():
                try:
                    rows = reader.execute("select user_id, rank, track_id from ml.current_recommendations").fetchall()
                except psycopg.Error as error:
                    failures.append(error)
                    return
                first = min(track for _, _, track in rows) if rows else 0
                if sorted(rows) != [(user, rank, first + rank - 1) for user in (1, 2) for rank in (1, 2)]:
                    failures.append(AssertionError(rows))
                first_tracks.add(first)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for track in range(20, 120, 10):
            published(connection, track)
            retention.prune_publications(connection, keep=2, now=NOW)
            if track % 30 == 0:
                publication.roll_back(
                    connection, publication.previous_live_publication(connection), now=NOW, why="by hand"
                )
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(first_tracks) > 3


def test_model_file_is_kept_while_a_publication_uses_it(connection: Connection, query: Query, tmp_path: Path) -> None:
    for track in (10, 20, 30):
        published(connection, track)
    retention.prune_publications(connection, keep=2, now=NOW)
    two_days_ago = (NOW - timedelta(days=2)).timestamp()
    for name in ("model-1.npz", "model-2.npz", "model-3.npz", "model-4.npz", ".tmp-1.npz", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (two_days_ago, two_days_ago))
    (tmp_path / "model-5.npz").write_bytes(b"x")  # a new file may belong to a running training
    os.utime(tmp_path / "model-5.npz", (NOW.timestamp(), NOW.timestamp()))

    assert retention.prune_model_files(connection, FolderStore(tmp_path), now=NOW) == 3

    assert {path.name for path in tmp_path.iterdir()} == {"model-2.npz", "model-3.npz", "model-5.npz", "notes.txt"}
    assert retention.prune_model_files(connection, FolderStore(tmp_path / "none"), now=NOW) == 0


def test_published_outcome_survives_later_failures(connection: Connection, query: Query) -> None:
    published(connection, 10)

    model_runs.record_outcome(
        connection, 1, TrainingOutcome(Recipe(GenrePopularity.name), "failed", "a file could not go"), NOW
    )

    assert query("select model, decision, why, model_file from ml.model_runs") == [
        (EASE.name, "published", "won", "model-1.npz")
    ]


def test_interrupted_training_is_closed(connection: Connection, query: Query) -> None:
    published(connection, 10)
    recipe = Recipe(EASE.name)
    model_runs.start_model_run(connection, recipe=recipe, seed=0, data_as_of=NOW, batches=[], code_version="v", now=NOW)

    assert model_runs.close_abandoned_model_runs(connection, NOW) == 1

    assert query("select decision, why from ml.model_runs order by model_run_id") == [
        ("published", "won"),
        ("failed", "it was interrupted: nothing of it was published"),
    ]
    assert model_runs.close_abandoned_model_runs(connection, NOW) == 0


def test_recommendations_are_outdated_after_a_new_batch(connection: Connection) -> None:
    def insert_batch(name: str, at: datetime, status: str = "published") -> None:
        connection.execute(
            "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at, finished_at)"
            " values (%s, 'tracks', '2024-05-01', %s, 'http://source', %s, %s, %s)",
            [name, len(name), status, at, at],
        )

    assert not publication.is_outdated(connection, NOW)
    insert_batch("a", NOW)
    assert publication.is_outdated(connection, NOW)  # nothing is live yet
    published(connection, 10, NOW)
    assert not publication.is_outdated(connection, NOW)
    insert_batch("bb", NOW + timedelta(hours=1), "blocked")
    assert not publication.is_outdated(connection, NOW)
    insert_batch("ccc", NOW + timedelta(hours=1))
    assert publication.is_outdated(connection, NOW)
