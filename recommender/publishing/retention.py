"""Prune old publications and model files. The newest live publications are kept for rollbacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from core.database import Connection, readable_errors
from core.file_store import FileStore
from core.queries import compose_query, load_query
from recommender.publishing.publication import Publication, lock_live_publication

# Younger unpublished publications and model files may belong to a running flow.
_UNPUBLISHED_AGE = timedelta(days=1)
_STATEMENT_TIMEOUT = "30s"
_IMPRESSIONS_PER_STATEMENT = 10_000


def prune_publications(connection: Connection, *, keep: int, now: datetime) -> int:
    """Drop publications beyond the newest `keep` live ones, and unpublished ones after a day. Return their number.

    The live publication is never dropped. Publications are marked as pruned first, so that no rollback chooses them.
    Impressions are deleted afterwards, in statements of bounded size. Partitions are detached before they are dropped,
    so that readers of other partitions do not wait. If a long query blocks a drop, or the run is interrupted, the next
    run drops the rest. The caller holds the warehouse lock. Raises DatabaseError.
    """
    with readable_errors():
        with connection.transaction():
            lock_live_publication(connection)
            marks = {"keep": keep, "pruned_at": now}
            marks |= {"unpublished_before": now - _UNPUBLISHED_AGE, "unpublished_after": now + _UNPUBLISHED_AGE}
            connection.execute(load_query("recommendations/retention.mark_pruned"), marks)
            connection.execute(load_query("recommendations/retention.delete_fallbacks"))
            connection.execute(load_query("recommendations/popular_tracks.delete_popular_tracks"))
            connection.execute(load_query("recommendations/retention.delete_fresh_history"))
        _delete_impressions(connection)
        unfinished = connection.execute(load_query("recommendations/retention.find_unfinished_pruning")).fetchall()
        dropped = 0
        with _limited_wait(connection):
            for (publication_id,) in unfinished:
                _drop_tables(connection, Publication(publication_id))
                dropped += 1
    return dropped


def prune_model_files(connection: Connection, models: FileStore, *, now: datetime) -> int:
    """Delete model files older than a day that no kept publication uses. Return their number."""
    with readable_errors():
        used = {
            Path(row[0]).name
            for row in connection.execute(load_query("recommendations/model_runs.find_model_files_in_use"))
        }
    oldest = now - _UNPUBLISHED_AGE
    files = [file for file in models.files() if file.name.endswith(".npz") and file.name not in used]
    old = [file for file in files if file.modified_at < oldest]
    for file in old:
        models.delete(file.name)
    return len(old) + models.delete_unfinished(older_than=oldest.timestamp())


def _delete_impressions(connection: Connection) -> None:
    query, values = load_query("recommendations/retention.delete_impressions"), {"batch": _IMPRESSIONS_PER_STATEMENT}
    while connection.execute(query, values).rowcount == _IMPRESSIONS_PER_STATEMENT:
        pass


@contextmanager
def _limited_wait(connection: Connection) -> Iterator[None]:
    """Stop without an error when a statement waits too long, for example for a backup that reads for hours."""
    connection.execute("select set_config('statement_timeout', %s, false)", [_STATEMENT_TIMEOUT])
    try:
        yield
    except psycopg.errors.QueryCanceled:
        pass
    finally:
        with suppress(psycopg.Error):
            connection.execute("reset statement_timeout")


def _drop_tables(connection: Connection, publication: Publication) -> None:
    for parent, table in (
        ("recommendations", publication.recommendations_table),
        ("similar_tracks", publication.similar_tracks_table),
    ):
        _detach(connection, parent, table)
        _drop(connection, "staging", table)
        _drop(connection, "ml", table)
    _drop(connection, "staging", publication.profile_table)


def _detach(connection: Connection, parent: str, table: str) -> None:
    row = connection.execute(
        load_query("recommendations/partitions.find_attachment"), {"table": f"ml.{table}"}
    ).fetchone()
    if row is not None:
        step = "finish_detaching" if row[0] else "detach_partition"
        connection.execute(
            compose_query(f"recommendations/partitions.{step}", parent=("ml", parent), table=("ml", table))
        )


def _drop(connection: Connection, schema: str, table: str) -> None:
    connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(schema, table)))
