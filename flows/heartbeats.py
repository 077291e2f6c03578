"""Heartbeats of a run from a command line, by which the watchdog finds killed runs.

Prefect's own heartbeats let a run wait up to a second, until their thread ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from threading import Event, Thread

from prefect.events import emit_event
from prefect.runtime import flow_run

from core.prefect_names import FLOW_HEARTBEAT

_SECONDS = float(FLOW_HEARTBEAT["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])


@contextmanager
def sending_heartbeats() -> Iterator[None]:
    """Emit a heartbeat of the current flow run now, and then regularly during the block."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.name": str(flow_run.name)}
    is_over = Event()

    def send() -> None:
        while not is_over.is_set():
            with suppress(Exception):  # a lost heartbeat must not end the thread
                emit_event("prefect.flow-run.heartbeat", resource=resource)
            is_over.wait(_SECONDS)

    # With the context of this thread, events go to the same server.
    Thread(target=copy_context().run, args=(send,), name="heartbeats", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
