"""Bring the schema up to date with the login that owns it: `python -m core.migrate`.

Each flow run also migrates the schema if `DATABASE_URL` names that login. Only this command stores
`mart.user_track_plays` in USER_TRACK_PLAYS_PARTITIONS partitions, if it is set. Running it again changes nothing.
Exit codes: 0 done, 1 failed, 2 wrong setting.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from core.database import connect, newest_migration, warehouse_lock
from core.exit_codes import returns_exit_code, run_main
from core.roles import ensure_schema
from core.settings import load_settings
from core.table_layout import count_partitions, partition_user_track_plays
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Migrate, and print the version of the schema."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m core.migrate", description=__doc__).parse_args(arguments)
    settings = load_settings()
    keep_temporary_files_in(settings.data_dir)
    partitions = settings.user_track_plays_partitions
    with connect(ensure_schema(settings)) as connection:
        if partitions is not None and count_partitions(connection) != partitions:
            with warehouse_lock(connection, settings.lock_wait_seconds):
                partition_user_track_plays(connection, partitions)
            print(f"mart.user_track_plays is stored in partitions: {partitions}")
    print(f"the schema is up to date: {newest_migration()}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
