"""Runs Postgres's client programs for one database: pg_dump, pg_restore and psql."""

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

# Secrets of a URL that libpq has no environment variable for.
_SECRETS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")

_NO_LOCKS = "out of shared memory"


def find_postgres_tools(settings: Settings, url: str) -> PostgresTools:
    """Return the programs of the installed wheel for the embedded server, otherwise those on the PATH."""
    return PostgresTools(url, embedded_postgres.programs_folder() if settings.embedded else None)


@dataclass(frozen=True)
class PostgresTools:
    """Postgres's client programs for one database. Passwords are neither on command lines nor in messages.

    `folder` holds the programs; None means the PATH.
    """

    url: str
    folder: Path | None

    def path(self, name: str, server_version: int) -> str:
        """Return the path of a program. Raises DatabaseError if it is missing or older than the server."""
        path = shutil.which(name, path=None if self.folder is None else str(self.folder))
        needed = server_version // 10_000
        if path is None:
            raise DatabaseError(f"{name} is missing; install the programs of PostgreSQL {needed}, then try again")
        output = subprocess.run([path, "--version"], check=False, capture_output=True, text=True).stdout
        version = re.search(r"\(PostgreSQL\) (\d+)", output)
        if version is None or int(version[1]) < needed:
            description = f"of PostgreSQL {version[1]}" if version else "of an unknown version"
            raise DatabaseError(
                f"{name} is {description} and the server {needed}; put that version on the PATH, then try again"
            )
        return path

    @property
    def target(self) -> str:
        """The connection string without the password. Raises SettingsError if the URL contains another secret."""
        parts = conninfo_to_dict(self.url)
        if secrets := [name for name in _SECRETS if parts.get(name)]:
            raise SettingsError(
                f"wrong setting: DATABASE_URL must not contain {secrets[0]} here; put it into a service file "
                "(PGSERVICEFILE), and ?service=<its name> into the URL"
            )
        return client_target(self.url)

    @property
    def environment(self) -> dict[str, str]:
        return client_environment(self.url) | {"LC_ALL": "C"}  # `error_line` needs English messages

    @property
    def _password(self) -> str:
        return str(conninfo_to_dict(self.url).get("password") or "")

    def run(self, *command: str) -> None:
        """Run a program. Raises DatabaseError with its first error."""
        with tempfile.TemporaryFile() as output:
            process = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output,
                env=self.environment,
            )  # fmt: skip
            if process.returncode:
                raise DatabaseError(self.error_line(Path(command[0]).name, output))

    def error_line(self, name: str, output: IO[bytes]) -> str:
        """Return the first error of a program's output. Later lines may quote rows, so they are omitted."""
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if "error:" in line.lower() or "fatal:" in line.lower()]
        first = (errors or lines or ["no message"])[0].strip()
        if _NO_LOCKS in first:
            first += "; the server allows too few locks: raise max_locks_per_transaction, restart it, try again"
        return f"{name} failed: {first.replace(self._password, '***') if self._password else first}"
