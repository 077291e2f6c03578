"""The audit of recommendations on a real Postgres: each expectation finds its own defect, and only that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl
import pytest

from core.audits import AuditTarget, ExpectationResult, raise_if_blocked
from core.clock import utc_now
from core.database import Connection, connect
from core.endpoints import RECOMMENDATIONS
from core.errors import BatchBlocked
from core.file_store import FolderStore
from core.queries import compose_query
from expectations import recommendations
from expectations.checkpoint import Auditor
from expectations.rule_tables import _DEFAULTS
from expectations.rules import meta_of
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs, publication
from recommender.publishing.publication import PublicationOptions
from tests.conftest import temporary_database
from tests.warehouse_data import NEWEST, Session, WarehouseData, fill_warehouse, mark_removed

NOW = datetime(2024, 5, 1, tzinfo=UTC)
LAST = 2**63 - 1
OPTIONS = PublicationOptions(per_user=3, exclude_seen=True, personal=True)
# User 3 has not played two of tracks 1 to 6; user 6 has played all. User 5 and track 7 are removed.
PLAYED = {1: (1, 2, 7), 2: (3,), 3: (1, 2, 3, 4), 5: (1,), 6: (1, 2, 3, 4, 5, 6), LAST: (1,)}
WORLD = WarehouseData(
    dict.fromkeys((1, 2, 3, 4, 5, 6, LAST), "Rock"),
    (1, 2, 3, 4, 5, 6, 7),
    [Session(user, NEWEST, tracks) for user, tracks in PLAYED.items()],
)
LISTS = {1: (3, 4, 5), 2: (1, 2, 4), 3: (5, 6), 4: (1, 2, 3), LAST: (6, 5, 4)}


@dataclass
class PublicationAuditBench:
    """A database with users and tracks, and an auditor."""

    connection: Connection
    auditor: Auditor
    model_run_id: int

    def stage(self, lists: dict[int, tuple[int, ...]], options: PublicationOptions = OPTIONS) -> AuditTarget:
        staged = publication.start_publication(
            self.connection, model_run_id=self.model_run_id, flow="test", data_as_of=NOW, batches=["b"], now=NOW
        )
        rows = [
            (user, rank, track, 1.0 - rank / 10)
            for user, tracks in lists.items()
            for rank, track in enumerate(tracks, 1)
        ]
        frame = pl.DataFrame(
            rows, {"user_id": pl.Int64, "rank": pl.Int32, "track_id": pl.Int64, "score": pl.Float64}, orient="row"
        )
        no_similar_tracks = pl.DataFrame(schema=["track_id", "rank", "similar_track_id", "score"])
        publication.stage_recommendations(self.connection, staged, [frame], no_similar_tracks, options)
        return AuditTarget(
            staged.batch_id, RECOMMENDATIONS, date(2024, 5, 1), staged.recommendations_table, staged.profile_table
        )

    def failed_expectations(self, batch: AuditTarget, change: str = "") -> dict[str, ExpectationResult]:
        """The failed expectations by name, after a change to the staged rows or their profile."""
        tables = {"lists": f"staging.{batch.rows_table}", "profile": f"staging.{batch.profile_table}"}
        if change:
            self.connection.execute(change.format(**tables))
        return {result.expectation: result for result in self.auditor.audit(batch) if not result.success}


@pytest.fixture(scope="module")
def bench(postgres: str, _template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicationAuditBench]:
    docs_dir = tmp_path_factory.mktemp("docs")
    with (
        temporary_database(postgres, _template) as url,
        connect(url) as connection,
        Auditor(url=url, thresholds=_DEFAULTS, docs=FolderStore(docs_dir), clock=utc_now) as auditor,
    ):
        fill_warehouse(url, WORLD)
        mark_removed(connection, "users", 5)
        mark_removed(connection, "tracks", 7)
        number = model_runs.start_model_run(
            connection, recipe=Recipe("ease"), seed=0, data_as_of=NOW, batches=["b"], code_version="v", now=NOW
        )
        yield PublicationAuditBench(connection, auditor, number)


def test_valid_recommendations_pass(bench: PublicationAuditBench) -> None:
    batch = bench.stage(LISTS)
    results = bench.auditor.audit(batch)
    assert [result.expectation for result in results if not result.success] == []
    rules = [*recommendations.row_expectations(_DEFAULTS, "p"), *recommendations.profile_expectations(_DEFAULTS)]
    assert sorted(result.expectation for result in results) == sorted(meta_of(rule)["rule"] for rule in rules)


# A change to valid recommendations, the rule that finds it, and the reported users and ranks.
TAMPERED = {
    "a missing rank": (
        "update {lists} set rank = 4 where user_id = 1 and rank = 3", "ranks_are_consecutive", ("1 1",)
    ),
    "ranks from 0": ("update {lists} set rank = rank - 1 where user_id = 1", "ranks_are_consecutive", ("1 0",)),
    "a repeated rank": (
        "update {lists} set rank = 2, score = .5 where user_id = 1 and rank > 1", "ranks_are_consecutive", None
    ),
    "a short list": ("delete from {lists} where user_id = 2 and rank = 3", "list_is_full", ("2 0",)),
    "a missing list": ("delete from {lists} where user_id = 4", "list_is_full", ("4 0",)),
    "the list of the last id": (f"delete from {{lists}} where user_id = {LAST}", "list_is_full", (f"{LAST} 0",)),
    "a longer list than requested": ("update {profile} set per_user = 2", "list_is_full", None),
    "a repeated track": ("update {lists} set track_id = 4 where user_id = 2 and rank = 2", "track_is_unique", ("2 2",)),
    "a removed user": ("insert into {lists} values (1, 5, 1, 2, 1)", "user_exists", ("5 1",)),
    "an unknown user": ("insert into {lists} values (1, 99, 1, 2, 1)", "user_exists", ("99 1",)),
    "a removed track": ("update {lists} set track_id = 7 where user_id = 2 and rank = 3", "track_exists", ("2 3",)),
    "an unknown track": ("update {lists} set track_id = 99 where user_id = 2 and rank = 3", "track_exists", None),
    "a played track": (
        "update {lists} set track_id = 3 where user_id = 2 and rank = 3", "track_is_new_to_user", ("2 3",)
    ),
    "a reason that was never played": (
        "update {lists} set because_track_id = 6 where user_id = 2 and rank = 1", "reason_was_played", ("2 1",)
    ),
    "a reason that was removed": (
        "update {lists} set because_track_id = 7 where user_id = 1 and rank = 2", "reason_exists", ("1 2",)
    ),
    "not a number": ("update {lists} set score = 'NaN' where user_id = 2 and rank = 1", "score_is_finite", ("2 1",)),
    "infinity": ("update {lists} set score = 'Infinity' where user_id = 2 and rank = 1", "score_is_finite", ("2 1",)),
    "-infinity": ("update {lists} set score = '-Infinity' where user_id = 2 and rank = 3", "score_is_finite", ("2 3",)),
    "a rising score": ("update {lists} set score = 9 where user_id = 2 and rank = 3", "scores_do_not_rise", ("2 3",)),
    "no profile": ("delete from {profile}", "recommendations_are_profiled", ()),
    "nothing listed": ("update {profile} set rows_listed = 0", "recommendations_exist", ()),
}  # fmt: skip


@pytest.mark.parametrize("change", TAMPERED)
def test_one_expectation_finds_each_defect_and_blocks(bench: PublicationAuditBench, change: str) -> None:
    statement, rule, keys = TAMPERED[change]
    batch = bench.stage(LISTS)
    failed = bench.failed_expectations(batch, statement)
    assert list(failed) == [rule]
    if keys is not None:
        assert failed[rule].failing_keys == keys
    with pytest.raises(BatchBlocked, match=rf"^{batch.batch_id} blocked: "):
        raise_if_blocked(batch.batch_id, list(failed.values()))


def test_low_coverage_warns_and_lower_coverage_blocks(bench: PublicationAuditBench) -> None:
    batch = bench.stage(LISTS)
    failures = bench.failed_expectations(batch, "update {profile} set coverage = 0.02")
    assert list(failures) == ["catalogue_is_well_covered"]
    raise_if_blocked(batch.batch_id, list(failures.values()))
    hardly_any = bench.failed_expectations(batch, "update {profile} set coverage = 0.001")
    assert set(hardly_any) == {"catalogue_is_covered", "catalogue_is_well_covered"}
    with pytest.raises(BatchBlocked, match=r"coverage 0\.1 % is below 1 %"):
        raise_if_blocked(batch.batch_id, list(hardly_any.values()))


def test_coverage_is_relative_to_the_possible_tracks(bench: PublicationAuditBench) -> None:
    profile = "select users, tracks_offered, rows_listed, users_listed, tracks_covered, coverage from staging.{}"
    batch = bench.stage(LISTS)
    row = bench.connection.execute(profile.format(batch.profile_table)).fetchone()
    assert row == (6, 6, 14, 5, 6, 1.0)
    batch = bench.stage({1: (3, 4)})
    row = bench.connection.execute(profile.format(batch.profile_table)).fetchone()
    assert row == (6, 6, 2, 1, 2, 1.0)


def test_coverage_is_not_checked_for_popularity(bench: PublicationAuditBench) -> None:
    batch = bench.stage(LISTS, PublicationOptions(per_user=3, exclude_seen=True, personal=False))
    assert bench.connection.execute(f"select coverage from staging.{batch.profile_table}").fetchone() == (None,)
    assert bench.failed_expectations(batch) == {}


def test_played_tracks_pass_when_they_are_allowed(bench: PublicationAuditBench) -> None:
    users = (1, 2, 3, 4, 6, LAST)
    batch = bench.stage(
        dict.fromkeys(users, (1, 2, 3)), PublicationOptions(per_user=3, exclude_seen=False, personal=True)
    )
    assert bench.failed_expectations(batch) == {}


def test_empty_publication_is_blocked(bench: PublicationAuditBench) -> None:
    failed = bench.failed_expectations(bench.stage({}))
    assert set(failed) == {"list_is_full", "recommendations_exist"}
    assert failed["list_is_full"].unexpected_count == 5  # user 6 has no unplayed track


def test_list_may_lack_hidden_tracks_and_have_those_that_were_hidden_since(bench: PublicationAuditBench) -> None:
    """User 4 has hidden everything, user 3 one of two tracks; user 2 hid a track after the list was made."""
    hidden = [(4, track) for track in range(1, 8)] + [(3, 6), (3, 1), (2, 1)]
    with bench.connection.transaction(force_rollback=True), bench.connection.cursor() as cursor:
        cursor.execute("insert into serving.api_keys values ('k', 'app', '', '{}', '2024-03-01')")
        cursor.executemany(
            "insert into ml.reactions values (%s, %s, null, 'hide', 'k', '2024-04-01', '2024-04-01')", hidden
        )
        lists = {user: tracks for user, tracks in LISTS.items() if user not in (3, 4)}
        for listed, wrong in (((5,), []), ((5, 6), []), ((), [(3, 0)])):
            batch = bench.stage(lists | {3: listed})
            names = {"batch": ("staging", batch.rows_table), "profile": ("staging", batch.profile_table)}
            query = compose_query("audit/recommendations.find_wrong_lengths", **names)
            assert bench.connection.execute(query).fetchall() == wrong
