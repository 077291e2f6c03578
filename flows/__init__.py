"""Order: one file a flow, with its retries, caching and reports. What a step does stands in `pipeline`.

Prefect is told before its first import to keep its files with the project's data.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from dotenv import dotenv_values

from core.errors import SettingsError
from core.tls import check_tls_files

if sys.argv[0] == "-m":  # a command of ours: Prefect would print a traceback when it is imported
    try:
        check_tls_files()
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

_data_dir = os.environ.get("DATA_DIR") or dotenv_values(".env").get("DATA_DIR") or ".data"
with suppress(OSError, RuntimeError):  # settings say what is wrong with the folder, in one line
    _home = Path(_data_dir).expanduser().resolve() / "prefect"
    _home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(_home))

if "PREFECT_API_URL" not in os.environ:
    # Runs report to the server that the environment or `.env` names, or to one of their own: not to that in
    # pyproject.toml, which is for `.venv/bin/prefect`.
    os.environ["PREFECT_API_URL"] = dotenv_values(".env").get("PREFECT_API_URL") or ""
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
# On a new machine a server of its own needs longer for its first start than Prefect waits.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
