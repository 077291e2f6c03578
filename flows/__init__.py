"""Order: one file a flow, with its retries, caching and reports. What a step does stands in `pipeline`.

Prefect is told before its first import to keep its files with the project's data and to send nothing home.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from dotenv import dotenv_values

from core.tracebacks import hide_tracebacks

if sys.argv[0] == "-m":  # a command of ours begins; its imports take seconds, in which somebody may press Ctrl-C
    hide_tracebacks()

_data_dir = os.environ.get("DATA_DIR") or dotenv_values(".env").get("DATA_DIR") or ".data"
with suppress(OSError, RuntimeError):  # settings say what is wrong with the folder, in one line
    _home = Path(_data_dir).expanduser().resolve() / "prefect"
    _home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(_home))

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
# On a new machine a server of its own needs longer for its first start than Prefect waits.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
