"""Checks the database file of Prefect's server before its start. The server itself would retry for minutes."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from core.errors import MoovitamixError
from services.local_services import ServiceProcess

_PREFIX = "sqlite+aiosqlite:///"
_SETTING = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
# The integrity check of a larger file takes too long.
_MAX_BYTES_TO_CHECK = 200 * 2**20
_REVISION = re.compile(r"^revision(?:: str)? = ['\"](\w+)['\"]", re.MULTILINE)
_TO_DO = "or move it away to start without history: make up creates the deployments again"


class PrefectDatabaseError(MoovitamixError):
    """Prefect's server cannot use its database."""


def check_databases(processes: Sequence[ServiceProcess]) -> None:
    """Raise PrefectDatabaseError if the file of a process is damaged, locked or from a newer Prefect."""
    for process in processes:
        url = process.environment.get(_SETTING, "")
        path = Path(url.removeprefix(_PREFIX))
        if url.startswith(_PREFIX) and path.exists():
            _check(path)


def _check(path: Path) -> None:
    name = f"{path}, the history of Prefect's server,"
    if not os.access(path, os.R_OK | os.W_OK):
        raise PrefectDatabaseError(f"{name} cannot be written by this user: change its owner, {_TO_DO}")
    try:
        with closing(sqlite3.connect(path, timeout=5)) as database:
            table = database.execute("select name from sqlite_master where name = 'alembic_version'").fetchone()
            revisions = database.execute("select version_num from alembic_version").fetchall() if table else []
            is_intact = path.stat().st_size > _MAX_BYTES_TO_CHECK or database.execute(
                "pragma quick_check(1)"
            ).fetchone() == ("ok",)
    except sqlite3.OperationalError as error:
        raise PrefectDatabaseError(f"{name} cannot be opened ({error}): stop what uses it, {_TO_DO}") from error
    except sqlite3.DatabaseError as error:
        raise PrefectDatabaseError(f"{name} is damaged: replace it by a copy, {_TO_DO}") from error
    if not is_intact:
        raise PrefectDatabaseError(f"{name} is damaged: replace it by a copy, {_TO_DO}")
    unknown = [revision for (revision,) in revisions if revision not in _supported_revisions()]
    if unknown:
        raise PrefectDatabaseError(
            f"{name} is from a newer Prefect than the installed {version('prefect')}: "
            f"install the newer version of this project again, {_TO_DO}"
        )


def _supported_revisions() -> set[str]:
    """Return the schema revisions of the installed Prefect, without importing it, which takes seconds."""
    prefect = find_spec("prefect")
    if prefect is None or prefect.origin is None:
        return set()
    files = Path(prefect.origin).parent.joinpath("server/database/_migrations/versions/sqlite").glob("*.py")
    return {match[1] for file in files if (match := _REVISION.search(file.read_text(encoding="utf-8")))}
