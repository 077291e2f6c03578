"""Prunes Prefect's history: deletes erase runs and old files, and compacts the SQLite database.

Prefect's server deletes old runs (`RUN_RETENTION_DAYS`). A temporary server deletes its database at its end.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect.settings import get_current_settings
from requests import RequestException

from core.data_layout import DataLayout
from core.prefect_client import PrefectClient
from notifications.erase_runs import delete_erase_runs

_SET_ASIDE = "*.set-aside"  # databases of other versions of Prefect
_SECONDS_TO_WAIT = 30


def prune_prefect_history(data_dir: Path, keep: timedelta) -> dict[str, int]:
    """Delete ended erase runs and old files, and compact the database. Return the number of deleted objects by kind.

    A busy or damaged database is not compacted; the next call tries again.
    """
    layout = DataLayout(data_dir)
    pruned = {"erase_runs": _delete_erase_runs(), "prefect_files": _prune_files(layout.prefect, keep)}
    if layout.prefect_database.exists():
        with suppress(sqlite3.Error, OSError):
            _compact(layout.prefect_database)
    return pruned


def _delete_erase_runs() -> int:
    """Delete erase runs of the server that this run reports to. Return their number; 0 if it does not answer."""
    api = get_current_settings().api
    login = api.auth_string.get_secret_value() if api.auth_string else ""
    if api.url:
        with suppress(RequestException):
            return delete_erase_runs(PrefectClient(api.url, login, tries=3), ended_before=datetime.now(UTC))
    return 0


def _prune_files(folder: Path, keep: timedelta) -> int:
    oldest = (datetime.now(UTC) - keep).timestamp()
    files = [path for path in _files(folder) if path.stat().st_mtime < oldest]
    for path in files:
        path.unlink(missing_ok=True)
    result_folders = sorted((path for path in (folder / "storage").rglob("*") if path.is_dir()), reverse=True)
    for path in result_folders:
        with suppress(OSError):  # not empty
            path.rmdir()
    return len(files)


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in (folder / "storage").rglob("*") if path.is_file())
    yield from folder.glob(_SET_ASIDE)


def _compact(database: Path) -> None:
    """Remove the space of deleted rows, if the disk has space for a copy. Raises sqlite3.Error, OSError."""
    if shutil.disk_usage(database.parent).free < 3 * database.stat().st_size:
        return
    with closing(sqlite3.connect(database, timeout=_SECONDS_TO_WAIT, isolation_level=None)) as connection:
        connection.execute("vacuum")
        # The compacted pages are in the write-ahead log until this statement.
        connection.execute("pragma wal_checkpoint(truncate)").fetchall()
