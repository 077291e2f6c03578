"""Publications: stage recommendations for the audit, publish them in one transaction, and roll back in another.

A publication is staged in its own tables, which become partitions, so readers see exactly the audited rows. The live
publication is the newest row of `ml.live_publications`; a rollback adds a row and moves no data.

A query that was planned before a partition was attached does not read the partition, although it may already see that
the publication is live. Therefore partitions are attached first, and go live after earlier transactions have ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl
from psycopg import sql

from core.audits import ExpectationResult
from core.clock import CLOCK_SKEW
from core.database import Connection, readable_errors
from core.errors import PublicationError, UnusablePublication
from core.frames import write_frame, write_numbers
from core.queries import compose_query, load_query
from recommender.publishing.reasons import REASON

_RECOMMENDATION_COLUMNS: dict[str, pl.DataType] = {
    **{"publication_id": pl.Int64(), "user_id": pl.Int64(), "rank": pl.Int32()},
    **{"track_id": pl.Int64(), "score": pl.Float64()},
}
_SIMILAR_TRACK_COLUMNS: Mapping[str, pl.DataType] = {
    **{"publication_id": pl.Int64(), "track_id": pl.Int64(), "rank": pl.Int32()},
    **{"similar_track_id": pl.Int64(), "score": pl.Float64()},
}
# Publications and rollbacks take this advisory lock, so that only one of them changes the live publication.
_LIVE_LOCK = 7_300_811_023
# Longer transactions are not waited for; see the module docstring.
_READER_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Publication:
    """A publication and the names of its tables."""

    publication_id: int

    @property
    def batch_id(self) -> str:
        """The name in Data Docs and in errors."""
        return f"recommendations-{self.publication_id}"

    @property
    def recommendations_table(self) -> str:
        return f"recommendations_{self.publication_id}"

    @property
    def similar_tracks_table(self) -> str:
        return f"similar_tracks_{self.publication_id}"

    @property
    def profile_table(self) -> str:
        return f"{self.recommendations_table}_profile"


@dataclass(frozen=True)
class Treatment:
    """A publication that is served to some users, beside the live one, as the treatment of an experiment."""

    experiment_id: int
    publication: Publication


@dataclass(frozen=True)
class PublicationOptions:
    """Length of a recommendation list, exclusion of played tracks, and whether recommendations are personal."""

    per_user: int
    exclude_seen: bool
    personal: bool


@readable_errors()
def start_publication(
    connection: Connection, *, model_run_id: int, flow: str, data_as_of: datetime, batches: Sequence[str], now: datetime
) -> Publication:
    """Record the start of a publication. Raises DatabaseError."""
    values = {"model_run_id": model_run_id, "flow": flow, "data_as_of": data_as_of, "batches": list(batches)}
    row = connection.execute(
        load_query("recommendations/publications.start_publication"), values | {"made_at": now}
    ).fetchone()
    return Publication(_first_value(row))


@readable_errors()
def stage_recommendations(
    connection: Connection,
    publication: Publication,
    recommendations: Iterable[pl.DataFrame],
    similar: pl.DataFrame,
    options: PublicationOptions,
) -> None:
    """Copy recommendations to staging tables and profile them, in one transaction. Raises DatabaseError."""
    number = pl.lit(publication.publication_id, pl.Int64).alias("publication_id")
    rows_table, similar_table = (
        ("staging", publication.recommendations_table),
        ("staging", publication.similar_tracks_table),
    )
    with connection.transaction():
        connection.execute(compose_query("recommendations/partitions.create_recommendations", table=rows_table))
        connection.execute(compose_query("recommendations/partitions.create_similar_tracks", table=similar_table))
        for part in recommendations:
            _write_recommendations(connection, rows_table, part.with_columns(number))
        write_numbers(connection, similar_table, _SIMILAR_TRACK_COLUMNS, [similar.with_columns(number)])
        connection.execute(
            compose_query(
                "recommendations/partitions.create_profile",
                table=("staging", publication.profile_table),
                lists=rows_table,
            ),
            {"per_user": options.per_user, "excludes_played": options.exclude_seen, "personal": options.personal},
        )
    connection.execute(sql.SQL("analyze {}").format(sql.Identifier(*rows_table)))


@readable_errors()
def save_popular_tracks(connection: Connection, publication: Publication, data_as_of: datetime) -> None:
    """Save the popular tracks of each period and genre; serving reads them once live. Raises DatabaseError."""
    values = {"publication_id": publication.publication_id, "data_as_of": data_as_of}
    connection.execute(load_query("recommendations/popular_tracks.insert_popular_tracks"), values)


@readable_errors()
def save_audit_results(connection: Connection, publication: Publication, results: Sequence[ExpectationResult]) -> None:
    """Record the audit results of a publication. Raises DatabaseError."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            load_query("recommendations/publications.insert_expectation_result"),
            [{"publication_id": publication.publication_id, **asdict(result)} for result in results],
        )


