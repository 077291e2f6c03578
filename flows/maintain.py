"""Maintenance: delete raw pages, staging tables and Data Docs older than the retention. Ledger and rejects stay.

`python -m flows.maintain [--retention-days N]` runs it without a server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import Field

from core.clock import clock_of
from core.roles import INGEST
from core.settings import load_settings
from expectations.thresholds import load_thresholds
from flows.command_line import run_command
from flows.endings import told_when_it_fails
from flows.readable_logs import keep_logs_readable
from flows.run import open_run
from pipeline import retention

Days = Annotated[int, Field(ge=1, le=36_500)]


@flow(name="maintain", flow_run_name="maintain")
@told_when_it_fails
def maintain(retention_days: Days | None = None) -> dict[str, int]:
    """Prune what is older than the retention.

    Args:
        retention_days: Days to keep; the setting RETENTION_DAYS when left out.

    Returns how many of each kind were deleted.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    days = settings.retention_days if retention_days is None else retention_days
    with open_run(settings, thresholds, "maintain", None, clock_of(settings), role=INGEST) as run:
        oldest = run.clock() - timedelta(days=days)
        pruned = retention.prune(run.connection, settings.data_dir, oldest)
        from expectations.data_docs import prune_docs  # imports Great Expectations: seconds

        pruned["data_docs_pages"] = prune_docs(run.docs_dir, oldest)
    create_table_artifact(key="maintain-pruned", table=[pruned], description=f"Deleted: older than {oldest:%Y-%m-%d}.")
    print(", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in pruned.items()) + " deleted", flush=True)
    return pruned


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.maintain", description=__doc__)
    parser.add_argument("--retention-days", type=int, help="days to keep (default: RETENTION_DAYS)")
    days = parser.parse_args(arguments).retention_days
    if days is not None and not 1 <= days <= 36_500:
        parser.error("--retention-days must be between 1 and 36500")
    return run_command(maintain, retention_days=days)


if __name__ == "__main__":
    sys.exit(main())
