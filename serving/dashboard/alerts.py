"""Open alerts, from the file that whoever raises them keeps: it is there when the database is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

_MOST_BYTES = 1_000_000


class OpenAlert(BaseModel):
    """One cause that somebody was told of, or is about to be."""

    key: str
    what: str
    since: AwareDatetime
    kept: str = ""
    next: str = ""
    severity: Literal["critical", "warning"] = "warning"
    delivered_at: AwareDatetime | None = None


@dataclass(frozen=True)
class OpenAlerts:
    """The critical ones first, then the oldest; or, in `unreadable`, why nobody knows."""

    alerts: Sequence[OpenAlert] = ()
    unreadable: str | None = None


_LIST = TypeAdapter(list[OpenAlert])


def read_alerts(data_dir: Path) -> OpenAlerts:
    """What `alerts/open.json` says; no such file: no alert is known."""
    try:
        with (data_dir / "alerts" / "open.json").open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        alerts = _LIST.validate_json(text)
    except FileNotFoundError:
        return OpenAlerts()
    except OSError as error:
        return OpenAlerts(unreadable=error.strerror or type(error).__name__)
    except ValidationError:  # its message would quote the file
        return OpenAlerts(unreadable="it is not the list that it should be")
    return OpenAlerts(sorted(alerts, key=lambda alert: (alert.severity != "critical", alert.since)))
