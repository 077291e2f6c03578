"""Erase: delete a user from the database, raw pages and Data Docs, and reject rows that the source still sends of them.

`python -m flows.erase USER_ID --reason WHY --requested-by TICKET` runs without a Prefect server, so that no run
parameter stores the id. `--allow-again` removes the user from the suppression list. `--again`, without an id, erases
all suppressed users who are back, such as after a restore.
Exit code 0: erased, or nothing was found; 1: failed, run it again; 2: wrong usage or settings.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from prefect import flow
from prefect.artifacts import create_table_artifact

from core import side_schemas
from core.canonical import canonical, decoded_forms
from core.clock import Clock, clock_of
from core.database import Connection, connect, readable_errors, take_training_lock, take_warehouse_lock
from core.errors import DatabaseError, UsageError, named_errors
from core.exit_codes import run_main
from core.file_store import FileStore
from core.reasons import check_reason
from core.roles import ensure_schema
from core.settings import Settings, load_settings
from core.side_schemas import REPLACED, RESTORING
from core.stores import backup_store, docs_store, landing_store
from core.tracebacks import keep_logs_readable
from erasure import landed_pages, steps, suppression_list
from erasure.subject_matching import UserIdentity
from erasure.suppression_list import SuppressionList
from flows.command_line import run_command
from flows.failures import handle_failures
from flows.json_results import add_json_option
from flows.lineage import lineage_of_run, lineage_of_step
from flows.state_messages import describe_counts, ends_with
from pipeline import batches
from recommender.evaluation.trials import remove_abandoned_trials

# Number of rows or files that contain data of the user, by place.
PlaceCounts = Mapping[str, int]
FILES, ROWS, PAGES = "raw page files", "raw rows", "Data Docs pages"
UNREADABLE = "unreadable raw page files"


@dataclass(frozen=True)
class ErasureReason:
    """Why a user is erased, for the record in ops.erasures."""

    reason: str
    requested_by: str


@dataclass(frozen=True)
class ErasureRun:
    """The resources of one erasure. It holds both locks, so that nothing else writes meanwhile.

    `erased_places` collects the tables and landings from which rows went, for lineage.
    """

    connection: Connection
    settings: Settings
    clock: Clock
    erased_places: set[str] = field(default_factory=set)

    @property
    def docs(self) -> FileStore:
        return docs_store(self.settings)


@flow(name="erase", flow_run_name="erase", validate_parameters=False)
@ends_with(describe_counts)
@handle_failures
def erase(user_id: int, reason: str, requested_by: str, allow_again: bool = False) -> dict[str, int]:
    """Erase a user by id, or let an erased user return.

    Args:
        user_id: Id of the user at the source.
        reason: Why, for ops.erasures. It must not identify the user.
        requested_by: A reference to the request, such as the number of a ticket; no e-mail address.
        allow_again: Erase nothing; remove the user from the suppression list, because they joined again.

    Returns the number of rows and files with data of the user, by place. An interrupted erasure can be repeated.
    """
    keep_logs_readable()
    counts = allow_user(user_id, reason, requested_by) if allow_again else erase_user(user_id, reason, requested_by)
    create_table_artifact(
        key="erase-found",
        table=[{"place": place, "found": count} for place, count in counts.items()],
        description="Data of the user, by place. The parameters of this run contain the id, so it is deleted soon.",
    )
    return dict(counts)


def erase_user(user_id: int, reason: str, requested_by: str) -> PlaceCounts:
    """Erase one user, without a Prefect run. Raises UsageError, AlreadyRunning, DatabaseError."""
    erasure_reason = _check_reason(user_id, reason, requested_by)
    with _open_erasure() as run:
        counts = _erase_everywhere(run, user_id, erasure_reason)
    erased = ", ".join(f"{count:,} {place}" for place, count in counts.items() if count)
    print(
        f"erased: {erased}" if erased else "nothing was found of this user; new rows of theirs will be rejected",
        flush=True,
    )
    return counts


def allow_user(user_id: int, reason: str, requested_by: str) -> PlaceCounts:
    """Remove a user from the suppression list. The next snapshot that contains them brings them back."""
    erasure_reason = _check_reason(user_id, reason, requested_by)
    with _open_erasure() as run:
        suppressed = suppression_list.synchronize_copy(run.connection, backup_store(run.settings))
        was_suppressed = steps.allow_user(
            run.connection,
            user_id,
            suppressed,
            reason=erasure_reason.reason,
            requested_by=erasure_reason.requested_by,
            now=run.clock(),
        )
        suppression_list.synchronize_copy(run.connection, backup_store(run.settings))
    print(
        "the next snapshot brings the user back" if was_suppressed else "the user was not suppressed; nothing to do",
        flush=True,
    )
    return {"ops.suppressed_listeners": int(was_suppressed)}


def erase_reappeared_users() -> int:
    """Erase suppressed users who are in the database again, such as after a restore. Return their number.

    Also erases rows of suppressed users without a readable id, which an earlier version may have left.
    """
    with _open_erasure() as run:
        copy = suppression_list.synchronize_copy(run.connection, backup_store(run.settings))
        suppressed = steps.merge_into_database(run.connection, copy)
        user_ids = steps.reappeared_user_ids(run.connection, suppressed)
        erasure_reason = ErasureReason("came back, such as with a restored backup", "flows.erase --again")
        for user_id in sorted(user_ids):
            _erase_everywhere(run, user_id, erasure_reason)
        rows = _erase_rows_without_id(run, suppressed)
    print(f"{len(user_ids)} erased user(s) were back, and are erased again", flush=True)
    if rows:
        print(f"{rows} rows of erased users without a readable id are erased", flush=True)
    return len(user_ids)


def _erase_rows_without_id(run: ErasureRun, suppressed: SuppressionList) -> int:
    """Erase raw and rejected rows that contain an e-mail address of a suppressed user. Return their number."""
    with named_errors():
        store = landing_store(run.settings)
        files = landed_pages.find_affected_files(store, suppressed).files
        for file in files:
            landed_pages.rewrite_file(store, file, suppressed)
            run.erased_places.add(f"landing:{file.endpoint}")
    file_counts = {FILES: len(files), ROWS: sum(file.rows for file in files)}
    erasure_reason = ErasureReason("rows of erased users without a readable id", "flows.erase --again")
    counts = steps.redact_rejected_rows(
        run.connection,
        suppressed,
        file_counts,
        reason=erasure_reason.reason,
        requested_by=erasure_reason.requested_by,
        now=run.clock(),
    )
    run.erased_places.update(_tables(counts))
    return sum(count for place, count in counts.items() if place != FILES)


def _tables(counts: PlaceCounts) -> list[str]:
    """The tables among the places with rows of the user."""
    return [place for place, count in counts.items() if count and re.fullmatch(r"[a-z]+\.[a-z_]+", place)]


def _erase_everywhere(run: ErasureRun, user_id: int, erasure_reason: ErasureReason) -> PlaceCounts:
    """Run every step, in an order that lets a second run continue after any of them.

    First suppress the user, so that no new rows arrive. Then record what the files contain, and rewrite them. Erase the
    database last, in one transaction with its record: it holds the e-mail address and name that identify rows in files.
    """
    connection, backups = run.connection, backup_store(run.settings)
    suppressed = steps.merge_into_database(connection, suppression_list.synchronize_copy(connection, backups))
    identity = steps.identify_user(connection, user_id)
    erasure_id, recorded_counts = steps.begin_erasure(
        connection,
        identity,
        suppressed,
        reason=erasure_reason.reason,
        requested_by=erasure_reason.requested_by,
        now=run.clock(),
    )
    suppression_list.synchronize_copy(connection, backups)
    with named_errors():
        identity = landed_pages.collect_identity(landing_store(run.settings), identity)
        _suppress_e_mails(run, identity, erasure_id)
        file_counts = _erase_files(run, identity, erasure_id, recorded_counts)
    row_counts, changed_tables = steps.erase_rows(connection, identity, erasure_id, run.clock())
    run.erased_places.update(_tables(row_counts))
    steps.vacuum(connection, changed_tables)
    return {**file_counts, **row_counts}


def _suppress_e_mails(run: ErasureRun, identity: UserIdentity, erasure_id: int) -> None:
    """Add hashes of the e-mail addresses in raw pages to the suppression list."""
    suppressed = suppression_list.synchronize_copy(run.connection, backup_store(run.settings))
    entry = suppressed.suppressed_entry(identity.user_id, run.clock(), identity.e_mails)
    with readable_errors():
        steps.save_entries(run.connection, [entry], erasure_id)
    suppression_list.synchronize_copy(run.connection, backup_store(run.settings))


def _erase_files(run: ErasureRun, identity: UserIdentity, erasure_id: int, recorded_counts: PlaceCounts) -> PlaceCounts:
    """Erase the user from files. Return what the files contained, or what an interrupted run recorded of that."""
    from expectations.data_docs import count_pages_with_keys, remove_keys  # imports Great Expectations: seconds

    store = landing_store(run.settings)
    affected = landed_pages.find_affected_files(store, identity)
    counts = dict(recorded_counts)
    if FILES not in counts:
        pages = count_pages_with_keys(run.docs, identity.user_id)
        counts |= {FILES: len(affected.files), ROWS: sum(file.rows for file in affected.files), PAGES: pages}
    counts |= {f"{UNREADABLE} of {folder.rpartition('/')[2]}": files for folder, files in affected.damaged.items()}
    steps.record_counts(run.connection, erasure_id, counts)
    for folder in affected.damaged:
        landed_pages.delete_landing(store, folder)
        run.erased_places.add(f"landing:{folder.partition('/')[0]}")
        explanation = "because its raw pages cannot be read; the batch cannot be replayed"
        print(f"{store.location_of(folder)} is deleted, {explanation}", flush=True)
    for file in affected.files:
        if file.name.rpartition("/")[0] not in affected.damaged:
            landed_pages.rewrite_file(store, file, identity)
            run.erased_places.add(f"landing:{file.endpoint}")
    remove_keys(run.docs, identity.user_id)
    landed_pages.delete_transformed(run.settings.data_dir)
    remove_abandoned_trials()  # killed trials leave files with plays
    return counts


@contextmanager
def _open_erasure() -> Iterator[ErasureRun]:
    """Connect as the owner, and take the training lock, then the warehouse lock, in the order of all runs.

    Raises AlreadyRunning if another run keeps a lock too long, DatabaseError.
    """
    settings = load_settings()
    clock = clock_of(settings)
    with connect(ensure_schema(settings)) as connection:
        take_training_lock(connection, settings.lock_wait_seconds)
        take_warehouse_lock(connection, settings.lock_wait_seconds)
        side_schemas.drop_tables(connection, RESTORING, REPLACED)  # a killed restore left personal data there
        run_id = batches.start_run(connection, "erase", None, clock())
        outcome = "failed"
        try:
            with (
                lineage_of_run(
                    flow="erase", run_id=run_id, connection=connection, settings=settings, clock=clock
                ) as lineage,
                lineage_of_step(lineage, "erase_data", clock) as step,
            ):
                yield ErasureRun(connection, settings, clock, step.written)
            outcome = "done"
        finally:
            with suppress(DatabaseError):  # if the database failed, the run stays open in the ledger
                batches.finish_run(connection, run_id, outcome, clock())


def _check_reason(user_id: int, reason: str, requested_by: str) -> ErasureReason:
    """Return the reason. Raises UsageError if a text is empty or identifies the user, or the id is no id."""
    steps.check_user_id(user_id)
    options = {"--reason": reason, "--requested-by": requested_by}
    texts = [check_reason(text, option) for option, text in options.items()]
    for option, text in zip(options, texts, strict=True):
        if any(re.search(rf"(?<!\d){user_id}(?!\d)", canonical(decoded)) for decoded in decoded_forms(text)):
            raise UsageError(f"{option} must not contain the user's id: the text stays after the erasure")
    return ErasureReason(*texts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the erasure from a command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.erase", description=__doc__)
    parser.add_argument("user_id", type=int, nargs="?", help="id of the user at the source")
    parser.add_argument("--reason", default="", help="why; stored in ops.erasures")
    parser.add_argument("--requested-by", default="", help="a reference such as a ticket, no e-mail address")
    parser.add_argument(
        "--allow-again", action="store_true", help="erase nothing: remove the user from the suppression list"
    )
    parser.add_argument("--again", action="store_true", help="erase every suppressed user who came back")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if options.again:
        if options.user_id is not None or options.allow_again or options.reason or options.requested_by:
            parser.error("--again erases all suppressed users who came back; it takes no other option")
        return run_command(erase_reappeared_users, name="erase", as_json=options.json, result_name="erased_users")
    if options.user_id is None:
        parser.error("USER_ID is missing")
    # Called without Prefect: a server would store the parameters, which contain the id.
    return run_command(
        allow_user if options.allow_again else erase_user,
        name="erase",
        as_json=options.json,
        result_name="found",
        user_id=options.user_id,
        reason=options.reason,
        requested_by=options.requested_by,
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
