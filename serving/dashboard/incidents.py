"""Open alerts, from the files that whoever raises them keeps: they are there when the database is not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from core.clock import is_ahead
from core.settings import Settings

_MOST_BYTES = 1_000_000
# A look may take a while when nothing answers.
_LOOKS_UNTIL_MISSED, _SECONDS_OF_A_LOOK = 3, 60


class OpenIncident(BaseModel):
    """One cause that somebody was told of, or is about to be."""

    key: str
    what: str
    since: AwareDatetime
    kept: str = ""
    next: str = ""
    severity: Literal["critical", "warning"] = "warning"
    delivered_at: AwareDatetime | None = None


@dataclass(frozen=True)
class OpenIncidents:
    """The critical ones first, then the oldest; or, in `unreadable`, why nobody knows.

    `unwatched` says why nobody would notice a new one; `watch_expected` is False where no watch is meant to run.
    """

    incidents: Sequence[OpenIncident] = ()
    unreadable: str | None = None
    watchdog_problem: str | None = None
    watchdog_expected: bool = True


_LIST = TypeAdapter(list[OpenIncident])


def read_incidents(settings: Settings, now: datetime) -> OpenIncidents:
    """What `alerts/open.json` says, and whether a watch looked lately.

    `now` is the machine's time, as that of the files is. Without services (a run from a command line), no watch is
    expected.
    """
    incidents = _open_alerts(settings.data_dir)
    try:
        looked = datetime.fromtimestamp((settings.data_dir / "alerts" / "looked").stat().st_mtime, UTC)
    except FileNotFoundError:
        if not _has_services(settings):
            return replace(incidents, watchdog_expected=False)
        return replace(
            incidents, watchdog_problem="The watch of alerts never looked: what is wrong may not be known here"
        )
    except OSError as error:
        why = error.strerror or type(error).__name__
        return replace(incidents, watchdog_problem=f"Whether the watch of alerts is alive cannot be told: {why}")
    if is_ahead(looked, now):
        text = "The watch of alerts last looked by a clock that was ahead, and not since: start it again"
        return replace(incidents, watchdog_problem=text)
    if (now - looked).total_seconds() > _LOOKS_UNTIL_MISSED * settings.alert_look_seconds + _SECONDS_OF_A_LOOK:
        since = f"{looked:%Y-%m-%d %H:%M} UTC"
        return replace(
            incidents, watchdog_problem=f"The watch of alerts has not looked since {since}: alerts may be out of date"
        )
    return incidents


def _has_services(settings: Settings) -> bool:
    """Whether `make up` or docker-compose runs here, or somebody asked to be told: then there is a watch."""
    asked = bool(settings.alert_urls.get_secret_value() or settings.prefect_ui_url)
    return asked or (settings.data_dir / "services").exists()


def _open_alerts(data_dir: Path) -> OpenIncidents:
    """Read the open incidents, and the defect of the notification path if there is one."""
    incidents: list[OpenIncident] = []
    try:
        for name in ("open.json", "defect.json"):
            with suppress(FileNotFoundError), (data_dir / "alerts" / name).open("rb") as file:
                incidents += _LIST.validate_json(file.read(_MOST_BYTES + 1))
    except OSError as error:
        return OpenIncidents(unreadable=error.strerror or type(error).__name__)
    except ValidationError:  # its message would quote the file
        return OpenIncidents(unreadable="it is not the list that it should be")
    if not incidents:
        return OpenIncidents()
    return OpenIncidents(sorted(incidents, key=lambda incident: (incident.severity != "critical", incident.since)))
