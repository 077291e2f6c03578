"""Maintain: delete raw pages, staging tables, Data Docs, rejected messages and users of old experiments.

Old months of sessions and plays move to OLD_MONTHS_TABLESPACE. Batches and their rejected rows stay. Prefect's erase
runs are deleted at once, its task results after RUN_RETENTION_DAYS.

`python -m flows.maintain [--retention-days N]` runs without a Prefect server.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.settings import get_current_settings
from pydantic import Field

from core.clock import Clock, clock_of, utc_now
from core.dates import months_before
from core.errors import DatabaseFull, DiskFull
from core.exit_codes import run_main
from core.roles import INGEST
from core.runbook import RUNBOOK
from core.settings import Settings, load_settings
from core.stores import docs_store
from core.table_layout import move_old_months
from core.tracebacks import keep_logs_readable
from expectations.thresholds import load_thresholds
from flows.command_line import run_command
from flows.failures import handle_failures
from flows.json_results import add_json_option
from flows.lineage import lineage_of_step
from flows.prefect_history import prune_prefect_history
from flows.run import open_run
from flows.state_messages import describe_counts, ends_with
from pipeline import retention

_BYTES_FOR_PREFECT = 64 * 2**20
Days = Annotated[int, Field(ge=1, le=36_500)]


@flow(name="maintain", flow_run_name="maintain", validate_parameters=False)
@ends_with(describe_counts)
@handle_failures
def maintain(retention_days: Days | None = None) -> dict[str, int]:
    """Delete what is older than the retention. On a full disk, delete files first, so that the database works again.

    Args:
        retention_days: Days to keep. Default: RETENTION_DAYS.

    Returns the number of deleted objects by kind.
    """
    keep_logs_readable()
    settings = load_settings()
    history = prune_prefect_history(settings.data_dir, timedelta(days=settings.run_retention_days))
    print(_describe(history), flush=True)
    pruned = history | prune_all(retention_days)
    create_table_artifact(key="maintain-pruned", table=[pruned], description="Number of deleted objects by kind.")
    return pruned


def prune_all(retention_days: int | None) -> dict[str, int]:
    """Delete what is older than the retention, without Prefect, whose database needs disk space too."""
    settings = load_settings()
    days = settings.retention_days if retention_days is None else retention_days
    clock, age = clock_of(settings), timedelta(days=days)
    try:
        pruned = _prune(settings, clock, age)
    except (DatabaseFull, DiskFull):
        pruned = _prune_files_first(settings, clock, age)
    print(_describe(pruned), flush=True)
    return pruned


def _prune(settings: Settings, clock: Clock, age: timedelta) -> dict[str, int]:
    with open_run(settings, load_thresholds(), "maintain", None, clock, role=INGEST) as run:
        oldest = run.clock() - age
        with lineage_of_step(run.lineage, "prune_batches", run.clock):
            pruned = retention.prune_batches(run.connection, settings, oldest)
        with lineage_of_step(run.lineage, "prune_stream", run.clock):
            pruned |= retention.prune_stream(run.connection, oldest)
        with lineage_of_step(run.lineage, "prune_experiments", run.clock):
            pruned |= retention.prune_experiments(run.connection, oldest)
        if settings.old_months_tablespace:
            cutoff = months_before(run.clock().date(), settings.old_months_after)
            moved = move_old_months(run.connection, settings.old_months_tablespace, cutoff)
            print(f"{moved} tables and indexes of months before {cutoff:%Y-%m} moved", flush=True)
        return pruned | _prune_docs(settings, oldest)


def _prune_files_first(settings: Settings, clock: Clock, age: timedelta) -> dict[str, int]:
    """Delete old files, which needs no database, then the rest. The clock of the machine decides how old a file is."""
    oldest = utc_now() - age
    freed = retention.prune_files(settings, oldest)
    try:
        freed |= _prune_docs(settings, oldest)
        print(f"the disk is full; without the database: {_describe(freed)}", flush=True)
        pruned = _prune(settings, clock, age)
    except (DatabaseFull, DiskFull) as error:
        raise type(error)(f"{error}; {_describe(freed)} so far; see {RUNBOOK}#the-disk-is-full") from error
    return pruned | {kind: count + pruned.get(kind, 0) for kind, count in freed.items()}


def _prune_docs(settings: Settings, oldest: datetime) -> dict[str, int]:
    from expectations.data_docs import prune_docs  # imports Great Expectations: seconds

    return {"data_docs_pages": prune_docs(docs_store(settings), oldest)}


def _describe(pruned: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in pruned.items()) + " deleted"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.maintain", description=__doc__)
    parser.add_argument("--retention-days", type=int, help="days to keep (default: RETENTION_DAYS)")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    days = options.retention_days
    if days is not None and not 1 <= days <= 36_500:
        parser.error("--retention-days must be between 1 and 36500")
    command = maintain if _prefect_has_space() else prune_all
    return run_command(command, name="maintain", as_json=options.json, result_name="deleted", retention_days=days)


def _prefect_has_space() -> bool:
    """Whether the disk has space for the database in which Prefect stores the run."""
    home = get_current_settings().home
    with suppress(OSError):
        return shutil.disk_usage(home if home.exists() else home.parent).free > _BYTES_FOR_PREFECT
    return True


if __name__ == "__main__":
    sys.exit(run_main(main))