@readable_errors()
def block_publication(connection: Connection, publication: Publication, reason: str) -> None:
    """Mark a publication as blocked by its audit. Its rows stay in `staging` until pruning. Raises DatabaseError."""
    _finish(connection, publication, "blocked", reason)


@readable_errors()
def mark_unpublished(connection: Connection, publication: Publication, reason: str) -> None:
    """Record why an audited publication did not go live. Raises DatabaseError."""
    _finish(connection, publication, "staged", reason)


@readable_errors()
def attach_partitions(connection: Connection, publication: Publication) -> None:
    """Attach the staged tables as partitions, in their own transaction, and wait for earlier readers.

    Readers see the publication only after `publish_recommendations`. Raises DatabaseError.
    """
    with connection.transaction():
        _attach(connection, "recommendations", publication.recommendations_table, publication)
        _attach(connection, "similar_tracks", publication.similar_tracks_table, publication)
    before, until = _readers(connection), time.monotonic() + _READER_WAIT_SECONDS
    while before & _readers(connection) and time.monotonic() < until:
        time.sleep(0.01)


@readable_errors()
def publish_recommendations(
    connection: Connection,
    publication: Publication,
    fallbacks: pl.DataFrame,
    *,
    replacing: int | None,
    now: datetime,
    why: str,
    treatment: Treatment | None = None,
) -> None:
    """Make attached recommendations live, in one transaction, and serve those of a `treatment` beside them.

    `replacing` is the `newest_live_id` at the time they were made (None: nothing was live). Raises PublicationError
    when another publication went live meanwhile or one of them is not attached, and DatabaseError.
    """
    with connection.transaction():
        lock_live_publication(connection)
        if newest_live_id(connection) != replacing:
            raise PublicationError(
                f"{publication.batch_id} is not published, because another publication went live meanwhile (by a "
                "rollback or another run); run again"
            )
        for attached in [publication, *([treatment.publication] if treatment else [])]:
            _require_attached(connection, attached)
            number = pl.lit(attached.publication_id).alias("publication_id")
            write_frame(connection, ("ml", "fallbacks"), fallbacks.select(number, "genre", "rank", "track_id", "score"))
            _finish(connection, attached, "published", why)
        live_id = go_live(connection, publication, now, why)
        if treatment is not None:
            values = {
                "live_id": live_id,
                "experiment_id": treatment.experiment_id,
                "publication_id": treatment.publication.publication_id,
            }
            connection.execute(load_query("recommendations/experiments.insert_experiment_publication"), values)


@readable_errors()
def roll_back(connection: Connection, publication_id: int, *, now: datetime, why: str) -> None:
    """Make an earlier publication live again, in one transaction. Does nothing if it is already live.

    Raises UnusablePublication when the publication does not exist, never went live, or was pruned.
    """
    with connection.transaction():
        lock_live_publication(connection)
        values = {"publication_id": publication_id}
        row = connection.execute(load_query("recommendations/publications.find_publication"), values).fetchone()
        if row is None:
            raise UnusablePublication(
                f"there is no publication {publication_id}; ml.publications lists all publications"
            )
        _, status, pruned_at, is_live = row
        if status != "published":
            raise UnusablePublication(f"publication {publication_id} is {status} and was never live; choose another")
        if pruned_at is not None:
            raise UnusablePublication(
                f"publication {publication_id} was pruned on {pruned_at:%Y-%m-%d}; choose a newer publication, "
                "or raise PUBLICATIONS_KEPT"
            )
        if not is_live:
            go_live(connection, Publication(publication_id), now, why)


