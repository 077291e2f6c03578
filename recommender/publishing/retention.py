"""Prune old publications and model files. The newest live publications are kept for rollbacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from core.atomic_files import unfinished_files
from core.database import Connection, readable_errors
from core.queries import compose_query, load_query
from recommender.publishing.publication import Publication, lock_live_publication

# Younger unpublished publications and model files may belong to a running flow.
_UNPUBLISHED_AGE = timedelta(days=1)
_STATEMENT_TIMEOUT = "30s"


def prune_publications(connection: Connection, *, keep: int, now: datetime) -> int:
    """Drop publications beyond the newest `keep` live ones, and unpublished ones after a day. Return their number.

    The live publication is never dropped. Publications are marked as pruned first, so that no rollback chooses them.
    Partitions are detached before they are dropped, so that readers of other partitions do not wait. If a long query
    blocks a drop, or the run is interrupted, the next run drops the rest. The caller holds the warehouse lock. Raises
    DatabaseError.
    """
    with readable_errors():
        with connection.transaction():
            lock_live_publication(connection)
            marks = {"kept": keep, "pruned_at": now}
            marks |= {"unpublished_before": now - _UNPUBLISHED_AGE, "unpublished_after": now + _UNPUBLISHED_AGE}
            connection.execute(load_query("recommendations/retention.mark_pruned"), marks)
            connection.execute(load_query("recommendations/retention.delete_fallbacks"))
            connection.execute(load_query("recommendations/retention.delete_fresh_history"))
        unfinished = connection.execute(load_query("recommendations/retention.find_unfinished_pruning")).fetchall()
        dropped = 0
        with _limited_wait(connection):
            for (publication_id,) in unfinished:
                _drop_tables(connection, Publication(publication_id))
                dropped += 1
    return dropped


def prune_model_files(connection: Connection, models: Path, *, now: datetime) -> int:
    """Delete model files older than a day that no kept publication uses. Return their number."""
    with readable_errors():
        used = {
            Path(row[0]).name
            for row in connection.execute(load_query("recommendations/model_runs.find_model_files_in_use"))
        }
    oldest = (now - _UNPUBLISHED_AGE).timestamp()
    files = {*models.glob("*.npz"), *unfinished_files(models)}
    old = [path for path in files if path.name not in used and path.stat().st_mtime < oldest]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


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
