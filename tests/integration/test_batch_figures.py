"""Figures of batches: an ingest measures them, compares them with the days before, and warns of unusual ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from cli.__main__ import main as moovitamix
from core.queries import compose_query
from flows.ingest import main
from pipeline import batch_figures
from pipeline.batch_figures import FIGURES
from tests.conftest import BASE_DAY, MockApi, Query, start_mock_api

DAY = date.fromisoformat(BASE_DAY)
# The mock's sessions of the day before the base day are few, so the second day is the usual one.
SECOND_DAY, NEXT_DAY = (str(DAY + timedelta(days=number)) for number in (1, 2))

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def _mock_api() -> Iterator[MockApi]:
    """A mock API with some sessions on each day."""
    api = start_mock_api("--users", "300", "--tracks", "200", "--sessions", "6000")
    yield api
    api.process.terminate()
    api.process.communicate(timeout=60)


@pytest.fixture
def ingested(environment: Path, api: MockApi, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder after the ingest of two days."""
    monkeypatch.setenv("PAGE_SIZE", "100")
    monkeypatch.setattr(batch_figures, "MIN_ROWS", 1)
    for day in (BASE_DAY, SECOND_DAY):
        api.set_day(day)
        assert main(["--day", day]) == 0
    return environment


_BATCH = """
insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at, finished_at)
values (%(id)s, %(endpoint)s, %(day)s, 1, 's', 'published', %(day)s, %(day)s)
on conflict do nothing
"""