@readable_errors()
def is_outdated(connection: Connection, now: datetime) -> bool:
    """Whether the newest publication is older than the newest published batch. Raises DatabaseError.

    Also true if the live publication has a time after `now`, from a clock that was ahead; a new publication corrects
    this.
    """
    values = {"latest": now + CLOCK_SKEW}
    return bool(
        _first_value(connection.execute(load_query("recommendations/publications.is_outdated"), values).fetchone())
    )


@readable_errors()
def previous_live_publication(connection: Connection) -> int:
    """The id of the previous live publication. Raises UnusablePublication when there is none."""
    row = connection.execute(load_query("recommendations/publications.find_previous_publication")).fetchone()
    if row is None:
        raise UnusablePublication("no earlier live publication is kept, so there is nothing to roll back to")
    return int(row[0])


@readable_errors()
def publication_size(connection: Connection, publication: Publication) -> tuple[int, int, int]:
    """The number of users, recommendations and distinct tracks of a publication. Raises DatabaseError."""
    values = {"publication_id": publication.publication_id}
    row = connection.execute(load_query("recommendations/publications.find_publication_size"), values).fetchone()
    return (0, 0, 0) if row is None else (row[0], row[1], row[2])


def newest_live_id(connection: Connection) -> int | None:
    """The newest id of `ml.live_publications`; None before the first publication."""
    row = connection.execute(load_query("recommendations/publications.find_live_id")).fetchone()
    return None if row is None else row[0]


def lock_live_publication(connection: Connection) -> None:
    """Keep other publications and rollbacks from going live until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(%s)", [_LIVE_LOCK])


def go_live(connection: Connection, publication: Publication, now: datetime, why: str) -> int:
    """Make a publication live, and return the new `newest_live_id`. It ends an experiment with another control.

    The caller holds the lock of `lock_live_publication`.
    """
    values = {"publication_id": publication.publication_id, "live_from": now, "why": why}
    row = connection.execute(load_query("recommendations/publications.insert_live_publication"), values).fetchone()
    connection.execute(
        load_query("recommendations/experiments.end_superseded_experiment"),
        {"publication_id": publication.publication_id, "ended_at": now, "why": why},
    )
    return int(_first_value(row))


def _write_recommendations(connection: Connection, table: tuple[str, str], part: pl.DataFrame) -> None:
    """Copy rows with a reason, and then those without: numbers are copied without nulls."""
    if REASON not in part.columns:
        write_numbers(connection, table, _RECOMMENDATION_COLUMNS, [part])
        return
    has_reason = pl.col(REASON).is_not_null()
    columns = _RECOMMENDATION_COLUMNS | {REASON: pl.Int64()}
    write_numbers(connection, table, columns, [part.filter(has_reason)])
    write_numbers(connection, table, _RECOMMENDATION_COLUMNS, [part.filter(~has_reason)])


def _readers(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute(load_query("recommendations/partitions.find_readers"))}


def _attach(connection: Connection, parent: str, table: str, publication: Publication) -> None:
    """Add the primary key, move the table to `ml`, and attach it. A check constraint saves Postgres a scan."""
    names: dict[str, Any] = {
        "staged": ("staging", table),
        "table": ("ml", table),
        "parent": ("ml", parent),
        "key": sql.SQL("user_id, rank" if parent == "recommendations" else "track_id, rank"),
        "number": sql.Literal(publication.publication_id),
        "constraint": f"{table}_publication",
    }
    for step in ("add_primary_key", "move_to_ml", "attach_partition", "drop_check"):
        connection.execute(compose_query(f"recommendations/partitions.{step}", **names))


def _require_attached(connection: Connection, publication: Publication) -> None:
    tables = {"lists": f"ml.{publication.recommendations_table}", "similar": f"ml.{publication.similar_tracks_table}"}
    row = connection.execute(load_query("recommendations/partitions.is_attached"), tables).fetchone()
    if not (row and row[0]):
        raise PublicationError(f"{publication.batch_id} is not attached, so it cannot be read; run again")


def _finish(connection: Connection, publication: Publication, status: str, reason: str) -> None:
    connection.execute(
        compose_query(
            "recommendations/publications.finish_publication", profile=("staging", publication.profile_table)
        ),
        {"publication_id": publication.publication_id, "status": status, "reason": reason},
    )


def _first_value(row: Any) -> Any:
    if row is None:
        raise PublicationError("the database returned no row for a query that always has one")
    return row[0]
