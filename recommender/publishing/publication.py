"""Publications: everyone's list, staged to be audited, then visible in one transaction; and put back in another.

A publication is staged in tables of its own, which become partitions: what was audited is what is read. What is live
is the newest row of `ml.live_publications`; a rollback adds a row, and moves nothing.

A query that Postgres planned before a partition came does not look into it, though it may already see that it is the
live one, and finds nobody's list. So partitions come first, and go live when all that was planned before is over.
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

_LISTS: Mapping[str, pl.DataType] = {
    **{"publication_id": pl.Int64(), "user_id": pl.Int64(), "rank": pl.Int32()},
    **{"track_id": pl.Int64(), "score": pl.Float64()},
}
_SIMILAR: Mapping[str, pl.DataType] = {
    **{"publication_id": pl.Int64(), "track_id": pl.Int64(), "rank": pl.Int32()},
    **{"similar_track_id": pl.Int64(), "score": pl.Float64()},
}
# Every publication and rollback takes it, so that what is live changes once at a time.
_LIVE_LOCK = 7_300_811_023
# Who reads for longer may meet the moment described above; publishing does not wait for a transaction left open.
_SECONDS_FOR_READERS = 5.0


@dataclass(frozen=True)
class Publication:
    """One list of everyone, by its number."""

    publication_id: int

    @property
    def batch_id(self) -> str:
        """Its name where batches have theirs: in Data Docs and in errors."""
        return f"recommendations-{self.publication_id}"

    @property
    def lists(self) -> str:
        return f"recommendations_{self.publication_id}"

    @property
    def similar(self) -> str:
        return f"similar_tracks_{self.publication_id}"

    @property
    def profile(self) -> str:
        return f"{self.lists}_profile"


@dataclass(frozen=True)
class PublicationOptions:
    """How the lists were meant to be: so many tracks each, with or without played ones, each its own or all alike."""

    per_user: int
    exclude_seen: bool
    personal: bool


@readable_errors()
def start_publication(
    connection: Connection, *, model_run_id: int, flow: str, data_as_of: datetime, batches: Sequence[str], now: datetime
) -> Publication:
    """Note that a list is being made. Raises DatabaseError."""
    values = {"model_run_id": model_run_id, "flow": flow, "data_as_of": data_as_of, "batches": list(batches)}
    row = connection.execute(
        load_query("recommendations/publications.start_publication"), values | {"made_at": now}
    ).fetchone()
    return Publication(_first(row))


@readable_errors()
def stage_recommendations(
    connection: Connection,
    publication: Publication,
    lists: Iterable[pl.DataFrame],
    similar: pl.DataFrame,
    options: PublicationOptions,
) -> None:
    """Copy the lists to tables of their own and profile them, in one transaction. Raises DatabaseError."""
    number = pl.lit(publication.publication_id, pl.Int64).alias("publication_id")
    rows_table, similar_table = ("staging", publication.lists), ("staging", publication.similar)
    with connection.transaction():
        connection.execute(compose_query("recommendations/partitions.create_recommendations", table=rows_table))
        connection.execute(compose_query("recommendations/partitions.create_similar_tracks", table=similar_table))
        write_numbers(connection, rows_table, _LISTS, (part.with_columns(number) for part in lists))
        write_numbers(connection, similar_table, _SIMILAR, [similar.with_columns(number)])
        connection.execute(
            compose_query(
                "recommendations/partitions.create_profile", table=("staging", publication.profile), lists=rows_table
            ),
            {"per_user": options.per_user, "excludes_played": options.exclude_seen, "personal": options.personal},
        )
    connection.execute(sql.SQL("analyze {}").format(sql.Identifier(*rows_table)))


@readable_errors()
def save_audit_results(connection: Connection, publication: Publication, results: Sequence[ExpectationResult]) -> None:
    """Write down what the audit of the lists found. Raises DatabaseError."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            load_query("recommendations/publications.insert_expectation_result"),
            [{"publication_id": publication.publication_id, **asdict(result)} for result in results],
        )


@readable_errors()
def block_publication(connection: Connection, publication: Publication, reason: str) -> None:
    """Note that a list failed its audit. Its rows stay in `staging` until the retention. Raises DatabaseError."""
    _finish(connection, publication, "blocked", reason)


@readable_errors()
def mark_unpublished(connection: Connection, publication: Publication, reason: str) -> None:
    """Note why a list that passed its audit did not go live. Raises DatabaseError."""
    _finish(connection, publication, "staged", reason)


