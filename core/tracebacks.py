"""Tracebacks are written to `DATA_DIR/logs/tracebacks.log`. The user and the run log see one line.

The file holds types of errors and places in code. It holds no messages, because they may quote a row or a secret.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from core.data_layout import DataLayout
from core.errors import MoovitamixError, UnexpectedError, summarize_defect
from core.settings import load_settings

_FILE = "tracebacks.log"
_MAX_BYTES = 5 * 2**20
_MAX_DEPTH = 20
_TRACEBACK_START = "Traceback (most recent call last)"
_PLACE = re.compile(r'^\s*(File ".*", line \d+, in \S+)', re.MULTILINE)
_ERROR_TYPE = re.compile(r"^([A-Za-z_][\w.]*)(?=:|\s*$)", re.MULTILINE)
# Prefect repeats the message of a state that is not Completed when the run ends.
_FINISHED = re.compile(r"(Finished in state (?!Completed)\w+)\(['\"].*", re.DOTALL)
_TASK_RUNS = "prefect.task_runs"


def hide_tracebacks() -> None:
    """Let nothing in this process show a traceback or a Python warning. Safe to call again."""
    keep_logs_readable()
    logging.raiseExceptions = False
    sys.excepthook = _on_uncaught
    threading.excepthook = lambda hook: _on_uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)
    sys.unraisablehook = lambda hook: _on_unraisable(hook.exc_value)
    warnings.showwarning = _on_warning


def keep_logs_readable() -> None:
    """Make each log record of this process one line, also those of libraries. Safe to call again.

    A MoovitamixError is logged once, by the flow run: the records of its task runs omit the message.
    """
    if not isinstance(logging.getLogRecordFactory(), _OneLineRecords):
        logging.setLogRecordFactory(_OneLineRecords(logging.getLogRecordFactory()))


def record_and_summarize(error: BaseException) -> str:
    """Write the traceback to the file. Returns one line for the user, which names the file."""
    file = record_traceback(error)
    return f"{summarize_defect(error)}{_details(file)}"


def message_for_user(error: BaseException) -> str:
    """The message of a MoovitamixError. For a defect: its type, its place in the code, and the file for details."""
    if isinstance(error, UnexpectedError):
        return f"{error}{_details(record_traceback(error))}"
    return str(error) if isinstance(error, MoovitamixError) else record_and_summarize(error)


def record_traceback(error: BaseException) -> Path | None:
    """Write the types and places of an error and of its causes. Returns the file, or None if it cannot be written."""
    return _write(list(_traceback_lines(error)))


class _OneLineRecords:
    """Makes log records of one line: a MoovitamixError by its message, a defect by its type and the file."""

    def __init__(self, make_record: Callable[..., logging.LogRecord]) -> None:
        self._make_record = make_record

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make_record(*args, **kwargs)
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, MoovitamixError):
            if error.__cause__ is not None and not error.cause:
                record_traceback(error)
            in_task_run = record.name == _TASK_RUNS
            record.msg, record.args = f"Task run failed: {type(error).__name__}" if in_task_run else str(error), ()
        elif error is not None:
            record.msg, record.args = f"{record.name}: {record_and_summarize(error)}", ()
        elif finished := _FINISHED.match(str(record.msg)):
            record.msg = finished[1]
        elif record.levelno >= logging.WARNING and _TRACEBACK_START in (text := _message(record)):
            error_types = _ERROR_TYPE.findall(text.rpartition(_TRACEBACK_START)[2])
            error_type = error_types[-1] if error_types else "an error"
            places = [f"  {place}" for place in _PLACE.findall(text)]
            file = _write([f"{error_type} in a message of {record.name}", *places])
            record.msg, record.args = f"{record.name}: {error_type}{_details(file)}", ()
        record.exc_info = record.exc_text = record.stack_info = None
        return record


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a library's arguments do not fit its message: logging itself would drop the record
        return str(record.msg)


def _on_uncaught(error_type: type[BaseException], error: BaseException | None, _traceback: Any) -> None:
    if issubclass(error_type, KeyboardInterrupt):
        print("stopped; run it again to go on", file=sys.stderr)
    elif error is not None and not isinstance(error, SystemExit):
        print(f"error: {message_for_user(error)}", file=sys.stderr)


def _on_unraisable(error: BaseException | None) -> None:
    if error is not None:
        record_traceback(error)


def _on_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del message, file, line  # the message may quote a value
    _write([f"{category.__name__} of {filename}, line {lineno}"])


def _traceback_lines(error: BaseException, depth: int = 0) -> Iterator[str]:
    """Types and places: first the error, then its causes, indented."""
    margin = "  " * depth
    yield f"{margin}{type(error).__module__}.{type(error).__qualname__}"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f'{margin}  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for nested in (*members, *([cause] if cause is not None else []))[: _MAX_DEPTH - depth]:
        yield from _traceback_lines(nested, depth + 1)


def _write(lines: list[str]) -> Path | None:
    try:
        folder = DataLayout(load_settings().data_dir).logs
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / _FILE
        if file.exists() and file.stat().st_size > _MAX_BYTES:
            file.replace(file.with_name(f"{_FILE}.1"))
        now = datetime.now(UTC)
        text = "\n".join([f"{now:%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}", *lines, "", ""])
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as log:
            log.write(text)
    except (OSError, MoovitamixError):  # no disk space, or unreadable settings: the line for the user names no file
        return None
    return file


def _details(file: Path | None) -> str:
    return f"; details in {file}" if file else ""
