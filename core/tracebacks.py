"""No traceback reaches a person: they read one line, and `DATA_DIR/logs/tracebacks.log` has the rest for a maintainer.

It has kinds of errors and places in code. It has no texts of errors, as these may quote a row, an address or a secret.
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
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from core.data_layout import DataLayout
from core.errors import MoovitamixError, UnexpectedError, summarize_defect
from core.settings import load_settings

_FILE = "tracebacks.log"
_MOST_BYTES = 5 * 2**20
_MOST_CAUSES = 20
_BEGINS = "Traceback (most recent call last)"
_PLACE = re.compile(r'^\s*(File ".*", line \d+, in \S+)', re.MULTILINE)
_KIND = re.compile(r"^([A-Za-z_][\w.]*)(?=:|\s*$)", re.MULTILINE)


def hide_tracebacks() -> None:
    """From here on, nothing in this process shows a traceback, or a warning about code. Harmless when repeated."""
    keep_logs_readable()
    logging.raiseExceptions = False
    sys.excepthook = _on_uncaught
    threading.excepthook = lambda failed: _on_uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)
    sys.unraisablehook = lambda failed: _keep_silently(failed.exc_value)
    warnings.showwarning = _on_warning


def keep_logs_readable() -> None:
    """Let each log record of this process be one line, from whatever library it is. Harmless when repeated."""
    if not isinstance(logging.getLogRecordFactory(), _OneLineRecords):
        logging.setLogRecordFactory(_OneLineRecords(logging.getLogRecordFactory()))


def record_and_summarize(error: BaseException) -> str:
    """One line for a person, which says where the rest is kept."""
    file = record_traceback(error)
    return f"{summarize_defect(error)}{_details(file)}"


def message_for_user(error: BaseException) -> str:
    """The message of an error with a name; of a defect, kind and place, and where the rest is kept."""
    if isinstance(error, UnexpectedError):
        return f"{error}{_details(record_traceback(error))}"
    return str(error) if isinstance(error, MoovitamixError) else record_and_summarize(error)


def record_traceback(error: BaseException) -> Path | None:
    """Write down kinds and places of an error and of what caused it. Returns the file; None if it cannot be written."""
    return _write(list(_lines_of(error)))


class _OneLineRecords:
    """Makes log records: of an error with a name its message, of another one its kind and where the rest is."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, MoovitamixError):
            if error.__cause__ is not None and not error.cause:
                record_traceback(error)
            record.msg, record.args = str(error), ()
        elif error is not None:
            record.msg, record.args = f"{record.name}: {record_and_summarize(error)}", ()
        elif record.levelno >= logging.WARNING and _BEGINS in (text := _text_of(record)):
            kinds = _KIND.findall(text.rpartition(_BEGINS)[2])
            kind = kinds[-1] if kinds else "an error"
            file = _write([f"{kind} in a message of {record.name}", *(f"  {one}" for one in _PLACE.findall(text))])
            record.msg, record.args = f"{record.name}: {kind}{_details(file)}", ()
        record.exc_info = record.exc_text = record.stack_info = None
        return record


def _text_of(record: logging.LogRecord) -> str:
    with suppress(Exception):  # arguments that do not fit the message
        return record.getMessage()
    return str(record.msg)


def _on_uncaught(kind: type[BaseException], error: BaseException | None, _where: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped; run it again to go on", file=sys.stderr)
    elif error is not None and not isinstance(error, SystemExit):
        print(f"error: {message_for_user(error)}", file=sys.stderr)


def _keep_silently(error: BaseException | None) -> None:
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
    del message, file, line  # its text may quote a value
    _write([f"{category.__name__} of {filename}, line {lineno}"])


def _lines_of(error: BaseException, depth: int = 0) -> Iterator[str]:
    """Kinds and places, the last error first, then what caused it."""
    margin = "  " * depth
    yield f"{margin}{type(error).__module__}.{type(error).__qualname__}"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f'{margin}  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    among = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (*among, *([before] if before is not None else []))[: _MOST_CAUSES - depth]:
        yield from _lines_of(other, depth + 1)


def _write(lines: list[str]) -> Path | None:
    try:
        folder = DataLayout(load_settings().data_dir).logs
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / _FILE
        if file.exists() and file.stat().st_size > _MOST_BYTES:
            file.replace(file.with_name(f"{_FILE}.1"))
        now = datetime.now(UTC)
        text = "\n".join([f"{now:%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}", *lines, "", ""])
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as log:
            log.write(text)
    except (OSError, MoovitamixError):  # no room, or settings that cannot be read: the line is shown all the same
        return None
    return file


def _details(file: Path | None) -> str:
    return f"; details in {file}" if file else ""