@readable_errors()
def attach_partitions(connection: Connection, publication: Publication) -> None:
    """Make a staged list a partition, in one transaction of its own, and wait for those who read without it.

    Nobody is shown it before `publish_recommendations`. Raises DatabaseError.
    """
    with connection.transaction():
        _attach(connection, "recommendations", publication.lists, publication)
        _attach(connection, "similar_tracks", publication.similar, publication)
    before, until = _readers(connection), time.monotonic() + _SECONDS_FOR_READERS
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
) -> None:
    """Make attached recommendations live, in one transaction.

    `replacing` is the `newest_live_id` at the time they were made (None: nothing was live). Raises PublicationError
    when another publication went live meanwhile or this one is not attached, and DatabaseError.
    """
    with connection.transaction():
        lock_live_publication(connection)
        seen = newest_live_id(connection)
        if seen != replacing:
            raise PublicationError(
                f"{publication.batch_id} was made while another list went live (by a rollback or another run), and is "
                "not published over it; run again"
            )
        _must_be_attached(connection, publication)
        number = pl.lit(publication.publication_id).alias("publication_id")
        write_frame(connection, ("ml", "fallbacks"), fallbacks.select(number, "genre", "rank", "track_id", "score"))
        _finish(connection, publication, "published", why)
        _go_live(connection, publication, now, why)


@readable_errors()
def roll_back(connection: Connection, publication_id: int, *, now: datetime, why: str) -> None:
    """Make a publication that is kept the live one again, in one transaction. That it is already: nothing changes.

    Raises UnusablePublication when there is no such publication, it never went live, or its rows were pruned.
    """
    with connection.transaction():
        lock_live_publication(connection)
        values = {"publication_id": publication_id}
        row = connection.execute(load_query("recommendations/publications.find_publication"), values).fetchone()
        if row is None:
            raise UnusablePublication(f"there is no publication {publication_id}; ml.publications has those there are")
        _, status, pruned_at, is_live = row
        if status != "published":
            raise UnusablePublication(f"publication {publication_id} is {status} and was never live; choose another")
        if pruned_at is not None:
            raise UnusablePublication(
                f"the lists of publication {publication_id} were pruned on {pruned_at:%Y-%m-%d}; choose a newer one, "
                "or keep more with PUBLICATIONS_KEPT"
            )
        if not is_live:
            _go_live(connection, Publication(publication_id), now, why)


@readable_errors()
def is_outdated(connection: Connection, now: datetime) -> bool:
    """Whether the newest lists were made before the newest batch was published. Raises DatabaseError.

    Also when the lists that are live went live after now, by a clock that was ahead: new ones put the ledger right.
    """
    values = {"latest": now + CLOCK_SKEW}
    return bool(_first(connection.execute(load_query("recommendations/publications.is_behind"), values).fetchone()))


@readable_errors()
def previous_live_publication(connection: Connection) -> int:
    """The publication that was live before the one that is. Raises UnusablePublication when there is none."""
    row = connection.execute(load_query("recommendations/publications.find_previous_publication")).fetchone()
    if row is None:
        raise UnusablePublication("no other publication that is kept was live before; there is nothing to go back to")
    return int(row[0])


@readable_errors()
def publication_size(connection: Connection, publication: Publication) -> tuple[int, int, int]:
    """How many users, recommendations and different tracks a publication has. Raises DatabaseError."""
    values = {"publication_id": publication.publication_id}
    row = connection.execute(load_query("recommendations/publications.find_publication_size"), values).fetchone()
    return (0, 0, 0) if row is None else (row[0], row[1], row[2])


def newest_live_id(connection: Connection) -> int | None:
    """Which going-live is the newest; None before the first."""
    row = connection.execute(load_query("recommendations/publications.find_live_id")).fetchone()
    return None if row is None else row[0]


def lock_live_publication(connection: Connection) -> None:
    """Until the transaction ends, nothing else goes live."""
    connection.execute("select pg_advisory_xact_lock(%s)", [_LIVE_LOCK])


def _readers(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute(load_query("recommendations/partitions.find_readers"))}


def _attach(connection: Connection, parent: str, table: str, publication: Publication) -> None:
    """Key the table, move it to `ml`, and make it a partition; a check that says so saves a scan."""
    names: dict[str, Any] = {
        "staged": ("staging", table),
        "table": ("ml", table),
        "parent": ("ml", parent),
        "key": sql.SQL("user_id, rank" if parent == "recommendations" else "track_id, rank"),
        "number": sql.Literal(publication.publication_id),
        "belongs": f"{table}_belongs",
    }
    for step in ("add_primary_key", "move_to_ml", "attach_partition", "drop_check"):
        connection.execute(compose_query(f"recommendations/partitions.{step}", **names))


def _must_be_attached(connection: Connection, publication: Publication) -> None:
    tables = {"lists": f"ml.{publication.lists}", "similar": f"ml.{publication.similar}"}
    row = connection.execute(load_query("recommendations/partitions.is_attached"), tables).fetchone()
    if not (row and row[0]):
        raise PublicationError(f"{publication.batch_id} is not attached, so nobody could read it; run again")


def _finish(connection: Connection, publication: Publication, status: str, reason: str) -> None:
    connection.execute(
        compose_query("recommendations/publications.finish_publication", profile=("staging", publication.profile)),
        {"publication_id": publication.publication_id, "status": status, "reason": reason},
    )


def _go_live(connection: Connection, publication: Publication, now: datetime, why: str) -> None:
    values = {"publication_id": publication.publication_id, "live_from": now, "why": why}
    connection.execute(load_query("recommendations/publications.insert_live_publication"), values)


def _first(row: Any) -> Any:
    if row is None:
        raise PublicationError("the database gave no row where one was asked for")
    return row[0]