def copy_to_days_before(database: str, days: int = 35, **factors: float) -> None:
    """Record batches of the days before with the figures of the second day, some times a factor."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("delete from ops.batch_figures where batch_id like %s", [f"%{BASE_DAY}"])
        figures = connection.execute(
            "select endpoint, figure, value, total, parts from ops.batch_figures join ops.batches using (batch_id)"
        ).fetchall()
        for endpoint, figure, value, total, parts in figures:
            for ago in range(1, days + 1):
                day = DAY - timedelta(days=ago)
                connection.execute(_BATCH, {"id": f"{endpoint}-{day}", "endpoint": endpoint, "day": day})
                past_value = 0.1 if value is None else value * factors.get(figure, 1)
                connection.execute(
                    "insert into ops.batch_figures (batch_id, figure, value, total, parts, is_normal)"
                    " values (%s, %s, %s, %s, %s, true)",
                    [f"{endpoint}-{day}", figure, past_value, total, None if parts is None else Jsonb(parts)],
                )


def unusual(query: Query, day: str) -> set[str]:
    rows = query(
        "select figure from ops.batch_figures join ops.batches using (batch_id) where day = %s and not is_normal", day
    )
    return {figure for (figure,) in rows}


def results(query: Query, day: str) -> dict[str, tuple[Any, ...]]:
    rows = query(
        "select expectation, severity, success, description"
        " from ops.expectation_results join ops.batches using (batch_id)"
        " where day = %s and expectation like 'usual_%%'",
        day,
    )
    return {expectation: row for expectation, *row in rows}  # type: ignore[misc]


def test_first_ingest_measures_every_figure_and_compares_none(ingested: Path, query: Query) -> None:
    rows = query(
        "select endpoint, figure, value, parts, lower from ops.batch_figures join ops.batches using (batch_id)"
        " where day = %s",
        BASE_DAY,
    )
    assert {(endpoint, figure) for endpoint, figure, *_ in rows} == {
        (endpoint, specification.name) for endpoint, figures in FIGURES.items() for specification in figures
    }
    assert all(lower is None for *_, lower in rows)
    values = {(endpoint, figure): value for endpoint, figure, value, *_ in rows}
    assert (values["tracks", "rows"], values["users", "rows"]) == (200, 300)
    yesterday = query(
        "select count(*) from warehouse.listen_history where created_at::date = %s", DAY - timedelta(days=1)
    )
    assert values["listen_history", "sessions"] == yesterday[0][0]
    parts = {(endpoint, figure): part for endpoint, figure, _, part, _ in rows if part}
    assert sum(parts["users", "genders"].values()) == 300
    assert sum(parts["tracks", "genres"].values()) == 200
    assert results(query, BASE_DAY) == {}


def test_normal_day_passes_all_learned_expectations(ingested: Path, database: str, query: Query, api: MockApi) -> None:
    copy_to_days_before(database, new_rows=0)
    api.set_day(NEXT_DAY)
    assert main(["--day", NEXT_DAY]) == 0
    learned = results(query, NEXT_DAY)
    assert set(learned) == {f"usual_{specification.name}" for figures in FIGURES.values() for specification in figures}
    assert [row for row in learned.values() if not row[1]] == []


def test_figures_of_unchanged_rows_are_not_measured_again(
    ingested: Path, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def compose(name: LiteralString, **parts: Any) -> sql.Composed:
        measured.append(name)
        return compose_query(name, **parts)

    monkeypatch.setattr(batch_figures, "compose_query", compose)
    assert main(["--day", NEXT_DAY, "--endpoint", "tracks", "--endpoint", "users"]) == 0
    assert measured == []

    assert main(["--day", NEXT_DAY, "--endpoint", "tracks", "--endpoint", "users", "--refresh"]) == 0
    assert measured.count("audit/batch_figures.create_snapshot") == 2
    figures = "select figure, value, total, parts from ops.batch_figures where batch_id = %s order by figure"
    for endpoint in ("tracks", "users"):
        recorded = query(figures, f"{endpoint}-{NEXT_DAY}")
        assert recorded == query(figures, f"{endpoint}-{NEXT_DAY}-r2")
        assert len(recorded) == len(FIGURES[endpoint])


def test_fewer_sessions_and_other_genres_are_unusual(ingested: Path, database: str, query: Query, api: MockApi) -> None:
    copy_to_days_before(database, sessions=100)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "update ops.batch_figures set parts = '{\"Polka\": 200}' where figure = 'genres' and batch_id <> %s",
            [f"tracks-{SECOND_DAY}"],
        )
    api.set_day(NEXT_DAY)
    assert main(["--day", NEXT_DAY]) == 0
    assert {"sessions", "genres"} <= unusual(query, NEXT_DAY)
    learned = results(query, NEXT_DAY)
    severity, success, description = learned["usual_sessions"]
    assert (severity, success) == ("warning", False)
    assert description.startswith(f"sessions in the batch of Sunday {NEXT_DAY}: ")
    assert "; usually " in description
    assert "Polka 0 %, usually " in learned["usual_genres"][2]
    pages = [path.read_text() for path in (ingested / "data_docs").rglob("*.html") if NEXT_DAY in path.read_text()]
    assert any("sessions in the batch of Sunday" in page for page in pages)


def test_critical_setting_blocks_the_batch(
    ingested: Path, database: str, query: Query, api: MockApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_to_days_before(database, sessions=100)
    monkeypatch.setenv("THRESHOLD_UNUSUAL_FIGURES", "critical")
    api.set_day(NEXT_DAY)
    assert main(["--day", NEXT_DAY]) == 1
    assert query("select status from ops.batches where batch_id = %s", f"listen_history-{NEXT_DAY}") == [("blocked",)]


def test_unusual_days_are_reported_until_a_person_confirms_one(
    ingested: Path, database: str, query: Query, api: MockApi, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_to_days_before(database, sessions=100)
    days = [str(DAY + timedelta(days=number)) for number in (2, 3, 4)]
    for day in days[:2]:
        api.set_day(day)
        assert main(["--day", day]) == 0
        assert "sessions" in unusual(query, day)
    confirm = ["confirm", f"listen_history-{days[1]}", "sessions", "--why", "half of the users left", "--by", "DATA-1"]
    assert moovitamix(confirm) == 0
    assert query("select figure, confirmed_by from ops.confirmed_figures") == [("sessions", "DATA-1")]
    api.set_day(days[2])
    assert main(["--day", days[2]]) == 0
    assert "sessions" not in unusual(query, days[2])
    assert moovitamix(["confirm", f"listen_history-{days[2]}", "sessions", "--why", "w", "--by", "b"]) == 2
    assert "there is nothing to confirm" in capsys.readouterr().err
