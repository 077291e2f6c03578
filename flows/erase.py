"""Erase: take a listener out of everything that is kept, by id, and turn away whatever the source still sends of them.

`python -m flows.erase USER_ID --reason WHY --requested-by TICKET` runs it without a server: then no parameter keeps the
id. `--allow-again` lets the listener come back; `--again`, without an id, erases who came back with a backup.
Exit 0: erased, also when nothing was there; 1: failed, to be run again; 2: bad usage or settings.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact

from core import side_schemas
from core.canonical import canonical, decoded_forms
from core.clock import Clock, clock_of
from core.data_layout import DataLayout
from core.database import Connection, connect, readable_errors, take_training_lock, take_warehouse_lock
from core.errors import DatabaseError, UsageError, named_errors
from core.exit_codes import run_main
from core.reasons import check_reason
from core.roles import ensure_schema
from core.settings import Settings, load_settings
from core.side_schemas import REPLACED, RESTORING
from core.tracebacks import keep_logs_readable
from erasure import landed_pages, steps, suppression_list
from erasure.subject_matching import UserIdentity
from erasure.suppression_list import SuppressionList
from flows.command_line import run_command
from flows.failures import handle_failures
from flows.json_results import add_json_option
from pipeline import batches
from recommender.evaluation.trials import remove_abandoned_trials

Found = Mapping[str, int]
FILES, ROWS, PAGES = "raw page files", "raw rows", "Data Docs pages"
UNREADABLE = "unreadable raw page files"


@dataclass(frozen=True)
class Why:
    """What the record says of an erasure."""

    reason: str
    requested_by: str


@dataclass(frozen=True)
class Place:
    """Where there is something to erase, with both locks held: nothing else writes meanwhile."""

    connection: Connection
    settings: Settings
    clock: Clock

    @property
    def docs_dir(self) -> Path:
        return DataLayout(self.settings.data_dir).data_docs


@flow(name="erase", flow_run_name="erase", validate_parameters=False)
@handle_failures
def erase(user_id: int, reason: str, requested_by: str, allow_again: bool = False) -> dict[str, int]:
    """Erase a listener by id, or let one who was erased come back.

    Args:
        user_id: The listener's id at the source.
        reason: Why, for ops.erasures; not who.
        requested_by: A reference to who asked for it, such as the number of a ticket; no e-mail address.
        allow_again: Erase nothing: the listener joined again, and may come in with the next list.

    Returns how many rows and files of each place were theirs. Running it again ends as one clean run.
    """
    keep_logs_readable()
    found = allow(user_id, reason, requested_by) if allow_again else erase_user(user_id, reason, requested_by)
    create_table_artifact(
        key="erase-found",
        table=[{"place": place, "found": count} for place, count in found.items()],
        description="What was theirs, by place. This run's parameters hold the id, so it is deleted soon.",
    )
    return dict(found)


def erase_user(user_id: int, reason: str, requested_by: str) -> Found:
    """Erase one listener, without Prefect around it. Raises UsageError, AlreadyRunning, DatabaseError."""
    why = _checked(user_id, reason, requested_by)
    with _place() as place:
        found = _erase_everywhere(place, user_id, why)
    told = ", ".join(f"{count:,} {where}" for where, count in found.items() if count)
    print(
        f"erased: {told}" if told else "nothing was found of this listener; they are turned away from now on",
        flush=True,
    )
    return found


def allow(user_id: int, reason: str, requested_by: str) -> Found:
    """Let a listener come in again with the next list that has them."""
    why = _checked(user_id, reason, requested_by)
    with _place() as place:
        suppressed = suppression_list.synchronize_copy(place.connection, place.settings.data_dir)
        found = steps.allow_user(
            place.connection, user_id, suppressed, reason=why.reason, requested_by=why.requested_by, now=place.clock()
        )
        suppression_list.synchronize_copy(place.connection, place.settings.data_dir)
    print("they come in with the next list" if found else "they were not turned away; nothing to do", flush=True)
    return {"ops.suppressed_listeners": int(found)}


def erase_reappeared_users() -> int:
    """Erase again whoever is on the list and yet in the database, as after a restore. Returns how many they were.

    Rows of erased users without a readable id are erased too, as an earlier version may have kept them.
    """
    with _place() as place:
        copy = suppression_list.synchronize_copy(place.connection, place.settings.data_dir)
        suppressed = steps.merge_into_database(place.connection, copy)
        back = steps.reappeared_user_ids(place.connection, suppressed)
        for user_id in sorted(back):
            _erase_everywhere(
                place, user_id, Why("came back, as with a backup that was restored", "flows.erase --again")
            )
        rows = _erase_rows_without_id(place, suppressed)
    print(f"{len(back)} erased listener(s) had come back, and are erased again", flush=True)
    if rows:
        print(f"{rows} rows without a readable id were of erased listeners, and are erased", flush=True)
    return len(back)


def _erase_rows_without_id(place: Place, suppressed: SuppressionList) -> int:
    """Erase raw and rejected rows that bear an e-mail address of an erased user. Returns how many they were."""
    wait = place.settings.lock_wait_seconds
    with named_errors():
        files = landed_pages.find_affected_files(place.settings.data_dir, suppressed, wait).files
        for file in files:
            landed_pages.rewrite_file(file, suppressed, wait)
    in_files = {FILES: len(files), ROWS: sum(file.rows for file in files)}
    why = Why("rows without a readable id that were kept of erased users", "flows.erase --again")
    found = steps.redact_rejected_rows(
        place.connection, suppressed, in_files, reason=why.reason, requested_by=why.requested_by, now=place.clock()
    )
    return sum(count for where, count in found.items() if where != FILES)


def _erase_everywhere(place: Place, user_id: int, why: Why) -> Found:
    """Every step, in an order that a second run can take up anywhere.

    First, nothing more of them may come in, whatever becomes of files. Then it is noted what there is in files, and
    these are rewritten. The database comes last, in one transaction with its record: until then it knows by which
    e-mail and name to look.
    """
    connection, data_dir = place.connection, place.settings.data_dir
    suppressed = steps.merge_into_database(connection, suppression_list.synchronize_copy(connection, data_dir))
    identity = steps.identify_user(connection, user_id)
    number, known = steps.begin_erasure(
        connection, identity, suppressed, reason=why.reason, requested_by=why.requested_by, now=place.clock()
    )
    suppression_list.synchronize_copy(connection, data_dir)
    with named_errors():
        identity = landed_pages.collect_identity(data_dir, identity)
        _turn_away_by_e_mails(place, identity, number)
        in_files = _erase_files(place, identity, number, known)
    rows, touched = steps.erase_rows(connection, identity, number, place.clock())
    steps.vacuum(connection, touched)
    return {**in_files, **rows}


def _turn_away_by_e_mails(place: Place, identity: UserIdentity, number: int) -> None:
    """Add what raw pages knew to the hashes that they are turned away by."""
    listed = suppression_list.synchronize_copy(place.connection, place.settings.data_dir)
    entry = listed.suppressed_entry(identity.user_id, place.clock(), identity.e_mails)
    with readable_errors():
        steps.save_entries(place.connection, [entry], number)
    suppression_list.synchronize_copy(place.connection, place.settings.data_dir)


def _erase_files(place: Place, identity: UserIdentity, number: int, known: Found) -> Found:
    """Returns what there was in files, or what the run before found that was cut off."""
    from expectations.data_docs import count_pages_with_keys, remove_keys  # imports Great Expectations: seconds

    data_dir, wait = place.settings.data_dir, place.settings.lock_wait_seconds
    found = landed_pages.find_affected_files(data_dir, identity, wait)
    damaged = {f"{UNREADABLE} of {folder.name}": files for folder, files in found.damaged.items()}
    if FILES not in known:
        pages = count_pages_with_keys(place.docs_dir, identity.user_id)
        counts = {FILES: len(found.files), ROWS: sum(file.rows for file in found.files), PAGES: pages}
        known = {**known, **counts}
    known = {**known, **damaged}
    steps.record_counts(place.connection, number, known)
    for folder in found.damaged:
        landed_pages.delete_landing(folder, wait)
        print(f"{folder} held raw pages that cannot be read, and is deleted; nothing of it can be replayed", flush=True)
    for file in found.files:
        if file.path.parent not in found.damaged:
            landed_pages.rewrite_file(file, identity, wait)
    remove_keys(place.docs_dir, identity.user_id)
    landed_pages.delete_transformed(data_dir)
    remove_abandoned_trials()  # plays that killed trials of models left
    return known


@contextmanager
def _place() -> Iterator[Place]:
    """As the owner, with the locks of trainings and of the warehouse, in the order in which a training takes them.

    Raises AlreadyRunning when a run does not end within the time we wait, DatabaseError.
    """
    settings = load_settings()
    clock = clock_of(settings)
    with connect(ensure_schema(settings)) as connection:
        take_training_lock(connection, settings.lock_wait_seconds)
        take_warehouse_lock(connection, settings.lock_wait_seconds)
        side_schemas.drop_tables(connection, RESTORING, REPLACED)  # a restore that was killed left rows of persons
        run_id = batches.start_run(connection, "erase", None, clock())
        outcome = "failed"
        try:
            yield Place(connection, settings, clock)
            outcome = "done"
        finally:
            with suppress(DatabaseError):  # the database may be what failed: then the run stays open in the ledger
                batches.finish_run(connection, run_id, outcome, clock())


def _checked(user_id: int, reason: str, requested_by: str) -> Why:
    steps.check_user_id(user_id)
    told = {"--reason": reason, "--requested-by": requested_by}
    lines = [check_reason(text, name) for name, text in told.items()]
    for name, line in zip(told, lines, strict=True):
        if any(re.search(rf"(?<!\d){user_id}(?!\d)", canonical(reading)) for reading in decoded_forms(line)):
            raise UsageError(f"{name} must not name the listener: it is kept after they are erased")
    return Why(*lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it from a command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.erase", description=__doc__)
    parser.add_argument("user_id", type=int, nargs="?", help="the listener's id at the source")
    parser.add_argument("--reason", default="", help="why; kept in ops.erasures")
    parser.add_argument("--requested-by", default="", help="a reference, such as a ticket; no e-mail address")
    parser.add_argument("--allow-again", action="store_true", help="erase nothing: let the listener come back")
    parser.add_argument("--again", action="store_true", help="erase all who were erased before and came back")
    add_json_option(parser)
    asked = parser.parse_args(arguments)
    if asked.again:
        if asked.user_id is not None or asked.allow_again or asked.reason or asked.requested_by:
            parser.error("--again is for everybody on the list, and takes nothing with it")
        return run_command(erase_reappeared_users, name="erase", as_json=asked.json, result_name="erased_users")
    if asked.user_id is None:
        parser.error("USER_ID is missing")
    # Without Prefect's engine around it: its server would keep the parameters, and the id with them.
    command = allow if asked.allow_again else erase_user
    return run_command(
        command,
        name="erase",
        as_json=asked.json,
        result_name="found",
        user_id=asked.user_id,
        reason=asked.reason,
        requested_by=asked.requested_by,
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
