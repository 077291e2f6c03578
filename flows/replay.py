"""Replay: bring in a landed batch once more without fetching it, after a threshold or the code was mended.

`python -m flows.replay BATCH_ID` runs it without a server; with `--accept WHY --by WHO` a batch that was blocked comes
in as it is, and that is recorded. Exit codes are those of `flows.ingest`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from prefect import flow

from core.clock import clock_of
from core.errors import ReplayRefused, UnknownBatch
from core.exit_codes import run_main
from core.reasons import check_reason
from core.roles import INGEST
from core.settings import load_settings
from core.tracebacks import keep_logs_readable
from erasure import suppression_list
from expectations.thresholds import load_thresholds
from flows.command_line import run_command
from flows.events import emit_warehouse_published
from flows.failures import handle_failures
from flows.ingest import process_batch
from flows.json_results import add_json_option
from flows.reports import print_batches, show_batches
from flows.run import BatchResult, Run, open_run
from pipeline import batches, landing
from pipeline.acceptance import load_acceptance
from pipeline.batches import PUBLISHED_STATUSES, LedgerEntry
from pipeline.landing import Landing


@flow(name="replay", flow_run_name="replay-{batch_id}", validate_parameters=False)
@handle_failures
def replay(batch_id: str, accept: str | None = None, by: str | None = None) -> list[BatchResult]:
    """Shape, audit and publish the raw pages of a batch that was blocked, failed or cut off.

    Args:
        batch_id: As `ops.batches` and the run's table show it, such as tracks-2026-11-22.
        accept: Let it in although it fails what it was blocked for, and why; kept in ops.acceptances.
        by: Who accepts it, as a reference such as a ticket or a team; no e-mail address.

    Raises ReplayRefused when it must not be brought in, IngestIncomplete when it is blocked again.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    parts = batches.parse_batch_id(batch_id)
    if parts is None:
        raise UnknownBatch(f"{batch_id!r} is no batch id; it looks like tracks-2026-11-22 or tracks-2026-11-22-r2")
    asked = accept is not None or by is not None
    if asked:  # before the batch is looked for: what was typed is wrong, whatever the batch is
        accept, by = check_reason(accept, "--accept"), check_reason(by, "--by")
    with open_run(settings, thresholds, "replay", parts[1], clock_of(settings), role=INGEST) as run:
        suppression_list.synchronize_copy(run.connection, settings.data_dir)
        entry, landed = _replayable(run, batch_id)
        accepting = load_acceptance(run.connection, entry.batch, accept, by) if asked else None
        run.outcomes.append(process_batch(run, entry.batch, landed, accepting))
        show_batches("replay", run.outcomes, run.docs_dir, settings.data_docs_url)
        print_batches(run.outcomes)
        emit_warehouse_published(run.outcomes)
        run.raise_if_incomplete()
        return run.outcomes


def _replayable(run: Run, batch_id: str) -> tuple[LedgerEntry, Landing]:
    """The batch and its raw pages. Raises ReplayRefused, saying why not."""
    entry = batches.find_entry(run.connection, batch_id)
    if entry is None:
        raise UnknownBatch(f"{batch_id} is not in ops.batches; fetch its day with python -m flows.ingest --day")
    if entry.status in PUBLISHED_STATUSES:
        raise ReplayRefused(f"{batch_id} is {entry.status} already; there is nothing to replay")
    later = batches.newer_published_batch(run.connection, entry.batch, entry.started_at, entry.read_in_run, run.clock())
    if later is not None:
        raise ReplayRefused(f"{later} was published since and is newer; replaying {batch_id} would bring old rows back")
    landed = landing.find_landing(run.settings.data_dir, entry.batch)
    if landed is None:
        raise ReplayRefused(
            f"the raw pages of {batch_id} are not kept any more (RETENTION_DAYS, or damaged); fetch its day again"
        )
    return entry, landed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.replay", description=__doc__)
    parser.add_argument("batch_id", help="such as tracks-2026-11-22")
    parser.add_argument("--accept", metavar="WHY", help="let it in although it fails what it was blocked for")
    parser.add_argument("--by", metavar="WHO", help="who accepts it: a ticket or a team, no e-mail address")
    add_json_option(parser)
    asked = parser.parse_args(arguments)
    return run_command(
        replay,
        name="replay",
        as_json=asked.json,
        result_name="batches",
        batch_id=asked.batch_id,
        accept=asked.accept,
        by=asked.by,
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
