"""Logs for people: an error that has a name is one line; only what nobody foresaw comes with a traceback."""

from __future__ import annotations

import logging

from core.errors import MoovitamixError


class _OneLinePerKnownError(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, MoovitamixError):
            record.exc_info = None
            record.exc_text = None
            record.msg, record.args = str(error), ()
        return True


def keep_logs_readable() -> None:
    """Make Prefect's loggers of flow and task runs write one line for each of our errors. Harmless when repeated."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.flow_engine", "prefect.task_engine"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, _OneLinePerKnownError) for one in logger.filters):
            logger.addFilter(_OneLinePerKnownError())
