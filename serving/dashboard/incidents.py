"""Read open incidents from the files of the watchdog. This works while the database is down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.clock import is_ahead
from core.data_layout import DataLayout
from core.settings import Settings

_MAX_BYTES = 1_000_000
# A health check takes up to a minute when nothing responds.
_MISSED_CHECKS_ALLOWED, _SECONDS_PER_CHECK = 3, 60


class OpenIncident(BaseModel):
    """One open incident. `unaffected` says what still works, `next_step` what to do.

    `snooze_note` is the end and reason of a snooze, empty without one. `delivered_at` is None until the notification
    was delivered. The file of the watchdog names some fields differently.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    key: str
    summary: str = Field(validation_alias="what")
    since: AwareDatetime
    unaffected: str = Field("", validation_alias="kept")
    next_step: str = Field("", validation_alias="next")
    severity: Literal["critical", "warning"] = "warning"
    delivered_at: AwareDatetime | None = None
    snooze_note: str = ""


class ClosedIncident(BaseModel):
    """One incident that is over."""

    summary: str = Field(validation_alias="what")
    since: AwareDatetime
    closed_at: AwareDatetime
    severity: Literal["critical", "warning"] = "warning"


@dataclass(frozen=True)
class OpenIncidents:
    """Critical incidents first, then by age; snoozed ones apart. `unreadable` says why the list could not be read.

    `watchdog_problem` says why a new incident may go unnoticed. `watchdog_expected` is False where no watchdog should
    run.
    """

    incidents: Sequence[OpenIncident] = ()
    snoozed_incidents: Sequence[OpenIncident] = ()
    unreadable: str | None = None
    watchdog_problem: str | None = None
    watchdog_expected: bool = True


_INCIDENTS = TypeAdapter(list[OpenIncident])
_CLOSED = TypeAdapter(list[ClosedIncident])


def read_incidents(settings: Settings, now: datetime) -> OpenIncidents:
    """Read `alerts/open.json`, and check when the watchdog last ran.

    `now` is the time of the machine, like the times of the files. Without local services, no watchdog is expected.
    """
    incidents = _open_incidents(settings.data_dir)
    try:
        checked_at = datetime.fromtimestamp(DataLayout(settings.data_dir).watchdog_check.stat().st_mtime, UTC)
    except FileNotFoundError:
        if not _has_services(settings):
            return replace(incidents, watchdog_expected=False)
        return replace(incidents, watchdog_problem="The watchdog never ran, so incidents may be missing here")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return replace(incidents, watchdog_problem=f"The state of the watchdog cannot be read: {reason}")
    if is_ahead(checked_at, now):
        text = "The watchdog last ran while the clock was ahead, and not since: restart it"
        return replace(incidents, watchdog_problem=text)
    if (now - checked_at).total_seconds() > _MISSED_CHECKS_ALLOWED * settings.alert_look_seconds + _SECONDS_PER_CHECK:
        since = f"{checked_at:%Y-%m-%d %H:%M} UTC"
        return replace(
            incidents, watchdog_problem=f"The watchdog has not run since {since}, so incidents may be missing here"
        )
    return incidents


def read_closed_incidents(settings: Settings) -> Sequence[ClosedIncident]:
    """The incidents that the watchdog closed, the newest first; none if the file is missing or unreadable."""
    try:
        with DataLayout(settings.data_dir).closed_incidents.open("rb") as file:
            return _CLOSED.validate_json(file.read(_MAX_BYTES))[::-1]
    except (OSError, ValidationError):
        return ()


def set_snoozed_apart(incidents: OpenIncidents, snoozes: Mapping[str, str]) -> OpenIncidents:
    """Move incidents to `snoozed_incidents`. `snoozes` has the notes of snoozes by key of incident."""
    snoozed = [
        incident.model_copy(update={"snooze_note": snoozes[incident.key]})
        for incident in incidents.incidents
        if incident.key in snoozes
    ]
    still_counting = [incident for incident in incidents.incidents if incident.key not in snoozes]
    return replace(incidents, incidents=still_counting, snoozed_incidents=snoozed)


def _has_services(settings: Settings) -> bool:
    """Whether a watchdog should run: local services exist, or ALERT_URLS or PREFECT_UI_URL is set.

    docker-compose sets the latter.
    """
    is_configured = bool(settings.alert_urls.get_secret_value() or settings.prefect_ui_url)
    return is_configured or DataLayout(settings.data_dir).services.exists()


def _open_incidents(data_dir: Path) -> OpenIncidents:
    """Read the open incidents, and the defect of the notification path if there is one."""
    layout, incidents = DataLayout(data_dir), list[OpenIncident]()
    try:
        for path in (layout.open_incidents, layout.notification_defect):
            with suppress(FileNotFoundError), path.open("rb") as file:
                incidents += _INCIDENTS.validate_json(file.read(_MAX_BYTES + 1))
    except OSError as error:
        return OpenIncidents(unreadable=error.strerror or type(error).__name__)
    except ValidationError:  # the message of the error would quote the file
        return OpenIncidents(unreadable="the file is not a list of incidents")
    if not incidents:
        return OpenIncidents()
    return OpenIncidents(sorted(incidents, key=lambda incident: (incident.severity != "critical", incident.since)))
