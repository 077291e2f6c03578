"""A new field and a fourth endpoint need only a specification and a migration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.endpoints import ENDPOINTS, EndpointSpecification, Field
from core.sessions import open_connection
from expectations.checkpoint import SUITES
from expectations.profile import batch_rules
from expectations.rules import dimension_rules
from flows import ingest
from tests.conftest import Query
from tests.database_state import assert_rows_add_up
from tests.source_stub import TIME, Row, SourceStub, serve_source, session, track, user

DAY, NEXT_DAY = "2026-11-20", "2026-11-21"
LATER = "2026-11-19T00:00:00.000001"


@pytest.fixture
def source(prefect_server: None, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceStub]:
    rows = SourceStub(
        [track(number) for number in range(1, 4)],
        [user(number) for number in range(1, 4)],
        [session(number, [1, 2]) for number in range(1, 4)],
    )
    with serve_source(rows) as stub:
        monkeypatch.setenv("MOOVITAMIX_API_URL", stub.url)
        yield stub


def migrate(database: str, *statements: str) -> None:
    with open_connection(database) as connection:
        for statement in statements:
            connection.execute(statement)


def declare(monkeypatch: pytest.MonkeyPatch, endpoint: str, field: Field) -> None:
    """Add one field to an endpoint, as one line in `core/endpoints.py` does."""
    specification = ENDPOINTS[endpoint]
    monkeypatch.setitem(ENDPOINTS, endpoint, replace(specification, fields=(*specification.fields, field)))


def test_new_field_is_published_after_one_line_and_one_migration(
    source: SourceStub, database: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ingest.main(["--day", DAY]) == 0
    migrate(
        database,
        "alter table warehouse.tracks add column mood text not null default ''",
        "alter table warehouse.listen_history add column device text not null default ''",
    )
    declare(monkeypatch, "tracks", Field("mood", "text"))
    declare(monkeypatch, "listen_history", Field("device", "text"))
    for row in source.tracks:
        row["mood"] = f"mood {row['id']}"
    for row in source.listen_history:
        row["device"] = "phone"
    source.tracks.append(track(4, mood="mood 4"))
    source.tracks.append(track(5))  # without the field: rejected
    source.listen_history.append(session(1, [4], created_at=LATER, updated_at=LATER, device="radio"))
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.5")

    assert ingest.main(["--day", NEXT_DAY]) == 0

    assert query("select id, mood from warehouse.tracks order by id") == [(n, f"mood {n}") for n in range(1, 5)]
    assert query("select user_id, device from warehouse.listen_history order by created_at, user_id") == [
        *((number, "phone") for number in range(1, 4)),
        (1, "radio"),
    ]
    assert query(
        "select endpoint, rows_updated, rows_inserted from ops.batches where day = %s order by 1", NEXT_DAY
    ) == [
        ("listen_history", 3, 1),
        ("tracks", 3, 1),
        ("users", 0, 0),
    ]
    assert query("select reason from ops.rejected_rows") == [("mood: missing",)]
    names = query("select expectation from ops.expectation_results where expectation like 'mood%%' order by 1")
    assert names == [("mood_is_not_blank",), ("mood_is_not_endless",)]
    assert_rows_add_up(query)


def test_fourth_endpoint_is_ingested_from_its_specification(
    source: SourceStub, database: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(
        database,
        "create table warehouse.artists (id bigint primary key, name text not null, debut text not null,"
        " debut_seconds integer not null, best_track bigint not null, created_at timestamptz not null,"
        " updated_at timestamptz not null, removed_at timestamptz, row_hash bigint not null, batch_id text not null)",
        "grant select, insert, update on warehouse.artists to moovitamix_ingest",
        "alter table ops.batches drop constraint batches_endpoint_check",
    )
    fields = (
        Field("id", "id"),
        Field("name", "text"),
        Field("debut", "duration"),
        Field("best_track", "id", references="tracks"),
        Field("created_at", "time"),
        Field("updated_at", "time"),
    )
    monkeypatch.setitem(ENDPOINTS, "artists", EndpointSpecification(fields))
    suite = SimpleNamespace(
        row_expectations=lambda thresholds, profile: dimension_rules(
            "artists", thresholds, profile, required_texts=("name",)
        ),
        profile_expectations=batch_rules,
    )
    monkeypatch.setitem(SUITES, "artists", suite)
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.5")

    def artist(number: int, **fields: object) -> Row:
        row = {"id": number, "name": f"Artist {number}", "debut": "03:05", "best_track": 1}
        return row | {"created_at": TIME, "updated_at": TIME} | fields

    source.artists = [artist(1), artist(2), artist(2), artist(3), artist(4, best_track=99)]  # type: ignore[attr-defined]
    assert ingest.main(["--day", DAY]) == 0

    assert query("select reason from ops.rejected_rows") == [("best_track: no such track is published",)]
    assert query("select status, rows_duplicate, rows_inserted from ops.batches where endpoint = 'artists'") == [
        ("published", 1, 3)
    ]

    source.artists = [artist(1), artist(2, name="Band", updated_at=LATER)]  # type: ignore[attr-defined]
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.5")
    monkeypatch.setenv("THRESHOLD_WARN_SHARE_OF_PUBLISHED", "0.5")
    assert ingest.main(["--day", NEXT_DAY]) == 0

    rows = query("select id, name, debut_seconds, removed_at is not null from warehouse.artists order by id")
    assert rows == [(1, "Artist 1", 185, False), (2, "Band", 185, False), (3, "Artist 3", 185, True)]
    assert_rows_add_up(query)
