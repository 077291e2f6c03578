"""`python -m serving`: the API for front ends, until it is told to stop."""

from __future__ import annotations

import argparse
import gc
import sys

import uvicorn

from core.errors import MoovitamixError, SettingsError
from core.settings import load_settings
from core.terminal import prepare_terminal
from core.tracebacks import without_tracebacks
from serving.app import create_app
from serving.database import serving_url
from serving.request_logging import log_to_stdout

_SECONDS_TO_END_REQUESTS = 5


def main() -> int:
    """Serve. Exit 0, 1, or 2 for wrong settings."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", help="where to listen (default: SERVING_HOST; the port is SERVING_PORT)")
    host = parser.parse_args().host
    try:
        settings = load_settings(data_dir_is_written=False)
        app = create_app(settings, serving_url(settings))
    except MoovitamixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    log_to_stdout()
    gc.freeze()  # what is there for good need not be looked through again: that took 50 ms now and then
    uvicorn.run(
        app,
        host=host or settings.serving_host,
        port=settings.serving_port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the address that limits are counted by is the one that connects, not what it claims
        timeout_graceful_shutdown=_SECONDS_TO_END_REQUESTS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(without_tracebacks(main))
