"""Stores audit results and the keys of quarantined rows."""

from __future__ import annotations

from collections.abc import Sequence

from core.audits import ExpectationResult
from core.database import Connection, readable_errors
from core.queries import load_query
from pipeline.batches import Batch


def save_audit_results(connection: Connection, batch: Batch, results: Sequence[ExpectationResult]) -> None:
    """Replace the audit results of a batch, in one transaction.

    Only keys are copied. The rows themselves stay in the landing folder and in the batch's staging table.
    """
    with readable_errors(), connection.transaction(), connection.cursor() as cursor:
        cursor.execute(load_query("ops/audit_results.delete_expectation_results"), {"batch_id": batch.batch_id})
        cursor.execute(load_query("ops/audit_results.delete_quarantined_rows"), {"batch_id": batch.batch_id})
        cursor.executemany(
            load_query("ops/audit_results.insert_expectation_result"),
            [vars(result) | {"batch_id": batch.batch_id} for result in results],
        )
        cursor.executemany(
            load_query("ops/audit_results.insert_quarantined_row"),
            [
                vars(result) | {"batch_id": batch.batch_id, "row_key": key}
                for result in results
                for key in result.failing_keys
            ],
        )
