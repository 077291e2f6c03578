"""The Prefect flows: one module per flow, with retries, caching and reports. `pipeline` and `recommender` do the work.

Importing this package sets Prefect's environment: its home in DATA_DIR, and the server that runs report to. For a
command that audits, it also starts the process of the audits.
"""

import gc
import os
import sys
from contextlib import suppress

from flows.auditors import start_auditor_process

# `python -m flows.ingest`, or the module that `moovitamix ingest` runs: before the imports below, which take long.
if {"flows.ingest", "flows.recommend"} & {sys.argv[0], *(sys.orig_argv if sys.argv[0] == "-m" else ())}:
    start_auditor_process()

from dotenv import dotenv_values

from core.data_layout import DataLayout
from core.errors import SettingsError
from core.exit_codes import print_error
from core.prefect_names import SECONDS_TO_START
from core.settings import load_settings
from core.tracebacks import hide_tracebacks

# Imports create many objects and no garbage. With the default, searching for it takes a tenth of their time.
gc.set_threshold(50_000, 20, 10)

if sys.argv[0] == "-m":  # a flow's command: a Ctrl-C during its slow imports must print no traceback
    hide_tracebacks()


try:
    _home = DataLayout(load_settings().data_dir).prefect
    with suppress(OSError):
        _home.mkdir(exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(_home))
except SettingsError as error:
    # Importing Prefect would read the same settings and print a traceback.
    if sys.argv[0] == "-m" and not {"-h", "--help"} & set(sys.argv):
        sys.exit(print_error(error))

if "PREFECT_API_URL" not in os.environ:
    # Runs report to the server of the environment or `.env`, or to a temporary one. The address in pyproject.toml is
    # for `.venv/bin/prefect` only.
    os.environ["PREFECT_API_URL"] = dotenv_values(".env").get("PREFECT_API_URL") or ""
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
# The first start of a temporary server on a new machine takes longer than Prefect's default timeout.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", f"{SECONDS_TO_START:.0f}")
