"""Which lists and model files may go: the newest that were live stay, so that a rollback finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from core.database import Connection, readable_errors
from core.queries import compose_query, load_query
from recommender.publishing.publication import Publication, lock_live_publication

# A list that never went live may be one that is just being made; a model file, one that is just being trained.
_UNPUBLISHED_FOR = timedelta(days=1)
_PATIENCE = "30s"


def prune_publications(connection: Connection, *, keep: int, now: datetime) -> int:
    """Drop the rows of publications beyond the newest `keep` that were live, and of unpublished ones after a day.

    What is live is never dropped: those that go are marked first, so that no rollback chooses one of them. Partitions
    are detached before, so that nobody who reads others waits. Returns how many went; running it again, also after it
    was cut off, drops what is left. Somebody who reads for long is not waited for: the next run drops the rest.
    The caller holds the warehouse lock. Raises DatabaseError.
    """
    with readable_errors():
        with connection.transaction():
            lock_live_publication(connection)
            marks = {"kept": keep, "pruned_at": now}
            marks |= {"unpublished_before": now - _UNPUBLISHED_FOR, "unpublished_after": now + _UNPUBLISHED_FOR}
            connection.execute(load_query("recommendations/retention.mark_pruned"), marks)
            connection.execute(load_query("recommendations/retention.delete_fallbacks"))
        left = connection.execute(load_query("recommendations/retention.find_unfinished_pruning")).fetchall()
        gone = 0
        with _patience(connection):
            for (publication_id,) in left:
                _drop_tables(connection, Publication(publication_id))
                gone += 1
    return gone


def prune_model_files(connection: Connection, models: Path, *, now: datetime) -> int:
    """Delete model files that no kept publication stands on, a day after they were written. Returns how many went."""
    with readable_errors():
        used = {
            Path(row[0]).name
            for row in connection.execute(load_query("recommendations/model_runs.find_model_files_in_use"))
        }
    oldest = (now - _UNPUBLISHED_FOR).timestamp()
    old = [path for path in models.glob("*.npz") if path.name not in used and path.stat().st_mtime < oldest]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


@contextmanager
def _patience(connection: Connection) -> Iterator[None]:
    """Give up without an error when a statement waits too long: a backup may hold on to what it reads for hours."""
    connection.execute("select set_config('statement_timeout', %s, false)", [_PATIENCE])
    try:
        yield
    except psycopg.errors.QueryCanceled:
        pass
    finally:
        with suppress(psycopg.Error):
            connection.execute("reset statement_timeout")


def _drop_tables(connection: Connection, publication: Publication) -> None:
    for parent, table in (("recommendations", publication.lists), ("similar_tracks", publication.similar)):
        _detach(connection, parent, table)
        _drop(connection, "staging", table)
        _drop(connection, "ml", table)
    _drop(connection, "staging", publication.profile)


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
