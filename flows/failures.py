"""Handle runs that fail: name the final state, and send one notification for each cause.

- `Failed`: Prefect's automation sends a notification with the message of the state.
- `Blocked`: an audit blocked a batch, or failed; each has its own notification.
- `DependencyUnavailable`: the database is down or the disk is full; one incident, however many runs fail.
- `Refused`: the request cannot be fulfilled, such as an unknown batch; the caller reads why, and nobody is notified.

If nobody would be notified of a `DependencyUnavailable` run, it ends as `Failed`. Without a Prefect server,
notifications are sent from here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import wraps
from inspect import signature
from threading import Thread
from typing import Any, ParamSpec, TypeVar, cast, get_type_hints

from prefect import get_run_logger
from prefect.context import TagsContext
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Failed
from pydantic import ValidationError, validate_call

from core.clock import utc_now
from core.errors import MoovitamixError, UsageError, summarize_defect
from core.settings import Settings, load_settings
from flows.failure_classification import RunFailure, classify_failure, failed_run, runbook_section
from flows.heartbeats import sending_heartbeats
from flows.temporary_prefect_server import is_temporary
from notifications import health_checks, incident_types
from notifications.defects import clear_defect, record_defect, recorded_defects
from notifications.delivery import addresses, send
from notifications.incidents import DATABASE, DISK, IncidentStore
from notifications.links import links_of_batch
from notifications.notification import Notification

BATCH_BLOCKED = "moovitamix.batch.blocked"
STREAM_AUDIT_FAILED = "moovitamix.stream-audit.failed"
# A run without a Prefect server waits this long for a mail server. The next run or the watchdog sends the remaining
# messages.
_SECONDS_TO_SEND = 8.0

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def handle_failures(body: Callable[Parameters, Result], *, run_name: str | None = None) -> Callable[Parameters, Result]:
    """Give a failed flow run a named state, and send its notifications.

    Place it between `@flow` and the function. The caller of the flow still gets the error that the function raised.
    Parameters are validated here: Prefect would report a mistyped parameter as a failed run. Messages call a run
    without Prefect `run_name`; the default is the name of the function.
    """

    read_parameters = _parameter_reader(body)
    default_name = run_name or body.__name__

    @wraps(body)
    def flow_body(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            args, kwargs = read_parameters(*args, **kwargs)
            # A tag of the run on each task would cost a request for a slot.
            with TagsContext(current_tags=set()), _heartbeats():
                result = body(*args, **kwargs)
        except MoovitamixError as error:
            failure = _send_notifications(classify_failure(_run_name(default_name), error, utc_now()))
            if flow_run.id is None:  # called without Prefect, as in a rollback by command
                raise
            # The command prints a refusal itself; the log shows it on the page of the run.
            get_run_logger().log(logging.INFO if failure.name == "Refused" else logging.ERROR, str(error))
            # Prefect raises `data` to the caller of the flow.
            return cast(Result, Failed(name=failure.name, message=failure.message, data=error))
        except Exception as error:  # a defect: Prefect logs it with its traceback
            if not has_server():
                run = _run_name(default_name)
                _send_notifications(failed_run(run, summarize_defect(error), runbook_section(error), utc_now()))
            raise
        _close_incidents()
        return result

    # Prefect would resolve the names of annotations in this module, which does not import them.
    flow_body.__annotations__ = get_type_hints(body, include_extras=True)
    flow_body.__signature__ = signature(body, eval_str=True)  # type: ignore[attr-defined]
    return flow_body


def _heartbeats() -> AbstractContextManager[None]:
    """Send heartbeats if this is a run of a permanent server, and Prefect sends none."""
    is_sent_by_prefect = get_current_settings().flows.heartbeat_frequency is not None
    return nullcontext() if is_sent_by_prefect or flow_run.id is None or not has_server() else sending_heartbeats()


def _parameter_reader(body: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that converts the arguments of a flow to the annotated types, or raises UsageError."""

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
                f"{'.'.join(str(part) for part in invalid['loc'])}: {invalid['msg']}"
                for invalid in error.errors(include_input=False, include_url=False)
            )
            raise UsageError(f"wrong parameter: {wrong}") from None

    return reader


