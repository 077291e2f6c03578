"""Record defects in the notification path. They do not fail a run, and they do not stay unnoticed.

The traceback goes to `DATA_DIR/logs/tracebacks.log`. `DATA_DIR/alerts/defect.json` holds the newest defect for the
health page. It is cleared when a later notification is queued, or accepted by every address, and when the watchdog's
checks work again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.clock import utc_now
from core.data_layout import DataLayout
from core.errors import MoovitamixError
from core.runbook import RUNBOOK
from core.settings import load_settings
from core.tracebacks import record_and_summarize
from notifications.files import replace_json

_log = logging.getLogger(__name__)


@contextmanager
def recorded_defects() -> Iterator[None]:
    """Record an error of the block instead of raising it."""
    try:
        yield
    except Exception as error:
        record_defect(error)


def record_defect(error: Exception) -> None:
    """Log the error with its traceback, and note it for the health page. Never raises."""
    summary = str(error) if isinstance(error, MoovitamixError) else record_and_summarize(error)
    _log.error("a notification could not be sent: %s", summary)
    incident = {
        "key": "notification-defect",
        "severity": "critical",
        "what": f"a notification could not be sent because of a defect: {summary}",
        "since": utc_now().isoformat(),
        "kept": "published data; the run state and the database record what happened.",
        "next": f"read the newest entry of logs/tracebacks.log in DATA_DIR; {RUNBOOK}#where-to-look",
    }
    with suppress(OSError, MoovitamixError):  # full disk or wrong settings: the error is in the log
        replace_json(DataLayout(load_settings().data_dir).notification_defect, [incident], mode=0o644)


def clear_defect(data_dir: Path | None = None) -> None:
    """Remove the recorded defect of this DATA_DIR, after a notification was sent. Never raises."""
    with suppress(OSError, MoovitamixError):
        DataLayout(data_dir or load_settings().data_dir).notification_defect.unlink(missing_ok=True)
