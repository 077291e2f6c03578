"""Open the database in psql: as the read-only analyst role, or with `--owner` as the owner of the schema."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence

from core.database import ensure_database
from core.embedded_postgres import programs_folder
from core.exit_codes import returns_exit_code, run_main
from core.roles import ANALYST, ensure_schema_for_role
from core.sessions import client_environment, client_target
from core.settings import load_settings
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run psql and return its exit code."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m cli.psql", description=__doc__)
    parser.add_argument("--owner", action="store_true", help="connect as the owner of the schema")
    parser.add_argument("--command", metavar="SQL", help="run this statement, then exit")
    options = parser.parse_args(arguments)
    settings = load_settings()
    keep_temporary_files_in(settings.data_dir)
    url = ensure_database(settings) if options.owner else ensure_schema_for_role(settings, ANALYST)
    psql = programs_folder() / "psql"
    statement = ["--command", options.command] if options.command is not None else []
    command = [str(psql), *statement, client_target(url)]
    # psql itself handles Ctrl-C and cancels the query. Ignore it here, because `subprocess` would kill psql. psql does
    # not inherit this handler.
    signal.signal(signal.SIGINT, lambda *_: None)
    return subprocess.run(command, check=False, env=client_environment(url)).returncode


if __name__ == "__main__":
    sys.exit(run_main(main))
