"""The marts for analysts are exact after any history, and every documented question has an answer."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core import embedded_postgres
from core.database import Connection, connect
from core.queries import SQL_FOLDER, load_query
from erasure import steps
from erasure.subject_matching import UserIdentity
from pipeline.batches import Batch, Counts
from pipeline.endpoint_tables import create_removed_table, create_rows_table
from pipeline.staging import StagedTables
from pipeline.warehouse import publish_batch
from services.backup import main as backup
from tests.conftest import Query
from tests.database_state import assert_daily_marts_are_exact

NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
USERS, TRACKS = range(1, 9), range(1, 7)
Session = tuple[int, datetime]


class SessionHistory:
    """Random snapshots of sessions, published like batches, and erasures."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self.connection, self.random = connection, random.Random(seed)
        self.live: dict[Session, list[int]] = {}
        self.published: set[Session] = set()  # also the removed ones
        self.batches = 0

    def publish(self, new: int, changed: int, removed: int, restored: int) -> None:
        """Publish a snapshot that differs from the last one by these numbers of sessions."""
        removed_keys = sorted(self.published - self.live.keys())
        current = sorted(self.live)
        picked = self.random.sample(current, min(len(current), changed + removed))
        removals = picked[:removed]
        staged = dict.fromkeys(picked[removed:], False)
        staged |= dict.fromkeys(self.random.sample(removed_keys, min(len(removed_keys), restored)), False)
        while sum(staged.values()) < new:
            session = (self.random.choice(USERS), self._time())
            if session not in self.published:
                staged[session] = True
        for session in removals:
            del self.live[session]
        for session in staged:
            self.live[session] = [self.random.choice(TRACKS) for _ in range(self.random.randint(0, 4))]
        self.published |= staged.keys()
        self._publish_batch(staged, removals)

    def publish_sessions(self, sessions: dict[Session, list[int]]) -> None:
        """Publish these new sessions."""
        self.live |= sessions
        self.published |= sessions.keys()
        self._publish_batch(dict.fromkeys(sessions, True), [])

    def erase(self, user_id: int) -> None:
        """Erase a user, who may come back with the next snapshot."""
        row = self.connection.execute(
            "insert into ops.erasures (kind, reason, requested_by, began_at) values ('erased', '', '', %s)"
            " returning erasure_id",
            [NOW],
        ).fetchone()
        assert row
        steps.erase_rows(self.connection, UserIdentity(user_id), row[0], NOW)
        self._insert_user(user_id)
        self.live = {session: items for session, items in self.live.items() if session[0] != user_id}
        self.published = {session for session in self.published if session[0] != user_id}

    def create_users_and_tracks(self) -> None:
        for user_id in USERS:
            self._insert_user(user_id)
        self.connection.execute(
            "insert into warehouse.tracks select id, 'title ' || id, 'artist ' || mod(id, 3), '', '03:00', 180, 'rock',"
            " '', %s, %s, null, 0, '' from unnest(%s::bigint[]) as id",
            [NOW, NOW, list(TRACKS)],
        )

    def _insert_user(self, user_id: int) -> None:
        self.connection.execute(
            "insert into warehouse.users values (%s, '', '', '', '', '', %s, %s, null, 0, '')", [user_id, NOW, NOW]
        )

    def _time(self) -> datetime:
        """A time of ten weeks, often at midnight or on a Sunday evening, where days and weeks change."""
        day = datetime(2026, 9, 7, tzinfo=UTC) + timedelta(self.random.randint(0, 70))
        seconds = self.random.choice([0, 86_399, self.random.randint(1, 86_398)])
        return day + timedelta(seconds=seconds)

    def _publish_batch(self, staged: dict[Session, bool], removals: list[Session]) -> None:
        self.batches += 1
        batch = Batch("listen_history", date(2026, 9, 21), "test", self.batches)
        tables = StagedTables(batch.table, f"{batch.table}_profile", f"{batch.table}_removed", Counts())
        self.connection.execute(create_rows_table("listen_history", tables.rows_table))
        self.connection.execute(create_removed_table("listen_history", tables.removed_table))
        ordinal = 0
        for (user_id, created_at), is_new in staged.items():
            ordinal += is_new
            self.connection.execute(
                f"insert into staging.{tables.rows_table} (user_id, created_at, updated_at, items, row_hash, is_new,"
                " new_ordinal) values (%s, %s, %s, %s, %s, %s, %s)",
                [
                    *(user_id, created_at, created_at, self.live[user_id, created_at], self.batches),
                    *(is_new, ordinal if is_new else None),
                ],
            )
        for session in removals:
            self.connection.execute(
                f"insert into staging.{tables.removed_table} (user_id, created_at) values (%s, %s)",
                session,
            )
        publish_batch(self.connection, batch, tables, started_at=NOW, run_id=None, clock=lambda: NOW)


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with connect(database) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(3))
def test_marts_are_exact_after_a_random_history(seed: int, connection: Connection, query: Query) -> None:
    history = SessionHistory(connection, seed)
    history.create_users_and_tracks()
    history.publish(new=40, changed=0, removed=0, restored=0)
    assert_daily_marts_are_exact(query)
    for _ in range(20):
        if history.random.random() < 0.2:
            history.erase(history.random.choice(USERS))
        else:
            history.publish(*(history.random.randint(0, 6) for _ in range(4)))
        assert_daily_marts_are_exact(query)
    history.publish(new=0, changed=0, removed=len(history.live), restored=0)
    assert_daily_marts_are_exact(query)
    assert query("select count(*) from mart.daily_activity") == [(0,)]
    history.publish(new=3, changed=0, removed=0, restored=3)
    assert_daily_marts_are_exact(query)


