"""Whether Prefect's server can use the file with its history. Asked before it starts: it would try for minutes."""

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
# A larger one takes longer to check than people want to wait.
_MOST_BYTES_TO_CHECK = 200 * 2**20
_REVISION = re.compile(r"^revision(?:: str)? = ['\"](\w+)['\"]", re.MULTILINE)
_TO_DO = "or move it away to begin without history: make up makes the deployments again"


class PrefectDatabaseError(MoovitamixError):
    """Prefect's server cannot use its database."""


def check_databases(programs: Sequence[ServiceProcess]) -> None:
    """Raises PrefectDatabaseError when the file of a program is damaged, locked or of a newer Prefect."""
    for program in programs:
        url = program.environment.get(_SETTING, "")
        path = Path(url.removeprefix(_PREFIX))
        if url.startswith(_PREFIX) and path.exists():
            _check(path)


def _check(path: Path) -> None:
    what = f"{path}, the history of Prefect's server,"
    if not os.access(path, os.R_OK | os.W_OK):
        raise PrefectDatabaseError(f"{what} cannot be written by this user: change its owner, {_TO_DO}")
    try:
        with closing(sqlite3.connect(path, timeout=5)) as database:
            found = database.execute("select name from sqlite_master where name = 'alembic_version'").fetchone()
            revisions = database.execute("select version_num from alembic_version").fetchall() if found else []
            whole = path.stat().st_size > _MOST_BYTES_TO_CHECK or database.execute(
                "pragma quick_check(1)"
            ).fetchone() == ("ok",)
    except sqlite3.OperationalError as error:
        raise PrefectDatabaseError(f"{what} cannot be opened ({error}): end what uses it, {_TO_DO}") from error
    except sqlite3.DatabaseError as error:
        raise PrefectDatabaseError(f"{what} is damaged: put a copy in its place, {_TO_DO}") from error
    if not whole:
        raise PrefectDatabaseError(f"{what} is damaged: put a copy in its place, {_TO_DO}")
    unknown = [revision for (revision,) in revisions if revision not in _known_revisions()]
    if unknown:
        raise PrefectDatabaseError(
            f"{what} is of a newer Prefect than the {version('prefect')} that is installed: "
            f"install the newer version of this project again, {_TO_DO}"
        )


def _known_revisions() -> set[str]:
    """Those that the installed Prefect can read, without importing it, which takes seconds."""
    prefect = find_spec("prefect")
    if prefect is None or prefect.origin is None:
        return set()
    files = Path(prefect.origin).parent.joinpath("server/database/_migrations/versions/sqlite").glob("*.py")
    return {found[1] for file in files if (found := _REVISION.search(file.read_text(encoding="utf-8")))}
