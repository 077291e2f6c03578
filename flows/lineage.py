"""OpenLineage events: which step read and wrote which data, for a catalogue such as Marquez or DataHub.

The transport is configured as for every OpenLineage client, in the environment: OPENLINEAGE_URL, OPENLINEAGE_CONFIG or
OPENLINEAGE__TRANSPORT__... Without it nothing is imported and nothing is built. A transport that fails never fails a
run: the run logs one warning, and sends no further event.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING

from prefect.runtime import flow_run

from core.clock import Clock
from core.database import Connection
from core.errors import summarize_defect
from core.settings import Settings

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

    from flows.lineage_events import LineageRecorder

_LOGGER = logging.getLogger(__name__)
_FILE = "openlineage.yml"
# A run waits at its end this long for a transport. The rest of its events is lost.
_SECONDS_AT_END = 5.0
_MOST_WAITING = 1_000


def is_configured(environ: Mapping[str, str], folders: tuple[Path, ...] = ()) -> bool:
    """Whether the environment, or a file in one of the folders, names a transport."""
    if environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OPENLINEAGE_URL") or environ.get("OPENLINEAGE_CONFIG"):
        return True
    return any(name.startswith("OPENLINEAGE__TRANSPORT") for name in environ) or any(
        (folder / _FILE).exists() for folder in folders
    )


def open_lineage(
    *, flow: str, run_id: int | None, connection: Connection, settings: Settings, clock: Clock
) -> LineageRecorder | None:
    """Start to record the lineage of a run, if the environment names a transport. Never raises.

    `run_id` is the id in `ops.runs`; None if the run has no row there.
    """
    if not is_configured(os.environ, (Path.cwd(), Path("~/.openlineage").expanduser())):
        return None
    try:
        from flows.lineage_events import LineageRecorder

        return LineageRecorder(
            LineageSender(),
            namespace=os.environ.get("OPENLINEAGE_NAMESPACE") or "moovitamix",
            flow=flow,
            flow_run_id=flow_run.id and str(flow_run.id),
            run_id=run_id,
            connection=connection,
            settings=settings,
            clock=clock,
        )
    except Exception as error:  # such as a Python without the package
        _LOGGER.warning("this run sends no lineage: %s", summarize_defect(error))
        return None


@contextmanager
def lineage_of_run(
    *, flow: str, run_id: int | None = None, connection: Connection, settings: Settings, clock: Clock
) -> Iterator[LineageRecorder | None]:
    """Record the start and the end of a run, which is the block. None if no transport is configured."""
    lineage = open_lineage(flow=flow, run_id=run_id, connection=connection, settings=settings, clock=clock)
    error: BaseException | None = None
    try:
        yield lineage
    except BaseException as caught:
        error = caught
        raise
    finally:
        if lineage is not None:
            lineage.finish(error)


@dataclass
class StepData:
    """The result of a step for its event, and the data sets that it wrote beside those of `STEPS`."""

    result: object = None
    written: set[str] = field(default_factory=set)


@contextmanager
def lineage_of_step(lineage: LineageRecorder | None, step: str, clock: Clock, batch_id: str = "") -> Iterator[StepData]:
    """Record the block as a step of the run, also if it fails. `flows.task_costs` records costs as well."""
    started_at, data = clock(), StepData()
    error: BaseException | None = None
    try:
        yield data
    except BaseException as caught:
        error = caught
        raise
    finally:
        if lineage is not None:
            lineage.record_step(
                step,
                batch_id,
                started_at=started_at,
                ended_at=clock(),
                result=data.result,
                error=error,
                written=sorted(data.written),
            )


class LineageSender:
    """Sends events in the order in which they are added, from a thread. Never raises."""

    def __init__(self) -> None:
        self._waiting: Queue[RunEvent | None] = Queue(_MOST_WAITING)
        self._is_broken = Event()
        self._thread = Thread(target=self._send_all, name="lineage", daemon=True)
        self._thread.start()

    def send(self, event: RunEvent) -> None:
        """Add an event to the queue. It is dropped if the transport failed, or if too many events wait."""
        if self._is_broken.is_set():
            return
        if self._waiting.full():
            self._give_up("too many events wait")
        else:
            self._waiting.put(event)

    def close(self) -> None:
        """Wait a few seconds until all events are sent."""
        if not self._is_broken.is_set():
            self._waiting.put(None)
            self._thread.join(_SECONDS_AT_END)
            if self._thread.is_alive():
                self._give_up(f"it did not answer within {_SECONDS_AT_END:g} s")

    def _send_all(self) -> None:
        try:
            from openlineage.client import OpenLineageClient  # a third of a CPU second

            client = OpenLineageClient()
            while not self._is_broken.is_set() and (event := self._waiting.get()) is not None:
                client.emit(event)
            client.close(_SECONDS_AT_END)
        except Exception as error:  # of any transport
            self._give_up(type(error).__name__)

    def _give_up(self, reason: str) -> None:
        if not self._is_broken.is_set():
            self._is_broken.set()
            _LOGGER.warning("the rest of this run sends no lineage: the transport of OpenLineage failed (%s)", reason)
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        while True:
            try:
                self._waiting.get_nowait()
            except Empty:
                return
