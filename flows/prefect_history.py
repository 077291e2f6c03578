"""What Prefect keeps of runs in `DATA_DIR/prefect`: old runs go, with logs, artifacts and events, and erase runs first.

Prefect's server deletes old runs by itself (`RUN_RETENTION_DAYS`), but the temporary server of a command line does not,
and SQLite gives no room back to the disk.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from prefect.settings import (
    PREFECT_SERVER_EVENTS_RETENTION_PERIOD,
    PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD,
    get_current_settings,
    temporary_settings,
)
from requests import RequestException

from alerts.erase_runs import delete_erase_runs
from alerts.prefect_server import Server

if TYPE_CHECKING:
    from prefect.server.database.interface import PrefectDBInterface

# Of the services, and of the temporary servers of command lines.
_DATABASES = ("server.db", "prefect.db")
_SECONDS_TO_WAIT = 30


def prune_prefect_history(data_dir: Path, keep: timedelta) -> dict[str, int]:
    """Delete runs that ended longer ago, and every erase run that ended; give the room back to the disk.

    Returns how many of each went. A database that is busy, damaged or of another version of Prefect is left as it is,
    for the next time.
    """
    pruned = {"erase_runs": _delete_erase_runs_of_server(), "old_runs": 0, "result_files": 0}
    for name in _DATABASES:
        database = data_dir / "prefect" / name
        if database.exists():
            with suppress(sqlite3.Error, OSError):
                before = _count_runs(database)
                # In a thread, as a flow may run in one that has an event loop.
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(asyncio.run, _prune(database, keep)).result()
                pruned["old_runs"] += max(before - _count_runs(database), 0)
                _compact(database)
    pruned["result_files"] = _prune_results(data_dir / "prefect" / "storage", keep)
    return pruned


def _delete_erase_runs_of_server() -> int:
    """Of the server that this process uses, whatever its database is; 0 when it does not answer."""
    api = get_current_settings().api
    if not api.url:
        return 0
    login = api.auth_string.get_secret_value() if api.auth_string else ""
    with suppress(RequestException):
        return delete_erase_runs(Server(api.url, login), ended_before=datetime.now(UTC))
    return 0


async def _prune(database: Path, keep: timedelta) -> None:
    """Prefect's own clean-up, which it runs in a server that stays. Raises sqlite3.Error, OSError."""
    # Importing Prefect's server takes seconds, and only this needs it.
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.database.dependencies import provide_database_interface, temporary_database_config
    from prefect.server.services import db_vacuum
    from sqlalchemy.exc import SQLAlchemyError

    configuration = AioSqliteConfiguration(f"sqlite+aiosqlite:///{database}")
    limits = {PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD: keep, PREFECT_SERVER_EVENTS_RETENTION_PERIOD: keep}
    try:
        with temporary_settings(limits), temporary_database_config(configuration):
            db = provide_database_interface()
            await _delete_erase_runs(db)
            await db_vacuum.vacuum_old_flow_runs(db=db)
            await db_vacuum.vacuum_orphaned_logs(db=db)
            await db_vacuum.vacuum_orphaned_artifacts(db=db)
            await db_vacuum.vacuum_stale_artifact_collections(db=db)
            await db_vacuum.vacuum_old_events(db=db)
    except SQLAlchemyError as error:
        raise sqlite3.OperationalError(type(error).__name__) from error
    finally:
        await (await configuration.engine()).dispose()


async def _delete_erase_runs(db: PrefectDBInterface) -> None:
    from prefect.server.models.flow_runs import delete_flow_runs, read_flow_runs
    from prefect.server.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.server.schemas.states import TERMINAL_STATES

    flows = FlowFilter.model_validate({"name": {"any_": ["erase"]}})
    ended = FlowRunFilter.model_validate({"state": {"type": {"any_": list(TERMINAL_STATES)}}})
    async with db.session_context(begin_transaction=True) as session:
        runs = await read_flow_runs(session=session, flow_filter=flows, flow_run_filter=ended)  # type: ignore[attr-defined]
        await delete_flow_runs(session=session, flow_run_ids=[run.id for run in runs])  # type: ignore[attr-defined]


def _compact(database: Path) -> None:
    """Write the file anew without deleted rows, when the disk has room for it. Raises sqlite3.Error, OSError."""
    if shutil.disk_usage(database.parent).free < 3 * database.stat().st_size:
        return
    with closing(sqlite3.connect(database, timeout=_SECONDS_TO_WAIT, isolation_level=None)) as connection:
        connection.execute("vacuum")
        # Until then the old pages are in the file, and the new ones in the log beside it.
        connection.execute("pragma wal_checkpoint(truncate)").fetchall()


def _count_runs(database: Path) -> int:
    with closing(
        sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=_SECONDS_TO_WAIT)
    ) as connection:
        return int(connection.execute("select count(*) from flow_run").fetchone()[0])


def _prune_results(folder: Path, keep: timedelta) -> int:
    """Delete what tasks returned, and with it the empty folders that their names make."""
    oldest = (datetime.now(UTC) - keep).timestamp()
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mtime < oldest]
    for path in files:
        path.unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # not empty
            path.rmdir()
    return len(files)
