"""Unchanged rows are not decoded again, and the result is that of decoding all rows."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from core.audits import AuditReport
from core.endpoints import ENDPOINTS, Endpoint
from core.settings import Settings, load_settings
from core.stores import backup_store
from erasure import suppression_list
from erasure.steps import allow_user
from expectations.thresholds import load_thresholds
from flows import erase, ingest_tasks
from flows.run import BatchResult, Run, open_run
from pipeline import batches, landing
from pipeline.batches import PUBLISHED_STATUSES, Batch
from pipeline.client import ApiClient
from pipeline.transformation import TransformedBatch
from tests.conftest import Query, temporary_database
from tests.database_state import assert_rows_add_up, database_state
from tests.ingest_runs import open_query
from tests.source_stub import SourceStub, serve_source, session, track, user

DAY = date(2026, 11, 20)
PAGE_ROWS = 5


@dataclass
class Warehouse:
    """A database that is filled from the source day by day, without audits. `complete`: every row is decoded."""

    run: Run
    query: Query
    complete: bool
    day: date = DAY
    revision: int = 1
    transformed: dict[Endpoint, TransformedBatch] = field(default_factory=dict)

    def ingest(self, *endpoints: Endpoint, publish: bool = True) -> dict[Endpoint, BatchResult]:
        """Ingest the next day. Without `publish`, the batches stay staged, like blocked ones."""
        self.day += timedelta(days=1)
        read_at = datetime(self.day.year, self.day.month, self.day.day, 12, tzinfo=UTC)
        results = {}
        for endpoint in endpoints or ENDPOINTS:
            batch = Batch(endpoint, self.day, self.run.settings.source)
            row_filter = suppression_list.read_copy(backup_store(self.run.settings)) or None
            client = ApiClient(self.run.settings, row_filter)
            landed = landing.land_snapshot(
                client, batch, self.run.settings, clock=lambda: read_at, progress=lambda *_: None
            )
            transformed = ingest_tasks.transform_landed_batch(self.run, batch, landed, self.complete)
            self.transformed[endpoint] = transformed
            staged = ingest_tasks.stage_transformed_batch(self.run, batch, landed, transformed)
            if publish:
                report = AuditReport(batch.batch_id, ())
                results[endpoint] = ingest_tasks.publish_staged_batch(self.run, batch, landed, staged, report)
        return results

    def decoded(self, endpoint: Endpoint = "tracks") -> int:
        """The number of rows of the last batch that were decoded."""
        transformed = self.transformed[endpoint]
        return transformed.rows_landed - (transformed.recognised.rows if transformed.recognised else 0)

    def state(self) -> dict[str, Any]:
        """Every table, the profiles, and what recognises rows."""
        tables = database_state(self.query)
        # The key of the suppression list is random, and so is the digest of the rules.
        tables["digests"] = self.query(
            "select to_jsonb(snapshot) - 'shaping' from ops.published_snapshots as snapshot order by endpoint"
        )
        for (name,) in self.query("select relname from pg_class where relname ~ '_profile$' and relkind = 'r'"):
            tables[name] = self.query(f'select * from staging."{name}"')
        return tables


@dataclass
class BatchComparison:
    """A source, and two warehouses that read it: one recognises unchanged rows, the other decodes every row."""

    source: SourceStub
    recognising: Warehouse
    complete: Warehouse

    def ingest(self, *endpoints: Endpoint, publish: bool = True) -> dict[Endpoint, BatchResult]:
        """Ingest the next day into both, and compare every table."""
        results = self.recognising.ingest(*endpoints, publish=publish)
        self.complete.ingest(*endpoints, publish=publish)
        state, expected = self.recognising.state(), self.complete.state()
        assert {table: rows for table, rows in state.items() if rows != expected[table]} == {}
        assert state.keys() == expected.keys()
        assert_rows_add_up(self.recognising.query)
        return results


@pytest.fixture
def compared(
    environment: Path, postgres: str, _template: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BatchComparison]:
    rows = SourceStub(
        [track(number) for number in range(1, 33)],
        [user(number) for number in range(1, 14)],
        [session(number, [1, 2, number], created_at=_time(number)) for number in range(1, 14)],
    )
    with ExitStack() as stack:
        stub = stack.enter_context(serve_source(rows))
        for name, value in {"MOOVITAMIX_API_URL": stub.url, "PAGE_SIZE": str(PAGE_ROWS), "FETCH_THREADS": "1"}.items():
            monkeypatch.setenv(name, value)
        warehouses = []
        for complete in (False, True):
            url = stack.enter_context(temporary_database(postgres, _template))
            data_dir = environment / ("complete" if complete else "recognising")
            settings = load_settings().model_copy(update={"database_url": SecretStr(url), "data_dir": data_dir})
            warehouses.append(_open_warehouse(stack, settings, url, complete))
        yield BatchComparison(stub, *warehouses)


def _open_warehouse(stack: ExitStack, settings: Settings, url: str, complete: bool) -> Warehouse:
    clock: Callable[[], datetime] = lambda: datetime(2026, 12, 31, tzinfo=UTC)  # noqa: E731
    run = stack.enter_context(open_run(settings, load_thresholds(), "ingest", DAY, clock, role=None))
    return Warehouse(run, stack.enter_context(open_query(url)), complete)


def _time(number: int) -> str:
    return f"2026-11-{1 + number % 19:02d}T{number % 24:02d}:00:00.000001"


def test_unchanged_day_decodes_only_the_short_last_page(compared: BatchComparison) -> None:
    compared.ingest()
    results = compared.ingest()
    # Its rows are equal to published rows, so they are not decoded either.
    assert {endpoint: compared.recognising.decoded(endpoint) for endpoint in ENDPOINTS} == dict.fromkeys(ENDPOINTS, 0)
    assert {result.status for result in results.values()} == {"unchanged"}
    assert results["tracks"].counts.rows_unchanged == 32


def test_rows_that_move_are_not_decoded(compared: BatchComparison) -> None:
    compared.ingest()
    random.Random(0).shuffle(compared.source.tracks)
    compared.source.tracks.insert(3, track(99))
    assert compared.ingest()["tracks"].counts.rows_inserted == 1
    assert compared.recognising.decoded() == 1


def test_a_row_deleted_from_a_page_is_removed(compared: BatchComparison) -> None:
    compared.ingest()
    del compared.source.tracks[7], compared.source.listen_history[2]
    results = compared.ingest()
    assert [results[endpoint].counts.rows_removed for endpoint in ENDPOINTS] == [1, 0, 1]
    assert compared.recognising.decoded() == 0
    compared.source.tracks.append(track(8))
    assert compared.ingest()["tracks"].counts.rows_updated == 1


def test_equal_rows_in_a_snapshot_are_counted(compared: BatchComparison) -> None:
    compared.ingest("tracks")
    tracks = compared.source.tracks
    compared.source.tracks = [*tracks[:30], *reversed(tracks[:5]), *tracks[30:]]
    assert compared.ingest("tracks")["tracks"].counts.rows_duplicate == 5
    assert compared.ingest("tracks")["tracks"].counts.rows_duplicate == 5
    assert compared.recognising.decoded() == 10
    compared.source.tracks = tracks
    assert compared.ingest("tracks")["tracks"].counts.rows_duplicate == 0


def test_rows_that_share_a_key_across_a_changed_and_an_unchanged_page_are_counted(compared: BatchComparison) -> None:
    compared.ingest("tracks")
    older = track(1, name="Old name", updated_at="2026-10-01T00:00:00")
    compared.source.tracks[20] = older  # 1 is on page 1, which does not change
    for _ in range(2):
        counts = compared.ingest("tracks")["tracks"].counts
        assert (counts.rows_superseded, counts.rows_unchanged) == (1, 31)
    compared.source.tracks[20] = older | {"updated_at": "2026-11-19T00:00:00"}
    assert compared.ingest("tracks")["tracks"].counts.rows_updated == 1
    compared.source.tracks[20] = track(21)
    compared.ingest("tracks")


def test_a_blocked_batch_between_two_published_ones_changes_nothing(compared: BatchComparison) -> None:
    compared.ingest("tracks")
    compared.source.tracks[0] = track(1, name="Blocked")
    compared.source.tracks[10] = track(77)
    compared.ingest("tracks", publish=False)
    compared.source.tracks[0] = track(1)
    counts = compared.ingest("tracks")["tracks"].counts
    assert (counts.rows_inserted, counts.rows_removed, counts.rows_unchanged) == (1, 1, 31)
    assert compared.recognising.decoded() == 1


def test_rejected_rows_are_decoded_again(compared: BatchComparison) -> None:
    compared.source.tracks[2]["duration"] = "3:5"
    compared.source.users[4]["updated_at"] = "2027-01-01T00:00:00"
    compared.source.listen_history[3]["items"] = [1, 777]
    compared.source.listen_history[4]["user_id"] = 50
    for _ in range(2):
        results = compared.ingest()
        assert [results[name].counts.rows_rejected for name in ENDPOINTS] == [1, 1, 1]
    compared.source.tracks[3] = track(777)  # a track that a session refers to
    compared.source.users.append(user(50))
    results = compared.ingest()
    counts = results["listen_history"].counts
    assert (counts.plays_rejected, counts.rows_rejected) == (1, 0)  # a play of the rejected track 3
    compared.source.tracks[2] = track(3)
    compared.ingest()


@pytest.mark.parametrize("damage", ["rows", "code", "pages", "file"])
def test_everything_is_decoded_again_if_the_published_rows_or_the_rules_changed(
    damage: str, compared: BatchComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared.ingest("tracks")
    if damage == "rows":
        for warehouse in (compared.recognising, compared.complete):
            warehouse.run.connection.execute("delete from warehouse.tracks where id = 4")
    elif damage == "code":
        monkeypatch.setattr(ingest_tasks, "shaping_digest", lambda _: "other rules")
    else:
        compared.source.tracks[0] = track(1, name="Changed")
        landed = compared.recognising.run.settings.data_dir / "landing" / "tracks" / f"tracks-{DAY + timedelta(days=1)}"
        for path in landed.glob("pages-*" if damage == "pages" else "manifest.json"):
            path.write_bytes(b"damaged")
    compared.ingest("tracks")
    assert compared.recognising.decoded() == 32
    compared.ingest("tracks")
    assert compared.recognising.decoded() == 0


def test_erased_users_of_unchanged_pages_stay_erased(compared: BatchComparison) -> None:
    compared.ingest()
    for warehouse in (compared.recognising, compared.complete):
        run = warehouse.run
        erase._erase_everywhere(
            erase.ErasureRun(run.connection, run.settings, run.clock), 3, erase.ErasureReason("they asked", "T-1")
        )
    assert compared.recognising.query("select count(*) from ops.published_snapshots where endpoint <> 'tracks'") == [
        (0,)
    ]
    for _ in range(2):
        results = compared.ingest()
        assert [results[endpoint].counts.rows_erased for endpoint in ENDPOINTS] == [0, 1, 1]
    assert compared.recognising.decoded("users") == 1
    for warehouse in (compared.recognising, compared.complete):
        run = warehouse.run
        suppressed = suppression_list.read_copy(backup_store(run.settings))
        now = run.clock() + timedelta(seconds=1)
        allow_user(run.connection, 3, suppressed, reason="joined", requested_by="T-2", now=now)
        suppression_list.synchronize_copy(run.connection, backup_store(run.settings))
    assert compared.ingest()["users"].counts.rows_inserted == 1


def test_a_failed_publication_keeps_what_recognises_rows(
    compared: BatchComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared.ingest("tracks")
    before = compared.recognising.state()
    compared.source.tracks[0] = track(1, name="Changed")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.warehouse.save_published_snapshot", _fail)
        failing = replace(compared.recognising)
        with pytest.raises(RuntimeError):
            failing.ingest("tracks")
    after = compared.recognising.state()
    assert [after[name] for name in ("warehouse.tracks", "digests")] == [
        before[name] for name in ("warehouse.tracks", "digests")
    ]
    compared.ingest("tracks")


def _fail(*_: object) -> None:
    raise RuntimeError


def test_twenty_kills_during_a_day_of_mostly_unchanged_pages_change_nothing(compared: BatchComparison) -> None:
    compared.ingest()
    compared.source.tracks[7] = track(8, name="Changed")
    del compared.source.users[3], compared.source.listen_history[3]
    compared.source.listen_history.append(session(1, [5, 6], created_at=_time(18)))
    choose, warehouse = random.Random(0), compared.recognising
    warehouse.run.connection.execute("select pg_advisory_unlock_all()")  # the other processes need the lock
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    kills = 0
    while kills < 20:
        arguments = (warehouse.run.settings, warehouse.day, choose.randrange(2, 45))
        process = context.Process(target=_ingest_and_die, args=arguments)
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        kills += process.exitcode == -signal.SIGKILL
    process = context.Process(target=_ingest_and_die, args=(warehouse.run.settings, warehouse.day, 0))
    process.start()
    process.join()
    compared.complete.ingest()
    state, expected = warehouse.state(), compared.complete.state()
    assert {table: rows for table, rows in state.items() if rows != expected[table]} == {}
    assert kills == 20


def _ingest_and_die(settings: Settings, last_day: date, last_statement: int) -> None:
    """Ingest the day after `last_day` in this process, which kills itself before a statement. 0: it does not."""
    execute, statements = psycopg.Connection.execute, itertools.count(1)

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(statements) == last_statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(*arguments, **options)

    psycopg.Connection.execute = counted  # type: ignore[method-assign]
    with ExitStack() as stack:
        warehouse = _open_warehouse(stack, settings, settings.database_url.get_secret_value(), complete=False)
        for endpoint in ENDPOINTS:
            entry = batches.latest_entry(warehouse.run.connection, endpoint, last_day + timedelta(days=1))
            if entry is None or entry.status not in PUBLISHED_STATUSES:
                warehouse.day = last_day
                warehouse.ingest(endpoint)


@pytest.mark.parametrize("seed", range(2))
def test_random_days_end_as_if_every_row_were_decoded(seed: int, compared: BatchComparison) -> None:
    choose = random.Random(seed)
    compared.ingest()
    for _ in range(6):
        for endpoint in ENDPOINTS:
            rows = getattr(compared.source, endpoint)
            for _ in range(choose.randrange(3)):
                _change(choose, endpoint, rows)
        compared.ingest(publish=choose.random() < 0.8)


def _change(choose: random.Random, endpoint: Endpoint, rows: list[dict[str, Any]]) -> None:
    """Change, copy, move, remove or add a row."""
    place, row = choose.randrange(len(rows)), dict(choose.choice(rows))
    number = choose.randrange(1, 60)
    new = {
        "tracks": track(number, name="New"),
        "users": user(number),
        "listen_history": session(number, [number, 1], created_at=_time(number)),
    }[endpoint]
    change = choose.randrange(8)
    if change == 0:
        rows[place] = dict(rows[place], updated_at=f"2026-11-{choose.randrange(10, 30)}T00:00:00")
    elif change == 1:
        rows.insert(place, row)
    elif change == 2:
        rows.insert(place, dict(row, updated_at="2026-10-01T00:00:00"))
    elif change == 3 and len(rows) > 8:
        del rows[place]
    elif change == 4:
        rows.insert(place, new)
    elif change == 5:
        rows[place] = dict(rows[place], created_at="never")
    elif change == 6:
        rows[place] = dict(rows[place], mood=choose.choice(["calm", None]))
    else:
        choose.shuffle(rows)
