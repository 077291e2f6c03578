"""Replay: audit and publish a landed batch again without extracting it, after a threshold or the code was corrected.

`python -m flows.replay BATCH_ID` runs without a Prefect server. `--accept WHY --by WHO` publishes a blocked batch as it
is, and records that. Exit codes are those of `flows.ingest`.
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
from core.stores import backup_store
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
from flows.state_messages import describe_batches, ends_with
from pipeline import batches, landing
from pipeline.acceptance import load_acceptance
from pipeline.batches import PUBLISHED_STATUSES, LedgerEntry
from pipeline.landing import Landing


@flow(name="replay", flow_run_name="replay-{batch_id}", validate_parameters=False)
@ends_with(describe_batches)
@handle_failures
def replay(batch_id: str, accept: str | None = None, by: str | None = None) -> list[BatchResult]:
    """Transform, audit and publish the raw pages of a batch that was blocked, failed or interrupted.

    Args:
        batch_id: Id in ops.batches, such as tracks-2026-11-22.
        accept: Publish the blocked batch as it is, for this reason. Stored in ops.acceptances.
        by: Who accepts it: a reference such as a ticket or a team, no e-mail address.

    Raises ReplayRefused if the batch must not be published, IngestIncomplete if it is blocked again.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    parts = batches.parse_batch_id(batch_id)
    if parts is None:
        raise UnknownBatch(f"{batch_id!r} is no batch id; use one such as tracks-2026-11-22 or tracks-2026-11-22-r2")
    is_accepted = accept is not None or by is not None
    if is_accepted:
        accept, by = check_reason(accept, "--accept"), check_reason(by, "--by")
    with open_run(settings, thresholds, "replay", parts[1], clock_of(settings), role=INGEST) as run:
        suppression_list.synchronize_copy(run.connection, backup_store(settings))
        entry, landed = _replayable(run, batch_id)
        acceptance = load_acceptance(run.connection, entry.batch, accept, by) if is_accepted else None
        run.outcomes.append(process_batch(run, entry.batch, landed, acceptance))
        show_batches("replay", run.outcomes, run.docs, settings.data_docs_web_url)
        print_batches(run.outcomes)
        emit_warehouse_published(run.outcomes)
        run.raise_if_incomplete()
        return run.outcomes


def _replayable(run: Run, batch_id: str) -> tuple[LedgerEntry, Landing]:
    """Return the batch and its raw pages. Raises UnknownBatch, ReplayRefused."""
    entry = batches.find_entry(run.connection, batch_id)
    if entry is None:
        raise UnknownBatch(f"{batch_id} is not in ops.batches; extract its day with python -m flows.ingest --day")
    if entry.status in PUBLISHED_STATUSES:
        raise ReplayRefused(f"{batch_id} is {entry.status} already; there is nothing to replay")
    newer_batch = batches.newer_published_batch(
        run.connection, entry.batch, entry.started_at, entry.read_in_run, run.clock()
    )
    if newer_batch is not None:
        raise ReplayRefused(f"{newer_batch} is newer and published; a replay of {batch_id} would bring old rows back")
    landed = landing.find_landing(run.settings, entry.batch)
    if landed is None:
        raise ReplayRefused(
            f"the raw pages of {batch_id} are deleted (RETENTION_DAYS) or damaged; extract its day again"
        )
    return entry, landed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.replay", description=__doc__)
    parser.add_argument("batch_id", help="such as tracks-2026-11-22")
    parser.add_argument("--accept", metavar="WHY", help="publish the blocked batch as it is, for this reason")
    parser.add_argument("--by", metavar="WHO", help="who accepts it: a ticket or a team, no e-mail address")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    return run_command(
        replay,
        name="replay",
        audits=True,
        as_json=options.json,
        result_name="batches",
        batch_id=options.batch_id,
        accept=options.accept,
        by=options.by,
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
