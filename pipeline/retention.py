"""Retention: deletes old files and tables that can be created again, figures of the stream, and users of experiments.

The ledger and the rejected rows of batches stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Set
from datetime import datetime

from core.data_layout import DataLayout
from core.database import Connection, readable_errors
from core.queries import load_query
from core.settings import Settings
from core.stores import landing_store
from pipeline import landing, staging
from pipeline.batches import Batch


def prune_batches(connection: Connection, settings: Settings, oldest: datetime) -> dict[str, int]:
    """Delete the raw pages and staging tables of batches before `oldest`, and old landings that are in no ledger row.

    Returns the number of deleted objects by kind. A second call deletes nothing. Raises DatabaseError,
    ObjectStoreError.
    """
    pruned = {"landings": 0, "staging_tables": 0}
    with readable_errors():
        old = connection.execute(load_query("ops/batches.find_batches_before"), {"oldest": oldest}).fetchall()
        for endpoint, day, source, revision in old:
            batch = Batch(endpoint, day, source, revision)
            pruned["landings"] += landing.delete_landing(settings, batch)
            pruned["staging_tables"] += staging.drop_tables(connection, batch)
        batch_ids = {row[0] for row in connection.execute(load_query("ops/batches.find_batch_ids"))}
    pruned["landings"] += _prune_landings(settings, oldest, batch_ids)
    return pruned


def _prune_landings(settings: Settings, oldest: datetime, kept_batch_ids: Set[str] = frozenset()) -> int:
    """Delete the landings that last changed before `oldest`. Returns their number."""
    store = landing_store(settings)
    folders = [
        folder
        for folder, changed_at in store.folders(depth=2).items()
        if folder.rpartition("/")[2] not in kept_batch_ids and changed_at < oldest
    ]
    for folder in folders:
        landing.delete_folder(store, folder)
    return len(folders)


def prune_stream(connection: Connection, oldest: datetime) -> dict[str, int]:
    """Delete rejected messages, figures per minute and audit results from before `oldest`, which belong to no batch.

    Returns the number of deleted rows by kind. Raises DatabaseError.
    """
    queries = {
        "rejected_messages": "stream/minutes.delete_rejected_messages",
        "stream_minutes": "stream/minutes.delete_minutes",
        "stream_audit_results": "audit/stream.delete_old_results",
    }
    return _delete_rows(connection, queries, oldest)


def prune_experiments(connection: Connection, oldest: datetime) -> dict[str, int]:
    """Delete what users of experiments that ended before `oldest` got and did, in one transaction.

    The results by day stay. Returns the number of deleted rows by kind. Raises DatabaseError.
    """
    queries = {
        "experiment_outcomes": "ops/old_experiments.delete_outcomes",
        "experiment_exposures": "ops/old_experiments.delete_exposures",
    }
    with readable_errors(), connection.transaction():
        return _delete_rows(connection, queries, oldest)


def _delete_rows(connection: Connection, queries: Mapping[str, str], oldest: datetime) -> dict[str, int]:
    with readable_errors():
        return {
            kind: connection.execute(load_query(query), {"before": oldest}).rowcount for kind, query in queries.items()
        }


def prune_files(settings: Settings, oldest: datetime) -> dict[str, int]:
    """Delete raw pages and transformed batches that were last written before `oldest`, by the machine's clock.

    It needs no database, so it works if the database has no disk space. Returns the number of deletions by kind.
    """
    pruned = {"landings": _prune_landings(settings, oldest), "shaped_batches": 0}
    for folder in DataLayout(settings.data_dir).shaped.glob("*"):
        if folder.is_dir() and folder.stat().st_mtime < oldest.timestamp():
            shutil.rmtree(folder)
            pruned["shaped_batches"] += 1
    return pruned
