"""Bring the schema up to date with the login that owns it: `python -m core.migrate`.

Every run migrates by itself if `DATABASE_URL` names that login. Running this again changes nothing. Exit codes: 0 done,
1 failed, 2 wrong setting.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from core.database import newest_migration
from core.errors import MoovitamixError, SettingsError
from core.roles import ensure_schema
from core.settings import load_settings
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from core.tracebacks import without_tracebacks


def main(arguments: Sequence[str] | None = None) -> int:
    """Migrate, and print the version of the schema."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m core.migrate", description=__doc__).parse_args(arguments)
    try:
        settings = load_settings()
        keep_temporary_files_in(settings.data_dir)
        ensure_schema(settings)
    except MoovitamixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    print(f"the schema is up to date: {newest_migration()}")
    return 0


if __name__ == "__main__":
    sys.exit(without_tracebacks(main))