def _send_notifications(failure: RunFailure) -> RunFailure:
    """Send the notifications of a failure, and return it with the state that the run gets.

    Never raises. If no notification can be delivered, the run state and the database still record the failure.
    """
    try:
        if failure.cause and not _open_incident(failure.cause) and failure.name == "DependencyUnavailable":
            failure = _without_incident(failure)
        for blocked in failure.blocked:
            batch_id = blocked.key.partition(":")[2]
            run_id = str(flow_run.id) if flow_run.id and has_server() else None
            links = links_of_batch(load_settings(), batch_id, run_id)
            notify(BATCH_BLOCKED, f"moovitamix.batch.{batch_id}", replace(blocked, links=links))
        for failed in failure.failed_audits:
            notify(STREAM_AUDIT_FAILED, f"moovitamix.{failed.key.replace(':', '.')}", failed)
        if failure.failure and not has_server():
            send_now(failure.failure)
    except Exception as error:
        record_defect(error)
    return failure


def _without_incident(failure: RunFailure) -> RunFailure:
    """Return the failure as `Failed`, for which Prefect sends a notification, because no incident could be opened."""
    section = "the-database-does-not-answer" if failure.cause == DATABASE else "the-disk-is-full"
    failed = failed_run(_run_name("a run"), failure.message, section, utc_now())
    return replace(failed, blocked=failure.blocked, cause=failure.cause)


def notify(event: str, resource: str, notification: Notification) -> None:
    """Emit the event for Prefect's automation; without a Prefect server, send the notification. Never raises."""
    if not has_server():
        send_now(notification)
        return
    with recorded_defects():
        emit_event(event=event, resource={"prefect.resource.id": resource}, payload=notification.payload())
        clear_defect()


def send_now(notification: Notification) -> None:
    """Without a Prefect server: queue the notification for the watchdog, or send it. Takes seconds; never raises."""
    with recorded_defects():
        store = _store(load_settings())
        if store.addresses or store.is_watchdog_running():
            store.queue_message(notification.subject, notification.body)
            clear_defect()
            _deliver(store)


def notify_server_unavailable() -> None:
    """Notify that no run can start because Prefect's server is down, unless a watchdog does so. Never raises."""
    with recorded_defects():
        store = _store(load_settings())
        if store.addresses and not store.is_watchdog_running():
            send_now(incident_types.prefect(utc_now(), "a run could not reach it"))


def notify_not_started(flow: str, error: MoovitamixError) -> None:
    """Notify that a run could not start, and why. Never raises."""
    _send_notifications(classify_failure(flow, error, utc_now()))


def _open_incident(cause: str) -> bool:
    """Open an incident, and return whether this process or the watchdog notifies anybody of it. Never raises."""
    with recorded_defects():
        settings = load_settings()
        store = _store(settings)
        if store.addresses or store.is_watchdog_running():
            _record_incident(store, cause, settings)
            _deliver(store)
            return bool(store.addresses) or store.is_written
    return False


def _record_incident(store: IncidentStore, cause: str, settings: Settings) -> None:
    now, note = utc_now(), f"{_run_name('a run')} could not continue: run it again."
    space = health_checks.disk(settings.data_dir)
    disk = incident_types.disk(now, space, settings)
    if cause == DISK:
        store.open_incident(disk, note)
        return
    if settings.embedded and space.free < incident_types.disk_limit(space, settings):
        store.open_incident(disk)  # the full disk is why the database is down
    store.open_incident(incident_types.database(now, "a run could not reach it"), note)


def _deliver(store: IncidentStore) -> None:
    """Send the queued messages, unless the watchdog can read them from the disk and sends them."""
    if store.addresses and not (store.is_written and store.is_watchdog_running()):
        sender = Thread(target=_deliver_now, args=(store,), name="notifications", daemon=True)
        sender.start()
        sender.join(_SECONDS_TO_SEND)


def _deliver_now(store: IncidentStore) -> None:
    with recorded_defects():
        store.deliver()


def _close_incidents() -> None:
    """Close the incidents of database and disk after a successful run, unless a watchdog does so."""
    with recorded_defects():
        store = _store(load_settings())
        if store.state().open and not store.is_watchdog_running():
            for key in (DATABASE, DISK):
                store.close_incident(key)
            _deliver(store)


def _store(settings: Settings) -> IncidentStore:
    return IncidentStore(settings.data_dir, addresses(settings), send, utc_now)


def has_server() -> bool:
    """Whether runs report to a permanent Prefect server, which has automations."""
    url = get_current_settings().api.url
    return bool(url) and not is_temporary(url)


def _run_name(default: str) -> str:
    return flow_run.name or default
