"""The process of a temporary Prefect server. `flows.temporary_prefect_server` starts it for one run.

It stops when its standard input closes, which happens whenever the run ends, even if it is killed. When it is ready, it
writes its port to standard output.
"""

from __future__ import annotations

import argparse
import os
import socket
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

from flows.temporary_prefect_server import DATABASE, template_stamp


def main() -> None:
    """Serve until the run ends. If the folder has no database, create one, and keep a copy as the template."""
    Thread(target=_exit_with_run, name="exit-with-run", daemon=True).start()
    parser = argparse.ArgumentParser(prog="python -m flows.temporary_prefect_server_process", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.add_argument("template", type=Path, help="path of the template for later runs")
    arguments = parser.parse_args()
    announcement = os.dup(1)
    os.dup2(2, 1)  # all other output goes to the log
    _serve(arguments.folder / DATABASE, arguments.template, announcement)


def _exit_with_run() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)  # no data are needed, and an orderly shutdown can hang


def _serve(database: Path, template: Path, announcement: int) -> None:
    is_new = not database.exists()

    # Imported here, because it takes seconds, and the run may end meanwhile.
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.should_exit or not sockets:
                return
            if is_new:
                with suppress(OSError, sqlite3.Error):  # the next run creates it
                    _keep_as_template(database, template)
            os.write(announcement, f"{sockets[0].getsockname()[1]}\n".encode())
            os.close(announcement)

    config = uvicorn.Config(create_app(), host="127.0.0.1", port=0, log_level="error", lifespan="on")
    server = Server(config)
    server.run(sockets=[config.bind_socket()])
    sys.exit(0 if server.started else 3)


def _keep_as_template(database: Path, template: Path) -> None:
    """Copy the new database, which contains no run yet, to the template of later runs."""
    copy = database.with_name("template.db")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("pragma journal_mode = delete")
        (revision,) = target.execute("select version_num from alembic_version").fetchone()
        target.execute(f"pragma user_version = {template_stamp(revision)}")
    copy.replace(template)


if __name__ == "__main__":
    main()