def test_marts_are_exact_after_a_restore(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def query(text: str) -> list[tuple[Any, ...]]:
        """Read on a connection of its own: a restore needs the database alone."""
        with connect(database) as connection:
            return connection.execute(text).fetchall()

    for name, value in {"DATABASE_URL": database, "DATA_DIR": str(tmp_path / "data")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    file = str(tmp_path / "database.tar")
    with connect(database) as connection:
        history = SessionHistory(connection, 7)
        history.create_users_and_tracks()
        history.publish(new=40, changed=0, removed=0, restored=0)
    backed_up, activity = (dict(history.live), set(history.published)), query("table mart.daily_activity order by 1")
    assert backup(["make", file]) == 0
    with connect(database) as history.connection:
        history.publish(new=9, changed=5, removed=5, restored=0)
    assert query("table mart.daily_activity order by 1") != activity
    assert backup(["restore", file, "--force"]) == 0

    assert_daily_marts_are_exact(query)
    assert query("table mart.daily_activity order by 1") == activity
    history.live, history.published = backed_up
    with connect(database) as history.connection:
        history.publish(new=9, changed=5, removed=5, restored=0)
    assert_daily_marts_are_exact(query)


def at(day: str, hour: int = 12) -> datetime:
    return datetime.fromisoformat(f"{day}T{hour:02}:00:00+00:00")


def answer(connection: Connection, question: str) -> list[tuple[Any, ...]]:
    """The answer to a documented question, as an analyst reads it."""
    with connection.transaction():
        connection.execute("set local role moovitamix_analyst")
        return connection.execute(load_query(f"analysis/{question}")).fetchall()


def test_documented_questions_have_the_expected_answers(connection: Connection) -> None:
    history = SessionHistory(connection, seed=0)
    history.create_users_and_tracks()
    history.publish_sessions(
        {
            (1, at("2026-09-07", 0)): [1, 1],
            (2, at("2026-09-08")): [2],
            (1, at("2026-09-15")): [1, 3],
            (1, at("2026-09-15", 20)): [],
            (3, at("2026-09-20", 23)): [2],
        }
    )
    create_publications(connection)
    monday, next_monday = date(2026, 9, 7), date(2026, 9, 14)
    answers = {
        "most_played_artists": [("artist 1", 3, 0), ("artist 2", 2, 0), ("artist 0", 1, 0)],
        "active_users": [
            (next_monday, 2, Decimal("1.0"), Decimal("1.00"), 3),
            (monday, 2, Decimal("1.0"), Decimal("1.00"), 3),
        ],
        "retention": [(monday, 2, Decimal("0.500"), None, None, None)],
        "publication_uptake": [
            (2, "ease", at("2026-09-14"), 3, 1, Decimal("0.5000"), Decimal("0.1000"), Decimal("0.500"), 1, 1),
            (1, "ease", at("2026-09-08"), 3, 2, Decimal("0.4000"), None, None, 0, 0),
        ],
        "troubled_days": [(date(2026, 9, 9), 0, 1, 0, 1, 10, 2, 1, 1, 1, 1)],
    }
    questions = sorted(path.stem for path in (SQL_FOLDER / "analysis").glob("*.sql"))
    assert {question: answer(connection, question) for question in questions} == answers


def create_publications(connection: Connection) -> None:
    """Two publications with their evaluations and reactions, and a day with a blocked batch and a failed run."""
    statements = (
        "insert into ml.model_runs (model, seed, data_as_of, batches, code_version, decision, started_at)"
        " values ('ease', 0, :at, '{}', '', 'published', :at)",
        "insert into ml.publications (model_run_id, flow, status, data_as_of, batches, listeners, made_at)"
        " select 1, 'recommend', 'published', :at, '{}', 3, :at from generate_series(1, 2)",
        "insert into ml.live_publications (publication_id, live_from, why)"
        " values (1, '2026-09-08T12:00Z', ''), (2, '2026-09-14T12:00Z', '')",
        "insert into ml.quality_metrics (metric, day, value, users, publication_id, judged, measured_at) values"
        " ('hit@20', '2026-09-08', 0.5, 1, 1, true, :at), ('hit@20', '2026-09-09', 0.35, 2, 1, true, :at),"
        " ('hit@20', '2026-09-14', 0.5, 3, 2, true, :at)",
        "insert into serving.api_keys (key_id, name, secret_hash, scopes, created_at) values ('k', '', '', '{}', :at)",
        "insert into ml.feedback (user_id, track_id, publication_id, useful, key_id, created_at, updated_at)"
        " values (1, 1, 2, true, 'k', :at, :at), (2, 1, 2, false, 'k', :at, :at)",
        "insert into ml.reactions (user_id, track_id, publication_id, kind, key_id, created_at, updated_at)"
        " values (1, 1, 2, 'like', 'k', :at, :at), (2, 1, 2, 'hide', 'k', :at, :at)",
        "insert into ops.batches (batch_id, endpoint, day, revision, source, status, rows_landed, rows_rejected,"
        " started_at) values ('tracks-2026-09-09', 'tracks', '2026-09-09', 1, '', 'blocked', 10, 2, :at)",
        "insert into ops.expectation_results (batch_id, expectation, severity, success) values"
        " ('tracks-2026-09-09', 'a', 'critical', false), ('tracks-2026-09-09', 'b', 'warning', false),"
        " ('tracks-2026-09-09', 'c', 'critical', true)",
        "insert into ops.runs (flow, day, started_at, finished_at, outcome)"
        " values ('ingest', '2026-09-09', :at, :at, 'failed'), ('monitor', null, :at, :at, 'quiet')",
        "insert into ml.alarms (metric, day, value, baseline, statistic, publication_id, raised_at)"
        " values ('ndcg@20', '2026-09-09', 0, 0, 0, 1, :at)",
    )
    for statement in statements:
        connection.execute(statement.replace(":at", "'2026-09-09T12:00Z'"))
