"""Retention: deletes old files and tables that can be created again, and old figures of the stream.

The ledger and the rejected rows of batches stay.
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from core.data_layout import DataLayout
from core.database import Connection, readable_errors
from core.queries import load_query
from pipeline import landing, staging
from pipeline.batches import Batch


def prune_batches(connection: Connection, data_dir: Path, oldest: datetime) -> dict[str, int]:
    """Delete the raw pages and staging tables of batches before `oldest`, and old landings that are in no ledger row.

    Returns the number of deleted objects by kind. A second call deletes nothing. Raises DatabaseError.
    """
    pruned = {"landings": 0, "staging_tables": 0}
    with readable_errors():
        old = connection.execute(load_query("ops/batches.find_batches_before"), {"oldest": oldest}).fetchall()
        for endpoint, day, source, revision in old:
            batch = Batch(endpoint, day, source, revision)
            pruned["landings"] += landing.delete_landing(data_dir, batch)
            pruned["staging_tables"] += staging.drop_tables(connection, batch)
        batch_ids = {row[0] for row in connection.execute(load_query("ops/batches.find_batch_ids"))}
    for folder in DataLayout(data_dir).landing.glob("*/*"):
        if folder.name not in batch_ids and folder.stat().st_mtime < oldest.timestamp():
            shutil.rmtree(folder)
            pruned["landings"] += 1
    return pruned


def prune_stream(connection: Connection, oldest: datetime) -> dict[str, int]:
    """Delete rejected messages, figures per minute and audit results from before `oldest`, which belong to no batch.

    Returns the number of deleted rows by kind. Raises DatabaseError.
    """
    queries = {
        "rejected_messages": "stream/minutes.delete_rejected_messages",
        "stream_minutes": "stream/minutes.delete_minutes",
        "stream_audit_results": "audit/stream.delete_old_results",
    }
    with readable_errors():
        return {
            kind: connection.execute(load_query(query), {"before": oldest}).rowcount for kind, query in queries.items()
        }


def prune_files(data_dir: Path, oldest: datetime) -> dict[str, int]:
    """Delete raw pages and transformed batches that were last written before `oldest`, by the machine's clock.

    It needs no database, so it works if the database has no disk space. Returns the number of deletions by kind.
    """
    layout = DataLayout(data_dir)
    kinds = {"landings": layout.landing.glob("*/*"), "shaped_batches": layout.shaped.glob("*")}
    pruned = dict.fromkeys(kinds, 0)
    for kind, folders in kinds.items():
        for folder in folders:
            if folder.is_dir() and folder.stat().st_mtime < oldest.timestamp():
                shutil.rmtree(folder)
                pruned[kind] += 1
    return pruned
