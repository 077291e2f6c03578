"""Postgres's programs for one database: pg_dump, pg_restore and psql."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from psycopg.conninfo import conninfo_to_dict

from core import embedded_postgres
from core.errors import DatabaseError, SettingsError
from core.sessions import client_environment, client_target
from core.settings import Settings

# What libpq would read from a URL and has no environment variable for.
_SECRETS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")

_NO_LOCKS = "out of shared memory"


def find_postgres_tools(settings: Settings, url: str) -> PostgresTools:
    """Those of the wheel for the embedded server, else those of the PATH."""
    return PostgresTools(url, embedded_postgres.programs_folder() if settings.embedded else None)


@dataclass(frozen=True)
class PostgresTools:
    """Postgres's programs for one database. No password stands on a command line, nor in what they say."""

    url: str
    folder: Path | None  # of the wheel; None: those of the PATH

    def path(self, name: str, server_version: int) -> str:
        """Where a program is. Raises DatabaseError when it is missing, or older than the server."""
        found = shutil.which(name, path=None if self.folder is None else str(self.folder))
        needed = server_version // 10_000
        if found is None:
            raise DatabaseError(f"{name} is missing; install the programs of PostgreSQL {needed}, then try again")
        said = subprocess.run([found, "--version"], check=False, capture_output=True, text=True).stdout
        version = re.search(r"\(PostgreSQL\) (\d+)", said)
        if version is None or int(version[1]) < needed:
            has = f"of PostgreSQL {version[1]}" if version else "of an unknown version"
            raise DatabaseError(
                f"{name} is {has} and the server {needed}; put that version on the PATH, then try again"
            )
        return found

    @property
    def target(self) -> str:
        """The database, without the password. Raises SettingsError for a secret that has no other place."""
        parts = conninfo_to_dict(self.url)
        if given := [name for name in _SECRETS if parts.get(name)]:
            raise SettingsError(
                f"wrong setting: DATABASE_URL must not carry {given[0]} for this; put it into a service file "
                "(PGSERVICEFILE), and ?service=<its name> into the URL"
            )
        return client_target(self.url)

    @property
    def environment(self) -> dict[str, str]:
        return client_environment(self.url) | {"LC_ALL": "C"}  # `error_line` reads English

    @property
    def _password(self) -> str:
        return str(conninfo_to_dict(self.url).get("password") or "")

    def run(self, *command: str) -> None:
        """Run one to its end. Raises DatabaseError with the line it ended on."""
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                env=self.environment,
            )  # fmt: skip
            if done.returncode:
                raise DatabaseError(self.error_line(Path(command[0]).name, said))

    def error_line(self, name: str, said: IO[bytes]) -> str:
        """One line of what a program wrote: the first error, without the rows it may quote further down."""
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if "error:" in line.lower() or "fatal:" in line.lower()]
        first = (errors or lines or ["no word"])[0].strip()
        if _NO_LOCKS in first:
            first += "; the server has room for too few locks: raise max_locks_per_transaction, restart it, try again"
        return f"{name} failed: {first.replace(self._password, '***') if self._password else first}"
