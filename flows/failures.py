"""Handle runs that fail: name the final state, and send one notification for each cause.

- `Failed`: Prefect's automation sends a notification with the message of the state.
- `Blocked`: an audit blocked a batch; each blocked batch has its own notification.
- `DependencyUnavailable`: the database is down or the disk is full; one incident, however many runs fail.
- `Refused`: the request cannot be fulfilled, such as an unknown batch; the caller reads why, and nobody is notified.

If nobody would be notified of a `DependencyUnavailable` run, it ends as `Failed`. Without a Prefect server,
notifications are sent from here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import wraps
from inspect import signature
from threading import Thread
from typing import Any, Literal, ParamSpec, TypeVar, cast, get_type_hints

from prefect import get_run_logger
from prefect.context import TagsContext
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Failed
from pydantic import ValidationError, validate_call

from core.clock import utc_now
from core.endpoints import ENDPOINTS
from core.errors import (
    REFUSALS,
    AlreadyRunning,
    BatchBlocked,
    LoginRefused,
    ModelFileError,
    MoovitamixError,
    PublicationError,
    SettingsError,
    UsageError,
    summarize_defect,
)
from core.settings import Settings, load_settings
from flows.run import BatchResult, IngestIncomplete
from flows.temporary_prefect_server import is_temporary
from notifications import health_checks, incident_types
from notifications.defects import record_defect, recorded_defects
from notifications.delivery import addresses, send
from notifications.incidents import DATABASE, DISK, IncidentStore
from notifications.notification import RUNBOOK, Notification

BATCH_BLOCKED = "moovitamix.batch.blocked"
# As long as a run without a server may wait for a mail server; what is not sent then is sent by the next, or the watch.
_SECONDS_TO_SEND = 8.0
_KEPT = "what was published; a run that fails changes nothing of it."

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ending:
    """How a run ended. `failure` is told by Prefect itself, `blocked` by an event each, `cause` by the store."""

    name: Literal["Failed", "Blocked", "DependencyUnavailable", "Refused"]
    message: str
    failure: Notification | None = None
    blocked: tuple[Notification, ...] = ()
    cause: str = ""


def handle_failures(body: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a flow end in a state that says what happened, and see to it that somebody is told.

    Stands between `@flow` and the flow. Who calls the flow gets the error that it raised, as before. Parameters are
    validated here, not by Prefect, which would report what a person typed as a failed run.
    """

    read_parameters = _parameter_reader(body)

    @wraps(body)
    def flow_body(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            args, kwargs = read_parameters(*args, **kwargs)
            with TagsContext(current_tags=set()):  # a tag of the run on each task would cost a request for a slot
                result = body(*args, **kwargs)
        except MoovitamixError as error:
            ending = _tell(ending_of(_run_name(body.__name__), error, utc_now()))
            if flow_run.id is None:  # without Prefect's engine around it, as a rollback from a command line
                raise
            # Whoever typed a command reads it from the command; a run shows it on its page.
            get_run_logger().log(logging.INFO if ending.name == "Refused" else logging.ERROR, str(error))
            # Prefect raises `data` to who called the flow.
            return cast(Result, Failed(name=ending.name, message=ending.message, data=error))
        except Exception as error:  # a defect: Prefect logs it with its traceback
            if not has_server():
                _tell(_failed(_run_name(body.__name__), summarize_defect(error), _page_of(error), utc_now()))
            raise
        _forget_causes()
        return result

    # Prefect would look for the names of its annotations here, where they are not.
    flow_body.__annotations__ = get_type_hints(body, include_extras=True)
    flow_body.__signature__ = signature(body, eval_str=True)  # type: ignore[attr-defined]
    return flow_body


def _parameter_reader(body: Callable[..., Any]) -> Callable[..., Any]:
    """What turns the arguments of a flow into those that its annotations ask for, or raises UsageError."""

    @wraps(body)
    def arguments(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    hints = get_type_hints(body, include_extras=True)
    arguments.__annotations__ = {name: hint for name, hint in hints.items() if name != "return"}
    arguments.__signature__ = signature(body, eval_str=True)  # type: ignore[attr-defined]
    validated = validate_call(arguments)

    @wraps(body)
    def reader(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        try:
            return validated(*args, **kwargs)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
                for one in error.errors(include_input=False, include_url=False)
            )
            raise UsageError(f"wrong parameter: {wrong}") from None

    return reader


def ending_of(run: str, error: MoovitamixError, now: datetime) -> Ending:
    """What an error of ours means for whoever must act."""
    if isinstance(error, IngestIncomplete):
        return _of_batches(run, error, now)
    if isinstance(error, REFUSALS):
        return Ending("Refused", str(error))
    if isinstance(error, BatchBlocked):
        return Ending("Blocked", str(error), blocked=(_blocked_list(error, now),))
    if error.cause:
        return Ending("DependencyUnavailable", str(error), cause=error.cause)
    return _failed(run, str(error), _page_of(error), now)


def _failed(run: str, why: str, page: str, now: datetime) -> Ending:
    alert = Notification(
        key=f"failed:{run}",
        severity="critical",
        what=f"{run} failed",
        detail=why,
        since=now,
        kept=_KEPT,
        next=f"{RUNBOOK}#{page}",
    )
    return Ending("Failed", alert.body, failure=alert)


def _of_batches(run: str, error: IngestIncomplete, now: datetime) -> Ending:
    bad = {one.batch.endpoint for one in error.outcomes}
    waiting = [
        one for one in error.outcomes if one.status == "blocked" and bad & set(ENDPOINTS[one.batch.endpoint].depends_on)
    ]
    roots = [one for one in error.outcomes if one not in waiting]
    cause = next((one.cause for one in roots if one.cause), "")
    failed = [one for one in roots if one.status != "blocked" and not one.cause]
    blocked = tuple(_blocked_batch(one, waiting, now) for one in roots if one.status == "blocked")
    if failed:
        why = f"{_reasons(failed)}{_also(waiting)}"
        ending = _failed(run, why, "a-batch-failed", now)
        return Ending("Failed", ending.message, ending.failure, blocked, cause)
    return Ending("DependencyUnavailable" if cause else "Blocked", str(error), blocked=blocked, cause=cause)


def _blocked_batch(outcome: BatchResult, waiting: Sequence[BatchResult], now: datetime) -> Notification:
    batch_id = outcome.batch.batch_id
    held = [one for one in waiting if outcome.batch.endpoint in ENDPOINTS[one.batch.endpoint].depends_on]
    return Notification(
        key=f"batch-blocked:{batch_id}",
        severity="critical",
        what=f"{batch_id} is blocked",
        detail=f"{outcome.reason}{_also(held)}",
        since=now,
        kept=f"what was published before is live; the raw pages and the rows of {batch_id} are kept.",
        next=f"when the source or the threshold is mended: .venv/bin/python -m flows.replay {batch_id}; "
        f"{RUNBOOK}#a-batch-is-blocked",
    )


def _blocked_list(error: BatchBlocked, now: datetime) -> Notification:
    return Notification(
        key=f"batch-blocked:{error.batch_id}",
        severity="critical",
        what=f"{error.batch_id} is blocked",
        detail="; ".join(error.failures),
        since=now,
        kept="the list before is live; what was blocked is kept for a day.",
        next=f".venv/bin/python -m flows.recommend; {RUNBOOK}#a-list-of-recommendations-is-blocked",
    )


def _reasons(failed: Sequence[BatchResult]) -> str:
    """Each reason once, with the batches that it stopped."""
    stopped: dict[str | None, list[str]] = {}
    for one in failed:
        stopped.setdefault(one.reason, []).append(one.batch.batch_id)
    return "; ".join(f"{', '.join(ids)}: {reason}" for reason, ids in stopped.items())


def _also(waiting: Sequence[BatchResult]) -> str:
    return f"; {' and '.join(one.batch.batch_id for one in waiting)} waits for it" if waiting else ""


def _page_of(error: Exception) -> str:
    """The paragraph of the runbook."""
    pages: dict[type[Exception], str] = {
        AlreadyRunning: "another-run-is-at-work",
        LoginRefused: "the-database-refuses-a-login",
        ModelFileError: "a-models-file-is-missing-or-damaged",
        PublicationError: "the-lists-that-are-live-are-bad",
        SettingsError: "a-setting-is-wrong",
    }
    known = next((page for kind, page in pages.items() if isinstance(error, kind)), "")
    return known or (
        "where-to-look" if isinstance(error, MoovitamixError) else "a-run-failed-for-a-reason-without-a-name"
    )


def _tell(ending: Ending) -> Ending:
    """The ending, as it was told. Never raises: whom nobody can tell, the run's state and the database still do."""
    try:
        if ending.cause and not _begin(ending.cause) and ending.name == "DependencyUnavailable":
            ending = _not_taken(ending)
        for alert in ending.blocked:
            notify(BATCH_BLOCKED, f"moovitamix.batch.{alert.key.partition(':')[2]}", alert)
        if ending.failure and not has_server():
            send_now(ending.failure)
    except Exception as error:
        record_defect(error)
    return ending


def _not_taken(ending: Ending) -> Ending:
    """A cause that nobody would tell is a run that failed, which Prefect tells."""
    page = "the-database-does-not-answer" if ending.cause == DATABASE else "the-disk-is-full"
    failed = _failed(_run_name("a run"), ending.message, page, utc_now())
    return replace(failed, blocked=ending.blocked, cause=ending.cause)


def notify(event: str, resource: str, alert: Notification) -> None:
    """Tell an alert as an event that an automation makes a mail of; without a server, send the mail. Never raises."""
    if has_server():
        emit_event(event=event, resource={"prefect.resource.id": resource}, payload=alert.payload())
    else:
        send_now(alert)


def send_now(alert: Notification) -> None:
    """Without a Prefect server: leave it to the watch, or send it from here. Seconds at most; never raises."""
    with recorded_defects():
        store = _store(load_settings())
        if store.addresses or store.is_watched():
            store.tell(alert.subject, alert.body)
            _deliver(store)


def notify_server_unavailable() -> None:
    """Say that no run can begin, where no watch says so. Never raises."""
    with recorded_defects():
        store = _store(load_settings())
        if store.addresses and not store.is_watched():
            send_now(incident_types.prefect(utc_now(), "a run could not reach it"))


def notify_not_started(flow: str, error: MoovitamixError) -> None:
    """Notify that a run could not begin, and why. Never raises."""
    _tell(ending_of(flow, error, utc_now()))


def _begin(cause: str) -> bool:
    """Note a cause; whether somebody will be told of it, from here or by the watch. Never raises."""
    with recorded_defects():
        settings = load_settings()
        store = _store(settings)
        if store.addresses or store.is_watched():
            _begin_in(store, cause, settings)
            _deliver(store)
            return bool(store.addresses) or store.is_written
    return False


def _begin_in(store: IncidentStore, cause: str, settings: Settings) -> None:
    now, note = utc_now(), f"{_run_name('a run')} could not go on: run it again."
    room = health_checks.disk(settings.data_dir)
    disk = incident_types.disk(now, room, settings)
    if cause == DISK:
        store.begin(disk, note)
        return
    if settings.embedded and room.free < incident_types.least_on_disk(room, settings):
        store.begin(disk)  # of which the database is a consequence
    store.begin(incident_types.database(now, "a run could not reach it"), note)


def _deliver(store: IncidentStore) -> None:
    """Leave it to the watch, unless it stands in the memory of this process alone."""
    if store.addresses and not (store.is_written and store.is_watched()):
        sending = Thread(target=store.deliver, name="alerts", daemon=True)
        sending.start()
        sending.join(_SECONDS_TO_SEND)


def _forget_causes() -> None:
    """A run that went well had a database and a disk. Where a watch runs, it says so itself."""
    with recorded_defects():
        store = _store(load_settings())
        if store.state().open and not store.is_watched():
            for key in (DATABASE, DISK):
                store.over(key)
            _deliver(store)


def _store(settings: Settings) -> IncidentStore:
    return IncidentStore(settings.data_dir, addresses(settings), send, utc_now)


def has_server() -> bool:
    """Whether runs report to a Prefect server that outlasts them, which then has the automations."""
    url = get_current_settings().api.url
    return bool(url) and not is_temporary(url)


def _run_name(otherwise: str) -> str:
    return flow_run.name or otherwise
