"""Order: one file a flow, with its retries, caching and reports. What a step does stands in `pipeline`.

Prefect is told before its first import to keep its files with the project's data.
"""

import os
import sys
from contextlib import suppress

from dotenv import dotenv_values

from core.data_layout import DataLayout
from core.errors import SettingsError
from core.exit_codes import print_error
from core.settings import load_settings
from core.tracebacks import hide_tracebacks

if sys.argv[0] == "-m":  # a command of ours begins; its imports take seconds, in which somebody may press Ctrl-C
    hide_tracebacks()


try:
    _home = DataLayout(load_settings().data_dir).prefect
    with suppress(OSError):
        _home.mkdir(exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(_home))
except SettingsError as error:
    # Prefect reads `.env` and its home when it is imported, and would print a traceback.
    if sys.argv[0] == "-m" and not {"-h", "--help"} & set(sys.argv):
        sys.exit(print_error(error))

if "PREFECT_API_URL" not in os.environ:
    # Runs report to the server that the environment or `.env` names, or to one of their own: not to that in
    # pyproject.toml, which is for `.venv/bin/prefect`.
    os.environ["PREFECT_API_URL"] = dotenv_values(".env").get("PREFECT_API_URL") or ""
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
# On a new machine a server of its own needs longer for its first start than Prefect waits.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
